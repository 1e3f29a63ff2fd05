"""Sharpens landmarks with the model's heatmaps: the regression says about where, the heatmap around it says where.

MediaPipe does the same (``RefineLandmarksFromHeatmap``: 7 cells, mean weighted by probability, all or nothing at a
probability of 0.5). Here the window has 9 cells, the weight is the square of the probability, and the correction fades
in with the highest probability instead of jumping. On rendered runners with known joints that takes the scatter of the
ankles from 13 to 7 px (lite) and from 9 to 5.5 px (full); with MediaPipe's own rule it is 9 and 6.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from station.types import Floats

_REACH_CELLS = 4
_FADE_IN = (0.1, 0.4)  # highest probability in the window: below the first no correction, above the second all of it
_SIDE = 2 * _REACH_CELLS + 1
#: Columns and rows of a window's cells about its middle, (81,) each, and what to sum of their weights: all, x, y.
_AWAY_Y, _AWAY_X = (np.mgrid[:_SIDE, :_SIDE] - _REACH_CELLS).reshape(2, -1)
_MOMENTS = np.stack([np.ones(_SIDE**2), _AWAY_X, _AWAY_Y], axis=1)


class Heatmaps:
    """Heatmaps of ``cells`` (columns, rows) of ``cell_px`` crop pixels, ``channels`` of them for each cell in memory.

    ``own`` are the channels of the points, in their order.
    """

    def __init__(self, cells: tuple[int, int], cell_px: float, own: Sequence[int], channels: int) -> None:
        self._cells, self._cell_px, self._channels = cells, cell_px, channels
        self._own = np.asarray(own)[:, np.newaxis]
        self._away = (_AWAY_Y * cells[0] + _AWAY_X) * channels + self._own

    def windows(self, crop_xy: Floats) -> NDArray[np.int64]:
        """Where in memory the windows (n, 81) around points (n, 2) are; outside is the nearest cell inside."""
        columns, rows = self._cells
        centre = self._centre(crop_xy)
        index: NDArray[np.int64]
        if self._within(centre):
            index = (centre @ (self._channels, columns * self._channels))[:, np.newaxis] + self._away
            return index
        x, y = (centre[:, i, np.newaxis] + away for i, away in enumerate((_AWAY_X, _AWAY_Y)))
        index = (y.clip(0, rows - 1) * columns + x.clip(0, columns - 1)) * self._channels + self._own
        return index

    def refine(self, crop_xy: Floats, logits: NDArray[np.float32]) -> Floats:
        """Points (n, 2), in crop pixels from the edge, moved to where their windows' ``logits`` (n, 81) put them.

        A cell stands for its near edge, not its middle: so the model was trained. A point outside the crop stays.
        """
        centre = self._centre(crop_xy)
        probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
        within = self._within(centre)
        if not within:
            probability *= self._inside(centre[:, np.newaxis] + _MOMENTS[:, 1:])
        moments = (probability * probability) @ _MOMENTS
        total = moments[:, :1] + np.finfo(float).tiny
        trust = (probability.max(axis=1) - _FADE_IN[0]) / (_FADE_IN[1] - _FADE_IN[0])
        trust = np.minimum(np.maximum(trust, 0.0), 1.0)
        if not within:
            trust *= self._inside(centre)
        seen = self._cell_px * (centre + moments[:, 1:] / total)
        moved: Floats = crop_xy + trust[:, np.newaxis] * (seen - crop_xy)
        return moved

    def _centre(self, crop_xy: Floats) -> NDArray[np.int64]:
        """The cells (column, row) of points (n, 2); some may lie outside."""
        return np.floor(crop_xy / self._cell_px).astype(np.int64)

    def _inside(self, at: Floats | NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether cells (…, 2) are any of the heatmap's."""
        return np.asarray(((at >= 0) & (at < np.array(self._cells))).all(axis=-1))

    def _within(self, centre: NDArray[np.int64]) -> bool:
        """Whether all windows lie inside: then, and that is nearly always, nothing needs to be cut off."""
        last_x, last_y = self._cells[0] - _REACH_CELLS, self._cells[1] - _REACH_CELLS
        return all(_REACH_CELLS <= x < last_x and _REACH_CELLS <= y < last_y for x, y in centre.tolist())
