"""A sheet's corners to some hundredths of a pixel: its whole pattern is laid over the picture until it fits.

The pattern is drawn as the camera would show it (lens, perspective, pixel size, blur) and compared with the picture;
Gauss-Newton moves its four corners until what is left is noise. Light that changes across the sheet is fitted along.
Every edge of the pattern takes part, so a sheet that is thirty pixels high is enough, and blur does not shift it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from station.calibrate.find import Found
from station.calibrate.model import Lens, mapped, plane_map
from station.calibrate.target import CORNERS_M, FIELD_MM, PATTERN_MM, texture
from station.types import Floats

#: Blurs that are tried, in pixels of the window [sd].
_BLURS = (0.3, 0.45, 0.6, 0.8, 1.1, 1.5, 2.0, 2.7, 3.7, 5.0)
#: Samples a pixel and direction when the pattern is drawn.
_SUB = 4
_STEPS = 8
#: Pixels that a sheet needs at most: larger windows are shrunk.
_ENOUGH_PIXELS = 16_000
#: White around the pattern that is looked at, as a share of the pattern's size.
_RIM = (0.03, 0.05)
#: Noise of neighbouring pixels is not independent (demosaicing, compression): standard deviations count double.
_CORRELATED = 2.0
#: What is left where nothing can be seen any more [px, sd].
_FLOOR_PX = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """One sheet in one picture.

    ``corners_px`` (4, 2): corners of the pattern, pixel edges at integers; ``covariance`` (8, 8) of them. ``explained``
    (0..1): share of the picture's variance that the pattern explains. ``blur_px``: sd of the blur. ``field_px``: height
    of a marker's field in the picture.
    """

    picture: int
    sheet: str
    corners_px: Floats
    covariance: Floats
    explained: float
    blur_px: float
    field_px: float


def register(grey: Floats, found: Found | Sighting, lens: Lens, picture: int = 0) -> Sighting:
    """Move the corners of a sheet, found or seen before with another lens, until its pattern fits the picture best."""
    window = _Window(grey, found.corners_px, lens)
    corners = found.corners_px
    if isinstance(found, Sighting):
        blur = found.blur_px / window.shrunk
    else:
        for rough in (1.2, 0.8):  # near the place first, so that the blur is judged there
            corners, *_ = _settle(window, found.sheet, corners, rough, 3)
        left = _unexplained(window, found.sheet, corners, _BLURS)
        blur = _BLURS[int(np.argmin(left))]
    corners, covariance, explained = _settle(window, found.sheet, corners, blur, _STEPS)
    return Sighting(picture, found.sheet, corners, covariance, explained, blur * window.shrunk, _field_px(corners))


def _field_px(corners: Floats) -> float:
    """Height of a field in the picture: its area over its longer side."""
    across = np.array([1, -1]) @ corners[[1, 0]] * FIELD_MM[0] / PATTERN_MM[0]
    along = np.array([1, -1]) @ corners[[0, 3]] * FIELD_MM[1] / PATTERN_MM[1]
    area = abs(float(across[0] * along[1] - across[1] * along[0]))
    return area / max(float(np.hypot(*across)), float(np.hypot(*along)), 1e-9)


class _Window:
    """The part of the picture that holds the sheet, shrunk where it has more pixels than are needed.

    ``xy_px`` are the middles of its pixels in the picture, ``ideal`` what the lens makes of them.
    """

    def __init__(self, grey: Floats, corners: Floats, lens: Lens) -> None:
        size = corners.max(axis=0) - corners.min(axis=0)
        low = np.maximum(np.floor(corners.min(axis=0) - 0.1 * size - 6).astype(int), 0)
        high = np.minimum(np.ceil(corners.max(axis=0) + 0.1 * size + 6).astype(int), grey.shape[::-1])
        self.shrunk = max(1, round(float(np.sqrt((high - low).prod() / _ENOUGH_PIXELS))))
        columns, rows = (high - low) // self.shrunk
        part = grey[low[1] : low[1] + rows * self.shrunk, low[0] : low[0] + columns * self.shrunk]
        self.image = part.reshape(rows, self.shrunk, columns, self.shrunk).mean(axis=(1, 3))
        x, y = np.meshgrid(np.arange(columns), np.arange(rows))
        self.xy_px = (np.stack([x, y], axis=-1) + 0.5) * self.shrunk + low
        self.lens = lens
        self.ideal = lens.ideal(self.xy_px)
        self._unit = np.stack([x / columns, y / rows], axis=-1) - 0.5

    def on_sheet(self, corners: Floats) -> Floats:
        """Sheet coordinates (rows, columns, 2) of the pixels' middles."""
        return mapped(plane_map(self.lens.ideal(corners), CORNERS_M), self.ideal)

    def light(self, pattern: Floats, x_y: Floats) -> Floats:
        """What light and contrast, both changing evenly across the sheet, make of the pattern: columns (n, 6)."""
        x, y = x_y.T
        return np.stack([np.ones_like(x), x, y, pattern, pattern * x, pattern * y], axis=-1)

    def unit(self, inside: NDArray[np.bool_]) -> Floats:
        """Coordinates of about ± 0.5 across the window."""
        return np.asarray(self._unit[inside])


def _unexplained(window: _Window, sheet: str, corners: Floats, blurs: Sequence[float]) -> list[float]:
    """Sum of squares that the pattern leaves where it lies, for each blur."""
    on_sheet = window.on_sheet(corners)
    sharp, inside = _drawn(sheet, on_sheet), _inside(on_sheet)
    out = []
    for blur in blurs:
        light = window.light(blurred(sharp, blur)[inside], window.unit(inside))
        solved, *_ = np.linalg.lstsq(light, window.image[inside], rcond=None)
        rest = window.image[inside] - light @ solved
        out.append(float(rest @ rest))
    return out


def _inside(on_sheet: Floats) -> NDArray[np.bool_]:
    """Pixels that see the pattern or its white rim, the window's border excepted: it has no gradient."""
    inside = (np.abs(on_sheet) < np.array(PATTERN_MM) / 2000.0 * (1 + 2 * np.array(_RIM))).all(axis=-1)
    inside[[0, -1]] = inside[:, [0, -1]] = False
    return np.asarray(inside)


def _settle(window: _Window, sheet: str, corners: Floats, blur: float, steps: int) -> tuple[Floats, Floats, float]:
    """Up to ``steps`` Gauss-Newton steps; corners, their covariance, explained share of the variance."""
    covariance, explained = np.eye(8), 0.0
    for _ in range(steps):
        shift, covariance, explained = _step(window, sheet, corners, blur)
        corners = corners + np.clip(shift, -3.0, 3.0)
        if np.abs(shift).max() < 0.003:
            break
    return corners, covariance, explained


def _step(window: _Window, sheet: str, corners: Floats, blur: float) -> tuple[Floats, Floats, float]:
    """One step: how the corners should move, the covariance of that, the explained share of the variance."""
    on_sheet = window.on_sheet(corners)
    drawn = blurred(_drawn(sheet, on_sheet), blur)
    inside = _inside(on_sheet)
    slope_y, slope_x = (np.gradient(drawn, window.shrunk, axis=axis) for axis in (0, 1))
    at = window.unit(inside)
    light = window.light(drawn[inside], at)
    seen = window.image[inside]
    shine: Floats = np.asarray(np.linalg.lstsq(light, seen, rcond=None)[0], dtype=float)
    gain = shine[3] + at @ shine[4:]
    slopes = np.stack([slope_x[inside] * gain, slope_y[inside] * gain], axis=-1)
    moves = _moves(corners, window.lens, window.xy_px[inside], on_sheet[inside])
    design = np.hstack([-np.einsum("ni,nki->nk", slopes, moves), light])
    solved, *_ = np.linalg.lstsq(design, seen, rcond=None)
    noise = seen - design @ solved
    variance = float(noise @ noise) / max(1, len(seen) - design.shape[1])
    covariance = np.linalg.pinv(design.T @ design)[:8, :8] * variance * _CORRELATED**2 + _FLOOR_PX**2 * np.eye(8)
    explained = 1.0 - variance / max(float(seen.var()), 1e-9)
    return solved[:8].reshape(4, 2), covariance, explained


def _moves(corners: Floats, lens: Lens, xy_px: Floats, on_sheet: Floats) -> Floats:
    """How each pixel (n) of the pattern moves (8, 2) when one coordinate of one corner moves by a pixel."""
    out = np.empty((len(xy_px), 8, 2))
    for k in range(8):
        nudged = corners.copy()
        nudged[k // 2, k % 2] += 0.5
        out[:, k] = 2.0 * (lens.pixels(mapped(plane_map(CORNERS_M, lens.ideal(nudged)), on_sheet)) - xy_px)
    return out


def blurred(drawn: Floats, blur: float) -> Floats:
    """A picture through a blur of this sd, in its pixels."""
    return np.asarray(cv2.GaussianBlur(drawn, (0, 0), blur), dtype=float)


def _drawn(sheet: str, on_sheet: Floats) -> Floats:
    """The pattern as a sharp camera shows it, 0..1, for pixels whose middles see these points (…, 2) of the sheet."""
    down, across = np.gradient(on_sheet, axis=0), np.gradient(on_sheet, axis=1)
    step_m = float(np.median(np.linalg.norm(across, axis=-1)))
    image, to_texel = texture(sheet, int(np.clip(round(2.5e-3 * FIELD_MM[0] / max(step_m, 1e-6)), 6, 64)))
    middle = mapped(to_texel, on_sheet).astype(np.float32)
    down, across = (np.asarray(slope * np.diag(to_texel)[:2], dtype=np.float32) for slope in (down, across))
    total = np.zeros(middle.shape[:2], dtype=np.float32)
    offsets = (np.arange(_SUB) + 0.5) / _SUB - 0.5
    for dy in offsets:
        for dx in offsets:
            texel = middle + np.float32(dy) * down + np.float32(dx) * across
            total += cv2.remap(image, texel[..., 0], texel[..., 1], cv2.INTER_LINEAR, None, cv2.BORDER_CONSTANT, 1.0)
    return np.asarray(total / _SUB**2, dtype=float)
