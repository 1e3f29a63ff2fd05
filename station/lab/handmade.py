"""Plates as people make them: scissors, glue and backs, never quite the drawing."""

from __future__ import annotations

import numpy as np

from station.tag.plates import Placement, Plate, place


def handmade(plate: Plate, rng: np.random.Generator) -> Placement:
    """Facets as scissors, glue and backs make them: angles off by a degree; a belt on a round back of its own."""
    if len(plate.ids) == 2:
        one, two = (place(plate, np.array([plate.shape[0] + rng.normal(0, 1.0)])) for _ in range(2))
        # centres of the two roofs do not lie at the same depth below their ridge: hang both from the ridge
        below = [p.centre_m[0, 2] - plate.side_m / 2 * abs(p.right[0, 2]) for p in (one, two)]
        centre = np.stack([one.centre_m[0] + [0, 0, below[0]], two.centre_m[1] + [0, 0, below[1]]])
        centre[:, 2] -= centre[:, 2].mean()
        return Placement(centre, np.stack([one.right[0], two.right[1]]), one.up)
    return round_back(plate, float(rng.uniform(0.13, 0.18)), float(rng.uniform(0.09, 0.13)), float(rng.normal(0, 0.01)))


def round_back(plate: Plate, half_width_m: float, half_depth_m: float, aside_m: float = 0.0) -> Placement:
    """A belt round an elliptic waist, its middle ``aside_m`` off the spine: no shape that the estimator knows."""
    turn = np.linspace(-1.5, 1.5, 4001)
    x, z = half_width_m * np.sin(turn), half_depth_m * (np.cos(turn) - 1)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(z)))])
    along -= np.interp(0.0, turn, along)
    count = len(plate.ids)
    centre, right = [], []
    for k in range(count):
        at = aside_m + (k - (count - 1) / 2) * plate.side_m
        ends = [np.array([np.interp(at + s * plate.side_m / 2, along, q) for q in (x, z)]) for s in (-1, 1)]
        across = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
        middle = np.array([np.interp(at, along, q) for q in (x, z)])
        centre.append([middle[0], 0.0, middle[1]])
        right.append([across[0], 0.0, across[1]])
    centres = np.array(centre)
    centres -= [np.interp(aside_m, along, x), 0.0, centres[:, 2].mean()]
    return Placement(centres, np.array(right), np.tile([0.0, 1.0, 0.0], (count, 1)))
