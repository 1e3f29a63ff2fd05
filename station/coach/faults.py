"""What may be wrong, in which words it is said, and what trains it: the cue table of ``docs/metrics.md``."""

from __future__ import annotations

from dataclasses import dataclass

from station.types import Side

METRONOME = "metronome"
CADENCE = "cadence_spm"


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table.

    ``metrics`` are the metrics whose zone shows it, with the side they speak of. ``cues`` are tried in this order, the
    next one when the last was not answered; the last two take turns. A metric without a zone is silent.
    """

    name: str
    metrics: tuple[tuple[str, Side | None], ...]
    cues: tuple[str, ...]
    exercises: tuple[str, ...]


def _both(name: str) -> tuple[tuple[str, Side | None], ...]:
    return (name.format("left"), "left"), (name.format("right"), "right")


#: In order of priority; confidence comes before all of them: without it nothing is said. Tilt and push-back are
#: experimental: they have no zone unless one is configured.
FAULTS: tuple[Fault, ...] = (
    Fault(
        "pelvic drop",
        _both("pelvic_drop_peak_{}_deg"),
        (METRONOME, "belt_line_level", "squeeze_stance_glute"),
        ("side plank", "lateral band walks", "glute work"),
    ),
    Fault(
        "crossover",
        (("step_width_mm", None),),
        ("either_side_of_the_line", "widen_your_feet"),
        ("lateral band walks", "side plank"),
    ),
    Fault(
        "trunk lean",
        _both("trunk_lean_{}_deg"),
        ("zip_stays_vertical", "run_tall"),
        ("plank", "side plank"),
    ),
    Fault(
        "knee window",
        _both("knee_gap_{}_hw"),
        ("daylight_between_knees", "knees_apart"),
        ("glute work", "lateral band walks"),
    ),
    Fault(
        "sway, rotation",
        (("sway_hw", None), ("rotation_range_deg", None)),
        ("headlights_straight_ahead", "quiet_hips"),
        ("plank", "glute work"),
    ),
    Fault(
        "tilt",
        (("tilt_mean_deg", None),),
        ("bucket_stays_level", "ribs_over_hips"),
        ("plank", "hip-flexor and quad stretch"),
    ),
    Fault(
        "low push-back",
        _both("push_back_{}"),
        ("push_the_belt_behind", "drive_leg_back"),
        ("hip-flexor and quad stretch", "glute work", "hill training"),
    ),
    Fault("low cadence", ((CADENCE, None),), (METRONOME, "quicker_lighter"), ()),
)
