"""Times of one stride and of the pooled strides, from the events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from station.gait.cycles import Cycle

#: Error of the coefficient of variation that no number of strides mends [share].
CV_FLOOR = 0.002
#: Force and picture need not agree on a single event: scatter of one against the other within a runner [s].
EVENT_SCATTER_S = 0.003


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one stride (or their mean over the pooled ones).

    ``cycle`` is the stride time between level feet, less exposed to the contact model than ``stride``; ``event_sd_s``
    is the random error of one event as the pixels leave it, ``doubt_s`` the sd that feet add which contradict the
    pelvis.
    """

    stride: float
    cycle: float
    step_left: float
    step_right: float
    contact_left: float
    contact_right: float
    flight_left: float
    flight_right: float
    event_sd_s: float
    doubt_s: float


def stride_timing(cycle: Cycle) -> Timing:
    """From the five events of an accepted cycle."""
    at = {name: event.t_s for name, event in cycle.events.items()}
    left, left_off = at["left_contact"], at["left_off"]
    right, right_off, end = at["right_contact"], at["right_off"], at["end"]
    return Timing(
        stride=end - left,
        cycle=cycle.period_s,
        step_left=right - left,
        step_right=end - right,
        contact_left=left_off - left,
        contact_right=right_off - right,
        flight_left=right - left_off,
        flight_right=end - right_off,
        event_sd_s=float(np.mean([event.sd_s for event in cycle.events.values()])),
        doubt_s=cycle.doubt_s,
    )


def pooled_timing(strides: Sequence[Timing]) -> Timing:
    """Mean of every time; the stride time from the cycles."""
    mean = {name: float(np.mean([getattr(s, name) for s in strides])) for name in Timing.__dataclass_fields__}
    return Timing(**(mean | {"stride": 0.5 * (mean["cycle"] + mean["stride"])}))


def variation_pct(strides: Sequence[Timing]) -> tuple[float, float] | None:
    """Coefficient of variation of stride time [%], measurement noise deducted, and its sd; ``None`` below 8 strides."""
    if len(strides) < 8:
        return None
    times = np.array([s.stride for s in strides])
    noise = 2.0 * np.mean([s.event_sd_s for s in strides]) ** 2
    mean = times.mean()
    raw = times.var(ddof=1)
    spread = np.sqrt(max(raw - noise, 0.0))
    n = len(times)
    error = np.hypot(np.sqrt(raw / (2 * (n - 1)) + noise / n), CV_FLOOR * mean)
    return float(100 * spread / mean), float(100 * error / mean)
