"""A rear camera over 3-D motion: a :class:`~station.lab.truth.Trial` becomes the observations the kernel would get.

The pinhole camera stands behind the runner, ``distance_m`` behind the mean pelvis and laterally in line with it,
``height_m`` above the belt; roll > 0: its right side is lower (a level line reads +roll); pitch > 0: it looks up. Times
stay on the clock of the trial. ``pelvis`` angles are world angles. A point outside the picture is lost, as a pose model
would lose it. The same condition and seed always give the same observations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from station.lab.truth import Trial, keypoint_marks, pelvis_angles, resample
from station.types import KEYPOINT_INDEX, KEYPOINTS, Floats, Mount, Observation, PelvisReading, Pose, View

#: What a track header may say of the mount.
DECLARABLE = ("height_m", "distance_m", "focal_px", "roll_deg", "pitch_deg")


@dataclass(frozen=True, slots=True)
class Condition:
    """A camera and its disturbances.

    ``drop_frames``: share of frames missing; ``lose``: share of keypoints missing; ``pelvis_sd_deg``: the estimator's
    noise, ``None`` = no pelvis block; ``hip_gain`` scales the slope of the hip keypoints only; ``noise_corr_s``:
    correlation time of the keypoint noise; ``undeclared``: mount keys the kernel is not told;
    ``keep_outside``: points outside the picture are guessed, not lost; ``phase``: first sample,
    in frames after the start; ``seconds``: part of the trial; ``slack`` multiplies the bounds of a report.
    """

    name: str = "plain"
    fps: float = 60.0
    noise_px: float = 1.0
    drop_frames: float = 0.0
    lose: float = 0.0
    pelvis_sd_deg: float | None = None
    height_m: float = 0.95
    distance_m: float = 2.4
    focal_px: float = 930.0
    pitch_deg: float = -6.0
    roll_deg: float = 0.0
    size_px: tuple[int, int] = (1280, 720)
    undeclared: tuple[str, ...] = ()
    hip_gain: float = 1.0
    noise_corr_s: float = 0.0
    jitter_ms: float = 0.0
    keep_outside: bool = False
    phase: float | None = None
    seconds: tuple[float, float] | None = None
    slack: float = 1.0


def view_of(c: Condition) -> View:
    """The header the kernel is given: the mount keys that are declared."""
    said = {k: getattr(c, k) for k in DECLARABLE if k not in c.undeclared}
    return View(*c.size_px, c.fps, Mount(**said))


def pinhole(p_m: Floats, centre_m: Floats, c: Condition) -> Floats:
    """World points (…, 3) [m] -> pixels (…, 2), x right, y down."""
    right, up, depth = p_m[..., 0] - centre_m[0], p_m[..., 1] - centre_m[1], centre_m[2] - p_m[..., 2]
    cos, sin = np.cos(np.radians(c.pitch_deg)), np.sin(np.radians(c.pitch_deg))
    up, depth = cos * up - sin * depth, sin * up + cos * depth
    cos, sin = np.cos(np.radians(c.roll_deg)), np.sin(np.radians(c.roll_deg))
    right, up = cos * right - sin * up, sin * right + cos * up
    x_px = c.size_px[0] / 2 + c.focal_px * right / depth
    return np.stack([x_px, c.size_px[1] / 2 - c.focal_px * up / depth], -1)


def _noise(rng: np.random.Generator, shape: tuple[int, int], sd: float, dt_s: float, tau_s: float) -> Floats:
    e: Floats = rng.normal(0.0, sd, shape)
    if tau_s > 0:
        rho = float(np.exp(-dt_s / tau_s))
        for i in range(1, shape[0]):
            e[i] = rho * e[i - 1] + np.sqrt(1 - rho * rho) * e[i]
    return e


def _frame_times(trial: Trial, c: Condition, rng: np.random.Generator) -> Floats:
    lo, hi = c.seconds or (trial.t_s[0], trial.t_s[-1])
    start = max(trial.t_s[0], lo) + (rng.uniform() if c.phase is None else c.phase) / c.fps
    return np.arange(start, min(trial.t_s[-1], hi), 1 / c.fps)


def observe(trial: Trial, c: Condition, seed: int = 0) -> Iterator[Observation]:
    """Every frame of the trial as seen by this camera; numbers are rounded as in a track."""
    rng = np.random.default_rng(seed)
    at_s = _frame_times(trial, c, rng)
    kp = {k: resample(trial.t_s, v, at_s) for k, v in keypoint_marks(trial.marks).items()}
    angles = {k: None if v is None else resample(trial.t_s, v, at_s) for k, v in pelvis_angles(trial.marks).items()}
    half = (kp["right_hip"] - kp["left_hip"]) / 2 * [0, c.hip_gain - 1, 0]
    kp["right_hip"], kp["left_hip"] = kp["right_hip"] + half, kp["left_hip"] - half
    mean = np.nanmean(trial.marks["LHJC"] + trial.marks["RHJC"], axis=0) / 2
    names = list(kp)
    xy_px = pinhole(np.stack([kp[k] for k in names], 1), np.array([mean[0], c.height_m, mean[2] + c.distance_m]), c)
    xy_px += _noise(rng, (len(at_s), 2 * len(names)), c.noise_px, 1 / c.fps, c.noise_corr_s).reshape(xy_px.shape)
    score = np.clip(rng.normal(0.9, 0.03, xy_px.shape[:2]), 0.0, 1.0)
    lost = rng.uniform(size=xy_px.shape[:2]) < c.lose
    lost |= np.isnan(xy_px).any(-1)  # nobody there
    if not c.keep_outside:
        lost |= (~(xy_px >= 0) | ~(xy_px < c.size_px)).any(-1)
    dropped = rng.uniform(size=len(at_s)) < c.drop_frames
    stamp_s = at_s + np.clip(rng.normal(0, c.jitter_ms / 1e3, len(at_s)), -0.45 / c.fps, 0.45 / c.fps)
    rows = [KEYPOINT_INDEX[k] for k in names]
    for i in np.flatnonzero(~dropped):
        xy, sc = np.full((len(KEYPOINTS), 2), np.nan), np.zeros(len(KEYPOINTS))
        xy[rows] = np.where(lost[i, :, None], np.nan, np.round(xy_px[i], 2))
        sc[rows] = np.where(lost[i], 0.0, np.round(score[i], 3))
        pelvis = None if c.pelvis_sd_deg is None else _reading(angles, int(i), c.pelvis_sd_deg, rng)
        yield Observation(round(float(stamp_s[i]), 6), Pose(xy, sc), pelvis)


def _reading(angles: dict[str, Floats | None], i: int, sd_deg: float, rng: np.random.Generator) -> PelvisReading:
    said = {k: round(float(v[i] + rng.normal(0, sd_deg)), 3) for k, v in angles.items() if v is not None}
    return PelvisReading(
        obliquity_deg=said["obliquity_deg"],
        rotation_deg=said["rotation_deg"],
        tilt_deg=said.get("tilt_deg", np.nan),
        sd_obliquity_deg=sd_deg,
        sd_rotation_deg=sd_deg,
        sd_tilt_deg=sd_deg,
    )
