"""From a frame to what the kernel sees of it: the same code for ``run``, ``replay`` and ``bench``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from station.config import Config
from station.engine.pelvis import HipsEstimator, PelvisEstimator, verified
from station.health import WINDOW, Timings
from station.types import Frame, Observation, Pose, View


class PoseSource(Protocol):
    """Whatever finds the runner in a frame."""

    def estimate(self, frame: Frame) -> Pose:
        """The runner's keypoints, :meth:`Pose.nobody` when the belt is empty."""


class Observer:
    """Runs pose and pelvis on frames of one view; ``pose_times`` and ``pelvis_times`` are how long each took.

    Without a ``pelvis`` estimator the pose model's hips are read, flagged. The pose model runs on every
    ``pose_every``-th frame; the engine raises that when the machine is hot or slow. A frame without it has no pose, and
    no reading of the pelvis, whose place is not known then.
    """

    def __init__(
        self, pose: PoseSource, view: View, pelvis: PelvisEstimator | None = None, window: int = WINDOW
    ) -> None:
        self._pose = pose
        self._pelvis = pelvis or HipsEstimator(view)
        self.pose_times = Timings(window)
        self.pelvis_times = Timings(window)
        self.pose_every = 1
        self.frames = 0
        self.frames_with_someone = 0

    @property
    def verified(self) -> Mapping[str, object] | None:
        """What ``station verify`` found of the pelvis estimator; ``None`` = it was never run."""
        return verified(self._pelvis)

    def observe(self, frame: Frame) -> Observation:
        """Pose and pelvis reading of one frame; without a person there is no reading."""
        if self.frames % self.pose_every:
            self.frames += 1
            return Observation(frame.t_s, None)
        start_s = time.perf_counter()
        pose = self._pose.estimate(frame)
        found_s = time.perf_counter()
        someone = pose.someone
        pelvis = self._pelvis.read(frame, pose)
        self.pose_times.add(found_s - start_s)
        self.pelvis_times.add(time.perf_counter() - found_s)
        self.frames += 1
        self.frames_with_someone += someone
        return Observation(frame.t_s, pose, pelvis if someone else None)


def load_pose(config: Config, say: Callable[[str], None]) -> PoseSource:
    """The pose stage of ``[pose]``, its models built first when they are missing; ``say`` takes progress lines.

    Raises :class:`ModelError`.
    """
    # loading the interpreter takes as long as everything else together: not for commands that do not need it
    from station.models.build import build  # noqa: PLC0415
    from station.pose import PoseEstimator  # noqa: PLC0415

    build((config.pose.model, "detector"), say=say)
    return PoseEstimator.load(config.pose.model, config.pose.threads)
