"""The path at the pace of its source for minutes or hours: what grows, what gets slower, what stalls."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from station.bench import stages
from station.camera.video import VideoFile
from station.config import Config
from station.health import Timings, rss_mb, temperature_c

_EVERY_S = 30.0


class Stalls:
    """How long the garbage collector held the process up, in milliseconds; a context for :data:`gc.callbacks`.

    With :func:`time.thread_time` for ``clock`` what others did meanwhile does not count.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.longest_ms = 0.0
        self.count = 0
        self._clock, self._since_s = clock, 0.0

    def forget(self) -> None:
        """What was so far does not count: the engine collects once before it begins."""
        self.longest_ms, self.count = 0.0, 0

    def __call__(self, phase: str, _info: dict[str, int]) -> None:
        """Called by the collector before and after."""
        if phase == "start":
            self._since_s = self._clock()
        else:
            self.count += 1
            self.longest_ms = max(self.longest_ms, 1000 * (self._clock() - self._since_s))

    def __enter__(self) -> Stalls:
        gc.callbacks.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self)


def measure(config: Config, minutes: float) -> dict[str, Any]:
    """``samples`` every half minute, and the drift of each over an hour, fitted to all but the first."""
    video = VideoFile(stages.source_of(config), config.camera.mount, live=True)
    path = stages.StationPath(config, video.view, 10_000)
    window, samples, count = Timings(10_000), [], 0
    gc.collect()
    gc.freeze()  # as the engine does
    began_s = sampled_s = time.monotonic()
    with Stalls(time.thread_time) as stalls:
        while (now_s := time.monotonic()) - began_s < 60 * minutes:
            frame = video.read()
            if frame is None:
                break
            window.add(path.step(frame))
            count += 1
            if now_s - sampled_s >= min(_EVERY_S, 10 * minutes):
                sampled_s = now_s
                samples.append(_sample(now_s - began_s, window))
                print(f"{samples[-1]}", file=sys.stderr, flush=True)
                window = Timings(10_000)
    video.close()
    return {
        "source": video.name, "minutes": minutes, "frames": count, "gc_longest_ms": round(stalls.longest_ms, 2),
        "samples": samples, "drift_per_hour": drift(samples),
    }  # fmt: skip


def _sample(t_s: float, window: Timings) -> dict[str, float | None]:
    times = window.percentiles(50, 95, 99) or {}
    return {"t_s": round(t_s, 1), "rss_mb": rss_mb(), "temp_c": temperature_c(), **times}


def drift(samples: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Change per hour of memory, temperature and latency; ``None`` where too little is known."""
    found: dict[str, float | None] = {}
    for name in ("rss_mb", "temp_c", "p50", "p95"):
        points = [(t, y) for one in samples[1:] if (t := one["t_s"]) is not None and (y := one.get(name)) is not None]
        enough = len(points) >= 3
        t_s, values = np.array(points, float).reshape(-1, 2).T
        found[name] = round(float(np.polyfit(t_s, values, 1)[0]) * 3600, 3) if enough else None
    return found


def table(report: dict[str, Any]) -> str:
    """The soak for people."""
    names = ("t_s", "rss_mb", "temp_c", "p50", "p95", "p99")
    lines = [f"{report['source']}: {report['frames']} frames in {report['minutes']:g} minutes",
             "".join(f"{name:>9}" for name in names)]  # fmt: skip
    for one in report["samples"]:
        lines.append("".join(f"{'–' if one.get(name) is None else one[name]:>9}" for name in names))
    lines.append(
        f"drift per hour: {report['drift_per_hour']}; longest garbage collection {report['gc_longest_ms']} ms of CPU"
    )
    return "\n".join(lines)
