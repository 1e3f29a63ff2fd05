"""Reading numbers off the pooled curves: extremes, ranges and values at an instant, each with its variance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from station.harmonics import basis
from station.metrics.channels import HARMONICS, Channel
from station.types import Floats

GRID = 200


@cache
def synthesis() -> Floats:
    """Basis on the grid, (GRID, 1 + 2·HARMONICS)."""
    return basis(np.arange(GRID) / GRID, HARMONICS)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A number, and the gradient by which it follows the coefficients of its channel (``None``: of no one channel)."""

    value: float
    gradient: Floats | None = None
    phase: float = float("nan")


class Curves:
    """The curves of one set of coefficients (c, n), synthesised once."""

    def __init__(self, coef: Floats) -> None:
        self.coef = coef
        self.grid: Floats = synthesis() @ coef.T

    def at(self, channel: Channel, phase: float) -> Reading:
        """The curve at a phase."""
        row = basis(np.array([phase]), HARMONICS)[0]
        return Reading(float(row @ self.coef[channel]), row, phase)

    def extreme(self, channel: Channel, start: float, end: float, sign: float) -> Reading:
        """Largest value of ``sign``·curve between two phases (``end`` may exceed 1), as a value of the curve itself."""
        low, high = int(np.ceil(start * GRID)), int(np.floor(end * GRID))
        index = np.arange(low, max(high, low) + 1)
        window = sign * self.grid[index % GRID, channel]
        best = int(np.argmax(window))
        phase = index[best] / GRID
        if 0 < best < len(window) - 1:
            before, top, after = window[best - 1 : best + 2]
            bend = before - 2 * top + after
            if bend < 0:
                phase += 0.5 * (before - after) / bend / GRID
        return self.at(channel, float(phase))

    def range(self, channel: Channel, start: float = 0.0, end: float = 1.0) -> Reading:
        """Maximum minus minimum between two phases."""
        high = self.extreme(channel, start, end, 1.0)
        low = self.extreme(channel, start, end, -1.0)
        return difference(high, low)


def difference(a: Reading, b: Reading, sign: float = 1.0) -> Reading:
    """Sign · (a − b), both of the same channel."""
    assert a.gradient is not None
    assert b.gradient is not None
    return Reading(sign * (a.value - b.value), sign * (a.gradient - b.gradient))
