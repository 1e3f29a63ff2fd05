"""What ``station bench latency`` was asked for, measured and printed."""

from __future__ import annotations

import json
from pathlib import Path

from station.bench import compare, delivery, soak, stages, variants
from station.config import Config


def bench(
    config: Config,
    count: int,
    *,
    as_json: bool,
    every_variant: bool = False,
    soak_minutes: float = 0.0,
    mediapipe_python: Path | None = None,
    delivery_s: float = 0.0,
    pages: int = 1,
    busy: int = 0,
    fps: float | None = None,
    hinder: bool = False,
) -> int:
    """Measure on ``count`` frames, as fast as they go; p50, p95, p99 of each stage in ms; returns the exit code.

    ``every_variant``: also every model on every number of threads, with the configuration they suggest. Instead of
    that: ``soak_minutes`` at the pace of the source; ``mediapipe_python`` (an interpreter that has MediaPipe) compares;
    ``delivery_s`` seconds of the whole station, with ``pages`` that watch and ``busy`` processes that are in the way,
    the clip at the pace of ``fps`` and, with ``hinder``, broker and disk slow.
    """
    if soak_minutes > 0:
        found, text = soak.measure(config, soak_minutes), soak.table
    elif delivery_s > 0:
        found, text = delivery.measure(config, delivery_s, pages, busy, fps=fps, hinder=hinder), delivery.table
    elif mediapipe_python is not None:
        found, text = compare.measure(config, count, mediapipe_python), compare.table
    else:
        found, text = stages.measure(config, count), stages.table
        if every_variant:
            found |= variants.measure(config, min(count, 120))
            text = variants.table
    print(json.dumps(found, indent=2) if as_json else text(found))
    return 0
