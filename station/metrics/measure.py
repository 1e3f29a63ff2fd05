"""A stride and the pooled curves → every metric of ``docs/metrics.md``, with its confidence."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

import numpy as np

from station.gait.cycles import Cycle
from station.gait.recent import LEFT_HIP, RIGHT_HIP, Recent
from station.geometry import NOMINAL_HIP_WIDTH_M, RayCaster
from station.harmonics import Fit, HarmonicPool, basis, huber_weights
from station.metrics import readings
from station.metrics.channels import AMPLITUDE, DECAY, HARMONICS, STRIDE_SD, Channel, channels, hip_width_m, weights
from station.metrics.curves import Curves
from station.metrics.intervals import combine
from station.metrics.table import METRICS, Zone, bands
from station.metrics.timing import Timing, pooled_timing, stride_timing
from station.types import Floats, Metric, Stride, StrideMetrics

#: Strides pooled into ``value``.
WINDOW = 20
#: Harmonics of one stride's own deviation from the pooled curve.
DEVIATION_HARMONICS = 3
#: From so many strides on, obliquity that runs against the swing leg is not the pelvis's.
GATE_STRIDES, GATE_CORRELATION = 10, -0.4
#: What of an estimator's lasting error is not a mere offset, which drop does not feel.
LASTING_SHARE = 0.8
#: An estimator that knows less than this share of a stride's frames, or those with a wider sd [deg], sees no waist.
KNOWN_SHARE, WIDEST_SD_DEG = 0.5, 3.0
_WANDERING = [Channel.PELVIS_SIDE, Channel.PELVIS_UP]


class StrideMeter:
    """Keeps the pooled curves of one runner and reads the metrics of each stride off them.

    ``own_coef`` (channels, coefficients) and ``hip_width_m`` are those of the newest measured stride.
    """

    def __init__(self, recent: Recent, caster: RayCaster, profile: str | None = None) -> None:
        self._recent = recent
        self._caster = caster
        self._pool = HarmonicPool(AMPLITUDE, HARMONICS, WINDOW, DECAY)
        self._levels: dict[str, tuple[float | None, float | None]] = {}
        self.own_coef: Floats = np.full((len(Channel), 1 + 2 * HARMONICS), np.nan)
        self.hip_width_m = NOMINAL_HIP_WIDTH_M
        self.begin(profile)

    def begin(self, profile: str | None) -> None:
        """A session of another runner: strides count from 1, the zones are those of ``profile``."""
        self._seq = 0
        self._bands = bands(profile)
        self.reset()

    def set_level(self, obliquity_deg: float, tilt_deg: float, source: str) -> None:
        """Standing level of this runner by one estimator, NaN = not known: then drop counts from the mean of the run.

        It serves what that estimator measures and nothing else.
        """
        known = [value if np.isfinite(value) else None for value in (obliquity_deg, tilt_deg)]
        self._levels[source] = known[0], known[1]

    def forget_levels(self) -> None:
        """Nobody stood yet."""
        self._levels.clear()

    def reset(self) -> None:
        """Another runner, or a break too long to bridge."""
        self._pool.reset()
        self._fit: Fit | None = None
        self._source: int | None = None
        self._timing: deque[Timing] = deque(maxlen=WINDOW)
        self._zones: dict[str, Zone] = {}
        self._hip_rays: deque[float] = deque(maxlen=400)
        self.curves: Curves | None = None

    def forget_all_but(self, newest: int) -> None:
        """The runner changed speed: older strides no longer speak."""
        self._pool.forget_all_but(newest)
        if newest == 0:
            self._fit = None
        while len(self._timing) > newest:
            self._timing.popleft()

    def _number(self) -> int:
        self._seq += 1
        return self._seq

    # -- rejected strides ------------------------------------------------------------------------------------------

    def rejected(self, cycle: Cycle) -> StrideMetrics:
        """A stride that is published without values."""
        stride = self._stride(cycle)
        reasons = tuple(dict.fromkeys(str(reason) for reason in cycle.reasons))
        empty = Metric(reason=reasons[0])
        return StrideMetrics(stride, "rejected", reasons, dict.fromkeys(METRICS, empty))

    def _stride(self, cycle: Cycle) -> Stride:
        at = {name: event.t_s for name, event in cycle.events.items()}
        start = at.get("left_contact", cycle.start_anchor_s)
        end = at.get("end", cycle.end_anchor_s)
        return Stride(
            self._number(),
            start,
            end,
            at.get("left_contact"),
            at.get("left_off"),
            at.get("right_contact"),
            at.get("right_off"),
        )

    # -- accepted strides ------------------------------------------------------------------------------------------

    def measure(self, cycle: Cycle) -> Iterator[StrideMetrics | None]:
        """Slices of work; the last one yields the result."""
        recent = self._recent
        rows = recent.between(cycle.start_s, cycle.end_s)
        source = self._listen(rows)
        self._hip_rays.append(float(np.nanmean(recent.hip_ray(rows))))
        width = hip_width_m(float(np.mean(self._hip_rays)), self._caster)
        values = channels(recent, rows, self._caster, width)
        yield None
        self._take_drift_out(values, cycle, width)
        phase = (recent.t_s(rows) - cycle.start_s) / (cycle.end_s - cycle.start_s)
        regressors = basis(phase, HARMONICS)
        yield None
        weight = weights(recent, rows)
        if self._fit is not None:
            residual = values - regressors @ self._fit.coef.T
            outliers = huber_weights(residual * np.sqrt(weight), self._fit.sigma * 1.2)
            weight *= np.where(np.isfinite(self._fit.coef[:, 0]), outliers, 1.0)  # no curve yet: nothing lies off it
        self._pool.add(regressors, values, weight)
        yield None
        fit = self._fit = self._pool.solve()
        yield None
        timing = stride_timing(cycle)
        self._timing.append(timing)
        self.own_coef, self.hip_width_m = self._own_coef(fit, regressors, values, weight), width
        yield None
        elevation = float(np.nanmean(recent.rays(rows)[:, [LEFT_HIP, RIGHT_HIP], 1]))
        trust = lasting_error_deg(fit, recent.pelvis(rows)[:, 3:], source)
        context = readings.Context(
            self._caster, width, elevation, cycle, *self._levels.get(source, (None, None)), source, trust
        )
        own = Curves(readings.level_view(self.own_coef, context))
        self.curves = pooled = Curves(readings.level_view(fit.coef, context))
        now = readings.Reader(own, context, timing)
        for _ in now.read():
            yield None
        value = readings.Reader(pooled, context, pooled_timing(self._timing))
        for _ in value.read():
            yield None
        hidden = fit.strides >= GATE_STRIDES and against_the_swing(pooled, cycle.lift)
        hidden = hidden or (source != "hips" and mostly_unknown(recent.pelvis(rows)[:, [0, 3]]))
        yield None
        metrics: dict[str, Metric] = {}
        for metrics in combine(value.out, now.out, fit, context, self._timing, hidden):  # noqa: B007 (the last)
            yield None
        yield StrideMetrics(self._stride(cycle), "ok", (), metrics, self._zone(metrics), fit.strides)

    def _listen(self, rows: slice) -> str:
        """Who measures the pelvis in a stride: that of the stride before, unless another spoke on half of the frames.

        No number mixes two estimators: the frames of others are left out, what was pooled of another is forgotten.
        """
        recent, number = self._recent, self._source
        sources, spoke = recent.sources(rows), np.isfinite(recent.pelvis(rows)[:, :3]).any(axis=1)
        if number is None or (sources != number).any():
            most = int(np.bincount(sources[spoke] if spoke.any() else sources).argmax())
            if number is None:
                number = most
            elif most != number and (spoke & (sources == most)).mean() >= KNOWN_SHARE:
                number = most
                self.forget_all_but(0)
                self._zones.clear()
            recent.hear_only(rows, number)
        self._source = number
        return recent.source(number)

    def _take_drift_out(self, values: Floats, cycle: Cycle, width: float) -> None:
        """Take out of the pelvis's place what the stride did not bring back: the runner wanders over the belt.

        Places at equal phase, one stride apart, differ by the wandering alone; ± 0.15 strides around both ends are
        averaged.
        """
        recent, period = self._recent, cycle.end_s - cycle.start_s
        ends = []
        for middle in (cycle.start_s, cycle.end_s):
            rows = recent.between(middle - 0.15 * period, middle + 0.15 * period)
            ends.append(np.nanmean(channels(recent, rows, self._caster, width)[:, _WANDERING], axis=0))
        phase = (recent.t_s(recent.between(cycle.start_s, cycle.end_s)) - cycle.start_s) / period
        values[:, _WANDERING] -= np.outer(phase - 0.5, ends[1] - ends[0]) + (ends[1] + ends[0]) / 2

    def _own_coef(self, fit: Fit, regressors: Floats, values: Floats, weight: Floats) -> Floats:
        """Coefficients of this stride alone: the pooled curve plus a smooth deviation."""
        size = 1 + 2 * DEVIATION_HARMONICS
        few = regressors[:, :size]
        residual = values - regressors @ fit.coef.T
        w = np.where(np.isfinite(residual), weight, 0.0)
        residual = np.where(np.isfinite(residual), residual, 0.0)
        gram = np.matmul((w.T[:, :, None] * few).transpose(0, 2, 1), few)
        order = np.concatenate(([1.0], np.repeat(np.arange(1, DEVIATION_HARMONICS + 1), 2)))
        sigma = np.where(np.isfinite(fit.sigma), fit.sigma, 1.0)
        diagonal = np.arange(size)
        gram[:, diagonal, diagonal] += ((sigma / STRIDE_SD)[:, None] * order) ** 2
        deviation = np.linalg.solve(gram, ((w * residual).T @ few)[:, :, None])[:, :, 0]
        coef = fit.coef.copy()
        coef[:, :size] += deviation
        return coef

    def _zone(self, metrics: Mapping[str, Metric]) -> dict[str, Zone]:
        zones: dict[str, Zone] = {}
        for name, band in self._bands.items():
            metric = metrics[name]
            if metric.value is not None and metric.ci95 is not None:
                zones[name] = band.zone(metric.value, metric.ci95, self._zones.get(name, "green"))
        self._zones.update(zones)
        return zones


def against_the_swing(curves: Curves, lift: Floats | None) -> bool:
    """Whether obliquity rises where the swing side should sink: cloth or thighs are seen, not the pelvis.

    In recorded runners the correlation of "swing side lower" with the height of the swing foot is .6 typically and
    −.17 at the least; estimators that followed hem or thigh showed −.5 to −.9.
    """
    obliquity = curves.grid[::2, Channel.OBLIQUITY]
    if lift is None or not np.isfinite(obliquity).all() or not np.isfinite(lift).all():
        return False
    return bool(np.corrcoef(obliquity, lift)[0, 1] < GATE_CORRELATION)


def mostly_unknown(obliquity: Floats) -> bool:
    """Whether an estimator hardly knew obliquity in a stride: its angles and their sd (n, 2)."""
    known = np.isfinite(obliquity[:, 0])
    sd = obliquity[known, 1]
    sd = sd[np.isfinite(sd)]
    return bool(known.mean() < KNOWN_SHARE or (len(sd) and np.median(sd) > WIDEST_SD_DEG))


def lasting_error_deg(fit: Fit, sd_deg: Floats, source: str | None) -> tuple[float, float, float]:
    """Error of obliquity, rotation and tilt that no pooling mends, from the frames' own sd (n, 3).

    What an estimator is off by and what its frames scatter about the pooled curve are two things: an error that
    repeats with the stride does not scatter. What of the sd does not show as scatter is therefore taken to last.
    """
    if source == "hips":
        known = sd_deg[np.isfinite(sd_deg[:, 0]), 0]
        return (float(np.median(known)) if len(known) else 0.0), 0.0, 0.0
    lasting = []
    for channel in (Channel.OBLIQUITY, Channel.ROTATION, Channel.TILT):
        known = sd_deg[np.isfinite(sd_deg[:, channel]), channel]
        if not len(known) or not np.isfinite(fit.sigma[channel]):
            lasting.append(0.0)
            continue
        # the scatter is that of the surest frames, the others weigh less
        scatter = float(fit.sigma[channel] * np.median(known) / max(float(known.min()), 1e-9))
        lasting.append(LASTING_SHARE * float(np.sqrt(max(np.median(known) ** 2 - scatter**2, 0.0))))
    return lasting[0], lasting[1], lasting[2]
