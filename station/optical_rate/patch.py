"""Where the belt of the pelvis is, and how its points moved into the next frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from station.types import KEYPOINT_INDEX, Floats, Frame, Pixels, Pose

_HIPS_AND_SHOULDERS = [KEYPOINT_INDEX[name] for name in ("left_hip", "right_hip", "left_shoulder", "right_shoulder")]

# Lengths below are shares of the trunk: mid hip to mid shoulder, about half a metre.
#: Hip distance, for poses without shoulders.
_HIPS_OF_TRUNK = 0.36
#: The belt that is rigid with the pelvis: above what the thighs move, below where the spine bends; half its width
#: stays clear of the outline, beside which the background shows.
BELT_LOW, BELT_HIGH, BELT_HALF = 0.18, 0.34, 0.26
#: Points followed, from left to right and from low to high.
_COLUMNS, _ROWS = 10, 7
#: What is cut out about the middle of the hips: to the sides, above, below.
_ASIDE, _ABOVE, _BELOW = 0.55, 0.65, 0.15
#: Height of the window that Lucas-Kanade compares; its width is less: what tells up from down are level edges.
_WINDOW, _WINDOW_SHAPE = 0.08, 0.7
#: Bigger patches are shrunk until the trunk is this long [px]: a 720-line picture needs none of it.
_TRUNK_PX = 180.0
_SMALLEST_TRUNK_PX = 24.0
#: A point that does not come back to where it started within this much [px] when followed backward was lost.
_RETURN_PX = 0.35
_LEVELS = 2
#: Where Lucas-Kanade stops: steps, and a step so small [px].
_STOP = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 0.02)
#: Mean squared slope of brightness upward [(grey level / px)^2] from which on a window shows how far it moved up or
#: down. Plain cloth has less, and what Lucas-Kanade finds there are folds and noise.
_TEXTURE = 1.0
# How quickly place, size and lean of the patch follow the pose, shares per frame. The flow carries the patch; the pose,
# whose hips follow the thighs, only keeps it from wandering off.
_PULL, _GROW, _LEAN = 0.08, 0.03, 0.05
#: A pose this far [trunks] from the patch is another person, or the patch is lost: start over there.
_FAR = 0.4
_FEWEST = 10


def _grid() -> Floats:
    x = np.linspace(-BELT_HALF, BELT_HALF, _COLUMNS)
    y = np.linspace(BELT_LOW, BELT_HIGH, _ROWS)
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


_GRID = _grid()


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """Motion of points of the belt. ``across`` and ``up`` are the patch's axes.

    ``at_px`` (n, 2) are places (across, up) about the middle of the belt, ``motion_px`` (n, 2) what they moved by.
    ``asked`` points were looked for; ``textured`` of those that were found show something.
    """

    at_px: Floats
    motion_px: Floats
    axes: Floats
    asked: int
    textured: int


class Place:
    """Follows the pelvis smoothly: middle of the hips, length of the trunk, lean."""

    def __init__(self, size_px: tuple[int, int]) -> None:
        self._size_px = size_px
        self.forget()

    def forget(self) -> None:
        """The runner is gone; the next pose starts anew."""
        self._middle_px: tuple[float, float] | None = None
        self._trunk_px = self._lean_rad = math.nan

    # Plain numbers, not arrays: for two of them NumPy's calls cost more than the sums.

    def see(self, pose: Pose) -> None:
        """Take in a pose; one without hips changes nothing."""
        (left_x, left_y), (right_x, right_y), *shoulders = pose.xy_px[_HIPS_AND_SHOULDERS].tolist()
        x, y = (left_x + right_x) / 2, (left_y + right_y) / 2
        if not math.isfinite(x + y):
            return
        lean = math.atan2(right_y - left_y, abs(right_x - left_x))
        trunk_x = (shoulders[0][0] + shoulders[1][0]) / 2 - x
        trunk_y = (shoulders[0][1] + shoulders[1][1]) / 2 - y
        if math.isfinite(trunk_x + trunk_y):
            length = math.hypot(trunk_x, trunk_y)
            # half the trunk's lean, half the hips': the lower back, near enough
            lean = (math.atan2(trunk_x, -trunk_y) + lean) / 2
        else:
            length = math.hypot(right_x - left_x, right_y - left_y) / _HIPS_OF_TRUNK
        before = self._middle_px
        if before is None or math.hypot(x - before[0], y - before[1]) > _FAR * self._trunk_px:
            self._middle_px, self._trunk_px, self._lean_rad = (x, y), length, lean
            return
        self._middle_px = before[0] + _PULL * (x - before[0]), before[1] + _PULL * (y - before[1])
        self._trunk_px += _GROW * (length - self._trunk_px)
        self._lean_rad += _LEAN * (lean - self._lean_rad)

    def move(self, by_px: Floats) -> None:
        """The patch was seen to move by this much."""
        if self._middle_px is not None:
            x, y = by_px.tolist()
            self._middle_px = self._middle_px[0] + x, self._middle_px[1] + y

    def cut(self, frame: Frame) -> Patch | None:
        """The patch in this frame; ``None`` without a runner, or when too little of one is in the picture."""
        if self._middle_px is None or not self._trunk_px >= _SMALLEST_TRUNK_PX:
            return None
        (x, y), trunk = self._middle_px, self._trunk_px
        width, height = self._size_px
        left, right = _within(math.floor(x - _ASIDE * trunk), width), _within(math.ceil(x + _ASIDE * trunk), width)
        top, bottom = _within(math.floor(y - _ABOVE * trunk), height), _within(math.ceil(y + _BELOW * trunk), height)
        if right - left < 0.6 * trunk or bottom - top < 0.5 * trunk:
            return None
        return Patch(frame, (left, top, right, bottom), self._middle_px, trunk, self._lean_rad)


def _within(at: int, size: int) -> int:
    return min(max(at, 0), size)


class Patch:
    """Luma of the pelvis in one frame, and the points on it to be found again in the next."""

    def __init__(
        self,
        frame: Frame,
        box_px: tuple[int, int, int, int],
        middle_px: tuple[float, float],
        trunk_px: float,
        lean_rad: float,
    ) -> None:
        self._box_px = box_px
        self._zoom = min(1.0, _TRUNK_PX / trunk_px)
        self._image = luma(frame, box_px, self._zoom)
        self._trunk_px = trunk_px * self._zoom
        cos, sin = math.cos(lean_rad), math.sin(lean_rad)
        self._axes = np.array([[cos, sin], [sin, -cos]])
        self._middle_px = [(at - edge + 0.5) * self._zoom - 0.5 for at, edge in zip(middle_px, box_px, strict=False)]

    def follow(self, frame: Frame) -> Flow | None:
        """How the points of the belt moved into ``frame``; ``None`` when too few could be followed."""
        image = luma(frame, self._box_px, self._zoom)
        grid = _GRID * self._trunk_px
        points = (self._middle_px + grid @ self._axes).astype(np.float32)
        inside = ((points > 2) & (points < np.array(image.shape[::-1]) - 3)).all(axis=1)
        if not inside.all():
            points, grid = points[inside], grid[inside]
        if len(points) < _FEWEST:
            return None
        height = int(max(9, round(_WINDOW * self._trunk_px))) | 1
        window = (int(max(7, round(_WINDOW_SHAPE * height))) | 1, height)
        found, back, kept = _follow(self._image, image, points, window)
        kept &= np.abs(back - points).max(axis=1) < _RETURN_PX
        if np.count_nonzero(kept) < _FEWEST:
            return None
        points, grid = points[kept], grid[kept]
        motion = (found[kept] - points) @ self._axes.T
        grid[:, 1] -= (BELT_LOW + BELT_HIGH) / 2 * self._trunk_px
        textured = int(np.count_nonzero(_steepness(self._image, window, points) > _TEXTURE))
        return Flow(grid / self._zoom, motion / self._zoom, self._axes, len(_GRID), textured)


def _follow(
    before: Pixels, after: Pixels, points: NDArray[np.float32], window: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    found, good, _ = cv2.calcOpticalFlowPyrLK(
        before, after, points, points.copy(), winSize=window, maxLevel=_LEVELS, criteria=_STOP
    )
    # Back it goes from where it came from: a point that was followed rightly stays there, and needs no coarse levels.
    back, good_too, _ = cv2.calcOpticalFlowPyrLK(
        after, before, found, points.copy(), winSize=window, maxLevel=0, criteria=_STOP,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )  # fmt: skip
    kept = (good.ravel() == 1) & (good_too.ravel() == 1)
    return np.asarray(found, np.float32), np.asarray(back, np.float32), np.asarray(kept, np.bool_)


def _steepness(image: Pixels, window: tuple[int, int], points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean squared slope of brightness upward in the window about each point."""
    reach = max(window) // 2 + 2
    columns, rows = np.round(points).astype(int).T
    left, top = max(int(columns.min()) - reach, 0), max(int(rows.min()) - reach, 0)
    belt = image[top : int(rows.max()) + reach, left : int(columns.max()) + reach]
    slope = cv2.Sobel(belt, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    mean = cv2.sqrBoxFilter(slope, cv2.CV_32F, window)
    return np.asarray(mean[rows - top, columns - left], np.float32)


def luma(frame: Frame, box_px: tuple[int, int, int, int], zoom: float = 1.0) -> Pixels:
    """Brightness of a part of the picture (left, top, right, bottom), shrunk by ``zoom``; a copy of its own."""
    left, top, right, bottom = box_px
    part = frame.image[top:bottom, left:right]
    if frame.layout != "yuv420":
        code = cv2.COLOR_RGB2GRAY if frame.layout == "rgb" else cv2.COLOR_BGR2GRAY
        part = np.asarray(cv2.cvtColor(np.ascontiguousarray(part), code), dtype=np.uint8)
    if zoom < 1.0:
        size = (max(8, round((right - left) * zoom)), max(8, round((bottom - top) * zoom)))
        return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return np.array(part, dtype=np.uint8)
