"""A score report as text, JSON and pictures, held against the bounds the kernel promises."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from station.lab.judge import Case, Report

_VERDICT = {True: "ok", False: "MISS", None: "-"}


@dataclass(frozen=True, slots=True)
class Bound:
    """A promise: |bias| of these metrics (or events) in the median trial and in each, in the metric's unit."""

    name: str
    keys: tuple[str, ...]
    median: float
    each: float
    sd: float | None = None


def _sides(key: str) -> tuple[str, ...]:
    return tuple(key.replace("*", side) for side in ("left", "right"))


BOUNDS = (
    Bound("contact ms", _sides("contact_*"), 10, 20, sd=6),
    Bound("off ms", _sides("off_*"), 10, 20, sd=6),
    Bound("contact time ms", _sides("contact_time_*_ms"), 12, 25),
    Bound("cadence spm", ("cadence_spm",), 0.3, 0.3),
    Bound("peak drop deg", _sides("pelvic_drop_peak_*_deg"), 0.25, 0.6),
    Bound("excursion deg", _sides("pelvic_drop_*_deg"), 0.4, 0.9),
    Bound("drop difference deg", ("pelvic_drop_difference_deg",), 0.4, 0.8),
    Bound("obliquity range deg", ("obliquity_range_deg",), 0.5, 1.0),
    Bound("rotation range deg", ("rotation_range_deg",), 0.6, 1.2),
    Bound("tilt range deg", ("tilt_range_deg",), 0.6, 1.2),
    Bound("sway mm", ("sway_mm",), 2, 4),
    Bound("vertical osc. mm", ("vertical_oscillation_mm",), 2, 4),
    Bound("step width mm", ("step_width_mm",), 5, 10),
    # where the camera is not calibrated: the same lengths in units of a 160 mm hip
    Bound("sway hw", ("sway_hw",), 0.0125, 0.025),
    Bound("vertical osc. hw", ("vertical_oscillation_hw",), 0.0125, 0.025),
    Bound("step width hw", ("step_width_hw",), 0.03, 0.06),
    Bound("knee gap hw", _sides("knee_gap_*_hw"), 0.05, 0.10),
    Bound("adduction deg", _sides("hip_adduction_*_deg"), 1.0, 2.0),
    Bound("trunk lean deg", _sides("trunk_lean_*_deg"), 0.4, 0.8),
)


@dataclass(frozen=True, slots=True)
class Line:
    """How one promise was kept under one condition; NaN where nothing was measured."""

    bound: Bound
    median: float
    worst: float
    worst_trial: str
    coverage: float
    ci95: float
    sd: float
    vs_mean: float
    nulls: float
    met: bool | None


def _line(cases: Sequence[Case], bound: Bound, slack: float) -> Line:
    judged = [(c, k) for c in cases for k in bound.keys if c.judges(k)]
    biases = [(abs(c.bias(k)), f"{c.trial}/{k}") for c, k in judged if np.isfinite(c.bias(k))]
    values = np.array([b for b, _ in biases])
    inside = np.concatenate([c.covered(k) for c, k in judged] or [np.zeros(0)])
    ci = np.concatenate([np.array(c.ci95.get(k, ())) for c, k in judged] or [np.zeros(0)])
    sds = [float(np.std(c.events[k].error_ms)) for c, k in judged if k in c.events and len(c.events[k].error_ms)]
    means = [abs(float(np.mean(c.error_of_mean[k]))) for c, k in judged if c.error_of_mean.get(k)]
    n_null = sum(sum(c.nulls.get(k, {}).values()) for c, k in judged)
    worst, where = max(biases, default=(float("nan"), ""))
    median = float(np.median(values)) if len(values) else float("nan")
    met = median <= bound.median * slack and worst <= bound.each * slack
    if bound.sd is not None and sds:
        met = met and max(sds) <= bound.sd * slack
    return Line(
        bound,
        median,
        worst,
        where,
        float(inside.mean()) if len(inside) else float("nan"),
        float(np.median(ci)) if len(ci) else float("nan"),
        max(sds, default=float("nan")),
        float(np.median(means)) if means else float("nan"),
        n_null / max(1, n_null + len(inside)),
        met if len(values) else None,
    )


def lines(report: Report, condition: str) -> tuple[Line, ...]:
    """Every promise under one condition."""
    cases = report.of(condition)
    return tuple(_line(cases, bound, cases[0].condition.slack) for bound in BOUNDS)


def coverage(cases: Sequence[Case]) -> tuple[float, int]:
    """Share of all values of all metrics whose interval holds the truth, and their number."""
    inside = [c.covered(k) for c in cases for b in BOUNDS for k in b.keys if c.judges(k)]
    every = np.concatenate(inside or [np.zeros(0)])
    return (float(every.mean()) if len(every) else float("nan")), len(every)


def all_met(report: Report) -> bool:
    """Whether every promise was kept under every condition, with events all there and strides scored."""
    kept = all(line.met is not False for name in report.conditions() for line in lines(report, name))
    clean = all(c.ok and not c.unmatched_s and not any(_faults(c)) for c in report.cases)
    return kept and clean


def _faults(c: Case) -> tuple[int, int, int]:
    e = c.events.values()
    return sum(len(x.missed_s) for x in e), sum(len(x.extra_s) for x in e), sum(len(x.swapped_s) for x in e)


def text(report: Report, details: bool = False) -> str:
    """The scorecard."""
    out: list[str] = []
    for name in report.conditions():
        out += [*_condition(report, name, details), ""]
        if details:
            for case in report.of(name):
                out += [*_details(case), ""]
    return "\n".join(out)


def _condition(report: Report, name: str, details: bool) -> Iterator[str]:
    cases = report.of(name)
    slack = cases[0].condition.slack
    share, n = coverage(cases)
    took = np.concatenate([c.frame_ms for c in cases])
    p50, p99 = np.percentile(took, (50, 99)) if len(took) else (np.nan, np.nan)
    yield f"=== {name}   coverage {100 * share:.1f} % of {n} values   kernel p50 {p50:.3f} p99 {p99:.3f} ms"
    yield (
        f"{'':21}{'median':>8}{'bound':>7}{'worst':>8}{'bound':>7} {'':4}{'cover%':>7}{'ci95':>7}{'sd':>6}"
        f"{'null%':>6}{'vs mean':>8}  worst in"
    )
    for x in lines(report, name):
        yield (
            f"{x.bound.name:21}{x.median:8.3f}{x.bound.median * slack:7.2f}{x.worst:8.3f}{x.bound.each * slack:7.2f} "
            f"{_VERDICT[x.met]:4}{100 * x.coverage:7.1f}{x.ci95:7.2f}{x.sd:6.1f}{100 * x.nulls:6.1f}"
            f"{x.vs_mean:8.2f}  {x.worst_trial}"
        )
    for c in cases:
        missed, extra, swapped = _faults(c)
        if not details and not (missed or extra or swapped or c.unmatched_s):
            continue
        bias = "  ".join(
            f"{k} {c.bias(k):+.1f}±{np.std(e.error_ms):.1f}" for k, e in c.events.items() if len(e.error_ms)
        )
        yield (
            f"  {c.trial} #{c.seed}: ok {c.ok}/{c.true_strides} strides, {len(c.unmatched_s)} invented, rejected "
            f"{c.rejected}; events missed {missed} extra {extra} swapped {swapped}"
        )
        yield f"      {bias}{'' if c.events_are_truth else '   (reference only)'}"


def _details(c: Case) -> Iterator[str]:
    yield f"--- {c.trial} #{c.seed} through {c.condition.name}"
    for key in sorted(set(c.error) | set(c.nulls)):
        errors, ci = np.array(c.error.get(key, ())), np.array(c.ci95.get(key, ()))
        if not len(errors):
            yield f"  {key:32} null: {c.nulls[key]}"
            continue
        yield (
            f"  {key:32} bias {errors.mean():+8.3f} sd {errors.std():7.3f} ci95 {np.median(ci):7.3f} covered "
            f"{100 * c.covered(key).mean():5.1f} % of {len(errors)}  null {sum(c.nulls.get(key, {}).values())}"
            f"{'' if c.judges(key) else '  (reference only)'}"
        )


def as_dict(report: Report) -> dict[str, object]:
    """The report as plain numbers: per case every bias and coverage, per condition every promise."""
    return {
        "conditions": {
            name: {
                "coverage": coverage(report.of(name))[0],
                "bounds": {
                    x.bound.name: {"median": x.median, "worst": x.worst, "coverage": x.coverage, "met": x.met}
                    for x in lines(report, name)
                },
            }
            for name in report.conditions()
        },
        "cases": [_case_dict(c) for c in report.cases],
    }


def _case_dict(c: Case) -> dict[str, object]:
    missed, extra, swapped = _faults(c)
    return {
        "trial": c.trial,
        "condition": c.condition.name,
        "seed": c.seed,
        "strides": {"true": c.true_strides, "ok": c.ok, "invented": len(c.unmatched_s), "rejected": c.rejected},
        "events": {"missed": missed, "extra": extra, "swapped": swapped},
        "event_ms": {
            k: {"bias": c.bias(k), "sd": float(np.std(e.error_ms)), "judged": c.judges(k)}
            for k, e in c.events.items()
            if len(e.error_ms)
        },
        "metrics": {
            k: {"bias": c.bias(k), "coverage": float(c.covered(k).mean()), "n": len(v), "judged": c.judges(k)}
            for k, v in c.error.items()
        },
    }


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def write_json(report: Report, path: Path) -> None:
    """:func:`as_dict` as a file; what is not known is null."""
    path.write_text(json.dumps(_finite(as_dict(report)), indent=1) + "\n", encoding="utf-8")


def plot(report: Report, folder: Path) -> None:
    """One picture a case: error and interval of each metric over the strides."""
    import matplotlib as mpl  # noqa: PLC0415 - an extra, and only drawn on request

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    for c in report.cases:
        keys = [k for b in BOUNDS for k in b.keys if c.error.get(k)]
        if not keys:
            continue
        rows = -(-len(keys) // 4)
        figure, axes = plt.subplots(rows, 4, figsize=(16, 2.2 * rows), squeeze=False, layout="constrained")
        for axis, key in zip(axes.flat, keys, strict=False):
            error, ci = np.array(c.error[key]), np.array(c.ci95[key])
            axis.fill_between(range(len(error)), -ci, ci, alpha=0.2)
            axis.plot(error, "k.-", linewidth=0.6)
            axis.axhline(0, color="k", linewidth=0.5)
            axis.set_title(key, fontsize=8)
        figure.suptitle(f"{c.trial} through {c.condition.name}")
        figure.savefig(folder / f"{c.trial}_{c.condition.name.replace(' ', '_')}_{c.seed}.png", dpi=80)
        plt.close(figure)
