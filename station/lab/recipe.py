"""The pelvis model from nothing: ``python -m station.lab.recipe MODEL.tflite [--smoke]`` (``make model``).

Renders the crops, trains the net, writes the model; a few hours on two cores. It can be stopped at any point: what is
done is kept in ``--work`` and a second call goes on from there. ``--smoke`` runs the same steps on so few crops that
they take minutes: it proves the recipe, not the model.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from station.lab import dataset, export, train
from station.lab.bodies import cache_dir

_PROCESSES = 2


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything: shards for each of two seeds (of all kinds, plain), to score and to check on; samples."""

    shards: int
    plain: int
    held: int
    check: int
    samples: int
    again: int


FULL = Size(130, 30, 8, 8, 1_350_000, 450_000)
SMOKE = Size(1, 1, 1, 1, 1_000, 500)
#: Learning rate of the second training.
_AGAIN_RATE = 1e-3


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m station.lab.recipe", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="the file to write (.tflite)")
    parser.add_argument("--work", type=Path, help="folder for crops and checkpoints (default: in the user's cache)")
    parser.add_argument("--smoke", action="store_true", help="minutes instead of hours: does the recipe run?")
    options = parser.parse_args(arguments)
    size = SMOKE if options.smoke else FULL
    work = options.work or cache_dir() / ("pelvis-smoke" if options.smoke else "pelvis")
    crops, wide, net = work / "crops", work / "wide", work / "net"
    crops.mkdir(parents=True, exist_ok=True)
    count = 2 * (size.shards + size.plain) + size.held + size.check
    print(f"1/4 render {count} shards of {dataset.PER_SHARD} crops into {crops}")
    if code := render(crops, size):
        return code
    print(f"2/4 train on {size.samples} samples of every kind, kept in {wide}", flush=True)
    if code := train.main([str(crops), str(wide), "--samples", str(size.samples), "--minutes", "1000"]):
        return code
    print(f"3/4 train on {size.again} samples, a third of them plain, kept in {net}", flush=True)
    again = ["--begin", str(wide / "last.pt"), "--rate", str(_AGAIN_RATE), "--kinds", *train.LAST_KINDS]
    if code := train.main([str(crops), str(net), "--samples", str(size.again), "--minutes", "1000", *again]):
        return code
    print(f"4/4 write {options.model}", flush=True)
    return export.main([str(net), str(crops), str(options.model)])


def render(crops: Path, size: Size) -> int:
    """Render what is missing, two processes at a time; each draws with one thread."""
    counts = {"train": size.shards, "plain": size.plain}
    jobs = [(kind, seed, count) for kind, count in counts.items() for seed in (1, 2)]
    jobs += [("held", 1, size.held), ("check", 1, size.check)]
    environment = {**os.environ, "LP_NUM_THREADS": "1"}
    for start in range(0, len(jobs), _PROCESSES):
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "station.lab.dataset", str(crops), "--shards", str(count), "--seed", str(seed),
                 "--kind", kind],
                env=environment,
            )
            for kind, seed, count in jobs[start : start + _PROCESSES]
        ]  # fmt: skip
        try:
            codes = [process.wait() for process in running]
        finally:
            for process in running:
                process.terminate()
        if any(codes):
            return max(codes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
