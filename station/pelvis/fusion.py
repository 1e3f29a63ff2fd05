"""Level from the model, rate from the gyroscope: one angle with one sd.

The model (inclinometer) knows the level but is noisy, and its errors stay for some frames: where a shirt hides the
waist it is off by the same amount for half a stride. The optical gyroscope knows how fast the pelvis turns, hardly
lags and drifts. A Kalman filter with four states holds both to what they are good for:

- *swing*: the moving part of obliquity. It follows the rate and comes back to zero by itself, weakly.
- *mean*: the runner's own level, a constant that drifts very slowly.
- *slip*: the model's error that lasts, a Gauss-Markov process of :data:`SLIP_TAU_S`.
- *bias*: the gyroscope's, a slow Gauss-Markov process.

Everything happens along the line of sight, where level and rate speak of the same angle; :mod:`station.pelvis.frames`
then turns the result into the world. Where the witnesses contradict each other more than their sd allow, the sd of
the result grows by as much; where nobody knows, the result is NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from station.geometry import RayCaster
from station.pelvis.frames import USUAL_SD_DEG, Angles, Sight, Sightline
from station.types import KEYPOINT_INDEX, Floats, PelvisLevel, PelvisRate, PelvisReading, Pose

SWING, MEAN, SLIP, BIAS = range(4)
#: A gap longer than this makes another runner possible [s].
FORGET_AFTER_S = 2.0
#: Frames may be missing for this long before the rate across the gap counts as none [s].
BRIDGED_GAP_S = 0.15
#: How long an error of the model lasts [s], and the share of its variance that does.
SLIP_TAU_S, SLIP_SHARE = 0.35, 0.8
#: Bias of the gyroscope [deg/s] and how long it lasts [s].
BIAS_SD_DPS, BIAS_TAU_S = 3.0, 2.0
#: Share of a rate by which the gyroscope may be off: waist seen, waist covered (then it follows cloth).
GAIN_SD_SEEN, GAIN_SD_COVERED = 0.12, 0.35
#: No pelvis turns faster [deg/s]: such a rate is a slip of the registration.
FASTEST_DPS = 250.0
#: Without a gyroscope the pelvis may turn as fast as runners do [deg/s].
UNSEEN_RATE_DPS = 45.0
#: Runners' mean level and swing differ by this much [deg]; a swing has forgotten itself after half a stride [s].
MEAN_SD_DEG, SWING_SD_DEG, SWING_TAU_S = 2.0, USUAL_SD_DEG[0], 0.35
#: How fast a mean level may wander [deg per square root of a second].
MEAN_WANDER_DEG = 0.05
#: Innovations beyond so many sd are taken for outliers and weigh less.
OUTLIER_SD = 3.0
#: Time over which the quarrel of the witnesses is averaged [s].
QUARREL_TAU_S = 1.0
#: What the sd of witnesses comes out short by, as rendered runners show (``station bench accuracy``).
CALIBRATION = 1.0
#: An sd this wide says no more than that it is a runner [deg]: not known.
BLIND_SD_DEG = 4.0


@dataclass(frozen=True, slots=True)
class Belief:
    """What is thought of obliquity along the line of sight [deg]."""

    deg: float
    sd_deg: float


class LevelFilter:
    """The Kalman filter over obliquity; feed it every frame in time order."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the runner."""
        self._t_s = -math.inf
        self._x: Floats = np.zeros(4)
        self._p: Floats = np.diag([SWING_SD_DEG**2, MEAN_SD_DEG**2, 0.0, BIAS_SD_DPS**2])
        self._quarrel = 1.0
        self._slip_sd = math.nan

    def feed(self, t_s: float, level: Belief, rate: Belief, waist: float = 1.0) -> Belief:
        """Obliquity now, from the level [deg] and the rate [deg/s] of this frame; NaN or an infinite sd = lost."""
        if not 0.0 < t_s - self._t_s <= FORGET_AFTER_S:
            first = self._t_s
            self.reset()
            self._t_s = t_s
            dt = 0.0 if first != first else 0.0
        else:
            dt, self._t_s = t_s - self._t_s, t_s
        moved = self._predict(dt, rate, waist)
        has_level = _usable(level)
        if has_level:
            self._meet_slip(level.sd_deg)
            if _usable(rate) and dt > 0 and self._shock(level) > (1.5 * OUTLIER_SD) ** 2:
                # the level says that this rate was a slip: go without it, unless that fits no better
                self._x, self._p = moved
                self._drift(dt, UNSEEN_RATE_DPS)
            self._take_level(level, dt)
        self._rest(dt)
        return self._say()

    # -- prediction --------------------------------------------------------------------------------------------------

    def _predict(self, dt: float, rate: Belief, waist: float) -> tuple[Floats, Floats]:
        """Go on by ``dt``; what is returned is the state before the rate was believed."""
        keep = np.array([1.0, 1.0, math.exp(-dt / SLIP_TAU_S), math.exp(-dt / BIAS_TAU_S)])
        self._x = self._x * keep
        self._p = self._p * keep[:, None] * keep[None, :]
        slip_sd = 0.0 if math.isnan(self._slip_sd) else self._slip_sd
        self._p[SLIP, SLIP] += slip_sd**2 * (1 - keep[SLIP] ** 2)
        self._p[BIAS, BIAS] += BIAS_SD_DPS**2 * (1 - keep[BIAS] ** 2)
        self._p[MEAN, MEAN] += MEAN_WANDER_DEG**2 * dt
        before = self._x.copy(), self._p.copy()
        if _usable(rate) and abs(rate.deg) <= FASTEST_DPS and dt <= BRIDGED_GAP_S:
            seen = min(max(waist, 0.0), 1.0) if math.isfinite(waist) else 0.5
            gain_sd = GAIN_SD_COVERED + (GAIN_SD_SEEN - GAIN_SD_COVERED) * seen
            step = np.eye(4)
            step[SWING, BIAS] = -dt
            self._x = step @ self._x
            self._x[SWING] += rate.deg * dt
            self._p = step @ self._p @ step.T
            self._p[SWING, SWING] += (math.hypot(rate.sd_deg, gain_sd * rate.deg) * dt) ** 2
        else:
            self._drift(dt, UNSEEN_RATE_DPS)
        return before

    def _drift(self, dt: float, dps: float) -> None:
        """Nobody saw how the pelvis moved."""
        room = max(SWING_SD_DEG**2 - self._p[SWING, SWING], 0.0)
        self._p[SWING, SWING] += min((dps * dt) ** 2 * 2.0, room)

    # -- witnesses ---------------------------------------------------------------------------------------------------

    def _meet_slip(self, sd_deg: float) -> None:
        """The lasting error is as large as the model says of itself, from its first word on."""
        lasting = SLIP_SHARE * sd_deg**2
        if math.isnan(self._slip_sd):
            self._p[SLIP, SLIP] = lasting
        self._slip_sd = math.sqrt(lasting)

    def _expected(self, sd_deg: float) -> tuple[Floats, float]:
        row = np.array([1.0, 1.0, 1.0, 0.0])
        return row, float(row @ self._p @ row) + (1 - SLIP_SHARE) * sd_deg**2

    def _shock(self, level: Belief) -> float:
        row, spread = self._expected(level.sd_deg)
        return float((level.deg - row @ self._x) ** 2 / spread)

    def _take_level(self, level: Belief, dt: float) -> None:
        row, spread = self._expected(level.sd_deg)
        surprise = level.deg - float(row @ self._x)
        shock = surprise**2 / spread
        share = min(dt / QUARREL_TAU_S, 1.0)
        self._quarrel += share * (min(shock, 4 * OUTLIER_SD**2) - self._quarrel)
        if shock > OUTLIER_SD**2:
            spread *= shock / OUTLIER_SD**2
        gain = self._p @ row / spread
        self._x = self._x + gain * surprise
        self._p = self._p - np.outer(gain, gain) * spread
        self._p = (self._p + self._p.T) / 2

    def _rest(self, dt: float) -> None:
        """A swing comes back: one weak statement each half stride that it is about zero."""
        if dt <= 0:
            return
        spread = SWING_SD_DEG**2 * max(SWING_TAU_S / dt, 1.0) + self._p[SWING, SWING]
        gain = self._p[:, SWING] / spread
        self._x = self._x - gain * self._x[SWING]
        self._p = self._p - np.outer(gain, gain) * spread

    def _say(self) -> Belief:
        variance = self._p[SWING, SWING] + self._p[MEAN, MEAN] + 2 * self._p[SWING, MEAN]
        sd = CALIBRATION * math.sqrt(max(variance, 1e-6) * max(self._quarrel, 1.0))
        return Belief(float(self._x[SWING] + self._x[MEAN]), sd)


class PelvisFusion:
    """The fused estimator, and each of its witnesses alone where the other one is never given."""

    def __init__(self, caster: RayCaster, source: str = "fused") -> None:
        self._sightline = Sightline(caster)
        self._filter = LevelFilter()
        self._source = source

    def reset(self) -> None:
        """Nobody is on the belt."""
        self._filter.reset()

    def feed(self, t_s: float, level: PelvisLevel | None, rate: PelvisRate | None, pose: Pose) -> PelvisReading:
        """What is known of the pelvis on this frame: world angles with their sd, the witnesses beside them."""
        if not pose.someone:
            self.reset()
            return PelvisReading(source=self._source)
        seen = Belief(math.nan, math.inf) if level is None else Belief(level.obliquity_deg, level.sd_obliquity_deg)
        turn = Belief(math.nan, math.inf) if rate is None else Belief(rate.rate_dps, rate.sd_dps)
        waist = math.nan if level is None else level.waist
        fused = self._filter.feed(t_s, seen, turn, waist)
        sight = self._sightline.at(*_hips_px(level, pose))
        if sight is None:
            return PelvisReading(source=self._source)
        return self._reading(fused, level, rate, sight)

    def _reading(
        self, fused: Belief, level: PelvisLevel | None, rate: PelvisRate | None, sight: Sight
    ) -> PelvisReading:
        turned = _turned(level)
        world = sight.to_world(Angles((fused.deg, *turned.deg[1:]), (fused.sd_deg, *turned.sd_deg[1:])))
        known = world.sd_deg[0] <= BLIND_SD_DEG
        alone = sight.to_world(turned) if math.isfinite(turned.deg[0]) else turned
        lost = rate is None or not _usable(Belief(rate.rate_dps, rate.sd_dps))
        return PelvisReading(
            obliquity_deg=world.deg[0] if known else math.nan,
            rotation_deg=world.deg[1],
            tilt_deg=world.deg[2],
            sd_obliquity_deg=world.sd_deg[0] if known else math.nan,
            sd_rotation_deg=world.sd_deg[1],
            sd_tilt_deg=world.sd_deg[2],
            source=self._source,
            level_deg=alone.deg[0],
            level_sd_deg=alone.sd_deg[0],
            rate_dps=math.nan if lost or rate is None else rate.rate_dps,
            rate_sd_dps=math.nan if lost or rate is None else rate.sd_dps,
            waist=math.nan if level is None else level.waist,
        )


def level_reading(level: PelvisLevel | None, pose: Pose, sightline: Sightline, source: str = "net") -> PelvisReading:
    """The model's word alone, in the world; NaN where it does not know."""
    sight = sightline.at(*_hips_px(level, pose))
    turned = _turned(level)
    if level is None or sight is None or not math.isfinite(turned.deg[0]):
        return PelvisReading(source=source, waist=math.nan if level is None else level.waist)
    world = sight.to_world(turned)
    known = world.sd_deg[0] <= BLIND_SD_DEG
    return PelvisReading(
        obliquity_deg=world.deg[0] if known else math.nan,
        rotation_deg=world.deg[1],
        tilt_deg=world.deg[2],
        sd_obliquity_deg=world.sd_deg[0] if known else math.nan,
        sd_rotation_deg=world.sd_deg[1],
        sd_tilt_deg=world.sd_deg[2],
        source=source,
        level_deg=world.deg[0],
        level_sd_deg=world.sd_deg[0],
        waist=level.waist,
    )


def _turned(level: PelvisLevel | None) -> Angles:
    """The model's angles, those without a finite sd as not known."""
    if level is None:
        return Angles((math.nan,) * 3, (math.nan,) * 3)
    angles = (level.obliquity_deg, level.rotation_deg, level.tilt_deg)
    sds = (level.sd_obliquity_deg, level.sd_rotation_deg, level.sd_tilt_deg)
    known = [_usable(Belief(angle, sd)) for angle, sd in zip(angles, sds, strict=True)]
    a, b, c = (angle if there else math.nan for angle, there in zip(angles, known, strict=True))
    sa, sb, sc = (sd if there else math.nan for sd, there in zip(sds, known, strict=True))
    return Angles((a, b, c), (sa, sb, sc))


def _hips_px(level: PelvisLevel | None, pose: Pose) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the hips are in the picture: the model's own place for them, else that of the pose."""
    if level is not None and all(map(math.isfinite, (*level.left_px, *level.right_px))):
        return level.left_px, level.right_px
    left, right = (pose.xy_px[KEYPOINT_INDEX[name]].tolist() for name in ("left_hip", "right_hip"))
    return (left[0], left[1]), (right[0], right[1])


def _usable(word: Belief) -> bool:
    return math.isfinite(word.deg) and math.isfinite(word.sd_deg) and word.sd_deg > 0
