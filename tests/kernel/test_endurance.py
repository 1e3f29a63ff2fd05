"""An hour of frames: no more memory than after a minute, no slower, no drift of the numbers."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from station.session import Session
from station.types import Observation, StrideMetrics
from tests.kernel.runners import PLAIN, good, seen


def _laps(frames: tuple[Observation, ...], laps: int, start: int = 0) -> list[tuple[float, tuple[Observation, ...]]]:
    length = frames[-1].t_s - frames[0].t_s + 1 / 60
    return [(length * lap, frames) for lap in range(start, start + laps)]


def _run(
    session: Session, frames: tuple[Observation, ...], laps: int, start: int = 0
) -> tuple[list[StrideMetrics], float]:
    """The newest lap's strides, and CPU time a frame [ms]."""
    began, said = time.process_time(), list[StrideMetrics]()
    for offset, lap in _laps(frames, laps, start):
        said = [
            x
            for frame in lap
            for x in session.feed(replace(frame, t_s=frame.t_s + offset))
            if isinstance(x, StrideMetrics)
        ]
    return said, 1e3 * (time.process_time() - began) / (laps * len(frames))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_hour_costs_no_more_than_a_minute() -> None:
    view, frames = seen(PLAIN)
    session = Session(view)
    _, first_ms = _run(session, frames, 3)
    tracemalloc.start()
    _run(session, frames, 3, 3)
    minute = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    said, _ = _run(session, frames, 170, 6)
    tracemalloc.start()
    late, _ = _run(session, frames, 3, 176)
    hour = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    _, last_ms = _run(session, frames, 3, 179)
    assert hour - minute < 1_000_000
    assert last_ms < 2.0 * first_ms
    values = [np.median([s.metrics["pelvic_drop_peak_left_deg"].value for s in good(lap)]) for lap in (said, late)]
    assert abs(values[0] - values[1]) < 0.1
