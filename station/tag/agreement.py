"""How a markerless estimator stands against the tag: gain, bias, scatter, all of them differences of two readings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from station.types import Floats

#: A gain needs so much movement in the tag's angle (sd, degrees) and so many frames with both readings.
LEAST_MOVEMENT_DEG, LEAST_FRAMES = 1.0, 90
#: Neighbouring frames are alike: uncertainty is judged from pieces of this length [s], of which there must be some.
PIECE_S, LEAST_PIECES = 2.0, 4
#: Standing: the tag's angles move less than this (sd over a second, degrees).
STILL_DEG, STILL_S = 0.6, 1.0


@dataclass(frozen=True, slots=True)
class Agreement:
    """One angle of the markerless estimator against the tag's; ``None`` = could not be told.

    ``gain``: degrees said per degree of the tag, 1 = right, with ``gain_ci95``; ``bias_deg``: what is said too much on
    average, both counted from standing; ``scatter_deg``: sd of what gain and bias leave, per frame, the tag's own
    noise deducted; ``r``: correlation.
    """

    gain: float | None
    gain_ci95: float | None
    bias_deg: float | None
    scatter_deg: float | None
    r: float | None
    frames: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Markerless minus tag of one metric over the strides: mean with ``ci95``, sd from stride to stride, strides."""

    mean: float
    ci95: float
    sd: float
    strides: int


def agree(t_s: Floats, said_deg: Floats, tag_deg: Floats, tag_sd_deg: Floats, standing: Floats | None) -> Agreement:
    """Compare readings (n,) of one angle, NaN where there is none; ``standing`` (n,) marks frames to count from."""
    both = np.isfinite(said_deg) & np.isfinite(tag_deg)
    level: float | None = None
    if standing is not None:
        still = both & (standing > 0)
        if still.sum() >= 10:
            level = float(np.median(said_deg[still]) - np.median(tag_deg[still]))
        both &= ~(standing > 0)
    count = int(both.sum())
    if count < LEAST_FRAMES:
        return Agreement(None, None, None, None, None, count)
    t, y, x = t_s[both], said_deg[both], tag_deg[both]
    noise = float(np.nanmean(np.square(tag_sd_deg[both])))
    bias = None if level is None else float((y - x).mean()) - level
    found = _gain(y, x, noise)
    if found is None:
        return Agreement(None, None, bias, None, None, count)
    pieces = np.floor((t - t[0]) / PIECE_S).astype(int)
    each = [_gain(y[pieces != p], x[pieces != p], noise) for p in np.unique(pieces)]
    left_out = np.array([gain for gain in each if gain is not None])
    ci95 = None
    if len(left_out) >= LEAST_PIECES:
        n = len(left_out)
        ci95 = 1.96 * math.sqrt((n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum()))
    rest = y - y.mean() - found * (x - x.mean())
    scatter = math.sqrt(max(float(rest.var()) - found**2 * noise, 0.0))
    return Agreement(found, ci95, bias, scatter, float(np.corrcoef(x, y)[0, 1]), count)


def _gain(y: Floats, x: Floats, noise: float) -> float | None:
    """Slope of y on x, the dilution by the noise of x undone."""
    moved = float(x.var()) - noise
    if len(x) < LEAST_FRAMES // 2 or moved < LEAST_MOVEMENT_DEG**2:
        return None
    return float(((x - x.mean()) * (y - y.mean())).mean()) / moved


def stands(t_s: Floats, tag_deg: Floats) -> Floats:
    """Per frame 1 where the wearer stands still by the tag's angles (n, 3), else 0."""
    out = np.zeros(len(t_s))
    for i, t in enumerate(t_s):
        rows = np.abs(t_s - t) <= STILL_S / 2
        part = tag_deg[rows]
        part = part[np.isfinite(part).all(axis=1)]
        if len(part) >= 6 and (part.std(axis=0) < STILL_DEG).all():
            out[i] = 1.0
    return out


def difference(pairs: Sequence[tuple[float, float]]) -> Difference | None:
    """Of (markerless, tag) of one metric, stride by stride; ``None`` with fewer than three."""
    if len(pairs) < 3:
        return None
    apart = np.array([said - tag for said, tag in pairs])
    sd = float(apart.std(ddof=1))
    return Difference(float(apart.mean()), 1.96 * sd / math.sqrt(len(apart)), sd, len(apart))
