"""Landmarks moved to where their heatmaps put them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from station.pose import heatmap
from station.types import Floats

CELLS, CELL_PX = 64, 4.0


def blob(*at_cells: tuple[float, float], height: float = 4.0) -> NDArray[np.float32]:
    """Logits with a round hill for each point, at cells (x, y)."""
    y, x = np.mgrid[:CELLS, :CELLS]
    hills = [height - ((x - cx) ** 2 + (y - cy) ** 2) / 1.5 for cx, cy in at_cells]
    return np.stack(hills, axis=-1).astype(np.float32)


def refine(points: Floats, logits: NDArray[np.float32], cell_px: float) -> Floats:
    """As the estimator does it: only the windows are read."""
    maps = heatmap.Heatmaps((CELLS, CELLS), cell_px, range(len(points)), len(points))
    return maps.refine(points, logits.ravel()[maps.windows(points)])


def test_a_point_near_a_hill_is_drawn_to_its_top() -> None:
    for start in ((120.0, 80.0), (128.0, 88.0), (133.0, 79.0)):
        moved = refine(np.array([start]), blob((30.25, 20.5)), CELL_PX)
        np.testing.assert_allclose(moved, [[30.25 * 4, 20.5 * 4]], atol=0.8)


def test_each_point_has_its_own_heatmap() -> None:
    moved = refine(np.array([[40.0, 40.0], [200.0, 100.0]]), blob((11.0, 9.0), (49.0, 26.0)), CELL_PX)
    np.testing.assert_allclose(moved, [[44.0, 36.0], [196.0, 104.0]], atol=0.3)


def test_a_weak_hill_moves_nothing_and_a_faint_one_half_way() -> None:
    start = np.array([[120.0, 80.0]])
    np.testing.assert_array_equal(refine(start, blob((31.0, 20.0), height=-3.0), CELL_PX), start)
    half = refine(start, blob((31.0, 20.0), height=np.log(0.25 / 0.75)), CELL_PX)  # 0.25 is amid 0.1 and 0.4
    full = refine(start, blob((31.0, 20.0), height=4.0), CELL_PX)
    assert half[0, 0] - 120 == pytest.approx((full[0, 0] - 120) / 2, abs=0.3)


def test_far_hills_edges_and_points_outside() -> None:
    start = np.array([[120.0, 80.0]])
    np.testing.assert_array_equal(refine(start, blob((50.0, 20.0)), CELL_PX), start)
    corner = refine(np.array([[1.0, 254.0]]), blob((0.0, 63.0)), CELL_PX)
    assert ((corner >= 0) & (corner < 256)).all()
    outside = np.array([[-3.0, 80.0], [100.0, 256.5]])
    np.testing.assert_array_equal(refine(outside, blob((0.0, 20.0), (25.0, 63.0)), CELL_PX), outside)
