"""A real broker, and a runner whose truth is known, for the tests of the engine."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from station.lab.analytic import RunnerSpec, run
from station.lab.project import Condition, observe, view_of
from station.types import Frame, Observation, Pose, View
from station.wire import TrackWriter
from tests.broker_fixture import listen, mosquitto

__all__ = ["listen", "mosquitto"]

CONDITION = Condition(fps=30.0, pelvis_sd_deg=0.5)


@functools.cache
def running(seconds: float = 20.0) -> tuple[Observation, ...]:
    """A runner at 165 steps a minute before a rear camera at 30 fps."""
    return tuple(observe(run(RunnerSpec(), seconds=seconds), CONDITION))


@pytest.fixture(scope="session")
def view() -> View:
    """The view of :func:`running`."""
    return view_of(CONDITION)


class KnownRunner:
    """A pose source that knows where the runner is: the truth by index of the frame, over and over."""

    def __init__(self, poses: tuple[Observation, ...]) -> None:
        self.poses = poses
        self.seen: list[int] = []

    def estimate(self, frame: Frame) -> Pose:
        self.seen.append(frame.index)
        pose = self.poses[frame.index % len(self.poses)].pose
        assert pose is not None
        return pose


@pytest.fixture
def runner() -> KnownRunner:
    return KnownRunner(running())


@pytest.fixture(scope="session")
def track(tmp_path_factory: pytest.TempPathFactory, view: View) -> Path:
    """A pose track of twenty seconds of running."""
    path = tmp_path_factory.mktemp("track") / "run.track.jsonl"
    with path.open("w", encoding="utf-8") as file:
        writer = TrackWriter(file, view)
        for observation in running():
            writer.write(observation)
    return path
