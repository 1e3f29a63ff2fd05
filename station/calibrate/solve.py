"""Pictures and what was found in them to the fit: register, fit, and once more with the better lens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from station.calibrate.find import Found
from station.calibrate.fit import Fit, fit
from station.calibrate.register import Sighting, register
from station.types import Floats

#: Corners that OpenCV found are good to this [px, sd].
_ROUGH_PX = 0.7
#: A lens whose distortion moved by less than this bends a single sheet no differently.
_SAME_K1 = 0.02


def solve(
    greys: Sequence[Floats],
    found: Sequence[tuple[int, Found]],
    size_px: tuple[int, int],
    focals_px: Sequence[tuple[float, float]] = (),
) -> tuple[list[Sighting], Fit]:
    """The sheets to hundredths of a pixel, and the camera from them.

    ``found`` pairs each sheet with the number of its picture in ``greys``; ``focals_px`` as in :func:`fit`.
    """
    rough = [
        Sighting(number, one.sheet, one.corners_px, _ROUGH_PX**2 * np.eye(8), 1.0, 1.0, 1.0) for number, one in found
    ]
    lens = fit(rough, size_px, focals_px).lens
    sightings = [register(greys[number], one, lens, number) for number, one in found]
    best = fit(sightings, size_px, focals_px, lens.focal_px)
    if abs(best.lens.k1 - lens.k1) > _SAME_K1:
        sightings = [register(greys[one.picture], one, best.lens, one.picture) for one in sightings]
        best = fit(sightings, size_px, focals_px, best.lens.focal_px)
    return sightings, best
