"""Small rotations and periodic curves, all NumPy.

World frame of the lab and of the whole product: X = runner's right, Y = up, Z = backward (toward the camera), metres,
angles in degrees. The runner looks along -Z.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from station.types import Floats


def rot_x(angle_deg: float) -> Floats:
    """Rotation about the runner's right; positive swings a hanging leg forward and lifts the toes."""
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def rot_y(angle_deg: float) -> Floats:
    """Rotation about the vertical; positive turns the runner's right side forward."""
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def rot_z(angle_deg: float) -> Floats:
    """Rotation about the backward axis; positive lifts the right side and swings a hanging leg to the right."""
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def arc(start: Floats, end: Floats) -> Floats:
    """The shortest rotation that takes direction ``start`` to direction ``end`` (not opposite)."""
    a, b = start / np.linalg.norm(start), end / np.linalg.norm(end)
    v, c = np.cross(a, b), float(a @ b)
    k = np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])
    return np.asarray(np.eye(3) + k + k @ k / (1.0 + c))


def blend(start: Floats, end: Floats, share: float) -> Floats:
    """The rotation ``share`` (0..1) of the way from ``start`` to ``end``, which are less than 180 degrees apart."""
    step = start.T @ end
    angle = float(np.arccos(np.clip((np.trace(step) - 1.0) / 2.0, -1.0, 1.0)))
    if angle < 1e-9:
        return start
    k = (step - step.T) / (2.0 * np.sin(angle))
    part = angle * share
    return np.asarray(start @ (np.eye(3) + np.sin(part) * k + (1.0 - np.cos(part)) * k @ k))


def pelvis_rotation(obliquity_deg: float, rotation_deg: float, tilt_deg: float) -> Floats:
    """The pelvis attitude whose *projected* angles are exactly the three given (``docs/metrics.md``: signs and words).

    The hip line projects onto the frontal plane at ``obliquity_deg`` and onto the floor at ``rotation_deg``; the
    pelvis's own up axis projects onto the sagittal plane at ``tilt_deg``. Columns are its right, up and backward axes.
    """
    o, r, t = (np.tan(np.radians(a)) for a in (obliquity_deg, rotation_deg, tilt_deg))
    right = np.array([1.0, o, -r])
    up = np.array([-o - r * t, 1.0, -t])
    right, up = right / np.linalg.norm(right), up / np.linalg.norm(up)
    return np.stack([right, up, np.cross(right, up)], axis=1)


class Spline:
    """A cubic spline through knots, periodic or with given end slopes; rows of ``values`` are knots."""

    def __init__(
        self,
        knots: Sequence[float] | Floats,
        values: Sequence[float] | Floats,
        slopes: tuple[Floats, Floats] | None = None,
        period: float | None = None,
    ) -> None:
        x, y = np.asarray(knots, dtype=float), np.asarray(values, dtype=float)
        if period is not None:
            x, y = np.append(x, x[0] + period), np.concatenate([y, y[:1]])
        self._x, self._y, self._period = x, y, period
        self._slope = _knot_slopes(x, y, slopes, period is not None)

    def __call__(self, at: float) -> Floats:
        """The value at ``at``; outside the knots a periodic spline wraps, another one runs on with its end piece."""
        x = self._x
        if self._period is not None:
            at = x[0] + (at - x[0]) % self._period
        i = min(max(int(x.searchsorted(at, side="right")) - 1, 0), len(x) - 2)
        h = x[i + 1] - x[i]
        u = (at - x[i]) / h
        y0, y1, m0, m1 = self._y[i], self._y[i + 1], self._slope[i] * h, self._slope[i + 1] * h
        return np.asarray(
            (1 + 2 * u) * (1 - u) ** 2 * y0 + u * (1 - u) ** 2 * m0 + u * u * (3 - 2 * u) * y1 + u * u * (u - 1) * m1
        )


def _knot_slopes(x: Floats, y: Floats, ends: tuple[Floats, Floats] | None, periodic: bool) -> Floats:
    n, h = len(x), np.diff(x)
    secant = np.diff(y, axis=0) / h.reshape(-1, *([1] * (y.ndim - 1)))
    a, b = np.zeros((n, n)), np.zeros_like(y)
    for i in range(1, n - 1):
        a[i, i - 1 : i + 2] = h[i], 2 * (h[i - 1] + h[i]), h[i - 1]
        b[i] = 3 * (h[i] * secant[i - 1] + h[i - 1] * secant[i])
    if periodic:
        a[0, 0], a[0, -1] = 1.0, -1.0
        a[-1, 0], a[-1, 1] = 2 * h[-1], h[-1]
        a[-1, -1], a[-1, -2] = 2 * h[0], h[0]
        b[-1] = 3 * (h[-1] * secant[0] + h[0] * secant[-1])
    else:
        first, last = ends if ends is not None else (secant[0], secant[-1])
        a[0, 0] = a[-1, -1] = 1.0
        b[0], b[-1] = first, last
    return np.asarray(np.linalg.solve(a, b.reshape(n, -1)).reshape(y.shape))
