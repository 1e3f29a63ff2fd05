"""What the points of the belt agree on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from station.optical_rate.patch import Flow
from station.types import Floats

_ROUNDS = 8
#: Points are told apart no better than this [px].
_SMALLEST_SCATTER_PX = 0.03
#: Neighbouring points see the same pixels: they count for fewer.
_POINTS_PER_FACT = 6.0
#: What the belt does beside turning with the pelvis (skin, cloth, breath, codec): per frame [rad], and as a share of
#: the turn. Both settled on rendered runners so that two thirds of the errors lie within one sd, taken about each
#: runner's own scale: cloth passes on a constant share of the turn, which only a level can tell.
_FLOOR_RAD, _CLOTH = math.radians(0.15), 0.25
_FEWEST, _LEAST_SHARE = 16, 0.25
#: Shares of the points asked for: as little as one edge of a waistband will do, plain cloth will not.
_LEAST_TEXTURED, _WELL_TEXTURED = 0.08, 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """Rotation between two frames (+ = right side rises), how sure it is, and how far the belt moved."""

    angle_rad: float
    sd_rad: float
    points: int
    shift_px: Floats


def agree(flow: Flow) -> Turn | None:
    """The turn that most points agree on; ``None`` when there is no such thing.

    Upward motion is fitted as a plane over the belt, robustly; its slope from left to right is the turn. Sideways
    motion is left out of it: the trunk that twists above the pelvis shears the patch sideways without any obliquity.
    """
    x, y = flow.at_px.T
    rise = flow.motion_px[:, 1]
    design = np.stack([np.ones_like(x), x, y], axis=1)
    weight = np.ones_like(x)
    for _ in range(_ROUNDS):
        solution, normal = _solve(design, rise, weight)
        rest = rise - design @ solution
        scatter = max(1.4826 * float(np.median(np.abs(rest))), _SMALLEST_SCATTER_PX)
        weight = 1.0 / (1.0 + (rest / (1.5 * scatter)) ** 2)
    points = int(np.count_nonzero(np.abs(rest) < 2.5 * scatter))
    if points < max(_FEWEST, _LEAST_SHARE * flow.asked) or flow.textured < _LEAST_TEXTURED * flow.asked:
        return None
    show = min(1.0, flow.textured / (_WELL_TEXTURED * flow.asked))
    formal = scatter / show * math.sqrt(_POINTS_PER_FACT * float(np.linalg.inv(normal)[1, 1]))
    aside = float(np.median(flow.motion_px[:, 0]))
    shift = np.array([aside, solution[0]]) @ flow.axes
    angle = math.atan(float(solution[1]))
    return Turn(angle, math.hypot(formal, _FLOOR_RAD, _CLOTH * angle), points, shift)


def _solve(design: Floats, value: Floats, weight: Floats) -> tuple[Floats, Floats]:
    weighted = design * weight[:, None]
    normal = weighted.T @ design + 1e-9 * np.eye(design.shape[1])
    return np.asarray(np.linalg.solve(normal, weighted.T @ value)), np.asarray(normal)
