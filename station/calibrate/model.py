"""Lens and place of the camera as one model, forward and backward; the signs are those of the pose track's header.

Camera frame: x right, y down, z forward. Level frame: X right, Y up from the belt, depth forward, the camera above the
origin. *Ideal* coordinates are x / z and y / z in the camera frame, without lens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from station.types import Floats

#: Steps of the fixed-point iteration that undoes the distortion.
_UNDISTORT_STEPS = 12


@dataclass(frozen=True, slots=True)
class Lens:
    """Focal length, axis and the two radial terms of OpenCV's distortion."""

    focal_px: float
    center_px: tuple[float, float]
    k1: float = 0.0
    k2: float = 0.0

    def pixels(self, ideal: Floats) -> Floats:
        """Ideal coordinates (…, 2) to pixels."""
        r2 = (ideal**2).sum(axis=-1, keepdims=True)
        return np.asarray(ideal * (1 + r2 * (self.k1 + r2 * self.k2)) * self.focal_px + self.center_px)

    def ideal(self, xy_px: Floats) -> Floats:
        """Pixels (…, 2) to ideal coordinates."""
        bent = (xy_px - np.array(self.center_px)) / self.focal_px
        ideal = bent
        if self.k1 or self.k2:
            for _ in range(_UNDISTORT_STEPS):
                r2 = (ideal**2).sum(axis=-1, keepdims=True)
                ideal = bent / (1 + r2 * (self.k1 + r2 * self.k2))
        return np.asarray(ideal)


@dataclass(frozen=True, slots=True)
class Place:
    """The camera over the belt: ``roll_deg`` > 0 = its right side lower, ``pitch_deg`` > 0 = it looks up."""

    height_m: float
    pitch_deg: float
    roll_deg: float

    @property
    def attitude(self) -> Floats:
        """Matrix (3, 3) from the level frame (X, Y, depth) to the camera frame."""
        pitch, roll = math.radians(self.pitch_deg), math.radians(self.roll_deg)
        cp, sp, cr, sr = math.cos(pitch), math.sin(pitch), math.cos(roll), math.sin(roll)
        tip = np.array([[1.0, 0.0, 0.0], [0.0, cp, -sp], [0.0, sp, cp]])
        turn = np.array([[cr, -sr, 0.0], [-sr, -cr, 0.0], [0.0, 0.0, 1.0]])
        return np.asarray(turn @ tip)

    def ideal(self, points_m: Floats) -> Floats:
        """Points (…, 3) = (X, height above the belt, depth) to ideal coordinates."""
        seen = (points_m - np.array([0.0, self.height_m, 0.0])) @ self.attitude.T
        return np.asarray(seen[..., :2] / seen[..., 2:])


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a sheet lies: its middle to the right of and in front of the camera [m], turned to the left by [deg]."""

    x_m: float
    depth_m: float
    turn_deg: float

    def points_m(self, sheet_m: Floats, above_m: Floats | float = 0.0) -> Floats:
        """Sheet coordinates (n, 2) to level points (n, 3), lifted off the belt by ``above_m``."""
        turn = math.radians(self.turn_deg)
        c, s = math.cos(turn), math.sin(turn)
        x = self.x_m + c * sheet_m[:, 0] - s * sheet_m[:, 1]
        depth = self.depth_m + s * sheet_m[:, 0] + c * sheet_m[:, 1]
        return np.stack([x, np.broadcast_to(np.asarray(above_m, dtype=float), x.shape), depth], axis=-1)


def belt_homography(lens: Lens, place: Place) -> Floats:
    """Matrix (3, 3) from belt points (X right, depth, 1) [m] to *undistorted* pixels (x, y, 1), scaled to h33 = 1."""
    right, up, ahead = place.attitude.T
    ideal = np.column_stack([right, ahead, -place.height_m * up])
    camera = np.array(
        [[lens.focal_px, 0.0, lens.center_px[0]], [0.0, lens.focal_px, lens.center_px[1]], [0.0, 0.0, 1.0]]
    )
    homography = camera @ ideal
    return np.asarray(homography / homography[2, 2])


def place_from_plane(lens: Lens, seen: Floats, sheet_m: Floats) -> tuple[Place, Spot]:
    """Camera and sheet from the four corners (4, 2) of one sheet in pixels: a first guess for the fit."""
    homography = plane_map(sheet_m, lens.ideal(seen))
    scale = 2.0 / (np.linalg.norm(homography[:, 0]) + np.linalg.norm(homography[:, 1]))
    across, along, middle = (homography * math.copysign(scale, homography[2, 2])).T
    up = np.cross(across, along)
    up /= np.linalg.norm(up)
    pitch, roll = math.asin(float(np.clip(up[2], -1, 1))), math.atan2(-up[0], -up[1])
    place = Place(float(-up @ middle), math.degrees(pitch), math.degrees(roll))
    level_middle, level_across = place.attitude.T @ middle, place.attitude.T @ across
    turn = math.degrees(math.atan2(level_across[2], level_across[0]))
    return place, Spot(float(level_middle[0]), float(level_middle[2]), turn)


def plane_map(from_xy: Floats, to_xy: Floats) -> Floats:
    """The homography (3, 3) that takes four points to four points, h33 = 1 after scaling where possible."""
    rows = []
    for (x, y), (u, v) in zip(from_xy, to_xy, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y, -u])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y, -v])
    _, _, right = np.linalg.svd(np.array(rows, dtype=float))
    matrix = right[-1].reshape(3, 3)
    return np.asarray(matrix / matrix[2, 2])


def mapped(homography: Floats, xy: Floats) -> Floats:
    """Points (…, 2) through a homography."""
    lifted = xy @ homography[:, :2].T + homography[:, 2]
    return np.asarray(lifted[..., :2] / lifted[..., 2:])
