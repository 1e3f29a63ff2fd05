"""The camera of the renders: a pinhole behind the runner (conventions of the pose track's ``camera`` block)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from station.lab.rotations import rot_x, rot_y, rot_z
from station.types import Floats


@dataclass(frozen=True, slots=True)
class Pinhole:
    """Height above the belt, distance behind the belt's middle, focal length and angles; looks toward -Z.

    ``roll_deg`` > 0: the camera's right side is lower; ``pitch_deg`` > 0: it looks up; ``yaw_deg`` > 0: to the left.
    Pixel coordinates run from 0 at the left and upper edge; the optical axis passes through ``centre_px``.
    """

    width_px: int = 1280
    height_px: int = 720
    focal_px: float = 830.0
    height_m: float = 0.95
    distance_m: float = 2.4
    x_m: float = 0.0
    pitch_deg: float = -6.0
    roll_deg: float = 0.0
    yaw_deg: float = 0.0
    centre_px: tuple[float, float] | None = None

    @property
    def position_m(self) -> Floats:
        """Where the camera is."""
        return np.array([self.x_m, self.height_m, self.distance_m])

    @property
    def attitude(self) -> Floats:
        """Columns: the camera's right, up and backward axes in the world."""
        return np.asarray(rot_y(self.yaw_deg) @ rot_x(self.pitch_deg) @ rot_z(-self.roll_deg))

    @property
    def principal_px(self) -> tuple[float, float]:
        """Where the optical axis meets the picture."""
        return self.centre_px or (self.width_px / 2, self.height_px / 2)

    def project(self, points_m: Floats | NDArray[np.float32]) -> Floats:
        """World points (…, 3) to pixels (…, 2); points behind the camera become NaN."""
        seen = (np.asarray(points_m, dtype=float) - self.position_m) @ self.attitude
        depth = np.where(seen[..., 2] < -1e-6, -seen[..., 2], np.nan)
        cx, cy = self.principal_px
        return np.stack([cx + self.focal_px * seen[..., 0] / depth, cy - self.focal_px * seen[..., 1] / depth], axis=-1)

    def view_matrix(self) -> Floats:
        """World to camera, 4x4."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.attitude.T
        matrix[:3, 3] = -self.attitude.T @ self.position_m
        return matrix

    def lens_matrix(self, window_px: tuple[int, int, int, int], near_m: float = 0.1, far_m: float = 30.0) -> Floats:
        """OpenGL projection for the part of the picture ``window_px`` = (left, top, width, height)."""
        left, top, width, height = window_px
        cx, cy = self.principal_px[0] - left, self.principal_px[1] - top
        lens = np.zeros((4, 4))
        lens[0, 0], lens[0, 2] = 2 * self.focal_px / width, (width - 2 * cx) / width
        lens[1, 1], lens[1, 2] = 2 * self.focal_px / height, (2 * cy - height) / height
        lens[2, 2] = -(far_m + near_m) / (far_m - near_m)
        lens[2, 3] = -2 * far_m * near_m / (far_m - near_m)
        lens[3, 2] = -1.0
        return lens
