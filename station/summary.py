"""A session in numbers: the strides of one runner → :class:`SessionSummary`, in memory that does not grow with the run.

What each field means, where ``docs/metrics.md`` leaves a choice:

- ``median``: of ``value``, over all ``ok`` strides. ``iqr``: of ``stride``, the readings of single strides (of
  ``value`` for the metrics that have no reading of one stride). Up to 1024 strides both are exact; beyond that every
  2nd, 4th, … stride is kept, so that always 512 to 1024 evenly spread ones speak.
- ``ci95``: the median of the strides' ``ci95``. It is not made smaller by the number of strides: what remains in a
  pooled value (event times, landmarks, perspective) is the same in the next one.
- ``trend_per_min``: slope of the straight line through ``value`` over time, exact over all strides, from one minute on.
- ``zones``: those of the medians. A zone other than green is left to the confidence interval, as everywhere.
- What the estimator of the pelvis has a part in (``stability`` too) is told of one estimator alone, named as
  ``source``: that of most strides. A run that a tag measured in part has its other part left out.
- ``strides`` counts the ``ok`` ones; a rejected stride counts once, under its first reason.
- A metric that was never measured keeps the reason that was given most often, with ``n`` = 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from station.harmonics import basis
from station.metrics.channels import Channel
from station.metrics.table import BANDS, METRICS, OF_THE_PELVIS, Band
from station.types import Curve, Floats, Metric, MetricSummary, SessionSummary, StrideMetrics

#: Points of a curve over the stride, both ends included.
POINTS = 101
#: Strides kept for medians and quartiles.
KEPT = 1024
#: Shorter runs have no trend [s].
TREND_FROM_S = 60.0
#: Curves of a session: name, channel, and whether it is a length, given in hip widths about its mean.
CURVES: Mapping[str, tuple[Channel, bool]] = {
    "obliquity": (Channel.OBLIQUITY, False),
    "rotation": (Channel.ROTATION, False),
    "tilt": (Channel.TILT, False),
    "sway": (Channel.PELVIS_SIDE, True),
    "pelvis_height": (Channel.PELVIS_UP, True),
}
#: Curves that an estimator of the pelvis draws.
_ANGLES = frozenset(name for name, (channel, _) in CURVES.items() if channel <= Channel.TILT)
_SOURCED = OF_THE_PELVIS | {"stability"}
_COLUMN = {name: column for column, name in enumerate(METRICS)}
_VALUE, _STRIDE, _CI95 = range(3)


def stride_curves(coef: Floats, hip_width_m: float) -> dict[str, Floats]:
    """The curves of a session, each 101 points from left contact to left contact, of one stride.

    ``coef`` (c, n) are the coefficients of the channels over the gait phase. Angles in degrees, lengths in hip widths;
    a channel without data (NaN) is left out.
    """
    points = coef @ basis(np.linspace(0.0, 1.0, POINTS), (coef.shape[1] - 1) // 2).T
    curves = {}
    for name, (channel, is_length) in CURVES.items():
        curve = points[channel]
        if not np.isfinite(curve).all():
            continue
        curves[name] = (curve - coef[channel, 0]) / hip_width_m if is_length else curve
    return curves


class Summary:
    """Takes in every stride of a session; ``bands`` are the zone borders of its profile."""

    def __init__(self, bands: Mapping[str, Band] = BANDS) -> None:
        self._bands = bands
        self._kept = np.full((KEPT, 3, len(METRICS)), np.nan)
        self._kept_by: list[str | None] = [None] * KEPT
        self._rows = 0
        self._every = 1
        self._strides = 0
        self._first_s: float | None = None
        self._last_s = 0.0
        self._rejected: Counter[str] = Counter()
        self._missing: dict[str, Counter[str]] = {name: Counter() for name in METRICS}
        self._trends = _Trends(len(METRICS))
        self._trends_by: dict[str, _Trends] = {}
        self._by: Counter[str] = Counter()
        self._curves: dict[tuple[str, str | None], _Spread] = {}

    def add(self, stride: StrideMetrics, curves: Mapping[str, Floats] | None = None) -> None:
        """One stride in time order; ``curves`` are its own (:func:`stride_curves`), each finite and of 101 points."""
        if self._first_s is None:
            self._first_s = stride.stride.start_s
        self._last_s = stride.stride.end_s
        if stride.status != "ok":
            self._rejected[stride.reasons[0] if stride.reasons else "rejected"] += 1
            return
        row, source = np.full((3, len(METRICS)), np.nan), None
        for name, column in _COLUMN.items():
            metric = stride.metrics.get(name, Metric())
            row[:, column] = _number(metric.value), _number(metric.stride), _number(metric.ci95)
            source = metric.source or source
            if metric.reason is not None:
                self._missing[name][metric.reason] += 1
        self._keep(row, source)
        at_min = (stride.stride.end_s - self._first_s) / 60.0
        self._trends.add(at_min, row[_VALUE])
        if source is not None:
            self._by[source] += 1
            self._trends_by.setdefault(source, _Trends(len(METRICS))).add(at_min, row[_VALUE])
        for name, curve in (curves or {}).items():
            self._curves.setdefault((name, source if name in _ANGLES else None), _Spread()).add(curve)

    def _keep(self, row: Floats, source: str | None) -> None:
        if self._strides % self._every == 0:
            if self._rows == KEPT:
                self._kept[: KEPT // 2] = self._kept[::2].copy()
                self._kept_by[: KEPT // 2] = self._kept_by[::2]
                self._rows, self._every = KEPT // 2, 2 * self._every
            self._kept[self._rows] = row
            self._kept_by[self._rows] = source
            self._rows += 1
        self._strides += 1

    def result(
        self,
        *,
        profile: str | None = None,
        cues: Sequence[Mapping[str, object]] = (),
        advice: Sequence[str] = (),
        frames_seen: int = 0,
        start_s: float | None = None,
        end_s: float | None = None,
    ) -> SessionSummary:
        """The session so far, from ``start_s`` to ``end_s`` [s]: by default from its first stride to its last."""
        begin_s = start_s if start_s is not None else self._first_s or 0.0
        finish_s = end_s if end_s is not None else self._last_s if self._first_s is not None else begin_s
        main = self._by.most_common(1)[0][0] if self._by else None
        of_main = np.array([source == main for source in self._kept_by[: self._rows]], dtype=bool)
        metrics = {name: self._metric(name, main, of_main) for name in METRICS}
        return SessionSummary(
            start_s=begin_s,
            duration_s=max(0.0, finish_s - begin_s),
            profile=profile,
            strides=self._strides,
            rejected=dict(self._rejected),
            metrics={name: metric for name, metric in metrics.items() if metric is not None},
            zones=self._zones(metrics),
            curves={
                name: spread.curve()
                for name in CURVES
                if (spread := self._curves.get((name, main if name in _ANGLES else None))) is not None
            },
            cues=tuple(cues),
            advice=tuple(advice),
            frames_seen=frames_seen,
        )

    def _metric(self, name: str, main: str | None, of_main: NDArray[np.bool_]) -> MetricSummary | None:
        """Of ``main``'s strides alone (``of_main`` marks the kept ones) where an estimator of the pelvis is behind."""
        column, source = _COLUMN[name], main if name in _SOURCED else None
        trends = self._trends if source is None else self._trends_by[source]
        n = int(trends.n[column])
        kept = self._kept[: self._rows, :, column]
        if source is not None:
            kept = kept[of_main]
        values = _known(kept[:, _VALUE])
        if not len(values):  # n may be 1 or 2 when the only strides that had it were not kept
            why = self._missing[name].most_common(1)
            return MetricSummary(math.nan, math.nan, None, 0, None, reason=why[0][0]) if why else None
        own, ci95 = _known(kept[:, _STRIDE]), _known(kept[:, _CI95])
        low, high = np.percentile(own if len(own) else values, (25, 75))
        return MetricSummary(
            median=float(np.median(values)),
            iqr=float(high - low),
            ci95=float(np.median(ci95)) if len(ci95) else None,
            n=n,
            trend_per_min=trends.slope(column),
            source=source,
        )

    def _zones(self, metrics: Mapping[str, MetricSummary | None]) -> dict[str, str]:
        zones: dict[str, str] = {}
        for name, band in self._bands.items():
            metric = metrics.get(name)
            if metric is not None and metric.n and metric.ci95 is not None:
                zones[name] = band.zone(metric.median, metric.ci95, "green")
        return zones


class _Trends:
    """Least-squares lines of many series over time, by running means: exact, and sound for hours."""

    def __init__(self, columns: int) -> None:
        self.n = np.zeros(columns)
        self._mean_t, self._mean_y = np.zeros(columns), np.zeros(columns)
        self._tt, self._ty = np.zeros(columns), np.zeros(columns)
        self._first_min = np.full(columns, np.nan)
        self._last_min = np.full(columns, np.nan)

    def add(self, t_min: float, y: Floats) -> None:
        """``y`` (columns,) at ``t_min`` minutes, NaN where unknown."""
        known = np.isfinite(y)
        self.n += known
        n = np.maximum(self.n, 1.0)
        dt = np.where(known, t_min - self._mean_t, 0.0)
        dy = np.where(known, y - self._mean_y, 0.0)
        self._mean_t += dt / n
        self._mean_y += dy / n
        left_t = np.where(known, t_min - self._mean_t, 0.0)
        self._tt += dt * left_t
        self._ty += dy * left_t
        self._first_min = np.where(known & np.isnan(self._first_min), t_min, self._first_min)
        self._last_min = np.where(known, t_min, self._last_min)

    def slope(self, column: int) -> float | None:
        """Change a minute; ``None`` for a series shorter than :data:`TREND_FROM_S`."""
        if not self._last_min[column] - self._first_min[column] >= TREND_FROM_S / 60.0 or self._tt[column] <= 0.0:
            return None
        return float(self._ty[column] / self._tt[column])


class _Spread:
    """Mean and standard deviation of curves (Welford)."""

    def __init__(self) -> None:
        self._n = 0
        self._mean = np.zeros(POINTS)
        self._square = np.zeros(POINTS)

    def add(self, curve: Floats) -> None:
        self._n += 1
        step = curve - self._mean
        self._mean += step / self._n
        self._square += step * (curve - self._mean)

    def curve(self) -> Curve:
        """The sd of a single curve is 0."""
        return Curve(self._mean.copy(), np.sqrt(self._square / max(self._n - 1, 1)))


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _known(values: Floats) -> Floats:
    return values[np.isfinite(values)]
