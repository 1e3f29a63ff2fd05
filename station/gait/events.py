"""Where in the cycle a foot meets and leaves the belt, read from the pooled height curves of heel, ankle and toe."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from station.gait.feet import COLUMNS, HARMONICS
from station.harmonics import Fit
from station.types import Floats, Side

GRID = 400
#: Search windows in cycles after the anchor at which this foot's swing began being the higher one ends (feet level).
CONTACT_WINDOW = (0.02, 0.34)
OFF_WINDOW = (0.36, 0.72)


@dataclass(frozen=True, slots=True)
class FootEvents:
    """Phases of contact and off in cycles after the level anchor of that foot, with the sd between runners [s]."""

    contact: float
    off: float


@cache
def _synthesis() -> tuple[Floats, Floats]:
    """Rows: grid phases; value and second derivative (per cycle²) of every basis function."""
    phase = np.arange(GRID) / GRID
    order = np.arange(1, HARMONICS + 1)
    angle = 2 * np.pi * phase[:, None] * order
    value = np.zeros((GRID, 1 + 2 * HARMONICS))
    value[:, 0] = 1
    value[:, 1::2], value[:, 2::2] = np.cos(angle), np.sin(angle)
    second = value * np.concatenate(([0.0], np.repeat(-((2 * np.pi * order) ** 2), 2)))
    return value, second


def peak(curve: Floats, start: float, end: float) -> float:
    """Phase of the maximum of a curve on the grid between two phases (may wrap), refined by a parabola."""
    index = np.arange(round(start * GRID), round(end * GRID) + 1)
    window = curve[index % GRID]
    at = int(np.argmax(window))
    if 0 < at < len(window) - 1:
        left, middle, right = window[at - 1 : at + 2]
        bend = left - 2 * middle + right
        offset = 0.5 * (left - right) / bend if bend < 0 else 0.0
    else:
        offset = 0.0
    return float((index[at] + offset) / GRID)


def locate(fit: Fit, side: Side, period_s: float) -> FootEvents:
    """Contact and off of one foot. Phases count from the left-foot-comes-down anchor (D)."""
    value, second = _synthesis()
    base = 0.0 if side == "left" else 0.5
    heel, ankle, toe = (second @ fit.coef[c] / period_s**2 for c in COLUMNS[side])
    contact = peak(ankle, base + CONTACT_WINDOW[0], base + CONTACT_WINDOW[1])
    toe = toe if np.isfinite(toe[0]) else ankle
    off = peak(toe, base + OFF_WINDOW[0], base + OFF_WINDOW[1])
    return FootEvents(contact, off)
