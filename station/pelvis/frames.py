"""From the line of sight to the world: what camera height, roll, pitch and the runner's place do to pelvis angles.

A witness sees the pelvis as a camera would that is turned, without rolling, until it looks at the middle of the hips.
From there to the world it is one rotation, known from the mount and from where the hips are in the picture. Angles
are projected ones (``docs/metrics.md``), so the turn is done on the whole attitude: axial rotation seen from above
looks like obliquity, obliquity seen from aside like tilt.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from station.geometry import RayCaster

#: Pelvis angles of which nobody told: what runners have, obliquity, rotation, tilt, and how much they differ [deg].
USUAL_DEG, USUAL_SD_DEG = (0.0, 0.0, 9.0), (5.0, 6.0, 6.0)
#: Height of the hip centres above the belt of runners in general, and how much it differs, bounce included [m].
HIPS_HEIGHT_M, HIPS_HEIGHT_SD_M = 0.90, 0.08
#: Mounts of which nothing is known: distance [m], and how much the camera's height differs from the hips' [m].
USUAL_DISTANCE_M, UNKNOWN_HEIGHT_SD_M = 2.4, 0.25
#: Error that is left in an angle of the mount that was measured, and in a roll that was not [deg].
KNOWN_SD_DEG, UNKNOWN_ROLL_SD_DEG = 0.3, 1.5
_STEP_DEG = 0.5

# Plain numbers, not arrays: this runs on every frame, and for three numbers NumPy's calls cost more than the sums.
_Three = tuple[float, float, float]
_Matrix = tuple[_Three, _Three, _Three]


@dataclass(frozen=True, slots=True)
class Angles:
    """Obliquity, rotation, tilt and their sd, degrees; NaN = not known."""

    deg: tuple[float, float, float]
    sd_deg: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Sight:
    """Where the camera looks at the hips from.

    ``roll_deg`` and ``pitch_deg`` are the camera's, known or assumed, with their sd; ``aim`` is the direction to the
    middle of the hips in the camera's own axes (right, up, backward).
    """

    aim: tuple[float, float, float]
    roll_deg: float
    pitch_deg: float
    roll_sd_deg: float
    pitch_sd_deg: float
    #: From the line of sight to the world: as it is, rolled a step more, pitched a step more.
    turns: tuple[_Matrix, _Matrix, _Matrix]

    def to_world(self, seen: Angles) -> Angles:
        """Angles of the line of sight as angles in the world, their sd with them.

        An angle that is not known stays so, but counts as the usual one for the others, which it makes less sure: with
        rotation unknown the sd of obliquity holds tan(elevation) times what runners differ in rotation.
        """
        weighed, spread = _filled(seen)
        plain = _three(value if math.isfinite(value) else usual for value, usual in zip(seen.deg, weighed, strict=True))
        mount, rolled, pitched = self.turns
        at = _turned(mount, weighed)
        asides = [_turned(mount, _moved(weighed, i)) for i in range(3)]
        asides += _turned(rolled, weighed), _turned(pitched, weighed)
        own = _turned(mount, plain)
        world, sds = (at[0], own[1], own[2]), []
        for i in range(3):
            spreads = [*spread, self.roll_sd_deg, self.pitch_sd_deg]
            if i:  # rotation and tilt are told as they were seen; only the others take them weighed with what is usual
                spreads[i] = seen.sd_deg[i]
            slopes = [(aside[i] - at[i]) / _STEP_DEG for aside in asides]
            sds.append(math.hypot(*(slope * sd for slope, sd in zip(slopes, spreads, strict=True))))
        known = [math.isfinite(angle) for angle in seen.deg]
        return Angles(
            _three(angle if there else math.nan for angle, there in zip(world, known, strict=True)),
            _three(value if there else math.nan for value, there in zip(sds, known, strict=True)),
        )


class Sightline:
    """Makes the :class:`Sight` of each frame from the mount, as far as that is known."""

    def __init__(self, caster: RayCaster) -> None:
        self._caster = caster
        mount = caster.mount
        self._roll_sd_deg = UNKNOWN_ROLL_SD_DEG if mount.roll_deg is None else KNOWN_SD_DEG
        distance = USUAL_DISTANCE_M if mount.distance_m is None else mount.distance_m
        # Without pitch the direction to the hips follows from how much lower than the camera hips are.
        self._below: float | None = None
        self._pitch_sd_deg = KNOWN_SD_DEG
        if mount.pitch_deg is None:
            sd_m = HIPS_HEIGHT_SD_M if mount.height_m is not None else UNKNOWN_HEIGHT_SD_M
            self._below = (HIPS_HEIGHT_M - caster.camera_height_m) / distance
            self._pitch_sd_deg = math.degrees(sd_m / distance)

    def at(self, left_px: tuple[float, float], right_px: tuple[float, float]) -> Sight | None:
        """The sight of hips at these pixels; ``None`` where they are not seen."""
        middle_px = (left_px[0] + right_px[0]) / 2, (left_px[1] + right_px[1]) / 2
        if not math.isfinite(middle_px[0] + middle_px[1]):
            return None
        mount = self._caster.mount
        across, up = self._caster.rays(np.array([middle_px]))[0].tolist()
        roll, pitch = math.radians(mount.roll_deg or 0.0), math.radians(mount.pitch_deg or 0.0)
        # world to camera: the pitch out, then the roll
        y = math.cos(pitch) * up - math.sin(pitch)
        z = -math.sin(pitch) * up - math.cos(pitch)
        x, y = math.cos(roll) * across - math.sin(roll) * y, math.sin(roll) * across + math.cos(roll) * y
        size = math.sqrt(x * x + y * y + z * z)
        if self._below is not None:
            pitch = math.atan(self._below) - math.atan(up)
        aim, roll_deg, pitch_deg = (x / size, y / size, z / size), mount.roll_deg or 0.0, math.degrees(pitch)
        arc = _arc(aim)
        steps = ((0.0, 0.0), (_STEP_DEG, 0.0), (0.0, _STEP_DEG))
        a, b, c = (_product(_mounted(roll_deg + more, pitch_deg + upward), arc) for more, upward in steps)
        return Sight(aim, roll_deg, pitch_deg, self._roll_sd_deg, self._pitch_sd_deg, (a, b, c))


@functools.lru_cache(maxsize=8)
def _mounted(roll_deg: float, pitch_deg: float) -> _Matrix:
    """From the camera's axes to the world; the same on every frame where the pitch is known."""
    c, s = math.cos(math.radians(pitch_deg)), math.sin(math.radians(pitch_deg))
    pitched = ((1.0, 0.0, 0.0), (0.0, c, -s), (0.0, s, c))
    c, s = math.cos(math.radians(roll_deg)), -math.sin(math.radians(roll_deg))
    return _product(pitched, ((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0)))


def _turned(turn: _Matrix, angles_deg: _Three) -> _Three:
    """Projected angles [deg] of an attitude of these projected angles (obliquity, rotation, tilt), after ``turn``.

    Of the attitude's axes (right, up, backward) the first two tell them; their lengths do not matter.
    """
    o, r, t = map(math.tan, map(math.radians, angles_deg))
    right = _times(turn, (1.0, o, -r))
    up = _times(turn, (-(o + r * t), 1.0, -t))
    return (
        math.degrees(math.atan2(right[1], right[0])),
        math.degrees(math.atan2(-right[2], right[0])),
        math.degrees(math.atan2(-up[2], up[1])),
    )


def _moved(angles_deg: _Three, which: int) -> _Three:
    a, b, c = angles_deg
    return a + _STEP_DEG * (which == 0), b + _STEP_DEG * (which == 1), c + _STEP_DEG * (which == 2)


def _filled(seen: Angles) -> tuple[_Three, _Three]:
    """The angles to reckon with: rotation and tilt as the witness and what is usual have it together."""
    angles, sds = list(USUAL_DEG), list(USUAL_SD_DEG)
    for i, (angle, sd) in enumerate(zip(seen.deg, seen.sd_deg, strict=True)):
        if not (math.isfinite(angle) and math.isfinite(sd)):
            continue
        if i == 0:
            angles[i], sds[i] = angle, sd
            continue
        share = USUAL_SD_DEG[i] ** 2 / (USUAL_SD_DEG[i] ** 2 + sd**2)
        angles[i] = USUAL_DEG[i] + share * (angle - USUAL_DEG[i])
        sds[i] = math.sqrt(share) * sd
    return _three(angles), _three(sds)


def _arc(toward: _Three) -> _Matrix:
    """The shortest rotation that takes straight ahead (0, 0, -1) to this direction (of length 1)."""
    x, y, z = toward
    k = 1.0 / (1.0 - z)
    return (1.0 - k * x * x, -k * x * y, -x), (-k * x * y, 1.0 - k * y * y, -y), (x, y, -z)


def _product(a: _Matrix, b: _Matrix) -> _Matrix:
    (b0, b1, b2), (b3, b4, b5), (b6, b7, b8) = b
    x, y, z = _times(a, (b0, b3, b6)), _times(a, (b1, b4, b7)), _times(a, (b2, b5, b8))
    return (x[0], y[0], z[0]), (x[1], y[1], z[1]), (x[2], y[2], z[2])


def _times(a: _Matrix, v: _Three) -> _Three:
    x, y, z = v
    (a0, a1, a2), (b0, b1, b2), (c0, c1, c2) = a
    return a0 * x + a1 * y + a2 * z, b0 * x + b1 * y + b2 * z, c0 * x + c1 * y + c2 * z


def _three(values: Iterable[float]) -> tuple[float, float, float]:
    a, b, c = values
    return a, b, c
