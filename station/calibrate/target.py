"""The target: a sheet with two markers, stretched along the belt because a camera behind a treadmill sees it so flat.

Seen from 0.95 m height and 2.4 m distance a millimetre along the belt is two and a half times shorter in the picture
than one across it. So each marker (6 x 6 fields with its black border, OpenCV's DICT_4X4_50) is 120 mm wide and 330 mm
long: its fields come out nearly square. Sheets A to F differ in their markers and may lie on the belt together.

Coordinates of a sheet: metres from its middle, u to its right, v towards its far end (the upper edge of the paper).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from station.calibrate.drawing import draw_guide
from station.printing import MARGIN_MM, Document, Page
from station.types import Floats, Pixels

#: Fields of a marker a side, its black border included.
FIELDS = 6
#: One field: across and along the belt [mm].
FIELD_MM = (20.0, 55.0)
MARKER_MM = (FIELDS * FIELD_MM[0], FIELDS * FIELD_MM[1])
#: White between the two markers [mm]: the width of a field.
GAP_MM = FIELD_MM[0]
#: The two markers together: width and length [mm].
PATTERN_MM = (2 * MARKER_MM[0] + GAP_MM, MARKER_MM[1])
SHEETS = "ABCDEF"
DICTIONARY = cv2.aruco.DICT_4X4_50
#: Corners of the pattern [m]: far left, far right, near right, near left.
CORNERS_M: Floats = np.array([(-1, 1), (1, 1), (1, -1), (-1, -1)]) * np.array(PATTERN_MM) / 2000.0


def marker_ids(sheet: str) -> tuple[int, int]:
    """Numbers of the left and the right marker of a sheet."""
    first = 2 * SHEETS.index(sheet)
    return first, first + 1


def marker_corners_m(which: int) -> Floats:
    """Corners (4, 2) of the left (0) or right (1) marker on its sheet, in the order in which OpenCV gives them."""
    left = -PATTERN_MM[0] / 2 + which * (MARKER_MM[0] + GAP_MM)
    right, far = left + MARKER_MM[0], PATTERN_MM[1] / 2
    return np.array([(left, far), (right, far), (right, -far), (left, -far)]) / 1000.0


@lru_cache(maxsize=16)
def fields(sheet: str) -> tuple[Pixels, Pixels]:
    """The two markers of a sheet as 6 x 6 fields, 0 black and 1 white, first row = far end."""
    book = cv2.aruco.getPredefinedDictionary(DICTIONARY)
    left, right = (
        np.asarray(cv2.aruco.generateImageMarker(book, number, FIELDS) > 0, dtype=np.uint8)
        for number in marker_ids(sheet)
    )
    return left, right


@lru_cache(maxsize=32)
def texture(sheet: str, fineness: int) -> tuple[NDArray[np.float32], Floats]:
    """The pattern and a rim of half a field of white, 0 black and 1 white, ``fineness`` texels a field.

    Also the matrix (3, 3) that takes sheet coordinates (u, v, 1) in metres to texels (column, row), their middles
    at whole numbers.
    """
    across_mm, along_mm = FIELD_MM[0] / fineness, FIELD_MM[1] / fineness
    left, right = (np.kron(marker, np.ones((fineness, fineness))) for marker in fields(sheet))
    pattern = np.hstack([left, np.ones((left.shape[0], fineness)), right])
    rim = fineness // 2
    image = np.pad(pattern, rim, constant_values=1.0).astype(np.float32)
    rows, columns = image.shape
    to_texel = np.array(
        [
            [1000.0 / across_mm, 0.0, (columns - 1) / 2],
            [0.0, -1000.0 / along_mm, (rows - 1) / 2],
            [0.0, 0.0, 1.0],
        ]
    )
    return image, to_texel


# --- on paper ---------------------------------------------------------------------------------------------------------


def print_target(path: Path, paper: str = "a3", sheets: int = 1) -> None:
    """Write the target as a PDF: how to lay it, then each sheet on one A3, or on two A4 to be joined.

    Raises :class:`SourceError` when the file cannot be written.
    """
    document = Document(path, "Hipline calibration target", paper, landscape=paper == "a4")
    draw_guide(document.page(), paper, sheets)
    for sheet in SHEETS[:sheets]:
        if paper == "a3":
            _print_a3(document, sheet)
        else:
            _print_a4_halves(document, sheet)
    document.save()


def _print_a3(document: Document, sheet: str) -> None:
    page = document.page()
    middle = (page.width_mm / 2, page.height_mm / 2)
    _caption(page, sheet, MARGIN_MM + 6.0)
    _pattern(page, sheet, middle)
    _ticks(page, middle[1])


def _print_a4_halves(document: Document, sheet: str) -> None:
    """Two landscape pages: the far half ends at a line on which the near half, cut along its own line, is laid."""
    seam_mm = document.size_mm[1] - MARGIN_MM - 10.0
    far = document.page(ruler_mm=(MARGIN_MM, document.size_mm[1] - MARGIN_MM - 3.0))
    _caption(far, sheet, MARGIN_MM + 5.0)
    _pattern(far, sheet, (far.width_mm / 2, seam_mm), rows=(0, FIELDS // 2))
    _ticks(far, seam_mm)
    here = "Lay the cut edge of the near half on this edge, tick on tick; tape it from behind."
    far.text(far.width_mm - MARGIN_MM, seam_mm + 4.0, here, size_mm=2.6, anchor="right")
    near = document.page()
    cut_mm = MARGIN_MM + 6.0
    _pattern(near, sheet, (near.width_mm / 2, cut_mm), rows=(FIELDS // 2, FIELDS))
    _ticks(near, cut_mm)
    near.text(MARGIN_MM + 3.0, cut_mm - 2.0, f"Sheet {sheet}, near half: cut off above the black.", size_mm=2.6)
    joined = f"Joined, the black must measure {PATTERN_MM[1]:.0f} mm ± 1 mm from its far end to its near end."
    near.text(near.width_mm - MARGIN_MM, near.height_mm - MARGIN_MM - 6.0, joined, size_mm=2.6, anchor="right")


def _pattern(page: Page, sheet: str, middle_mm: tuple[float, float], rows: tuple[int, int] = (0, FIELDS)) -> None:
    """The black fields of these rows, the sheet's middle at ``middle_mm``."""
    for which, marker in enumerate(fields(sheet)):
        left_mm = middle_mm[0] - PATTERN_MM[0] / 2 + which * (MARKER_MM[0] + GAP_MM)
        for row in range(*rows):
            top_mm = middle_mm[1] - PATTERN_MM[1] / 2 + row * FIELD_MM[1]
            for first, last in _runs(marker[row] == 0):
                # a hair of overlap, so that no viewer leaves white lines between fields
                lap_mm = 0.0 if row == rows[1] - 1 else 0.05
                page.rectangle(
                    left_mm + first * FIELD_MM[0], top_mm, (last - first) * FIELD_MM[0], FIELD_MM[1] + lap_mm
                )


def _runs(dark: Pixels) -> list[tuple[int, int]]:
    """Beginnings and ends of the runs of dark fields."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(dark, dtype=np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _caption(page: Page, sheet: str, y_mm: float) -> None:
    said = f"Hipline target, sheet {sheet}: this end away from the camera"
    page.text(page.width_mm / 2, y_mm, said, size_mm=4.2, anchor="middle", grey=0.4)


def _ticks(page: Page, y_mm: float) -> None:
    """Short lines on both sides of the pattern at the height of the sheet's middle."""
    x_mm, reach_mm = page.width_mm / 2, PATTERN_MM[0] / 2
    for side in (-1, 1):
        page.line([(x_mm + side * (reach_mm + 1.0), y_mm), (x_mm + side * (reach_mm + 4.0), y_mm)], width_mm=0.2)
