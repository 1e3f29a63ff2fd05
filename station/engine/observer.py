"""From a frame to what the kernel sees of it: the same code for ``run``, ``replay`` and ``bench``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from station.config import Config
from station.engine.pelvis import HipsEstimator, PelvisEstimator, verified
from station.health import WINDOW, Timings
from station.types import KEYPOINT_INDEX, Floats, Frame, Observation, Pose, View

#: Fewer poses a second time no stride: at 30 feet are timed as at 60, at 15 not one is (``docs/decisions/0014``).
LEAST_POSES_HZ = 24.0
#: A pose older than this does not tell where the runner is now [s].
LONGEST_S = 0.1
_TRUNK = [KEYPOINT_INDEX[f"{side}_{joint}"] for side in ("left", "right") for joint in ("shoulder", "hip")]


class PoseSource(Protocol):
    """Whatever finds the runner in a frame."""

    def estimate(self, frame: Frame) -> Pose:
        """The runner's keypoints, :meth:`Pose.nobody` when the belt is empty."""


class Observer:
    """Runs pose and pelvis on frames of one view; ``pose_times`` and ``pelvis_times`` are how long each took.

    Without a ``pelvis`` estimator the pose model's hips are read, flagged. The pose model runs on every
    ``pose_every``-th frame: every second one where that leaves the feet their poses (:data:`LEAST_POSES_HZ`) and the
    pelvis is looked for in the picture. On a frame without it the pelvis is looked for where the last poses let it be
    expected, and the observation has no pose.
    """

    def __init__(
        self, pose: PoseSource, view: View, pelvis: PelvisEstimator | None = None, window: int = WINDOW
    ) -> None:
        self._pose = pose
        self._pelvis = pelvis or HipsEstimator(view)
        self.pose_times = Timings(window)
        self.pelvis_times = Timings(window)
        self._most = max(int(view.fps / LEAST_POSES_HZ), 1)
        self._usual = min(2, self._most) if self._pelvis.sees else 1
        self.pose_every = self._usual
        self._expected = Expected()
        self.frames = 0
        self.frames_with_someone = 0

    @property
    def verified(self) -> Mapping[str, object] | None:
        """What ``station verify`` found of the pelvis estimator; ``None`` = it was never run."""
        return verified(self._pelvis)

    def ease(self, pose_every: int) -> None:
        """Run the pose that rarely, when the machine is hot or slow; not more rarely than the feet can do with."""
        self.pose_every = min(max(pose_every, self._usual), self._most)

    def observe(self, frame: Frame) -> Observation:
        """Pose and pelvis reading of one frame; without a person there is no reading."""
        if self.frames % self.pose_every:
            self.frames += 1
            return self._between_poses(frame)
        start_s = time.perf_counter()
        pose = self._pose.estimate(frame)
        found_s = time.perf_counter()
        someone = pose.someone
        pelvis = self._pelvis.read(frame, pose)
        self.pose_times.add(found_s - start_s)
        self.pelvis_times.add(time.perf_counter() - found_s)
        self.frames += 1
        self.frames_with_someone += someone
        self._expected.see(frame.t_s, pose)
        return Observation(frame.t_s, pose, pelvis if someone else None)

    def _between_poses(self, frame: Frame) -> Observation:
        pose = self._expected.at(frame.t_s)
        if pose is None or not self._pelvis.sees:
            return Observation(frame.t_s, None)
        start_s = time.perf_counter()
        pelvis = self._pelvis.read(frame, pose)
        self.pelvis_times.add(time.perf_counter() - start_s)
        return Observation(frame.t_s, None, pelvis)


class Expected:
    """Where the runner will be on the next frame: as on the last pose, moved on as the trunk moved."""

    def __init__(self) -> None:
        self._pose = self._before = Pose.nobody()
        self._t_s = self._before_s = -math.inf

    def see(self, t_s: float, pose: Pose) -> None:
        """A pose that was found."""
        self._before, self._before_s = self._pose, self._t_s
        self._pose, self._t_s = pose, t_s

    def at(self, t_s: float) -> Pose | None:
        """What is expected now; ``None`` when the last pose is too long ago, or there was nobody."""
        if not 0 < t_s - self._t_s <= LONGEST_S or not self._pose.someone:
            return None
        return Pose(self._pose.xy_px + self._moving_px_s * (t_s - self._t_s), self._pose.score)

    @property
    def _moving_px_s(self) -> Floats:
        """How fast the trunk moved between the last two poses; not at all where one of them does not show it."""
        since_s = self._t_s - self._before_s
        if not 0 < since_s <= LONGEST_S:
            return np.zeros(2)
        moved_px = self._pose.xy_px[_TRUNK].mean(axis=0) - self._before.xy_px[_TRUNK].mean(axis=0)
        return moved_px / since_s if np.isfinite(moved_px).all() else np.zeros(2)


def load_pose(config: Config, say: Callable[[str], None]) -> PoseSource:
    """The pose stage of ``[pose]``, its models built first when they are missing; ``say`` takes progress lines.

    Raises :class:`ModelError`.
    """
    # loading the interpreter takes as long as everything else together: not for commands that do not need it
    from station.models.build import build  # noqa: PLC0415
    from station.pose import PoseEstimator  # noqa: PLC0415

    build((config.pose.model, "detector"), say=say)
    return PoseEstimator.load(config.pose.model, config.pose.threads)
