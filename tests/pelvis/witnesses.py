"""Simulated witnesses of a pelvis whose every angle is known: what a model and a gyroscope say, errors and all."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from station.geometry import RayCaster
from station.lab.pinhole import Pinhole
from station.lab.rotations import arc, pelvis_rotation
from station.pelvis import PelvisFusion, filter
from station.types import KEYPOINT_INDEX, Floats, Mount, PelvisLevel, PelvisRate, PelvisReading, Pose, View

NOWHERE = PelvisLevel(math.nan, math.nan, math.nan, math.inf, math.inf, math.inf)
LOST = PelvisRate(math.nan, math.inf)


@dataclass(frozen=True)
class Runner:
    """How the pelvis moves (degrees, hertz), and how the camera looks at it."""

    drop_deg: float = 5.0
    mean_deg: float = 1.0
    rotation_deg: float = 8.0
    tilt_deg: float = 9.0
    stride_hz: float = 1.4
    fps: float = 30.0
    seconds: float = 20.0
    camera: Pinhole = field(default_factory=Pinhole)

    @property
    def t_s(self) -> Floats:
        return np.arange(0.0, self.seconds, 1 / self.fps)

    def angles_deg(self, t_s: Floats) -> Floats:
        """(n, 3) true angles: obliquity with three harmonics, rotation, tilt twice a stride."""
        p = 2 * np.pi * self.stride_hz * t_s
        obliquity = self.drop_deg * (np.cos(p) + 0.35 * np.cos(3 * p + 1.0) + 0.2 * np.cos(2 * p + 0.4))
        rotation = self.rotation_deg * np.cos(p + 0.7)
        return np.stack([self.mean_deg + obliquity, rotation, self.tilt_deg + 2.5 * np.cos(2 * p)], axis=1)

    @property
    def mount(self) -> Mount:
        c = self.camera
        return Mount(c.height_m, c.distance_m, c.focal_px, roll_deg=c.roll_deg, pitch_deg=c.pitch_deg)

    def seen_deg(self, t_s: Floats) -> tuple[Floats, list[Pose]]:
        """(n, 3) true angles along the line of sight, and where the pose finds the hips."""
        attitude, seen, poses = self.camera.attitude, [], []
        for i, angles in enumerate(self.angles_deg(t_s)):
            pelvis = pelvis_rotation(*angles)
            middle = np.array([0.02 * math.sin(9 * t_s[i]), 0.92 + 0.03 * math.cos(18 * t_s[i]), 0.0])
            toward = attitude.T @ (middle - self.camera.position_m)
            m = arc(np.array([0.0, 0.0, -1.0]), toward).T @ attitude.T @ pelvis
            right, up = m[:, 0], m[:, 1]
            seen.append([math.atan2(right[1], right[0]), math.atan2(-right[2], right[0]), math.atan2(-up[2], up[1])])
            pose = Pose.nobody()
            for side, sign in (("left", -1), ("right", 1)):
                row = KEYPOINT_INDEX[f"{side}_hip"]
                pose.xy_px[row] = self.camera.project(middle + 0.085 * sign * pelvis[:, 0])
                pose.score[row] = 1.0
            poses.append(pose)
        return np.degrees(seen), poses


@dataclass(frozen=True)
class Witnesses:
    """Errors of the model, of the gyroscope, and how the waist is seen.

    ``level_sd_deg`` is what the model says of itself; ``noise_share`` of its square scatters about gain and bias, of
    that the share ``lasting`` for 0.35 s.
    """

    level_sd_deg: float = 0.8
    lasting: float = filter.SLIP_SHARE / (filter.SLIP_SHARE + filter.FRAME_SHARE)
    level_gain: float = 1.0
    level_bias_deg: float = 0.0
    turn_sd_deg: float = 2.0
    rate_sd_dps: float = 8.0
    rate_bias_dps: float = 0.0
    rate_gain: float = 1.0
    waist: float = 1.0
    noise_share: float = filter.SLIP_SHARE + filter.FRAME_SHARE
    seed: int = 0

    def speak(self, runner: Runner) -> tuple[list[PelvisLevel], list[PelvisRate], list[Pose]]:
        rng, t_s = np.random.default_rng(self.seed), runner.t_s
        seen, poses = runner.seen_deg(t_s)
        n = len(t_s)
        keep = math.exp(-1 / runner.fps / 0.35)
        slip = np.zeros(n)
        slip[0] = rng.normal()
        for i in range(1, n):
            slip[i] = keep * slip[i - 1] + math.sqrt(1 - keep**2) * rng.normal()
        noise = math.sqrt(self.lasting) * slip + math.sqrt(1 - self.lasting) * rng.standard_normal(n)
        middle = seen[:, 0].mean()
        level = middle + self.level_gain * (seen[:, 0] - middle) + self.level_bias_deg
        level = level + math.sqrt(self.noise_share) * self.level_sd_deg * noise
        turn = seen[:, 1:] + self.turn_sd_deg * rng.standard_normal((n, 2))
        rate = np.gradient(seen[:, 0], t_s) if n < 3 else np.diff(seen[:, 0], prepend=seen[0, 0]) * runner.fps
        flicker = 1 + filter.FLICKER * rng.standard_normal(n)
        rate = self.rate_gain * rate * flicker + self.rate_bias_dps + self.rate_sd_dps * rng.standard_normal(n)
        rate_sd = np.hypot(self.rate_sd_dps, filter.RATE_SHARE * rate)
        levels = [
            PelvisLevel(level[i], turn[i, 0], turn[i, 1], self.level_sd_deg, self.turn_sd_deg, self.turn_sd_deg,
                        waist=self.waist)
            for i in range(n)
        ]  # fmt: skip
        return levels, [PelvisRate(r, sd, 40) for r, sd in zip(rate, rate_sd, strict=True)], poses


def as_the_filter_thinks(seed: int, level_sd_deg: float = 0.8, waist: float = 1.0) -> Witnesses:
    """Witnesses that err as much as, and in the ways that, the filter reckons with."""
    rng = np.random.default_rng([seed, 4])
    fault = filter.RATE_SEEN if waist > 0.5 else filter.RATE_COVERED
    span_sd = math.sqrt(filter.SPAN_SHARE) * level_sd_deg / filter.SWING_SD_DEG
    return Witnesses(
        level_sd_deg=level_sd_deg,
        level_gain=float(np.exp(rng.normal(0, span_sd))),
        level_bias_deg=float(rng.normal(0, math.sqrt(filter.OFFSET_SHARE) * level_sd_deg)),
        rate_gain=float(np.exp(-abs(rng.normal(0, fault.small)))),
        rate_bias_dps=float(rng.normal(0, filter.BIAS_SD_DPS)),
        waist=waist,
        seed=seed,
    )


def fuse(
    runner: Runner,
    levels: list[PelvisLevel] | None,
    rates: list[PelvisRate] | None,
    poses: list[Pose],
    mount: Mount | None = None,
) -> list[PelvisReading]:
    """What the fusion makes of them, frame by frame."""
    camera = runner.camera
    view = View(camera.width_px, camera.height_px, runner.fps, runner.mount if mount is None else mount)
    fusion = PelvisFusion(RayCaster(view))
    return [
        fusion.feed(float(t), levels[i] if levels else None, rates[i] if rates else None, poses[i])
        for i, t in enumerate(runner.t_s)
    ]


def column(readings: list[PelvisReading], name: str) -> Floats:
    """One field of all readings."""
    return np.array([getattr(reading, name) for reading in readings])


def high(runner: Runner, height_m: float = 1.4) -> Runner:
    """The same runner seen from higher up."""
    pitch = math.degrees(math.atan2(0.85 - height_m, runner.camera.distance_m))
    return replace(runner, camera=replace(runner.camera, height_m=height_m, pitch_deg=pitch))
