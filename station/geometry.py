"""From pixels to the directions and lengths of the world: pinhole camera, roll, pitch, lens distortion, belt plane.

World: metres, X = runner's right, Y = up with the belt at 0, depth = horizontal distance in front of the camera. A
*ray* is the pair (X / depth, Y / depth) of a pixel, measured from the camera: what a camera that stood perfectly
level would see. Lengths follow from a ray by multiplying with a depth.
"""

from __future__ import annotations

import math

import numpy as np

from station.types import Floats, Mount, View

#: Focal length assumed where none is known, as a share of the longer picture side (65–70° horizontal field of view).
NOMINAL_FOCAL = 0.73
#: Hip-joint-centre distance assumed where the camera is not calibrated [m]; lengths are then reported in ``hw`` only.
NOMINAL_HIP_WIDTH_M = 0.165
#: Height of the camera assumed for perspective terms where the mount does not tell [m].
NOMINAL_HEIGHT_M = 0.95


class RayCaster:
    """Turns raw pixels into rays, with roll, pitch and distortion of the mount taken out.

    Without ``focal_px`` the nominal focal length is used: angles and ratios then hold to second order, metres do not,
    and :attr:`metric` is false. Roll and pitch that are not known count as zero.
    """

    def __init__(self, view: View) -> None:
        mount = view.mount
        self.mount: Mount = mount
        self.focal_px = mount.focal_px or NOMINAL_FOCAL * max(view.width_px, view.height_px)
        center = mount.center_px or (view.width_px / 2, view.height_px / 2)
        self._center = np.array(center, dtype=float)
        roll = math.radians(mount.roll_deg or 0.0)
        pitch = math.radians(mount.pitch_deg or 0.0)
        self._cos_roll, self._sin_roll = math.cos(roll), math.sin(roll)
        self._cos_pitch, self._sin_pitch = math.cos(pitch), math.sin(pitch)
        self._distortion = tuple(mount.distortion or ())

    @property
    def metric(self) -> bool:
        """Whether millimetres may be reported: focal length and distance are known."""
        return self.mount.focal_px is not None and self.mount.distance_m is not None

    @property
    def camera_height_m(self) -> float:
        """Height of the camera above the belt, nominal where unknown."""
        return NOMINAL_HEIGHT_M if self.mount.height_m is None else self.mount.height_m

    def rays(self, xy_px: Floats) -> Floats:
        """Pixels (n, 2) → rays (n, 2) = (X, Y) per unit of depth, y up; NaN stays NaN."""
        plane = (xy_px - self._center) / self.focal_px
        x, y = plane[:, 0], plane[:, 1]
        if self._distortion:
            x, y = self._undistort(x, y)
        # The picture of a camera whose right side is lower looks turned the other way: turn it back.
        right = self._cos_roll * x - self._sin_roll * y
        up = -(self._sin_roll * x + self._cos_roll * y)
        depth = self._cos_pitch - self._sin_pitch * up
        rays: Floats = np.empty_like(plane)
        rays[:, 0] = right / depth
        rays[:, 1] = (self._sin_pitch + self._cos_pitch * up) / depth
        return rays

    def _undistort(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """OpenCV's k1 k2 p1 p2 k3, inverted by fixed-point iteration (converges for lenses of up to about 110°)."""
        k1, k2, p1, p2, k3 = (*self._distortion, 0.0, 0.0, 0.0, 0.0, 0.0)[:5]
        u, v = x, y
        for _ in range(8):
            r2 = u * u + v * v
            radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
            u, v = (
                (x - 2 * p1 * u * v - p2 * (r2 + 2 * u * u)) / radial,
                (y - p1 * (r2 + 2 * v * v) - 2 * p2 * u * v) / radial,
            )
        return u, v


def belt_depth_m(ray_up: Floats, camera_height_m: float, point_height_m: float) -> Floats:
    """Depth [m] at which a ray meets the plane ``point_height_m`` above the belt: where a planted foot is.

    ``ray_up`` is the vertical part of the ray, negative below the camera; rays that do not come down give NaN.
    """
    drop = camera_height_m - point_height_m
    with np.errstate(divide="ignore"):
        depth = -drop / ray_up
    return np.where(depth > 0, depth, np.nan)


def height_false_obliquity_deg(rotation_deg: float, elevation: float) -> float:
    """False obliquity [deg] that axial rotation [deg] shows a camera looking down at the pelvis.

    ``elevation`` is the vertical ray of the hip centre (negative = camera above the hips). The hip that comes forward
    moves along the line of sight and so up in the picture. A level line of half width w at rotation ψ has ends at
    depth D ∓ w·sin ψ and height e·D below the camera; its projected slope is e·tan ψ to first order in w/D.
    """
    return math.degrees(math.atan(-elevation * math.tan(math.radians(rotation_deg))))
