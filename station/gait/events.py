"""Where in the cycle a foot meets and leaves the belt, read from the pooled height curves.

No camera behind a runner sees the force under the foot. What it sees are instants that stand in a steady relation to
it:

- *contact*: heel, ankle and toe together fall fastest shortly after the foot has met the belt, and the pelvis falls
  fastest when the force under the foot has grown to body weight (doi 10.1016/j.jbiomech.2021.110419: no effect of foot
  strike). Mixed 2 : 1 their errors cancel between heel and forefoot strikers; how far they disagree is the doubt.
- *off*: the heel rises fastest at toe-off. In the picture the foot also sinks because the belt carries it nearer; how
  fast, the planted foot itself tells in mid-stance, so the correction needs no calibration.

Curves are band-limited at a fixed frequency, so that the relations hold at any cadence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from station.gait.feet import ANKLE, COLUMNS, HARMONICS, HEEL, PELVIS, TOE
from station.gait.recent import NOMINAL_STEEPNESS
from station.harmonics import Fit
from station.types import Floats, Side

GRID = 512
#: Where the curves are cut off [Hz], and how softly [Hz].
CUTOFF_HZ, ROLLOFF_HZ = 10.5, 1.0
#: Search windows in cycles after the anchor at which the feet are level and this one comes down.
CONTACT_WINDOW = (-0.09, 0.12)
PUSH_WINDOW = (0.12, 0.60)
#: The mix of fastest fall of the foot and force-corrected fastest fall of the pelvis comes this long after contact [s]
#: (formula runners of both foot strikes and one force plate); without a toe the foot's own instant comes later.
MIX_AFTER_CONTACT_S, WITHOUT_TOE_S = 0.017, 0.0045
FOOT_SHARE = 2 / 3
#: A steeper view delays the foot's instant: seconds per unit of camera height over distance, against the usual mount.
STEEP_VIEW_S = 0.019
#: Of several falls the first that reaches this share of the fastest is the one at contact; the belt makes later ones.
FIRST_SHARE = 0.75
#: Share of the half-sine delay from contact to body weight that pelves show.
PELVIS_DELAY_SHARE = 0.75
#: Toe-off comes this much later still than the half-sine says (three runners, formula runners: 3 to 10 ms, one 18) [s].
FORCE_GONE_AFTER_S = 0.008
#: Longest contact that the pelvis alone may argue itself into [cycles].
MOST_DUTY_ALONE = 0.40
#: Sd of an event that the pelvis alone told [s].
LONE_PELVIS_SD_S = 0.030
#: From initial contact until the hips fall through the middle of their bounce [s] (recorded runners: 25 to 34 ms),
#: and the share of the stride that a foot is on the belt (the same: 0.33 to 0.37).
FALL_AFTER_CONTACT_S, USUAL_DUTY = 0.030, 0.35
#: Up to the first disagreement the foot is believed, from the second on the pelvis [s].
OFF_CONTRADICTION_S, CONTACT_CONTRADICTION_S = (0.030, 0.060), (0.055, 0.090)
#: The heel, freed of the belt's motion, rises fastest this long before toe-off [s].
HEEL_RISE_BEFORE_OFF_S = 0.005
#: Around toe-off the heel along the belt loses this share of belt speed a second.
HEEL_LEAVES_BELT_PER_S = 7.4


@dataclass(frozen=True, slots=True)
class FootEvents:
    """Phases of contact and off (cycles after the anchor at which the left foot comes down).

    ``doubt_s``: sd that a contradiction between foot and pelvis adds.
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


def deepest_fall(speeds: Floats, period_s: float) -> float:
    """Greatest downward acceleration of the pelvis over the cycle [m/s²]: g in flight, a third of it in walking."""
    pelvis = speeds[:, PELVIS]
    return -float(np.min(np.roll(pelvis, -4) - np.roll(pelvis, 4))) * GRID / (8 * period_s)


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


def bounced(fit: Fit, side: Side, period_s: float) -> FootEvents:
    """Contact and off of one foot that is seen too badly to be heard: contact from the bounce, off as runners have it.

    Twice a stride the pelvis falls through the middle of its bounce, a fixed time after contact. The two halves of the
    stride come out equally long, and nothing tells when the foot left the belt.
    """
    cosine, sine = fit.coef[PELVIS, 3:5]
    fall = (math.atan2(sine, cosine) + math.pi / 2) / (4 * math.pi)
    contact = fall - FALL_AFTER_CONTACT_S / period_s
    base = 0.0 if side == "left" else 0.5
    contact += round(2 * (base - contact)) / 2
    return FootEvents(contact, contact + USUAL_DUTY, LONE_PELVIS_SD_S)


def locate(fit: Fit, side: Side, period_s: float, speeds: Floats, steepness: float) -> FootEvents:
    """Contact and off of one foot.

    ``speeds`` from :func:`velocities`; ``steepness`` = height of the camera above the belt over its distance.
    """
    base = 0.0 if side == "left" else 0.5
    columns = COLUMNS[side]
    known = [c for c in columns[:3] if np.isfinite(fit.coef[c, 0])]
    steep_s = STEEP_VIEW_S * (steepness - NOMINAL_STEEPNESS)
    if not known:
        return FootEvents(*_pelvis_events(speeds[:, PELVIS], base, period_s, steep_s), LONE_PELVIS_SD_S)
    toe, heel = columns[TOE] in known, columns[HEEL] if columns[HEEL] in known else columns[ANKLE]
    foot = speeds[:, known].mean(axis=1)
    fall = peak(-foot, base + CONTACT_WINDOW[0], base + CONTACT_WINDOW[1], FIRST_SHARE)
    sinking = _sinking(speeds[:, columns[TOE] if toe else heel], fall)
    off = _off(speeds[:, heel], sinking, base, period_s)
    by_foot = fall - (MIX_AFTER_CONTACT_S + steep_s + (0.0 if toe else WITHOUT_TOE_S)) / period_s
    if not np.isfinite(fit.coef[PELVIS, 0]):
        return FootEvents(by_foot, off, 0.01)
    pelvis = speeds[:, PELVIS]
    lone_contact, lone_off = _pelvis_events(pelvis, base, period_s, steep_s)
    off, doubt_off = _settle(off, lone_off, period_s, OFF_CONTRADICTION_S)
    sure_foot, doubt = _settle(by_foot, lone_contact, period_s, CONTACT_CONTRADICTION_S)
    pelvis_fall = peak(-pelvis, by_foot - 0.02, by_foot + 0.17)
    by_pelvis = pelvis_fall - (MIX_AFTER_CONTACT_S + steep_s) / period_s - PELVIS_DELAY_SHARE * _force(off - sure_foot)
    gap = max(-0.06, min(0.06, by_pelvis - sure_foot))
    return FootEvents(sure_foot + (1 - FOOT_SHARE) * gap, off, max(doubt, doubt_off))


def _force(duty: float, most: float = 0.5) -> float:
    """Half-sine of force: time from contact until it has grown to body weight, as a share of the cycle."""
    duty = min(max(duty, 0.15), most)
    return duty / math.pi * math.asin(min(4 * duty / math.pi, 1.0))


def _settle(
    by_foot: float, by_pelvis: float, period_s: float, contradiction_s: tuple[float, float]
) -> tuple[float, float]:
    """A foot that contradicts the pelvis is a foot that was not seen: then the pelvis decides.

    Returns the phase, and the sd [s] that the contradiction adds.
    """
    gap_s = abs(by_pelvis - by_foot) * period_s
    low, high = contradiction_s
    weight = min(max((gap_s - low) / (high - low), 0.0), 1.0)
    return by_foot + weight * (by_pelvis - by_foot), weight * LONE_PELVIS_SD_S


def _pelvis_events(pelvis: Floats, base: float, period_s: float, steep_s: float) -> tuple[float, float]:
    """Contact and off of a stance from the pelvis alone.

    It falls fastest when the force under the foot has grown to body weight and rises fastest when it has sunk to it
    again. A half-sine of that impulse tells how long before and after the foot met and left the belt; the time of
    contact that it needs is the one it yields.
    """
    fall = peak(-pelvis, base - 0.06, base + 0.16)
    rise = peak(pelvis, fall + 0.12, fall + 0.42)
    contact, off = fall, rise
    for _ in range(4):
        force = _force(off - contact, MOST_DUTY_ALONE)
        contact = fall - PELVIS_DELAY_SHARE * force - (MIX_AFTER_CONTACT_S + steep_s) / period_s
        off = rise + force + FORCE_GONE_AFTER_S / period_s
    return contact, off


def _sinking(sole: Floats, fall: float) -> float:
    """Speed [m/s] at which the belt lets the planted foot sink in the picture: read in the first half of stance."""
    index = np.arange(round((fall + 0.07) * GRID), round((fall + 0.15) * GRID))
    return max(-float(sole[index % GRID].mean()), 0.0)


def _off(heel: Floats, sinking: float, base: float, period_s: float) -> float:
    """Fastest rise of the heel, freed of the sinking that the belt gives a foot on it.

    Freed of it, the heel rises fastest where its apparent acceleration has fallen to ``HEEL_LEAVES_BELT_PER_S`` times
    the sinking speed of the planted foot; the swing's own rise, later and often faster, is not reached.
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
