"""Finding our own tags in a picture: identity by dictionary and by the look of every module, nothing else."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from station.tag.plates import BITS, DICTIONARY, modules
from station.types import Floats, Pixels

#: A quad that may be one of ours looks like its print and like no other of ours: correlation over its modules. Blurred
#: ones are kept too, for the alignment looks at every bit again.
LOOK, LOOK_MARGIN = 0.62, 0.15
_CELL_PX = 4


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """One tag: ``corners_px`` (4, 2) clockwise from its upper left, ``look`` how much it looks like its print (≤ 1)."""

    tag_id: int
    corners_px: Floats
    look: float


@functools.cache
def _detector() -> cv2.aruco.ArucoDetector:
    wanted = cv2.aruco.DetectorParameters()
    wanted.adaptiveThreshWinSizeMin, wanted.adaptiveThreshWinSizeMax, wanted.adaptiveThreshWinSizeStep = 5, 45, 10
    wanted.minMarkerPerimeterRate = 0.02
    wanted.perspectiveRemovePixelPerCell = 6
    wanted.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    wanted.errorCorrectionRate = 0.6  # 3 bits of 36, where two tags differ in 12 at least
    return cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(DICTIONARY), wanted)


def search(image: Pixels, ids: tuple[int, ...], scale: float = 1.0) -> tuple[list[Found], list[int]]:
    """Our tags in a grey picture, and the ids of foreign tags of the same dictionary.

    ``scale`` enlarges the picture for the search (a module wants five pixels); corners are in the given picture's
    pixels, whose upper left corner is (0, 0). A tag must stand upright within 45 degrees. One id may be there twice.
    """
    large = image
    if scale != 1.0:
        large = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    corners, read, unread = _detector().detectMarkers(large)
    codes = [] if read is None else np.asarray(read).ravel().tolist()
    judged = [_judge(large, quad, ids, int(code)) for quad, code in zip(corners, codes, strict=True)]
    judged += [_judge(large, quad, ids, None) for quad in unread]
    found = [Found(f.tag_id, (f.corners_px + 0.5) / scale, f.look) for f in judged if isinstance(f, Found)]
    return found, [code for code in judged if isinstance(code, int)]


def _judge(
    image: Pixels, quad: NDArray[Any] | cv2.typing.MatLike, ids: tuple[int, ...], read: int | None
) -> Found | int | None:
    corners = _upright(np.asarray(quad, dtype=float).reshape(4, 2))
    if read is not None and read not in ids:
        return read
    looks = _looks(image, corners, ids)
    best = max(looks, key=lambda i: looks[i])
    others = max((value for i, value in looks.items() if i != best), default=-1.0)
    if looks[best] < LOOK or looks[best] - others < LOOK_MARGIN or read not in (None, best):
        return None
    return Found(best, corners, looks[best])


def _upright(corners: Floats) -> Floats:
    """The same corners beginning with the upper left one, clockwise."""
    middle = corners.mean(axis=0)
    turn = np.arctan2(*(corners - middle).T[::-1])
    clockwise = corners[np.argsort(turn)]
    first = int(np.argmin(clockwise.sum(axis=1)))
    return np.asarray(np.roll(clockwise, -first, axis=0))


def _looks(image: Pixels, corners: Floats, ids: tuple[int, ...]) -> Mapping[int, float]:
    """Correlation of the quad's modules with the print of each of ``ids``."""
    count = BITS + 2
    side = count * _CELL_PX
    square = np.array([[0, 0], [side, 0], [side, side], [0, side]], dtype=np.float32) - 0.5
    warp = cv2.getPerspectiveTransform(np.asarray(corners, dtype=np.float32), square)
    flat = cv2.warpPerspective(image, warp, (side, side)).astype(np.float32)
    cells = flat.reshape(count, _CELL_PX, count, _CELL_PX)[:, 1:-1, :, 1:-1].mean(axis=(1, 3)).ravel()
    cells = cells - cells.mean()
    size = float(np.linalg.norm(cells)) + 1e-6
    return {tag_id: float(cells @ _ideal(tag_id)) / size for tag_id in ids}


@functools.cache
def _ideal(tag_id: int) -> NDArray[np.float32]:
    cells = modules(tag_id)[1:-1, 1:-1].astype(np.float32).ravel()
    cells -= cells.mean()
    return np.asarray(cells / np.linalg.norm(cells), dtype=np.float32)
