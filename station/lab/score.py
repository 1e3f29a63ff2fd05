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
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol
from zlib import crc32

import numpy as np

from station.lab.floor import Perfect
from station.lab.project import DECLARABLE, Condition, observe, view_of
from station.lab.truth import Trial, TrueStride, Truth, load_trial
from station.session import Session
from station.types import Floats, GaitEvent, Observation, Output, StrideMetrics, View

MATCH_S = 0.080
SETTLE_S = 3.0
TAIL_S = 0.5
#: Metrics that only true events may judge.
BY_EVENTS = ("contact_time_", "flight_time_", "step_time_", "duty_factor", "symmetry_time_pct", "push_back_")
EXCURSION = ("pelvic_drop_left_deg", "pelvic_drop_right_deg")

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


@dataclass(frozen=True, slots=True, eq=False)
class EventScore:
    """Events of one kind and side: errors in ms of the matched ones, times [s] of the others."""

    error_ms: Floats
    missed_s: Floats
    extra_s: Floats
    swapped_s: Floats


@dataclass(slots=True, eq=False)
class Case:
    """One trial through one condition: errors ``value`` - truth and ``ci95`` of each metric, stride by stride."""

    trial: str
    condition: Condition
    seed: int
    events_are_truth: bool
    end_s: list[float] = field(default_factory=list)
    error: dict[str, list[float]] = field(default_factory=dict)
    error_of_mean: dict[str, list[float]] = field(default_factory=dict)
    ci95: dict[str, list[float]] = field(default_factory=dict)
    nulls: dict[str, dict[str, int]] = field(default_factory=dict)
    events: dict[str, EventScore] = field(default_factory=dict)
    ok: int = 0
    unmatched_s: list[float] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)
    true_strides: int = 0
    frame_ms: Floats = field(default_factory=lambda: np.zeros(0))

    def bias(self, key: str) -> float:
        """Mean error of a metric over the strides (``contact_left`` …: of the events, ms); NaN if there is none."""
        errors = self.events[key].error_ms if key in self.events else np.array(self.error.get(key, ()))
        return float(errors.mean()) if len(errors) else float("nan")

    def covered(self, key: str) -> Floats:
        """Per stride: whether the interval holds the truth (1) or not (0)."""
        inside: Floats = (np.abs(self.error.get(key, ())) <= self.ci95.get(key, ())).astype(float)
        return inside

    def judges(self, key: str) -> bool:
        """Whether this trial's truth may judge this metric or event."""
        return self.events_are_truth or not (key.startswith(BY_EVENTS) or key in self.events)


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Everything that was scored."""

    cases: tuple[Case, ...]

    def of(self, condition: str) -> tuple[Case, ...]:
        """The cases of one condition."""
        return tuple(c for c in self.cases if c.condition.name == condition)

    def conditions(self) -> tuple[str, ...]:
        """Names in order of appearance."""
        return tuple(dict.fromkeys(c.condition.name for c in self.cases))


# --- comparing -------------------------------------------------------------------------------------------------------


def match_events(true_s: Floats, other_s: Floats, said_s: Floats, first_s: float, last_s: float) -> EventScore:
    """Match what was said of one side and kind with the truth (``other_s``: the other side's) within :data:`MATCH_S`.

    Only true events and statements between ``first_s`` and ``last_s`` count; each true event is matched once.
    """
    errors, missed = [], []
    free = list(said_s)
    for t in true_s:
        near = [s for s in free if abs(s - t) <= MATCH_S]
        best = min(near, key=lambda s, t=t: abs(s - t), default=None)  # type: ignore[misc]  # t is bound early
        if best is not None:
            free.remove(best)
        if not first_s <= t <= last_s:
            continue
        if best is None:
            missed.append(t)
        else:
            errors.append(1e3 * (best - t))
    free = [s for s in free if first_s <= s <= last_s]
    swapped = [s for s in free if len(other_s) and np.abs(other_s - s).min() <= MATCH_S]
    extra = [s for s in free if s not in swapped]
    return EventScore(np.array(errors), np.array(missed), np.array(extra), np.array(swapped))


def _score_events(case: Case, trial: Trial, said: Iterable[GaitEvent]) -> None:
    said = list(said)
    every = np.concatenate(list(trial.events.values()))
    first_s, last_s = float(trial.t_s[0] + SETTLE_S), float(min(trial.t_s[-1] - TAIL_S, every.max()))
    for kind in ("contact", "off"):
        for side, other in (("left", "right"), ("right", "left")):
            times = np.array([e.t_s for e in said if (e.kind, e.side) == (kind, side)])
            true_s, other_s = trial.events[f"{side}_{kind}_s"], trial.events[f"{other}_{kind}_s"]
            case.events[f"{kind}_{side}"] = match_events(true_s, other_s, times, first_s, last_s)


def _as_stride(s: StrideMetrics) -> TrueStride | None:
    q = s.stride
    if q.left_off_s is None or q.right_contact_s is None or q.right_off_s is None:
        return None
    return TrueStride(q.start_s, q.left_off_s, q.right_contact_s, q.right_off_s, q.end_s)


def _score_strides(case: Case, truth: Truth, said: Sequence[StrideMetrics]) -> None:
    starts = np.array([s.start_s for s in truth.strides])
    between = _Between(truth.trial)
    case.true_strides = len(starts)
    covered_s = (truth.strides[0].start_s, truth.strides[-1].end_s)
    for s in said:
        between.add(_as_stride(s))
        if s.status == "rejected":
            for reason in s.reasons or ("?",):
                case.rejected[reason] = case.rejected.get(reason, 0) + 1
            continue
        case.ok += 1
        i = int(np.abs(starts - s.stride.start_s).argmin()) if len(starts) else -1
        if i < 0 or abs(starts[i] - s.stride.start_s) > MATCH_S:
            if covered_s[0] - MATCH_S < s.stride.start_s < covered_s[1] - MATCH_S:
                case.unmatched_s.append(s.stride.start_s)
            continue
        true = dict(truth.pooled(i))
        if not case.events_are_truth:
            true |= between.excursion()
        _compare(case, s, true)


class _Between:
    """Drop excursion between the kernel's own instants, for trials whose own are not to be trusted."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._strides: list[TrueStride] = []

    def add(self, stride: TrueStride | None) -> None:
        if stride is not None:
            self._strides.append(stride)

    def excursion(self) -> dict[str, float]:
        truth = Truth(self._trial, self._strides[-20:])
        if not truth.strides:
            return dict.fromkeys(EXCURSION, float("nan"))
        read = truth.angles(len(truth.strides) - 1)
        return {k: read[k] for k in EXCURSION}


def _compare(case: Case, s: StrideMetrics, true: Mapping[str, float]) -> None:
    case.end_s.append(s.stride.end_s)
    for key, metric in s.metrics.items():
        if key not in true:
            continue
        if metric.value is None:
            reasons = case.nulls.setdefault(key, {})
            reason = metric.reason or "?"
            reasons[reason] = reasons.get(reason, 0) + 1
            continue
        case.error.setdefault(key, []).append(metric.value - true[key])
        case.ci95.setdefault(key, []).append(float("nan") if metric.ci95 is None else metric.ci95)
        if f"{key}_mean" in true:
            case.error_of_mean.setdefault(key, []).append(metric.value - true[f"{key}_mean"])


# --- running ---------------------------------------------------------------------------------------------------------


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
    _score_events(case, trial, (o for o in out if isinstance(o, GaitEvent)))
    _score_strides(case, truth, [o for o in out if isinstance(o, StrideMetrics)])
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
    from station.lab import scorecard  # noqa: PLC0415 - it imports this module

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
