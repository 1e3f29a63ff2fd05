"""How late a stride is told, and what a frame costs: ``python -m station.lab.lag``.

Formula runners at several frame rates through a whole session. Lag is the time of the frame on which a stride came out
minus the true end of that stride (the left contact that closed it). Cost is processor time of one ``Session.feed``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from station.lab.analytic import RunnerSpec, run
from station.lab.project import Condition, observe, view_of
from station.session import Session
from station.types import Floats, StrideMetrics

SEEDS = (200, 201, 202, 203)
RATES_FPS = (24.0, 30.0, 50.0, 60.0, 120.0)


@dataclass(frozen=True, slots=True)
class Timed:
    """Of one rate: lag of every stride [s] and cost of every frame [ms]."""

    fps: float
    lag_s: Floats
    cost_ms: Floats


def measure(fps: float, seconds: float) -> Timed:
    """All runners at this rate."""
    lag_s, cost_ms = [], []
    for seed in SEEDS:
        trial = run(RunnerSpec.random(seed), seconds, seed)
        condition = Condition(fps=fps)
        session = Session(view_of(condition))
        for frame in observe(trial, condition, seed):
            begin_s = time.thread_time()
            said = session.feed(frame)
            cost_ms.append(1e3 * (time.thread_time() - begin_s))
            lag_s += [frame.t_s - x.stride.end_s for x in said if isinstance(x, StrideMetrics)]
    return Timed(fps, np.array(lag_s), np.array(cost_ms))


def main(argv: Sequence[str] | None = None) -> int:
    """Print lag and cost at several frame rates."""
    p = argparse.ArgumentParser(prog="python -m station.lab.lag", description=main.__doc__)
    p.add_argument("--seconds", type=float, default=20.0, help="length of each run")
    o = p.parse_args(argv)
    print(f"{'fps':>5}{'strides':>9}{'lag s p50':>11}{'p99':>7}{'cost ms p50':>13}{'p99':>7}{'max':>7}{'ms a s':>8}")
    for fps in RATES_FPS:
        x = measure(fps, o.seconds)
        lag, cost = np.percentile(x.lag_s, (50, 99)), np.percentile(x.cost_ms, (50, 99, 100))
        print(
            f"{fps:5g}{len(x.lag_s):9d}{lag[0]:11.2f}{lag[1]:7.2f}{cost[0]:13.3f}{cost[1]:7.3f}{cost[2]:7.2f}"
            f"{x.cost_ms.mean() * fps:8.1f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
