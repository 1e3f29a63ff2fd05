"""From the line of sight to the world: what camera height, roll, pitch and the runner's place do to pelvis angles.

A witness sees the pelvis as a camera would that is turned, without rolling, until it looks at the middle of the hips.
From there to the world it is one rotation, known from the mount and from where the hips are in the picture. Angles
are projected ones (``docs/metrics.md``), so the turn is done on the whole attitude: axial rotation seen from above
looks like obliquity, obliquity seen from aside like tilt.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from station.geometry import RayCaster
from station.types import Floats

#: Pelvis angles of which nobody told: what runners have, obliquity, rotation, tilt, and how much they differ [deg].
USUAL_DEG, USUAL_SD_DEG = (0.0, 0.0, 9.0), (5.0, 6.0, 6.0)
#: Height of the hip centres above the belt of runners in general, and how much it differs, bounce included [m].
HIPS_HEIGHT_M, HIPS_HEIGHT_SD_M = 0.90, 0.08
#: Mounts of which nothing is known: distance [m], and how much the camera's height differs from the hips' [m].
USUAL_DISTANCE_M, UNKNOWN_HEIGHT_SD_M = 2.4, 0.25
#: Error that is left in an angle of the mount that was measured, and in a roll that was not [deg].
KNOWN_SD_DEG, UNKNOWN_ROLL_SD_DEG = 0.3, 1.5
_STEP_DEG = 0.5


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

    def to_world(self, seen: Angles) -> Angles:
        """Angles of the line of sight as angles in the world, their sd with them.

        An angle that is not known stays so, but counts as the usual one for the others, which it makes less sure: with
        rotation unknown the sd of obliquity holds tan(elevation) times what runners differ in rotation.
        """
        weighed, spread = _filled(seen)
        plain = np.where(np.isfinite(seen.deg), seen.deg, weighed)
        mount = (self.roll_deg, self.pitch_deg)
        at = np.array([*weighed, *mount])
        turned = self._world(np.concatenate([[at], [[*plain, *mount]], at + _STEP_DEG * np.eye(5)]))
        slopes = (turned[2:] - turned[0]) / _STEP_DEG
        sds = np.tile([*spread, self.roll_sd_deg, self.pitch_sd_deg], (3, 1)).T
        # rotation and tilt themselves are told as they were seen; only the others take them weighed with what is usual
        for i in (1, 2):
            sds[i, i] = seen.sd_deg[i]
        world = (turned[0, 0], turned[1, 1], turned[1, 2])
        sd = np.sqrt(((slopes * sds) ** 2).sum(axis=0)).tolist()
        known = [math.isfinite(angle) for angle in seen.deg]
        return Angles(
            _three(float(angle) if there else math.nan for angle, there in zip(world, known, strict=True)),
            _three(value if there else math.nan for value, there in zip(sd, known, strict=True)),
        )

    def _world(self, points: Floats) -> Floats:
        """World angles (n, 3) of rows (obliquity, rotation, tilt, roll, pitch)."""
        roll, pitch = np.radians(points[:, 3]), np.radians(points[:, 4])
        zero, one = np.zeros(len(points)), np.ones(len(points))
        c, s = np.cos(pitch), np.sin(pitch)
        pitched = _matrices(one, zero, zero, zero, c, -s, zero, s, c)
        c, s = np.cos(roll), -np.sin(roll)
        rolled = _matrices(c, -s, zero, s, c, zero, zero, zero, one)
        return angles_of(pitched @ rolled @ _arc(self.aim) @ attitude(points[:, :3]))


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
        points = np.array([left_px, right_px])
        if not np.isfinite(points).all():
            return None
        mount = self._caster.mount
        across, up = self._caster.rays(points.mean(axis=0, keepdims=True))[0].tolist()
        roll, pitch = math.radians(mount.roll_deg or 0.0), math.radians(mount.pitch_deg or 0.0)
        # world to camera: the pitch out, then the roll
        y = math.cos(pitch) * up - math.sin(pitch)
        z = -math.sin(pitch) * up - math.cos(pitch)
        x, y = math.cos(roll) * across - math.sin(roll) * y, math.sin(roll) * across + math.cos(roll) * y
        size = math.sqrt(x * x + y * y + z * z)
        if self._below is not None:
            pitch = math.atan(self._below) - math.atan(up)
        return Sight(
            (x / size, y / size, z / size),
            mount.roll_deg or 0.0,
            math.degrees(pitch),
            self._roll_sd_deg,
            self._pitch_sd_deg,
        )


def attitude(angles_deg: Floats) -> Floats:
    """Attitudes (n, 3, 3) whose projected angles are these (n, 3); columns: right, up, backward."""
    o, r, t = np.tan(np.radians(angles_deg)).T
    one = np.ones(len(o))
    right = np.stack([one, o, -r], axis=1)
    up = np.stack([-(o + r * t), one, -t], axis=1)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    return np.asarray(np.stack([right, up, np.cross(right, up)], axis=2))


def angles_of(attitudes: Floats) -> Floats:
    """Projected angles (n, 3) in degrees of attitudes (n, 3, 3): obliquity, rotation, tilt."""
    right, up = attitudes[:, :, 0], attitudes[:, :, 1]
    angles = np.stack(
        [
            np.arctan2(right[:, 1], right[:, 0]),
            np.arctan2(-right[:, 2], right[:, 0]),
            np.arctan2(-up[:, 2], up[:, 1]),
        ],
        axis=1,
    )
    return np.asarray(np.degrees(angles))


def _filled(seen: Angles) -> tuple[Floats, Floats]:
    """The angles to reckon with: rotation and tilt as the witness and what is usual have it together."""
    angles, sds = np.array(USUAL_DEG), np.array(USUAL_SD_DEG)
    for i, (angle, sd) in enumerate(zip(seen.deg, seen.sd_deg, strict=True)):
        if not (math.isfinite(angle) and math.isfinite(sd)):
            continue
        if i == 0:
            angles[i], sds[i] = angle, sd
            continue
        share = USUAL_SD_DEG[i] ** 2 / (USUAL_SD_DEG[i] ** 2 + sd**2)
        angles[i] = USUAL_DEG[i] + share * (angle - USUAL_DEG[i])
        sds[i] = math.sqrt(share) * sd
    return angles, sds


def _arc(toward: tuple[float, float, float]) -> Floats:
    """The shortest rotation that takes straight ahead (0, 0, -1) to this direction."""
    x, y, z = toward
    k = np.array([[0.0, 0.0, -x], [0.0, 0.0, -y], [x, y, 0.0]])
    return np.asarray(np.eye(3) + k + k @ k / (1.0 - z))


def _matrices(*entries: Floats) -> Floats:
    return np.asarray(np.stack(entries, axis=1).reshape(-1, 3, 3))


def _three(values: Iterable[float]) -> tuple[float, float, float]:
    a, b, c = values
    return a, b, c
