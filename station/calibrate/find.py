"""Finding sheets in a picture: which ones, and where their corners are to about a pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from station.calibrate.model import mapped
from station.calibrate.target import CORNERS_M, DICTIONARY, SHEETS, marker_corners_m, marker_ids
from station.types import Floats, Pixels

#: Blow-ups of the picture (across, along) in which markers are looked for: flat ones need more height.
_SCALES = ((1, 1), (1, 2), (1, 3), (2, 2), (2, 4), (2, 6))
#: Pixels that a blown-up picture may have.
_MOST_PIXELS = 16_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A sheet and the corners of its pattern (4, 2) in pixels (pixel edges at integers), in the sheet's own order."""

    sheet: str
    corners_px: Floats
    markers: int


def find_sheets(grey: Pixels) -> list[Found]:
    """Every sheet in a grey picture, A first. A sheet of which only one marker is read is found as well."""
    seen: dict[int, Floats] = {}
    for across, along in _SCALES:
        if across * along * grey.size > _MOST_PIXELS:
            continue
        blown = grey if (across, along) == (1, 1) else cv2.resize(grey, None, fx=across, fy=along)
        for number, corners in _markers(np.asarray(blown, dtype=np.uint8)):
            # a marker that is read in several scales is best placed in the largest
            seen[number] = (corners + 0.5) / (across, along)
    return [found for sheet in SHEETS if (found := _sheet(sheet, seen)) is not None]


def _markers(grey: Pixels) -> list[tuple[int, Floats]]:
    settings = cv2.aruco.DetectorParameters()
    settings.errorCorrectionRate = 0.0
    settings.adaptiveThreshWinSizeMin, settings.adaptiveThreshWinSizeMax = 5, 65
    settings.adaptiveThreshWinSizeStep = 12
    settings.minMarkerPerimeterRate = 0.015
    settings.polygonalApproxAccuracyRate = 0.05
    detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(DICTIONARY), settings)
    corners, numbers, _ = detector.detectMarkers(grey)
    if numbers is None:
        return []
    return [
        (int(number), np.asarray(four, dtype=float).reshape(4, 2))
        for number, four in zip(np.ravel(numbers), corners, strict=True)
    ]


def _sheet(sheet: str, seen: dict[int, Floats]) -> Found | None:
    """The pattern's corners from whichever of the sheet's markers were read."""
    which = [side for side, number in enumerate(marker_ids(sheet)) if number in seen]
    if not which:
        return None
    on_sheet = np.concatenate([marker_corners_m(side) for side in which])
    in_picture = np.concatenate([seen[marker_ids(sheet)[side]] for side in which])
    homography, _ = cv2.findHomography(on_sheet, in_picture)
    if homography is None:
        return None
    corners = mapped(np.asarray(homography, dtype=float), CORNERS_M)
    x, y = corners.T
    area = float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2  # > 0: clockwise in the picture, as seen from above
    return Found(sheet, corners, len(which)) if np.isfinite(corners).all() and area > 25.0 else None
