"""Rotations of a plate: small turns, projected angles, and the first pose from the corners that were found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from station.tag.lens import Lens
from station.tag.plates import Placement, Plate, tag_corners
from station.tag.search import Found
from station.types import Floats

_ROUNDS = 12
#: Corners of a first guess may miss the model by so much [px of the picture], else it is not our plate.
MISFIT_PX = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class PlatePose:
    """Where a plate is: columns of ``turn`` are its axes, ``at_m`` its middle, both in the camera frame."""

    turn: Floats
    at_m: Floats


def small_turn(vector: Floats) -> Floats:
    """The rotation about ``vector`` by its length [rad]."""
    matrix, _ = cv2.Rodrigues(np.asarray(vector, dtype=float))
    return np.asarray(matrix, dtype=float)


def projected_deg(turn: Floats) -> Floats:
    """Obliquity, rotation and tilt [deg] of axes (columns) in the world frame: signs of ``docs/metrics.md``."""
    right, up = turn[:, 0], turn[:, 1]
    return np.degrees([
        math.atan2(right[1], right[0]), math.atan2(-right[2], right[0]), math.atan2(-up[2], up[1]),
    ])  # fmt: skip


def projected_slopes(turn: Floats) -> Floats:
    """Change of :func:`projected_deg` [deg] per radian of turn about each world axis (3, 3)."""
    step = 1e-4
    columns = [
        (projected_deg(small_turn(step * axis) @ turn) - projected_deg(small_turn(-step * axis) @ turn)) / (2 * step)
        for axis in np.eye(3)
    ]
    return np.stack(columns, axis=1)


def first_pose(
    lens: Lens, plate: Plate, placement: Placement, found: Sequence[Found], near: PlatePose | None
) -> tuple[PlatePose, float] | None:
    """The pose that fits the corners best, and the misfit (rms) [px]; ``None`` when nothing upright fits.

    Seen singly a tag has two poses: started from both, and from the pose before (``near``), the better one that
    stands roughly upright and faces the camera is taken; of two that fit alike the one closer to ``near``, or to
    upright.
    """
    model = tag_corners(plate, placement)[[plate.ids.index(f.tag_id) for f in found]].reshape(-1, 3)
    seen = np.concatenate([f.corners_px for f in found])
    options = [_fit(lens, model, seen, start) for start in _starts(lens, model, seen, near)]
    upright = lens.attitude.T if near is None else near.turn
    best: tuple[float, PlatePose, float] | None = None
    for pose, misfit in options:
        away = _apart_rad(pose.turn, upright)
        if not math.isfinite(misfit) or misfit > MISFIT_PX or away > 0.9:
            continue
        score = misfit + 1.5 * away
        if best is None or score < best[0]:
            best = (score, pose, misfit)
    return None if best is None else (best[1], best[2])


def _apart_rad(a: Floats, b: Floats) -> float:
    return math.acos(min(1.0, max(-1.0, (float(np.trace(a.T @ b)) - 1) / 2)))


def _starts(lens: Lens, model: Floats, seen: Floats, near: PlatePose | None) -> list[PlatePose]:
    middle = model.mean(axis=0)
    spread = np.linalg.norm(seen - seen.mean(axis=0), axis=1).mean() / np.linalg.norm(model - middle, axis=1).mean()
    at = lens.rays(seen.mean(axis=0)) * lens.focal_px / max(float(spread), 1e-6)
    poses = []
    for turn_y in (-0.35, 0.0, 0.35):
        for turn_x in (-0.3, 0.3):
            turn = lens.attitude.T @ small_turn(np.array([0.0, turn_y, 0.0])) @ small_turn(np.array([turn_x, 0.0, 0.0]))
            poses.append(PlatePose(turn, at - turn @ middle))
    if near is not None:
        poses.append(PlatePose(near.turn, at - near.turn @ middle))
    return poses


def _fit(lens: Lens, model: Floats, seen: Floats, pose: PlatePose) -> tuple[PlatePose, float]:
    """Gauss-Newton with a damping; corners that miss by far count less."""
    damping, cost = 1e-3, math.inf
    for _ in range(_ROUNDS):
        arm = model @ pose.turn.T
        miss, slope = seen - lens.project(arm + pose.at_m), _corner_slopes(lens, arm, pose)
        size = np.linalg.norm(miss, axis=1)
        weight = np.repeat(1.0 / np.maximum(1.0, size / 1.0), 2)
        now = float((np.minimum(size, 1.0) * np.maximum(size, 1.0)).sum())
        if now > cost * 1.5 or not math.isfinite(now):
            return pose, math.inf
        cost = now
        normal = slope.T @ (slope * weight[:, None])
        step = np.linalg.solve(
            normal + damping * np.diag(np.diag(normal)) + 1e-12 * np.eye(6), slope.T @ (weight * miss.ravel())
        )
        pose = replace(pose, turn=small_turn(step[:3]) @ pose.turn, at_m=pose.at_m + step[3:])
    miss = seen - lens.project(model @ pose.turn.T + pose.at_m)
    return pose, float(np.sqrt((miss**2).sum(axis=1).mean()))


def _corner_slopes(lens: Lens, arm: Floats, pose: PlatePose) -> Floats:
    """Change of every corner's pixels (2 n, 6) per turn about the camera's axes through the middle, and per metre."""
    return pixel_slopes(lens, arm, arm + pose.at_m).reshape(-1, 6)


def pixel_slopes(lens: Lens, arm: Floats, points_m: Floats) -> Floats:
    """Change of the pixels (n, 2, 6) of points with lever arm (n, 3) per radian of turn, and per metre of shift."""
    x, y, depth = points_m[:, 0], points_m[:, 1], -points_m[:, 2]
    zero = np.zeros_like(x)
    per_metre = np.empty((len(x), 2, 3))
    per_metre[:, 0] = np.stack([1 / depth, zero, x / depth**2], axis=1)
    per_metre[:, 1] = np.stack([zero, -1 / depth, -y / depth**2], axis=1)
    per_metre *= lens.focal_px
    spin = np.zeros((len(x), 3, 3))  # d(w × arm)/dw = -[arm]×
    spin[:, 0, 1], spin[:, 0, 2] = arm[:, 2], -arm[:, 1]
    spin[:, 1, 0], spin[:, 1, 2] = -arm[:, 2], arm[:, 0]
    spin[:, 2, 0], spin[:, 2, 1] = arm[:, 1], -arm[:, 0]
    return np.concatenate([per_metre @ spin, per_metre], axis=2)
