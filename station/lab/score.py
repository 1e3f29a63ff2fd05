"""The kernel against the truth: ``python -m station.lab.score TRIAL.npz … [--suite]``.

Each trial is seen through each condition's camera (:mod:`station.lab.project`), fed frame by frame to a ``Session``,
and what comes out is held against :mod:`station.lab.truth`: the bias of every ``value`` against the truth pooled over
the same strides, how often ``ci95`` covers it, and the events. :func:`score` is the door;
:mod:`station.lab.scorecard` prints.

Trials whose events come from a fallback (no force plate) judge side, count and cadence, but no event or contact time,
and their drop excursion is read between the kernel's own instants.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol
from zlib import crc32

import numpy as np

from station.lab import scorecard
from station.lab.floor import Perfect
from station.lab.judge import MATCH_S, Case, EventScore, Report, judge, match_events
from station.lab.project import DECLARABLE, Condition, observe, view_of
from station.lab.truth import Truth, load_trial
from station.session import Session
from station.types import Floats, Observation, Output, View

__all__ = [
    "MATCH_S",
    "PLAIN",
    "QUICK",
    "ROUGH",
    "Case",
    "EventScore",
    "Kernel",
    "Report",
    "main",
    "match_events",
    "run",
    "score",
    "score_one",
    "suite",
]

PLAIN = Condition("60fps 1px")
ROUGH = Condition("30fps 2px", fps=30.0, noise_px=2.0, drop_frames=0.02, slack=1.6)
QUICK = (PLAIN, ROUGH)


def suite() -> tuple[Condition, ...]:
    """Every camera the kernel is promised for: two rates, three heights, hips or pelvis block, mount told or not."""
    out = []
    for base in QUICK:
        for height_m in (0.95, 1.2, 1.4):
            at = replace(base, name=f"{base.name} {height_m:g}m", height_m=height_m)
            pitch_deg = -6.0 if height_m < 1.0 else -10.0 if height_m < 1.3 else -13.0
            if height_m > 1.0:  # pitched as at hip height, so that the feet leave the picture around off
                out.append(replace(at, name=at.name + " p-6"))
                out.append(replace(at, name=at.name + " p-6 kept", keep_outside=True))
            at = replace(at, pitch_deg=pitch_deg)
            out += [at, replace(at, name=at.name + " pelvis", pelvis_sd_deg=1.5)]
        out.append(replace(base, name=f"{base.name} 0.95m untold", undeclared=DECLARABLE))
        out.append(replace(base, name=f"{base.name} 0.95m pelvis untold", undeclared=DECLARABLE, pelvis_sd_deg=1.5))
    return tuple(out)


class Kernel(Protocol):
    """What is scored: the session's door."""

    def feed(self, observation: Observation) -> tuple[Output, ...]:
        """One frame."""

    def finish(self) -> tuple[Output, ...]:
        """What is pending."""


@lru_cache(maxsize=64)
def _truth(path: str) -> Truth:
    return Truth(load_trial(path))


@lru_cache(maxsize=256)
def _seen(path: str, condition: Condition, seed: int) -> tuple[Observation, ...]:
    trial = _truth(path).trial
    return tuple(observe(trial, condition, seed + crc32(trial.name.encode()) % 10_000))  # each trial its own noise


def run(kernel: Kernel, frames: Iterable[Observation]) -> tuple[list[Output], Floats]:
    """Everything the kernel says of these frames, and the milliseconds of processor time each frame took."""
    out: list[Output] = []
    took = []
    for frame in frames:
        begin = time.thread_time()
        out += kernel.feed(frame)
        took.append(1e3 * (time.thread_time() - begin))
    out += kernel.finish()
    return out, np.array(took)


def score_one(truth: Truth, condition: Condition, seed: int, frames: Iterable[Observation], kernel: Kernel) -> Case:
    """One trial through one condition."""
    trial = truth.trial
    case = Case(trial.name, condition, seed, trial.events_are_truth)
    out, case.frame_ms = run(kernel, frames)
    judge(case, truth, out)
    return case


def _job(job: tuple[str, Condition, int, Callable[[View], Kernel] | None]) -> Case:
    path, condition, seed, kernel = job
    truth, view = _truth(path), view_of(condition)
    return score_one(
        truth, condition, seed, _seen(path, condition, seed), Perfect(truth, view) if kernel is None else kernel(view)
    )


def score(
    trials: Sequence[str | Path],
    conditions: Sequence[Condition] = QUICK,
    seeds: Sequence[int] = (0,),
    kernel: Callable[[View], Kernel] | None = Session,
    jobs: int = 1,
) -> Report:
    """Every trial through every condition; projections are kept, so that a second call costs kernel time only.

    ``kernel`` ``None``: the floor, a perfect estimator at this noise (:mod:`station.lab.floor`).
    """
    work = [(str(p), c, s, kernel) for c in conditions for p in trials for s in seeds]
    if jobs == 1:
        return Report(tuple(map(_job, work)))
    with ProcessPoolExecutor(jobs) as pool:
        return Report(tuple(pool.map(_job, work)))


def _options() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m station.lab.score", description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("trials", nargs="+", type=Path, metavar="TRIAL.npz")
    p.add_argument(
        "--suite", action="store_true", help="all conditions of the suite (other camera options are ignored)"
    )
    p.add_argument("--only", metavar="TEXT", help="of the suite, the conditions whose name contains TEXT")
    p.add_argument("--fps", type=float, default=60.0)
    p.add_argument("--noise-px", type=float, default=1.0)
    p.add_argument("--noise-corr", type=float, default=0.0, metavar="S")
    p.add_argument("--drop-frames", type=float, default=0.0, metavar="SHARE")
    p.add_argument("--lose", type=float, default=0.0, metavar="SHARE")
    p.add_argument("--jitter-ms", type=float, default=0.0)
    p.add_argument("--pelvis-sd", type=float, metavar="DEG")
    p.add_argument("--height", type=float, default=0.95, metavar="M")
    p.add_argument("--distance", type=float, default=2.4, metavar="M")
    p.add_argument("--pitch", type=float, default=-6.0, metavar="DEG")
    p.add_argument("--roll", type=float, default=0.0, metavar="DEG")
    p.add_argument("--undeclared", nargs="*", default=[], choices=DECLARABLE)
    p.add_argument("--keep-outside", action="store_true", help="points outside the picture are guessed, not lost")
    p.add_argument("--slack", type=float, default=1.0, help="factor on the bounds")
    p.add_argument("--seeds", type=int, default=1)
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--floor", action="store_true", help="score a perfect estimator at this noise instead of the kernel")
    p.add_argument("--details", action="store_true", help="every metric of every trial")
    p.add_argument("--json", type=Path, metavar="OUT")
    p.add_argument("--plot-dir", type=Path, metavar="DIR", help="residuals over time, a picture a case")
    return p


def _chosen(o: argparse.Namespace) -> tuple[Condition, ...]:
    if o.suite or o.only:
        return tuple(c for c in suite() if not o.only or o.only in c.name)
    return (
        Condition(
            f"{o.fps:g}fps {o.noise_px:g}px",
            fps=o.fps,
            noise_px=o.noise_px,
            noise_corr_s=o.noise_corr,
            drop_frames=o.drop_frames,
            lose=o.lose,
            jitter_ms=o.jitter_ms,
            pelvis_sd_deg=o.pelvis_sd,
            height_m=o.height,
            distance_m=o.distance,
            pitch_deg=o.pitch,
            roll_deg=o.roll,
            undeclared=tuple(o.undeclared),
            keep_outside=o.keep_outside,
            slack=o.slack,
        ),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the scorecard; 0 if every bound is met, 1 if not, 2 for a trial that is not there."""
    o = _options().parse_args(argv)
    for path in o.trials:
        if not path.is_file():
            print(f"{path}: no such trial", file=sys.stderr)
            return 2
    report = score(o.trials, _chosen(o), range(o.seeds), None if o.floor else Session, o.jobs)
    print(scorecard.text(report, details=o.details))
    if o.json:
        scorecard.write_json(report, o.json)
    if o.plot_dir:
        scorecard.plot(report, o.plot_dir)
    return 0 if scorecard.all_met(report) else 1


if __name__ == "__main__":
    sys.exit(main())
