"""What the points of the belt agree on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from station.optical_rate.patch import Flow
from station.types import Floats

_ROUNDS = 6
#: Keeps equations solvable whose points lie on a line.
_RIDGE = 1e-9
#: Points are told apart no better than this [px].
_SMALLEST_SCATTER_PX = 0.03
#: Neighbouring points see the same pixels: they count for fewer.
_POINTS_PER_FACT = 3.9
#: What the belt does beside turning with the pelvis (skin, cloth, breath, codec): per frame [rad], and as a share of
#: the turn. Both settled on rendered runners so that two thirds of the errors lie within one sd, taken about each
#: runner's own scale: cloth passes on a constant share of the turn, which only a level can tell.
_FLOOR_RAD, _CLOTH = math.radians(0.15), 0.25
_FEWEST, _LEAST_SHARE = 10, 0.25
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
    rise = flow.motion_px[:, 1]
    # one, across, up, and what they shall explain: one product gives the normal equations, another what is left
    columns = np.ones((4, len(rise)))
    columns[1:3] = flow.at_px.T
    columns[3] = rise
    normal = columns @ columns.T
    for number in range(_ROUNDS):
        solution = _solved(normal)
        away = np.abs(solution @ columns)
        scatter = max(1.4826 * _median(away), _SMALLEST_SCATTER_PX)
        if number < _ROUNDS - 1:
            weight = away * (1 / (1.5 * scatter))
            weight *= weight
            weight += 1.0
            normal = (columns / weight) @ columns.T
    points = int(np.count_nonzero(away < 2.5 * scatter))
    if points < max(_FEWEST, _LEAST_SHARE * flow.asked) or flow.textured < _LEAST_TEXTURED * flow.asked:
        return None
    show = min(1.0, flow.textured / (_WELL_TEXTURED * flow.asked))
    formal = scatter / show * math.sqrt(_POINTS_PER_FACT * _spread_of_slope(normal))
    aside = _median(flow.motion_px[:, 0])
    shift = np.array([aside, -solution[0]]) @ flow.axes
    angle = math.atan(-float(solution[1]))
    return Turn(angle, math.hypot(formal, _FLOOR_RAD, _CLOTH * angle), points, shift)


def _median(values: Floats) -> float:
    """The middle value, of an even number the upper one: NumPy's own median costs as much as all the rest."""
    half = len(values) // 2
    return float(np.partition(values, half)[half])


def _solved(normal: Floats) -> Floats:
    """Minus the solution of three equations, and 1: times the columns of :func:`agree` that is what is left.

    By Cramer's rule: for so few NumPy's solver is mostly its own calls.
    """
    (a, b, c, x), (_, d, e, y), (_, _, f, z), _ = normal.tolist()
    f += _RIDGE
    d += _RIDGE
    a += _RIDGE
    p, q, r = d * f - e * e, c * e - b * f, b * e - c * d
    whole = -(a * p + b * q + c * r)
    s, t, u = a * f - c * c, b * c - a * e, a * d - b * b
    found: Floats = np.array(
        [(p * x + q * y + r * z) / whole, (q * x + s * y + t * z) / whole, (r * x + t * y + u * z) / whole, 1.0]
    )
    return found


def _spread_of_slope(normal: Floats) -> float:
    """Variance of the slope from left to right, that of a point being 1: the middle of the inverse."""
    (a, b, c, _), (_, d, e, _), (_, _, f, _), _ = normal.tolist()
    whole = a * (d * f - e * e) + b * (c * e - b * f) + c * (b * e - c * d)
    return (a * f - c * c) / whole if whole > 0 else math.inf
