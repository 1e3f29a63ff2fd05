"""Whole visits to the treadmill: stand, walk, run, change speed, jump to the rails, stumble, leave.

A :class:`Visit` is a trial whose spans say what the person did when. What a kernel may not do is claim a stride
(``ok``) where nobody ran; :func:`verdict` counts such claims, and what it missed where somebody did.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from station.lab.analytic import RunnerSpec, cycle, run
from station.lab.truth import Trial, strides_of
from station.types import Floats, Output, StrideMetrics

FS = 200.0
BLEND_S = 0.7
#: Running needs this long before a missing stride counts as missed.
SETTLE_S = 5.0
MATCH_S = 0.080


@dataclass(frozen=True, slots=True)
class Span:
    """``what``: away, stand, walk, run, rails, stumble or blend (on the way from one to the next)."""

    what: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """A trial and what happens in it."""

    trial: Trial
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to do for ``seconds``; ``spec`` for walking and running.

    ``side_step_m`` and ``away_m`` shift the runner sideways in half a second, and backward slowly, in the middle of the
    part; ``stumble_s`` holds one stride up.
    """

    what: str
    seconds: float
    spec: RunnerSpec | None = None
    side_step_m: float = 0.0
    away_m: float = 0.0
    stumble_s: float = 0.0


def _standing(spec: RunnerSpec, n: int, wide_m: float, seed: int) -> dict[str, Floats]:
    """A person standing, feet ``wide_m`` apart, swaying a little."""
    legs_m = spec.thigh_m + spec.shank_m
    hip_m, half = 0.99 * legs_m + 0.09, spec.hip_width_m / 2
    rest: dict[str, tuple[float, float, float]] = {}
    for s, sign in (("L", -1.0), ("R", 1.0)):
        foot = sign * wide_m / 2
        rest[s + "HJC"] = (sign * half, hip_m, 0.0)
        rest[s + "KNEE"] = ((sign * half + foot) / 2, 0.09 + spec.shank_m, -0.02)
        rest[s + "ANKLE"] = (foot, 0.09, 0.0)
        rest[s + "HEEL"] = (foot, 0.025, 0.05)
        rest[s + "TOE"] = (foot, 0.03, 0.05 - spec.foot_m)
        rest[s + "SHO"] = (sign * 0.18, hip_m + 1.15 * spec.thigh_m, 0.0)
        rest[s + "ASIS"] = (sign * half * 1.4, hip_m + 0.08, -0.085)
        rest[s + "PSIS"] = (sign * half * 0.6, hip_m + 0.08, 0.085)
    rng = np.random.default_rng(seed)
    t_s = np.arange(n) / FS
    sway = np.zeros((n, 3))
    for f_hz in (0.23, 0.41, 0.7):
        wave = np.sin(2 * np.pi * f_hz * t_s + rng.uniform(0, 6))
        sway += 0.004 * np.outer(wave, rng.normal(size=3) * [1, 0.1, 1])
    return {k: np.array(v)[None, :] + sway * (v[1] / hip_m) for k, v in rest.items()}


def _moving(part: Part, seed: int) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Markers and events of a part, on its own clock."""
    n = round(part.seconds * FS)
    spec = part.spec or RunnerSpec()
    if part.what == "away":
        names = cycle(spec).marks
        return {k: np.full((n, 3), np.nan) for k in names}, {}
    if part.what in ("stand", "rails"):
        return _standing(spec, n, 0.16 if part.what == "stand" else 0.62, seed), {}
    trial = run(spec, part.seconds, seed, FS)
    marks, events = dict(trial.marks), dict(trial.events)
    if part.stumble_s:
        marks, events = _stumbled(marks, events, part)
    at_s = np.arange(n) / FS
    u = np.clip((at_s - part.seconds / 2) / 0.5 + 0.5, 0, 1)
    slow = 0.5 - 0.5 * np.cos(2 * np.pi * at_s / part.seconds)
    shift = np.stack([part.side_step_m * u * u * (3 - 2 * u), 0 * u, part.away_m * slow], 1)
    return {k: v[:n] + shift for k, v in marks.items()}, events


def _stumbled(
    marks: dict[str, Floats], events: dict[str, Floats], part: Part
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Hold the runner's clock for ``stumble_s`` in the middle; the events after it come later, those in it vanish."""
    at_s = part.seconds / 2
    t_s = np.arange(len(next(iter(marks.values())))) / FS
    held = np.clip(t_s - part.stumble_s, 0, None)
    clock = np.where(t_s < at_s, t_s, np.where(t_s < at_s + 2 * part.stumble_s, at_s + (t_s - at_s) / 2, held))
    i = np.clip(clock * FS, 0, len(t_s) - 1).round().astype(int)
    dip = 0.05 * np.exp(-0.5 * ((t_s - at_s - part.stumble_s) / 0.12) ** 2)
    marks = {k: v[i] - dip[:, None] * [0, v[:, 1].mean() > 0.3, 0] for k, v in marks.items()}
    moved = {k: np.where(v < at_s, v, v + part.stumble_s) for k, v in events.items()}
    near = 1.2
    return marks, {k: v[(np.abs(v - at_s) > near) & (v < part.seconds)] for k, v in moved.items()}


def visit(parts: Sequence[Part], seed: int = 0, name: str = "visit") -> Visit:
    """String the parts together; between two present ones the body glides over for :data:`BLEND_S`."""
    pieces = [_moving(p, seed * 100 + i) for i, p in enumerate(parts)]
    marks = {k: np.concatenate([m[k] for m, _ in pieces]) for k in pieces[0][0]}
    edges = np.concatenate([[0.0], np.cumsum([p.seconds for p in parts])])
    half = BLEND_S / 2
    present = [p.what != "away" for p in parts]
    for edge_s, before, after in zip(edges[1:-1], present[:-1], present[1:], strict=True):
        if before and after:
            _glide(marks, edge_s - half, edge_s + half)
    spans, events = [], {f"{s}_{k}_s": [np.zeros(0)] for s in ("left", "right") for k in ("contact", "off")}
    for part, (_, own), (start_s, end_s) in zip(parts, pieces, pairwise(edges), strict=True):
        a, b = start_s + half, end_s - half
        spans += [Span("blend", start_s - half, a), Span(part.what, a, b)]
        if part.stumble_s:
            spans.append(Span("stumble", (start_s + end_s) / 2 - 1.2, (start_s + end_s) / 2 + 2.0))
        for key, own_s in own.items():
            times = own_s + start_s
            events[key].append(times[(times > a) & (times < b)])
    speed = next((p.spec.speed_mps for p in parts if p.what == "run" and p.spec), float("nan"))
    t_s = np.arange(len(marks["LHJC"])) / FS
    trial = Trial(name, t_s, marks, {k: np.concatenate(v) for k, v in events.items()}, "exact", speed)
    return Visit(trial, tuple(spans))


def _glide(marks: dict[str, Floats], start_s: float, end_s: float) -> None:
    """Replace the markers between two instants by a smooth way from the one to the other, in place."""
    i, j = round(start_s * FS), round(end_s * FS)
    u = np.linspace(0, 1, j - i)[:, None]
    u = u * u * (3 - 2 * u)
    for xyz in marks.values():
        xyz[i:j] = (1 - u) * xyz[i - 1] + u * xyz[j]


def day(seed: int = 0) -> Visit:
    """Everything that happens on a treadmill, once."""
    fast = RunnerSpec.random(seed)
    rng = np.random.default_rng([seed, 5])
    fast = replace(fast, speed_mps=float(rng.uniform(2.4, 3.2)), cadence_spm=float(rng.uniform(155, 172)), duty=0.35)
    faster = replace(fast, speed_mps=fast.speed_mps + 0.8, cadence_spm=fast.cadence_spm + 12, duty=0.31)
    walk = replace(RunnerSpec.walker(seed), thigh_m=fast.thigh_m, shank_m=fast.shank_m, hip_width_m=fast.hip_width_m)
    return visit(
        (
            Part("away", 3.0),
            Part("stand", 6.0, fast),
            Part("walk", 14.0, walk),
            Part("run", 25.0, fast),
            Part("run", 20.0, faster, side_step_m=0.15),
            Part("rails", 6.0, fast),
            Part("run", 20.0, fast, stumble_s=0.25),
            Part("run", 24.0, fast, away_m=0.3),
            Part("walk", 8.0, walk),
            Part("stand", 4.0, fast),
            Part("away", 4.0),
        ),
        seed,
        f"day{seed}",
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was claimed wrongly, what was missed, and how soon a run was followed.

    ``invented_s``: starts of ok strides where nobody ran, or that no true stride starts at; ``missed``: share of the
    true strides of running, after it settled, without an ok stride; ``late``: true strides from each start of a run, or
    change of speed, to its first ok stride.
    """

    invented_s: tuple[float, ...]
    missed: float
    late: tuple[int, ...]


def verdict(said: Iterable[Output], seen: Visit) -> Verdict:
    """Hold what a kernel said of a visit against what happened."""
    ok = [o.stride for o in said if isinstance(o, StrideMetrics) and o.status == "ok"]
    starts = np.array([s.start_s for s in ok])
    quiet = [s for s in seen.spans if s.what not in ("run", "blend", "stumble")]
    soft = [s for s in seen.spans if s.what in ("blend", "stumble")]
    true_s = [s.start_s for s in strides_of(seen.trial.events)]
    invented = []
    for s in ok:
        overlaps = any(min(s.end_s, q.end_s) - max(s.start_s, q.start_s) > 0.1 for q in quiet)
        free = any(q.start_s - 1.0 < s.start_s < q.end_s for q in soft)
        matched = any(abs(s.start_s - t) <= MATCH_S for t in true_s)
        if overlaps or not (matched or free):
            invented.append(s.start_s)
    wanted, got, late = 0, 0, []
    for span in (s for s in seen.spans if s.what == "run"):
        own = [t for t in true_s if span.start_s <= t < span.end_s - 1.0]
        hit = [bool(len(starts)) and np.abs(starts - t).min() <= MATCH_S for t in own]
        late.append(hit.index(True) if True in hit else len(own))
        for t, h in zip(own, hit, strict=True):
            if t > span.start_s + SETTLE_S and not any(q.start_s <= t < q.end_s for q in soft):
                wanted, got = wanted + 1, got + h
    return Verdict(tuple(invented), float(1 - got / wanted) if wanted else 0.0, tuple(late))
