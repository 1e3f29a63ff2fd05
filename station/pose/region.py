"""The square of the picture that a model looks at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from station.types import Floats

#: How much larger than the body's circle the square is (as the landmark model was trained).
_MARGIN = 1.25


@dataclass(frozen=True, slots=True)
class Region:
    """A square in raw pixels: centre, side, and the angle by which its upright leans clockwise.

    Coordinates count from pixel centres: the centre of the top left pixel is (0, 0).
    """

    x_px: float
    y_px: float
    side_px: float
    angle_rad: float = 0.0

    @staticmethod
    def of_body(hip_px: Floats, edge_px: Floats) -> Region:
        """The region of a body: ``hip_px`` is the middle of its hips, ``edge_px`` the top of the circle around it."""
        dx, dy = float(edge_px[0] - hip_px[0]), float(edge_px[1] - hip_px[1])
        return Region(float(hip_px[0]), float(hip_px[1]), 2 * _MARGIN * math.hypot(dx, dy), math.atan2(dx, -dy))

    @staticmethod
    def whole(width_px: int, height_px: int) -> Region:
        """The square around the whole picture (letterbox)."""
        return Region((width_px - 1) / 2, (height_px - 1) / 2, float(max(width_px, height_px)))

    def to_crop(self, size_px: int) -> Floats:
        """The 2 by 3 matrix from picture to crop pixels, for a crop of ``size_px`` squared."""
        scale = size_px / self.side_px
        cos, sin = scale * math.cos(self.angle_rad), scale * math.sin(self.angle_rad)
        middle = (size_px - 1) / 2
        return np.array(
            [
                [cos, sin, middle - cos * self.x_px - sin * self.y_px],
                [-sin, cos, middle + sin * self.x_px - cos * self.y_px],
            ]
        )

    def to_picture(self, crop_px: Floats, size_px: int) -> Floats:
        """Points of a crop of ``size_px`` squared, (…, 2), in pixels of the picture."""
        scale = self.side_px / size_px
        cos, sin = scale * math.cos(self.angle_rad), scale * math.sin(self.angle_rad)
        offsets: Floats = (crop_px - (size_px - 1) / 2) @ np.array([[cos, sin], [-sin, cos]])
        points: Floats = offsets + np.array([self.x_px, self.y_px])
        return points
