"""The curves behind the metrics: what each frame says of pelvis, trunk, thighs, knees and feet, in world units."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from station.gait.recent import Recent
from station.geometry import NOMINAL_HIP_WIDTH_M, RayCaster, belt_depth_m
from station.types import KEYPOINT_INDEX, Floats

HARMONICS = 10
#: Height of heel marks above the belt while the foot is planted [m].
HEEL_HEIGHT_M = 0.05
#: In mid-stance the knee is ahead of the hip by about this share of the thigh's apparent length.
KNEE_AHEAD = 0.35
#: Length of the foot from heel to toe mark [m].
FOOT_LENGTH_M = 0.20


class Channel(IntEnum):
    """Columns of the pooled model. Angles in degrees, lengths in metres (nominal ones where nothing is calibrated)."""

    OBLIQUITY = 0
    ROTATION = 1
    TILT = 2
    PELVIS_UP = 3
    PELVIS_SIDE = 4
    THIGH_LEFT = 5  # lean toward the midline
    THIGH_RIGHT = 6
    KNEE_GAP = 7
    HEEL_LEFT = 8  # lateral place of the heel as if planted
    HEEL_RIGHT = 9
    TRUNK = 10  # lean to the right
    FOOT_LEFT = 11  # toe-out
    FOOT_RIGHT = 12


#: Size that each curve may well have: the prior of the harmonic model.
AMPLITUDE = np.array([10.0, 15.0, 10.0, 0.06, 0.03, 10.0, 10.0, 0.06, 0.08, 0.08, 6.0, 20.0, 20.0])
#: and how it falls from harmonic to harmonic.
DECAY = 2.0
#: How much one stride may well differ from the pooled curve.
STRIDE_SD = np.array([0.8, 1.5, 1.0, 0.006, 0.008, 1.2, 1.2, 0.01, 0.012, 0.012, 1.0, 4.0, 4.0])

_INDEX = KEYPOINT_INDEX
_SIDES = ("left", "right")


def channels(recent: Recent, rows: slice, caster: RayCaster, hip_width_m: float) -> Floats:
    """All channels (n, 13) of these rows; NaN where a keypoint is missing. ``hip_width_m`` sets the scale."""
    rays = recent.rays(rows)
    depth = hip_width_m / recent.hip_ray(rows)
    pelvis = recent.pelvis(rows)
    point = {name: rays[:, row] for name, row in _INDEX.items()}
    hips = (point["left_hip"] + point["right_hip"]) / 2
    out = np.empty((len(depth), len(Channel)))
    out[:, :3] = pelvis[:, :3]
    out[:, Channel.PELVIS_UP] = hips[:, 1] * depth
    out[:, Channel.PELVIS_SIDE] = hips[:, 0] * depth
    for channel, side, medial in ((Channel.THIGH_LEFT, "left", 1.0), (Channel.THIGH_RIGHT, "right", -1.0)):
        out[:, channel] = _thigh_lean_deg(point[f"{side}_hip"], point[f"{side}_knee"], medial)
    knees = [point[f"{side}_knee"][:, 0] * _farther(point[f"{side}_hip"], point[f"{side}_knee"]) for side in _SIDES]
    out[:, Channel.KNEE_GAP] = (knees[1] - knees[0]) * depth
    for channel, side in ((Channel.HEEL_LEFT, "left"), (Channel.HEEL_RIGHT, "right")):
        heel = point[f"{side}_heel"]
        out[:, channel] = heel[:, 0] * _planted_depth_m(heel[:, 1], depth, caster)
    trunk = (point["left_shoulder"] + point["right_shoulder"]) / 2 - hips
    out[:, Channel.TRUNK] = np.degrees(np.arctan2(trunk[:, 0], trunk[:, 1]))
    for channel, side, outward in ((Channel.FOOT_LEFT, "left", -1.0), (Channel.FOOT_RIGHT, "right", 1.0)):
        across = (point[f"{side}_toe"][:, 0] - point[f"{side}_heel"][:, 0]) * depth * outward / FOOT_LENGTH_M
        out[:, channel] = np.degrees(np.arcsin(np.clip(across, -1, 1)))
    return out


def weights(recent: Recent, rows: slice) -> Floats:
    """Weights (n, 13): 1, or for the pelvis angles the inverse variance relative to the window's best."""
    out = np.ones((rows.stop - rows.start, len(Channel)))
    sd = recent.pelvis(rows)[:, 3:]
    for channel in range(3):
        known = np.isfinite(sd[:, channel]) & (sd[:, channel] > 0)
        if known.any():
            best = sd[known, channel].min()
            out[known, channel] = (best / sd[known, channel]) ** 2
    return out


def hip_width_m(hip_ray: float, caster: RayCaster) -> float:
    """Distance between the hip centres from their mean apparent width; nominal without a calibrated camera."""
    distance = caster.mount.distance_m
    if not caster.metric or distance is None:
        return NOMINAL_HIP_WIDTH_M
    return distance * hip_ray


def _thigh_lean_deg(hip: Floats, knee: Floats, medial: float) -> Floats:
    """Lean of the thigh toward the midline, frontal plane. The knee is ahead of the hip: a little farther away."""
    farther = _farther(hip, knee)
    return np.degrees(np.arctan2(medial * (knee[:, 0] * farther - hip[:, 0]), hip[:, 1] - knee[:, 1] * farther))


def _farther(hip: Floats, knee: Floats) -> Floats:
    """Depth of the knee over that of the hip, as it is in mid-stance."""
    return np.asarray(1.0 + KNEE_AHEAD * (hip[:, 1] - knee[:, 1]))


def _planted_depth_m(heel_up: Floats, pelvis_depth: Floats, caster: RayCaster) -> Floats:
    """Depth of a planted heel: from the belt plane where the mount is known, else that of the pelvis."""
    if not caster.metric or caster.mount.height_m is None:
        return pelvis_depth
    depth = belt_depth_m(heel_up, caster.camera_height_m, HEEL_HEIGHT_M)
    # Away from the belt the plane tells nonsense: keep it near the pelvis. Mid-stance, where it is read, is not
    # touched.
    return np.clip(np.where(np.isfinite(depth), depth, pelvis_depth), 0.8 * pelvis_depth, 1.2 * pelvis_depth)
