"""Every pose model on every number of threads: what this machine can run, and the configuration that suggests."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from station.bench import stages
from station.config import Config
from station.models import LANDMARK_MODELS

#: What is asked of a camera, best first [frames a second].
RATES = (60, 30, 24)
#: The slowest of twenty frames may take this share of a frame's time: the rest is for the page, the broker, a hot day.
SHARE = 0.7
#: Preferred from the left: the fuller model scatters less (``docs/decisions/0005``), the quantized one costs less.
PREFERENCE = ("full", "lite")


def measure(config: Config, count: int) -> dict[str, Any]:
    """``variants`` (model, threads, p50 and p95 of the whole path without decoding, CPU) and the ``suggestion``."""
    threads = sorted({1, 2, min(4, os.cpu_count() or 1)} & set(range(1, (os.cpu_count() or 1) + 1)))
    found = [_one(config, model, number, count) for model in LANDMARK_MODELS for number in threads]
    return {"variants": found, "suggestion": suggestion(found)}


def _one(config: Config, model: str, threads: int, count: int) -> dict[str, Any]:
    pose = dataclasses.replace(config.pose, model=model, threads=threads)  # type: ignore[arg-type]  # all of the list
    report = stages.measure(dataclasses.replace(config, pose=pose), count)
    ms = report["ms"]
    path = {rank: round(ms["whole"][rank] - ms["decode"]["p50"], 2) for rank in ("p50", "p95")}
    can = [rate for rate in RATES if path["p95"] <= SHARE * 1000 / rate]
    return {
        "model": model, "threads": threads, **path, "cpu_ms": report["cpu_ms_per_frame"],
        "fps": can[0] if can else None,
    }  # fmt: skip


def suggestion(found: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The keys to set: first the rate, then the better model, then the fewest threads; ``None``: too slow for any."""
    for rate in RATES:
        for model in PREFERENCE:
            fits = [one for one in found if one["model"] == model and one["fps"] is not None and one["fps"] >= rate]
            if fits:
                return {"camera.fps": rate, "pose.model": model, "pose.threads": min(one["threads"] for one in fits)}
    return None


def table(report: dict[str, Any]) -> str:
    """The stages, then the variants, for people."""
    lines = [stages.table(report), "", f"{'model':12}{'threads':>8}{'p50':>8}{'p95':>8}{'CPU ms':>8}  runs at"]
    for one in report["variants"]:
        holds = f"{one['fps']} a second" if one["fps"] else f"less than {RATES[-1]} a second"
        lines.append(
            f"{one['model']:12}{one['threads']:8}{one['p50']:8.1f}{one['p95']:8.1f}{one['cpu_ms']:8.1f}  {holds}"
        )
    wanted = report["suggestion"]
    if wanted is None:
        return "\n".join([*lines, "this machine is too slow for stride timing with any of them"])
    sets = " ".join(f"--set {key}={value}" for key, value in wanted.items())
    return "\n".join([*lines, f"suggested (95 % of the frames in {SHARE:.0%} of their time): {sets}"])
