"""What the coach knows of the last strides: are they measured, is the speed steady, which metric is out of its band."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from station.coach.settings import CoachSettings
from station.metrics.table import Band, Zone
from station.types import Metric, StrideMetrics

_SPEED_STRIDES = 20
_NEWEST = 3


class Steadiness:
    """Whether enough of the last strides were measured, and since when the belt runs at one speed."""

    def __init__(self, settings: CoachSettings) -> None:
        self._settings = settings
        self._measured: deque[bool] = deque(maxlen=settings.window)
        self._times: deque[float] = deque(maxlen=_SPEED_STRIDES)
        self._last_end_s: float | None = None
        self.unsettled_until_s = float("-inf")

    def feed(self, stride: StrideMetrics, now_s: float) -> bool:
        """Take in a stride; whether what was known before it no longer counts (a break, a change of speed)."""
        start_s, end_s = stride.stride.start_s, stride.stride.end_s
        broken = self._last_end_s is not None and start_s - self._last_end_s > self._settings.break_s
        self._last_end_s = end_s
        if broken:
            self._measured.clear()
            self._times.clear()
        self._measured.append(stride.status == "ok")
        if stride.status != "ok":
            return broken
        self._times.append(end_s - start_s)
        if not self._speed_changed():
            return broken
        newest = list(self._times)[-_NEWEST:]
        self._times.clear()
        self._times.extend(newest)
        self.unsettled_until_s = now_s + self._settings.settle_s
        return True

    def _speed_changed(self) -> bool:
        if len(self._times) <= _NEWEST:
            return False
        times = list(self._times)
        before, newest = float(np.median(times[:-_NEWEST])), float(np.median(times[-_NEWEST:]))
        return abs(newest / before - 1.0) * 100.0 > self._settings.speed_change_pct if before > 0 else True

    def trusted(self, now_s: float) -> bool:
        """Whether anything may be said now."""
        return (
            len(self._measured) == self._settings.window
            and sum(self._measured) >= self._settings.measured
            and now_s >= self.unsettled_until_s
        )


@dataclass(slots=True)
class Watch:
    """One metric with a zone: its last strides, its zone, and for how much of the session it was out of the green."""

    band: Band
    settings: CoachSettings
    zone: Zone = "green"
    value: float | None = None
    ci95: float | None = None
    judged: int = 0
    not_green: int = 0
    source: str | None = None
    last: deque[tuple[int, bool]] = field(default_factory=deque)

    def feed(self, seq: int, metric: Metric, zone: Zone | None) -> None:
        """One ``ok`` stride; without a ``value`` or a zone the metric is unknown until it comes back.

        What another estimator said before does not count beside it.
        """
        self.value, self.ci95 = metric.value, metric.ci95
        if metric.value is None or metric.ci95 is None or zone is None:
            self.value = None
            self.forget()
            return
        if metric.source != self.source:
            self.source = metric.source
            self.forget()
        self.zone = zone
        self.judged += 1
        self.not_green += zone != "green"
        if metric.stride is not None:
            self.last.append((seq, self.band.zone(metric.stride, 0.0, "green") != "green"))
            while len(self.last) > self.settings.window:
                self.last.popleft()

    def forget(self) -> None:
        """The last strides no longer count."""
        self.last.clear()

    @property
    def sure(self) -> bool:
        """Whether ``value`` is known well enough to speak of it."""
        if self.value is None or self.ci95 is None:
            return False
        return self.ci95 <= self.settings.max_interval_share * abs(self.band.red - self.band.green)

    @property
    def because(self) -> tuple[int, ...]:
        """``seq`` of the strides out of band among the last ones."""
        return tuple(seq for seq, out in self.last if out)

    @property
    def out(self) -> bool:
        """Left the green by both readings."""
        return self.sure and self.zone != "green" and len(self.because) >= self.settings.out_of_band

    @property
    def back(self) -> bool:
        """In the green by both readings."""
        full = len(self.last) == self.settings.window
        return self.sure and full and self.zone == "green" and len(self.because) <= self.settings.back_in_band

    @property
    def excess(self) -> float:
        """How far beyond the green border, in widths of the amber zone."""
        if self.value is None:
            return float("-inf")
        return (self.badness(self.value) - self.badness_of_border) / abs(self.band.red - self.band.green)

    def badness(self, value: float) -> float:
        """A number that is larger when the metric is worse, in its unit."""
        value = abs(value) if self.band.absolute else value
        return value if self.band.rising else -value

    @property
    def badness_of_border(self) -> float:
        """The green border on the scale of :meth:`badness`."""
        return self.band.green if self.band.rising else -self.band.green
