"""Where in the cycle a foot meets and leaves the belt, read from the pooled height curves.

No camera behind a runner sees the force under the foot. What it sees are instants that stand in a steady relation to it:

- *contact*: the ankle falls fastest shortly after the foot has met the belt, and the pelvis falls fastest when the force
  under the foot has grown to body weight (doi 10.1016/j.jbiomech.2021.110419: no effect of foot strike). The two are
  averaged; how far they disagree is part of the uncertainty.
- *off*: the heel rises fastest at toe-off. In the picture the foot also sinks because the belt carries it nearer; how fast,
  the planted foot itself tells in mid-stance, so the correction needs no calibration.

Curves are band-limited at a fixed frequency, so that the relations hold at any cadence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from station.gait.feet import ANKLE, COLUMNS, HARMONICS, HEEL, PELVIS, TOE
from station.harmonics import Fit
from station.types import Floats, Side

GRID = 512
#: Where the curves are cut off [Hz], and how softly [Hz].
CUTOFF_HZ, ROLLOFF_HZ = 10.5, 1.0
#: Search windows in cycles after the anchor at which the feet are level and this one comes down.
CONTACT_WINDOW = (-0.09, 0.12)
PUSH_WINDOW = (0.12, 0.60)
#: The ankle (where it is not seen, the heel) falls fastest this long after contact [s] (force plate, one runner), and
#: later by this much for each m/s at which the belt lets a planted foot sink in the picture (three runners, four heights).
FALL_AFTER_CONTACT_S, FALL_LATER_PER_SINKING = 0.0155, 0.0115
#: Of several falls the first that reaches this share of the fastest is the one at contact; the belt makes later ones.
FIRST_SHARE = 0.75
#: Share of the half-sine delay from contact to body weight that pelves show.
PELVIS_DELAY_SHARE = 0.9
#: Heel rises fastest this long before toe-off [s].
HEEL_RISE_BEFORE_OFF_S = 0.0015
#: Around toe-off the heel along the belt loses this share of belt speed a second.
HEEL_LEAVES_BELT_PER_S = 5.4


@dataclass(frozen=True, slots=True)
class FootEvents:
    """Phases of contact and off (cycles after the anchor at which the left foot comes down).

    ``doubt_s``: half the disagreement of the two signs of contact.
    """

    contact: float
    off: float
    doubt_s: float


@cache
def _slopes() -> tuple[Floats, Floats]:
    """Grid phases and d/dθ of the basis on them."""
    phase = np.arange(GRID) / GRID
    order = np.arange(1, HARMONICS + 1)
    angle = 2 * np.pi * phase[:, None] * order
    out = np.zeros((GRID, 1 + 2 * HARMONICS))
    out[:, 1::2] = -2 * np.pi * order * np.sin(angle)
    out[:, 2::2] = 2 * np.pi * order * np.cos(angle)
    return phase, out


def velocities(fit: Fit, period_s: float) -> Floats:
    """Band-limited vertical velocities (GRID, 9) of all columns [m/s]."""
    hertz = np.repeat(np.arange(1, HARMONICS + 1), 2) / period_s
    taper = np.concatenate(([1.0], 1.0 / (1.0 + np.exp(np.clip((hertz - CUTOFF_HZ) / (ROLLOFF_HZ / 2), -40, 40)))))
    return np.asarray(_slopes()[1] @ (fit.coef * taper).T / period_s)


def peak(curve: Floats, start: float, end: float, share: float = 1.0) -> float:
    """Phase of a local maximum of a grid curve between two phases (may wrap), refined by a parabola.

    It is the first that reaches ``share`` of the highest; without any, the highest point.
    """
    index = np.arange(round(start * GRID), round(end * GRID) + 1)
    window = curve[index % GRID]
    inner = np.flatnonzero((window[1:-1] >= window[:-2]) & (window[1:-1] > window[2:])) + 1
    if not len(inner):
        return float(index[int(np.argmax(window))] / GRID)
    at = int(inner[np.argmax(window[inner] >= share * window[inner].max())])
    before, top, after = window[at - 1 : at + 2]
    bend = before - 2 * top + after
    return float((index[at] + 0.5 * (before - after) / bend) / GRID)


def locate(fit: Fit, side: Side, period_s: float, speeds: Floats) -> FootEvents:
    """Contact and off of one foot; ``speeds`` from :func:`velocities`."""
    base = 0.0 if side == "left" else 0.5
    columns = COLUMNS[side]
    known = np.isfinite(fit.coef[columns, 0])
    foot = columns[ANKLE] if known[ANKLE] else columns[HEEL]
    fall = peak(-speeds[:, foot], base + CONTACT_WINDOW[0], base + CONTACT_WINDOW[1], FIRST_SHARE)
    heel = columns[HEEL] if known[HEEL] else columns[ANKLE]
    sole = columns[TOE] if known[TOE] else heel
    sinking = _sinking(speeds[:, sole], fall)
    foot_contact = fall - (FALL_AFTER_CONTACT_S + FALL_LATER_PER_SINKING * sinking) / period_s
    off = _off(speeds[:, heel], sinking, base, period_s)
    contact, doubt = foot_contact, FALL_AFTER_CONTACT_S / 4 / period_s
    if np.isfinite(fit.coef[PELVIS, 0]):
        pelvis_fall = peak(-speeds[:, PELVIS], foot_contact - 0.02, foot_contact + 0.17)
        duty = min(max(off - foot_contact, 0.15), 0.5)
        delay = PELVIS_DELAY_SHARE * duty / math.pi * math.asin(min(4 * duty / math.pi, 1.0))
        pelvis_contact = pelvis_fall - delay
        gap = max(-0.03, min(0.03, (pelvis_contact - foot_contact)))
        contact, doubt = foot_contact + gap / 2, abs(gap) / 2
    return FootEvents(contact, off, doubt * period_s)


def _sinking(sole: Floats, fall: float) -> float:
    """Speed [m/s] at which the belt lets the planted foot sink in the picture: read in the first half of stance."""
    index = np.arange(round((fall + 0.07) * GRID), round((fall + 0.15) * GRID))
    return max(-float(sole[index % GRID].mean()), 0.0)


def _off(heel: Floats, sinking: float, base: float, period_s: float) -> float:
    """Fastest rise of the heel, freed of the sinking that the belt gives a foot on it.

    Freed of it, the heel rises fastest where its apparent acceleration has fallen to ``HEEL_LEAVES_BELT_PER_S`` times the
    sinking speed of the planted foot; the swing's own rise, later and often faster, is not reached.
    """
    acceleration = np.gradient(heel) * GRID / period_s
    push = peak(acceleration, base + PUSH_WINDOW[0], base + PUSH_WINDOW[1])
    index = np.arange(round(push * GRID), round((push + 0.35) * GRID))
    excess = acceleration[index % GRID] - HEEL_LEAVES_BELT_PER_S * sinking
    below = np.flatnonzero(excess <= 0)
    if not len(below) or below[0] == 0:
        return push + HEEL_RISE_BEFORE_OFF_S / period_s
    at = int(below[0])
    share = excess[at - 1] / (excess[at - 1] - excess[at])
    return float((index[at - 1] + share) / GRID) + HEEL_RISE_BEFORE_OFF_S / period_s
