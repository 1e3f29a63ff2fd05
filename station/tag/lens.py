"""The tag's view of the camera: a window of the picture free of distortion, and the camera's attitude in the world."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from station.geometry import NOMINAL_FOCAL
from station.types import Floats, Pixels, View

#: How far off the nominal focal length may be where none is known, and a measured one (shares, one sd).
NOMINAL_FOCAL_SD, MEASURED_FOCAL_SD = 0.10, 0.003


class Lens:
    """Pinhole of a view. Camera frame: x right, y up, z backward, so that what is seen has negative z.

    Pixel coordinates run from 0 at the left and upper *edge* of the picture, as everywhere in the station.
    """

    def __init__(self, view: View) -> None:
        mount = view.mount
        self.focal_px = mount.focal_px or NOMINAL_FOCAL * max(view.width_px, view.height_px)
        self.focal_sd = NOMINAL_FOCAL_SD if mount.focal_px is None else MEASURED_FOCAL_SD
        self.center_px = mount.center_px or (view.width_px / 2, view.height_px / 2)
        self.attitude = _attitude(mount.roll_deg or 0.0, mount.pitch_deg or 0.0)
        self._distortion = np.array(mount.distortion or (), dtype=float)

    def window(self, image: Pixels, box_px: tuple[int, int, int, int]) -> Pixels:
        """The part (left, top, width, height) of a grey picture as a lens without distortion would show it."""
        left, top, width, height = box_px
        if not len(self._distortion):
            return image[top : top + height, left : left + width]
        rows, columns = np.mgrid[top : top + height, left : left + width] + 0.5
        x = (columns - self.center_px[0]) / self.focal_px
        y = (rows - self.center_px[1]) / self.focal_px
        k1, k2, p1, p2, k3 = (*self._distortion, 0.0, 0.0, 0.0)[:5]
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
        at_x = (self.center_px[0] + self.focal_px * u - 0.5).astype(np.float32)
        at_y = (self.center_px[1] + self.focal_px * v - 0.5).astype(np.float32)
        return np.asarray(cv2.remap(image, at_x, at_y, cv2.INTER_CUBIC), dtype=np.uint8)

    def project(self, points_m: Floats) -> Floats:
        """Points (…, 3) in the camera frame to pixels (…, 2)."""
        depth = -points_m[..., 2]
        return np.stack(
            [
                self.center_px[0] + self.focal_px * points_m[..., 0] / depth,
                self.center_px[1] - self.focal_px * points_m[..., 1] / depth,
            ],
            axis=-1,
        )

    def rays(self, xy_px: NDArray[np.float64]) -> Floats:
        """Directions (…, 3) with z = -1 of pixels (…, 2)."""
        x = (xy_px[..., 0] - self.center_px[0]) / self.focal_px
        y = -(xy_px[..., 1] - self.center_px[1]) / self.focal_px
        return np.stack([x, y, -np.ones_like(x)], axis=-1)


def _attitude(roll_deg: float, pitch_deg: float) -> Floats:
    """Columns: the camera's axes in the world (X right, Y up, Z backward). Roll > 0: its right side is lower."""
    pitch, roll = math.radians(pitch_deg), math.radians(-roll_deg)
    up_down = np.array([
        [1.0, 0.0, 0.0], [0.0, math.cos(pitch), -math.sin(pitch)], [0.0, math.sin(pitch), math.cos(pitch)],
    ])  # fmt: skip
    turned = np.array([
        [math.cos(roll), -math.sin(roll), 0.0], [math.sin(roll), math.cos(roll), 0.0], [0.0, 0.0, 1.0],
    ])  # fmt: skip
    return np.asarray(up_down @ turned)
