"""Obliquity along the line of sight, from the level of the model and the rate of the gyroscope: one angle, one sd.

The model (inclinometer) knows the level but is noisy, and its errors stay: for some frames, over a whole stride as too
small a swing, for good as an offset. The optical gyroscope knows how fast the pelvis turns, hardly lags, and drifts.
A Kalman filter holds each to what it is good for. Its states:

- *swing*: the moving part of obliquity. It follows the rate and comes back to zero by itself, weakly.
- *mean*: the runner's own level, which wanders very slowly.
- *slip*: what of the model's error lasts for a part of a stride.
- *bias* of the gyroscope.

How large the model's errors may be follows from the sd that it gives itself. How large the swing is the two witnesses
settle between them (:mod:`station.pelvis.agreement`), each as far as it may be wrong. Where they contradict each other
more than all this allows, both lose credit until they do not: the sd of the result grows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from station.pelvis.agreement import Agreement, Fault, Sizes, split
from station.types import Floats

SWING, MEAN, SLIP, BIAS = range(4)
#: A gap longer than this makes another runner possible [s].
FORGET_AFTER_S = 2.0
#: Frames may be missing for this long before the rate across the gap counts as none [s].
BRIDGED_GAP_S = 0.15
#: With both witnesses silent for longer than this nothing is known [s].
SILENCE_S = 0.25
#: What the variance of the model's error consists of: an offset for good, too small or large a swing, a slip that
#: lasts for a while, and the rest anew in each frame.
OFFSET_SHARE, SPAN_SHARE, SLIP_SHARE, FRAME_SHARE = 0.46, 0.06, 0.28, 0.20
#: How long slip and bias last [s].
SLIP_TAU_S, BIAS_TAU_S = 0.35, 2.0
#: Bias of the gyroscope [deg/s].
BIAS_SD_DPS = 1.5
#: Share by which the gyroscope may show a swing too small, and too large: waist seen, waist covered.
RATE_SEEN, RATE_COVERED = Fault(0.40, 0.08), Fault(0.50, 0.12)
#: Over a covered waist it follows cloth: the share of a rate that differs from frame to frame, seen and covered, and by
#: how many times more a covered one scatters than the gyroscope says.
FLICKER, COVERED_FLICKER, COVERED_TIMES = 0.10, 0.50, 2.0
#: The model may draw a swing too small by this share at least, whatever sd it gives itself.
LEVEL_SMALL = 0.50
#: The share of the turn in what the gyroscope says of itself: an error of size, which is settled here over many frames.
RATE_SHARE = 0.25
#: No pelvis turns faster [deg/s]: such a rate is a slip of the registration.
FASTEST_DPS = 250.0
#: Without a gyroscope the pelvis may turn as fast as runners do [deg/s].
UNSEEN_RATE_DPS = 45.0
#: Runners' mean level and swing differ by this much [deg]; a swing has forgotten itself after half a stride [s].
MEAN_SD_DEG, SWING_SD_DEG, SWING_TAU_S = 1.5, 4.0, 0.35
#: How fast a mean level may wander [deg per square root of a second].
MEAN_WANDER_DEG = 0.05
#: Innovations beyond so many sd are taken for outliers and weigh less.
OUTLIER_SD = 3.0
#: Time over which a quarrel of the witnesses costs them their credit [s], and the most it can (in sd).
QUARREL_TAU_S, MOST_DOUBT = 2.0, 6.0
#: So many outliers in a row are a quarrel.
QUARREL_FRAMES = 3
#: Square of an innovation over its variance, in the mean, up to which nobody is doubted (1 = as expected).
TOLERATED = 1.5


@dataclass(frozen=True, slots=True)
class Belief:
    """A number and its sd; NaN or an infinite sd = not known."""

    value: float
    sd: float

    @property
    def known(self) -> bool:
        """Whether there is a number with an sd to weigh it by."""
        return math.isfinite(self.value) and math.isfinite(self.sd) and self.sd > 0


class LevelFilter:
    """Feed it every frame in time order; ``doubt`` (1 = none) is by how much the witnesses' sd had to be widened."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the runner."""
        self._t_s = self._heard_s = -math.inf
        self._x: Floats = np.zeros(4)
        self._p: Floats = np.diag([SWING_SD_DEG**2, MEAN_SD_DEG**2, 0.0, BIAS_SD_DPS**2])
        self._agreement = Agreement()
        self._misfits = 0
        self._seen = 0.5
        self._level_sd = math.nan
        self._sizes = Sizes(1.0, 1.0, RATE_COVERED.small, 1.0)
        self.doubt = 1.0

    @property
    def size_sd_deg(self) -> float:
        """The part of the sd told last that is about how large the swing is, not whether or which way [deg]."""
        return self._sizes.sd * abs(float(self._x[SWING]))

    def feed(self, t_s: float, level: Belief, rate: Belief, waist: float = math.nan) -> Belief:
        """Obliquity [deg] now, from this frame's level [deg] and rate [deg/s].

        ``waist`` 0..1: how well it is seen; NaN: as last.
        """
        if not 0.0 < t_s - self._t_s <= FORGET_AFTER_S:
            self.reset()
            dt = 0.0
        else:
            dt = t_s - self._t_s
        self._t_s = t_s
        turning = dt > 0 and rate.known and abs(rate.value) <= FASTEST_DPS and dt <= BRIDGED_GAP_S
        self._settle(level, waist, turning=turning)
        self._age(dt)
        before = self._x, self._p
        if turning:
            self._turn(dt, rate)
        else:
            self._drift(dt)
        fits = False
        if level.known:
            if turning and self._shock(level) > (1.5 * OUTLIER_SD) ** 2:
                turning = self._doubt_rate(dt, level, before)
            self._misfits = 0 if self._shock(level) <= OUTLIER_SD**2 else self._misfits + 1
            # one outlier must not judge how large swings are; witnesses that go on to contradict each other must
            fits = turning and not 0 < self._misfits < QUARREL_FRAMES
            self._take_level(level, dt)
        if fits:
            self._agreement.hear(dt, level.value, rate.value, self._scatter_dps(rate))
        else:
            self._agreement.miss()
        self._rest(dt)
        if level.known or turning:
            self._heard_s = t_s
        return self._say() if t_s - self._heard_s <= SILENCE_S else Belief(math.nan, math.inf)

    def _doubt_rate(self, dt: float, level: Belief, before: tuple[Floats, Floats]) -> bool:
        """The level does not fit: a slip of the registration, if it fits as soon as the rate is left out.

        Whether the rate was kept.
        """
        turned = self._x, self._p
        self._x, self._p = before
        self._drift(dt)
        if self._shock(level) > OUTLIER_SD**2:
            self._x, self._p = turned
            return True
        return False

    def _settle(self, level: Belief, waist: float, *, turning: bool) -> None:
        """How large the errors of this frame may be, and how large each witness draws the swing."""
        if math.isfinite(waist):
            self._seen = min(max(waist, 0.0), 1.0)
        seen = self._seen
        fault = Fault(
            RATE_COVERED.small + (RATE_SEEN.small - RATE_COVERED.small) * seen,
            RATE_COVERED.large + (RATE_SEEN.large - RATE_COVERED.large) * seen,
        )
        if level.known:
            first = math.isnan(self._level_sd)
            self._level_sd = level.sd * self.doubt
            if first:
                self._p[SLIP, SLIP] = SLIP_SHARE * self._level_sd**2
        if math.isnan(self._level_sd):
            self._sizes = Sizes(1.0, 1.0, fault.small, 1.0)
            return
        span_sd = math.sqrt(SPAN_SHARE) * self._level_sd / SWING_SD_DEG
        self._sizes = split(self._agreement, Fault(max(LEVEL_SMALL, 2 * span_sd), span_sd), fault)
        if not turning:
            self._sizes = replace(self._sizes, sd=span_sd)

    # -- prediction --------------------------------------------------------------------------------------------------

    def _age(self, dt: float) -> None:
        """What happens to the states by themselves."""
        keep = np.array([1.0, 1.0, math.exp(-dt / SLIP_TAU_S), math.exp(-dt / BIAS_TAU_S)])
        self._x = self._x * keep
        self._p = self._p * keep[:, None] * keep
        slip = 0.0 if math.isnan(self._level_sd) else SLIP_SHARE * self._level_sd**2
        self._p[MEAN, MEAN] += MEAN_WANDER_DEG**2 * dt
        self._p[SLIP, SLIP] += slip * (1 - keep[SLIP] ** 2)
        self._p[BIAS, BIAS] += BIAS_SD_DPS**2 * (1 - keep[BIAS] ** 2)

    def _turn(self, dt: float, rate: Belief) -> None:
        """Move the swing as the gyroscope says."""
        stretched = self._sizes.rate
        turn = rate.value - float(self._x[BIAS])
        step = np.eye(4)
        step[SWING, BIAS] = -stretched * dt
        self._x = self._x.copy()
        self._x[SWING] += stretched * turn * dt
        self._p = step @ self._p @ step.T
        self._p[SWING, SWING] += (self._scatter_dps(rate) * dt) ** 2 * self.doubt

    def _drift(self, dt: float) -> None:
        """Nobody saw how the pelvis moved."""
        self._p = self._p.copy()
        room = max(SWING_SD_DEG**2 - self._p[SWING, SWING], 0.0)
        self._p[SWING, SWING] += min(2.0 * (UNSEEN_RATE_DPS * dt) ** 2, room)

    def _scatter_dps(self, rate: Belief) -> float:
        """Sd of a rate from frame to frame [deg/s]."""
        covered = 1.0 - self._seen
        own = math.sqrt(max(rate.sd**2 - (RATE_SHARE * rate.value) ** 2, 0.0)) * (1.0 + covered * (COVERED_TIMES - 1.0))
        return math.hypot(own, (FLICKER + covered * (COVERED_FLICKER - FLICKER)) * rate.value)

    # -- witnesses ---------------------------------------------------------------------------------------------------

    def _expected(self) -> tuple[Floats, float, float]:
        """How the model's word follows the states, what it should be, and its variance about that."""
        row = np.array([self._sizes.level, 1.0, 1.0, 0.0])
        return row, float(row @ self._x), float(row @ self._p @ row) + FRAME_SHARE * self._level_sd**2

    def _shock(self, level: Belief) -> float:
        _, should, spread = self._expected()
        return (level.value - should) ** 2 / spread

    def _take_level(self, level: Belief, dt: float) -> None:
        row, should, spread = self._expected()
        surprise = level.value - should
        shock = surprise**2 / spread
        change = min(dt / QUARREL_TAU_S, 1.0) * (min(shock, OUTLIER_SD**2) - TOLERATED)
        self.doubt = min(max(self.doubt * math.exp(0.5 * change), 1.0), MOST_DOUBT)
        if shock > OUTLIER_SD**2:
            spread *= (shock / OUTLIER_SD**2) ** 2
        gain = self._p @ row / spread
        self._x = self._x + gain * surprise
        p = self._p - np.outer(gain, gain) * spread
        self._p = (p + p.T) / 2

    def _rest(self, dt: float) -> None:
        """A swing comes back: one weak statement each half stride that it is about zero.

        It moves the swing alone. That a runner keeps on swinging must not be taken for a span or stretch too large.
        """
        if dt <= 0:
            return
        noise = SWING_SD_DEG**2 * max(SWING_TAU_S / dt, 1.0)
        share = float(self._p[SWING, SWING]) / (float(self._p[SWING, SWING]) + noise)
        self._x = self._x.copy()
        self._x[SWING] *= 1.0 - share
        self._p = self._p.copy()
        self._p[SWING, :] *= 1.0 - share
        self._p[:, SWING] *= 1.0 - share
        self._p[SWING, SWING] += share**2 * noise

    def _say(self) -> Belief:
        p = self._p
        variance = float(p[SWING, SWING] + p[MEAN, MEAN] + 2 * p[SWING, MEAN])
        variance += self.size_sd_deg**2
        if not math.isnan(self._level_sd):
            variance += OFFSET_SHARE * self._level_sd**2
        return Belief(float(self._x[SWING] + self._x[MEAN]), math.sqrt(max(variance, 1e-6)))
