"""Strides → one cue at a time, and the exercises after the run. Rules and words are those of ``docs/metrics.md``."""

from station.coach.coach import Coach
from station.coach.faults import FAULTS, Fault
from station.coach.settings import CoachSettings

__all__ = ["FAULTS", "Coach", "CoachSettings", "Fault"]
