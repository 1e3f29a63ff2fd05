"""The last seconds of the run: rays, scale and pelvis samples of every frame, in contiguous arrays."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from station.geometry import NOMINAL_HIP_WIDTH_M, RayCaster
from station.types import KEYPOINT_INDEX, KEYPOINTS, Floats, PelvisSample

LEFT_HIP, RIGHT_HIP = KEYPOINT_INDEX["left_hip"], KEYPOINT_INDEX["right_hip"]
FEET = {
    side: [KEYPOINT_INDEX[f"{side}_{joint}"] for joint in ("heel", "ankle", "toe")] for side in ("left", "right")
}  # fmt: skip
KNEES = {side: KEYPOINT_INDEX[f"{side}_knee"] for side in ("left", "right")}
#: Height of the hip centres above the ankles in upright stance, as the unit of the gait room where nothing is
#: calibrated [m].
NOMINAL_LEG_M = 0.80
#: Apparent sizes below this are none: points on top of each other, a body upside down.
NO_SIZE = 1e-3
#: Camera height over distance of the usual mount.
NOMINAL_STEEPNESS = 0.40
#: Estimators of the pelvis that are told apart; a recording that names more has them taken for one.
MOST_SOURCES = 16
#: Time constant with which the apparent size of the runner is followed [s].
SCALE_TAU_S = 1.5


class Recent:
    """A window of frames that slides by copying: appending is O(1) amortised, and any slice is a view.

    ``rays`` (n, 12, 2), ``t_s`` (n,), ``hip_ray`` (n,) slow apparent hip width, ``leg_ray`` (n,) slow apparent leg
    length, ``pelvis`` (n, 6) obliquity, rotation, tilt and their sd in degrees, ``sources`` (n,) who said so.
    """

    def __init__(self, caster: RayCaster, capacity: int = 1024) -> None:
        self._caster = caster
        self._capacity = capacity
        self._t = np.zeros(2 * capacity)
        self._rays = np.full((2 * capacity, len(KEYPOINTS), 2), np.nan)
        self._scale = np.full((2 * capacity, 2), np.nan)
        self._pelvis = np.full((2 * capacity, 6), np.nan)
        self._source = np.zeros(2 * capacity, dtype=np.int8)
        self._posed = np.zeros(2 * capacity, dtype=np.bool_)
        self._names: list[str] = []
        self.first = 0
        self.end = 0
        self._seen = 0
        self._last_t = 0.0

    @property
    def steepness(self) -> float:
        """Height of the camera above the belt over its distance, nominal where the mount does not tell."""
        mount = self._caster.mount
        if mount.height_m is None or mount.distance_m is None:
            return NOMINAL_STEEPNESS
        return mount.height_m / mount.distance_m

    def clear_scale(self) -> None:
        """Another runner: the apparent size starts anew."""
        self._seen = 0

    def append(self, t_s: float, rays: Floats, pelvis: PelvisSample) -> None:
        """One frame: rays (12, 2), NaN where a keypoint is not seen."""
        row = self._room()
        self._rays[row] = rays
        self._scale[row] = self._follow_scale(t_s, rays, row)
        self._posed[row] = True
        self._last_t = t_s
        self._put(row, t_s, pelvis)

    def append_pelvis(self, t_s: float, pelvis: PelvisSample) -> None:
        """A frame on which the pelvis was read and the pose was not."""
        row = self._room()
        self._rays[row] = np.nan
        self._scale[row] = self._scale[row - 1]
        self._posed[row] = False
        self._put(row, t_s, pelvis)

    def _room(self) -> int:
        """The next row; the window slides when there is none."""
        if self.end == 2 * self._capacity:
            keep = slice(self._capacity, 2 * self._capacity)
            for store in (self._t, self._rays, self._scale, self._pelvis, self._source, self._posed):
                store[: self._capacity] = store[keep]
            self.end = self._capacity
        return self.end

    def _put(self, row: int, t_s: float, pelvis: PelvisSample) -> None:
        self._t[row] = t_s
        self._pelvis[row] = (
            pelvis.obliquity_deg,
            pelvis.rotation_deg,
            pelvis.tilt_deg,
            pelvis.sd_obliquity_deg,
            pelvis.sd_rotation_deg,
            pelvis.sd_tilt_deg,
        )
        self._source[row] = self._code(pelvis.source)
        self.end = row + 1

    def _code(self, source: str) -> int:
        if source not in self._names:
            if len(self._names) == MOST_SOURCES:
                return MOST_SOURCES - 1
            self._names.append(source)
        return self._names.index(source)

    def _follow_scale(self, t_s: float, rays: Floats, row: int) -> Floats:
        (left_x, left_y), (right_x, right_y) = rays[LEFT_HIP].tolist(), rays[RIGHT_HIP].tolist()
        ankle = min(float(rays[FEET["left"][1], 1]), float(rays[FEET["right"][1], 1]))
        now = np.array((math.hypot(right_x - left_x, right_y - left_y), (left_y + right_y) / 2 - ankle))
        now[~(now > NO_SIZE)] = np.nan
        if self._seen == 0:
            self._seen = 1 if math.isfinite(now[0]) else 0
            return now
        before = self._scale[row - 1]
        step = max((t_s - self._last_t) / SCALE_TAU_S, 1.0 / (self._seen + 1.0))
        self._seen += 1
        known = np.where(np.isfinite(before), before, now)
        followed: Floats = np.where(np.isfinite(now), known + min(step, 1.0) * (now - known), known)
        return followed

    # -- views -----------------------------------------------------------------------------------------------------

    def between(self, start_s: float, end_s: float) -> slice:
        """Rows with start_s ≤ t < end_s."""
        low = max(self.end - self._capacity, 0)
        window = self._t[low : self.end]
        a, b = np.searchsorted(window, (start_s, end_s))
        return slice(low + int(a), low + int(b))

    def t_s(self, rows: slice) -> Floats:
        """Times of these rows."""
        return self._t[rows]

    def rays(self, rows: slice) -> Floats:
        """Rays (n, 12, 2) of these rows."""
        return self._rays[rows]

    def poses(self, rows: slice) -> tuple[Floats, Floats]:
        """Times and rays of those of these rows on which the pose was run."""
        posed = self._posed[rows]
        return self._t[rows][posed], self._rays[rows][posed]

    def hip_ray(self, rows: slice) -> Floats:
        """Slow apparent hip width of these rows."""
        return self._scale[rows, 0]

    def leg_ray(self, rows: slice) -> Floats:
        """Slow apparent leg length of these rows."""
        return self._scale[rows, 1]

    def pelvis(self, rows: slice) -> Floats:
        """(n, 6): obliquity, rotation, tilt, and their sd."""
        return self._pelvis[rows]

    def sources(self, rows: slice) -> NDArray[np.int8]:
        """Number of the estimator that spoke on each of these rows: its name is :meth:`source`."""
        return self._source[rows]

    def source(self, number: int) -> str:
        """Name of an estimator."""
        return self._names[number]

    def hear_only(self, rows: slice, number: int) -> None:
        """Forget what estimators other than ``number`` said on these rows."""
        self._pelvis[rows][self._source[rows] != number] = np.nan

    @property
    def leg_now(self) -> float:
        """Slow apparent leg length of the newest frame; from the hips where no ankle was ever seen."""
        hip, leg = self._scale[self.end - 1].tolist()
        return float(leg if math.isfinite(leg) else hip * NOMINAL_LEG_M / NOMINAL_HIP_WIDTH_M)
