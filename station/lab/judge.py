"""What a kernel said of one trial, held against the truth of the same strides and events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from station.lab.project import Condition
from station.lab.truth import Trial, TrueStride, Truth
from station.types import Floats, GaitEvent, Output, StrideMetrics

MATCH_S = 0.080
SETTLE_S = 3.0
TAIL_S = 0.5
#: Metrics that only true events may judge.
BY_EVENTS = ("contact_time_", "flight_time_", "step_time_", "duty_factor", "symmetry_time_pct", "push_back_")
EXCURSION = ("pelvic_drop_left_deg", "pelvic_drop_right_deg")


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


def judge(case: Case, truth: Truth, said: Sequence[Output]) -> None:
    """Fill a case with the scores of everything that was said."""
    _score_events(case, truth.trial, (o for o in said if isinstance(o, GaitEvent)))
    _score_strides(case, truth, [o for o in said if isinstance(o, StrideMetrics)])
