"""Pictures of a worn tag without a runner: exact projection of the print, exposure blur, lens, tone curve and noise.

Many frames for little time, for the statistics of the estimator; whole renders of a runner who wears the tag are in
``runner.py``. Truth is exact by construction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from station.lab.pinhole import Pinhole
from station.lab.rotations import pelvis_rotation
from station.lab.sensor import Sensor
from station.tag.plates import FACET_MODULES, TEXELS, Placement, Plate, modules, place
from station.types import Floats, Pixels

#: Sub-pixels along a side.
_FINE = 6
#: Light that comes back from white and black print.
_WHITE, _BLACK = 0.72, 0.035
_PRINT_TEXELS = 2 * TEXELS


@dataclass(frozen=True, slots=True)
class Worn:
    """A plate on a runner: how it hangs on the pelvis (columns: its axes in the pelvis frame) and its true shape.

    ``offset_m`` is the plate's middle seen from mid-hip, in the pelvis frame. ``placement`` replaces the shape for a
    back that no parameter describes.
    """

    plate: Plate
    shape: tuple[float, ...] | None = None
    mount: Floats = field(default_factory=lambda: np.eye(3))
    offset_m: tuple[float, float, float] = (0.0, 0.09, 0.13)
    placement: Placement | None = None

    @property
    def placed(self) -> Placement:
        """Facets in the plate frame."""
        return self.placement or place(self.plate, np.array(self.shape or self.plate.shape))


Motion = Callable[[float], tuple[Floats, Floats]]


def jog(
    rate_hz: float = 1.4, drop_deg: float = 5.0, turn_deg: float = 6.0, nod_deg: float = 3.0, tilt_deg: float = 9.0
) -> Motion:
    """Angles [deg] (obliquity, rotation, tilt) and place of mid-hip [m, world] over time of a plain runner."""

    def at(t_s: float) -> tuple[Floats, Floats]:
        w = 2 * np.pi * rate_hz * t_s
        angles = np.array([
            -drop_deg * np.sin(w) - 0.25 * drop_deg * np.sin(3 * w + 0.4),
            turn_deg * np.cos(w + 0.3) + 0.15 * turn_deg * np.cos(2 * w),
            tilt_deg + nod_deg * np.cos(2 * w + 1.0),
        ])  # fmt: skip
        centre = np.array([0.02 * np.cos(w), 0.93 - 0.035 * np.cos(2 * w - 1.7), 0.01 * np.cos(2 * w)])
        return angles, centre

    return at


@dataclass(frozen=True, slots=True)
class Shot:
    """What decides a picture beside the motion."""

    worn: Worn
    camera: Pinhole
    sensor: Sensor = field(default_factory=Sensor)
    exposure_s: float = 0.004
    exposures: int = 4
    light: tuple[float, float, float] = (-0.5, 1.4, 2.0)
    hide: tuple[float, float, float, float] | None = None


def picture(shot: Shot, motion: Motion, t_s: float, rng: np.random.Generator, backdrop: Pixels | None = None) -> Pixels:
    """Luma of the whole picture at ``t_s``: the tag and a patch of cloth around it, grey elsewhere.

    ``backdrop`` (whole picture, luma) replaces the grey. ``hide`` = (left, right, low, high), shares of the plate's
    window that something covers.
    """
    camera = shot.camera
    left, top, width, height = _window(shot, motion, t_s)
    light = _cloth(rng, width, height)
    if backdrop is not None:
        behind = backdrop[top : top + height, left : left + width].astype(np.float32) / 255.0
        light = (behind**2.2)[..., None].repeat(3, axis=2)
    total, cover = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    for i in range(shot.exposures):
        at_s = t_s + shot.exposure_s * ((i + 0.5) / shot.exposures - 0.5)
        seen, share = _draw(shot, motion(at_s), (left, top, width, height))
        total += seen / shot.exposures
        cover += share / shot.exposures
    light = total[..., None] + (1.0 - cover[..., None]) * light
    if shot.hide is not None:
        a, b, c, d = (np.array(shot.hide) * [width, width, height, height]).astype(int)
        light[c:d, a:b] = (0.30, 0.2, 0.15)
    part = shot.sensor.develop(light.astype(np.float32), rng, (left, top), (camera.width_px, camera.height_px))
    whole = backdrop.copy() if backdrop is not None else np.full((camera.height_px, camera.width_px), 90, np.uint8)
    whole[top : top + height, left : left + width] = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
    return whole


def plate_attitude(worn: Worn, angles_deg: Floats) -> Floats:
    """Columns: the worn plate's axes in the world, for the pelvis's projected angles."""
    return np.asarray(pelvis_rotation(*angles_deg) @ worn.mount)


def _corners_m(worn: Worn, angles_deg: Floats, centre_m: Floats) -> tuple[Floats, Floats]:
    """Corners of every facet in the world (n, 4, 3), clockwise from upper left, and their outward normals (n, 3)."""
    placed, half = worn.placed, worn.plate.side_m / 2
    signs = half * np.array([[-1.0, 1.0], [1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    local = (
        placed.centre_m[:, None] + signs[None, :, :1] * placed.right[:, None] + signs[None, :, 1:] * placed.up[:, None]
    )
    turn = plate_attitude(worn, angles_deg)
    middle = centre_m + pelvis_rotation(*angles_deg) @ np.asarray(worn.offset_m)
    return middle + local @ turn.T, placed.outward @ turn.T


def _window(shot: Shot, motion: Motion, t_s: float) -> tuple[int, int, int, int]:
    corners, _ = _corners_m(shot.worn, *motion(t_s))
    seen = shot.camera.project(corners.reshape(-1, 3))
    margin = 0.35 * float(np.ptp(seen[:, 0]))
    low = np.maximum(np.floor(seen.min(axis=0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(seen.max(axis=0) + margin), [shot.camera.width_px, shot.camera.height_px]).astype(int)
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])


def _draw(
    shot: Shot, state: tuple[Floats, Floats], window_px: tuple[int, int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Light of the plate in the window at one instant (0 beside it), and how much of every pixel it covers."""
    corners, normals = _corners_m(shot.worn, *state)
    left, top, width, height = window_px
    fine = np.zeros((height * _FINE, width * _FINE), np.float32)
    cover = np.zeros_like(fine)
    toward = np.asarray(shot.light) / np.linalg.norm(shot.light)
    order = np.argsort(corners.mean(axis=1)[:, 2])
    for k in order:
        if normals[k] @ (shot.camera.position_m - corners[k].mean(axis=0)) <= 0:
            continue
        at = (shot.camera.project(corners[k]) - [left, top]) * _FINE - 0.5
        low = np.clip(np.floor(at.min(axis=0)).astype(int) - 2, 0, fine.shape[::-1])
        high = np.clip(np.ceil(at.max(axis=0)).astype(int) + 3, 0, fine.shape[::-1])
        side = FACET_MODULES * _PRINT_TEXELS
        square = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32) - 0.5
        warp = cv2.getPerspectiveTransform(square, (at - low).astype(np.float32))
        size = (int(high[0] - low[0]), int(high[1] - low[1]))
        if min(size) < 1:
            continue
        inside = cv2.warpPerspective(np.ones((side, side), np.float32), warp, size, flags=cv2.INTER_LINEAR)
        shade = 0.35 + 0.65 * max(float(normals[k] @ toward), 0.0)
        ink = (_BLACK + (_WHITE - _BLACK) * _print(shot.worn.plate.ids[k])) * np.float32(shade)
        box = (slice(low[1], high[1]), slice(low[0], high[0]))
        fine[box] = fine[box] * (1 - inside) + cv2.warpPerspective(ink, warp, size, flags=cv2.INTER_LINEAR)
        cover[box] = np.maximum(cover[box], inside)
    small = (width, height)
    return (
        np.asarray(cv2.resize(fine, small, interpolation=cv2.INTER_AREA), np.float32),
        np.asarray(cv2.resize(cover, small, interpolation=cv2.INTER_AREA), np.float32),
    )


def _print(tag_id: int) -> NDArray[np.float32]:
    return np.kron(modules(tag_id), np.ones((_PRINT_TEXELS, _PRINT_TEXELS))).astype(np.float32)


def _cloth(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    """A shirt over shorts, with folds."""
    upper, lower = rng.uniform(0.03, 0.6, 3), rng.uniform(0.02, 0.3, 3)
    light = np.where((np.arange(height) < 0.55 * height)[:, None, None], upper, lower) * np.ones((height, width, 1))
    folds = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 3.0)
    return np.asarray(light * (1 + 1.5 * folds[..., None]), np.float32).clip(0.0, None)
