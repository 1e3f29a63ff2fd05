"""Runners for the kernel's tests: formulas with known truth, seen by a rear camera, and the kernel run over them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from station.lab.analytic import RunnerSpec, run
from station.lab.project import Condition, observe, view_of
from station.lab.truth import Trial
from station.session import Session, SessionSettings
from station.types import KEYPOINTS, Live, Observation, Output, PelvisReading, Pose, StrideMetrics, View

PLAIN = Condition(fps=60.0)


@cache
def trial(seed: int = 3, seconds: float = 20.0) -> Trial:
    """A random plausible runner."""
    return run(RunnerSpec.random(seed), seconds, seed)


@cache
def seen(condition: Condition = PLAIN, seed: int = 3, seconds: float = 20.0) -> tuple[View, tuple[Observation, ...]]:
    """That runner as the camera of ``condition`` saw him."""
    return view_of(condition), tuple(observe(trial(seed, seconds), condition, seed))


def feed(view: View, frames: Iterable[Observation], settings: SessionSettings | None = None) -> list[Output]:
    """Everything the kernel says, without the drawing samples."""
    session = Session(view, settings)
    out = [said for frame in frames for said in session.feed(frame)]
    out += session.finish()
    return [said for said in out if not isinstance(said, Live)]


def strides(said: Sequence[Output]) -> list[StrideMetrics]:
    """All strides."""
    return [x for x in said if isinstance(x, StrideMetrics)]


def good(said: Sequence[Output]) -> list[StrideMetrics]:
    """The strides with status ok."""
    return [x for x in strides(said) if x.status == "ok"]


def pose(frame: Observation) -> Pose:
    """The pose of a frame that surely has one."""
    assert frame.pose is not None
    return frame.pose


def moved(frame: Observation, xy_px: object) -> Observation:
    """The same frame with other pixel places."""
    assert frame.pose is not None
    return replace(frame, pose=Pose(np.asarray(xy_px, dtype=float), frame.pose.score))


MIRROR = [KEYPOINTS.index(k.replace("left", "*").replace("right", "left").replace("*", "right")) for k in KEYPOINTS]


def mirrored(frame: Observation, width_px: int) -> Observation:
    """What a mirror would show: sides swapped, x turned, obliquity and rotation with the other sign."""
    assert frame.pose is not None
    xy = frame.pose.xy_px[MIRROR] * (-1.0, 1.0) + (width_px, 0.0)
    pelvis = frame.pelvis
    if pelvis is not None:
        pelvis = replace(pelvis, obliquity_deg=-pelvis.obliquity_deg, rotation_deg=-pelvis.rotation_deg)
    return Observation(frame.t_s, Pose(xy, frame.pose.score[MIRROR]), pelvis)


def without(frame: Observation, *joints: str) -> Observation:
    """The frame with these joints (of both sides) not seen."""
    assert frame.pose is not None
    gone = [i for i, name in enumerate(KEYPOINTS) if name.split("_")[1] in joints]
    xy, score = frame.pose.xy_px.copy(), frame.pose.score.copy()
    xy[gone], score[gone] = np.nan, 0.0
    return replace(frame, pose=Pose(xy, score))


def unknown_pelvis(frame: Observation) -> Observation:
    """The estimator was asked and does not know."""
    return replace(frame, pelvis=PelvisReading())
