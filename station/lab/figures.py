"""The figures of ``docs/kernel.md``, from formula runners: ``python -m station.lab.figures docs/img``.

Every figure is computed anew by the kernel that it explains, from runners with fixed seeds, so that the same code draws
the same file. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from station.gait.anchors import Anchor, AnchorDetector, SwingSignal
from station.gait.cycles import LOOK_AHEAD, Cycle, CycleReader
from station.gait.events import CONTACT_WINDOW, FIRST_SHARE, GRID, peak, velocities
from station.gait.feet import COLUMNS, HEEL, PELVIS
from station.gait.recent import Recent
from station.geometry import RayCaster
from station.harmonics import HarmonicPool, basis
from station.lab.analytic import RunnerSpec, run
from station.lab.project import Condition, observe, view_of
from station.lab.score import score
from station.lab.scorecard import BOUNDS
from station.lab.truth import Trial, save_trial
from station.metrics.channels import AMPLITUDE, DECAY, HARMONICS, Channel
from station.pelvis import sample
from station.types import Floats

#: Okabe and Ito's palette, apart for every kind of colour sight.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6f6f6f"
RUNNER = 205
PLAIN = Condition("60 fps, 1 px")
ROUGH = Condition("30 fps, 2 px, 2 % lost", fps=30.0, noise_px=2.0, drop_frames=0.02)
COVERED = range(208, 220)
STYLE: dict[Any, Any] = {  # the keys are matplotlib's
    "svg.fonttype": "none",
    "svg.hashsalt": "hipline",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "path.simplify_threshold": 0.3,
}


# --- the gait room on its own -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Watched:
    """What the gait room made of a run: its swing signal frame by frame, anchors, cycles, and the reader at the end."""

    reader: CycleReader
    t_s: list[float] = field(default_factory=list)
    lift_m: list[float] = field(default_factory=list)
    anchors: list[Anchor] = field(default_factory=list)
    cycles: list[Cycle] = field(default_factory=list)


def watch(trial: Trial, condition: Condition) -> Watched:
    """Run anchors and cycles alone over a trial."""
    caster = RayCaster(view_of(condition))
    recent = Recent(caster)
    signal, detector = SwingSignal(), AnchorDetector()
    out = Watched(CycleReader(recent))
    due: list[Cycle] = []
    for frame in observe(trial, condition):
        assert frame.pose is not None
        rays = caster.rays(frame.pose.xy_px)
        recent.append(frame.t_s, rays, sample(frame.t_s, rays, None))
        lift_m = signal.read(frame.t_s, rays, recent.leg_now)
        out.t_s.append(frame.t_s)
        out.lift_m.append(lift_m)
        anchor = detector.feed(frame.t_s, lift_m)
        if anchor is not None:
            out.anchors.append(anchor)
            last = out.anchors[-3:]
            if len(last) == 3 and anchor.side == "right":
                due.append(Cycle(last[0].t_s, last[1].t_s, last[2].t_s))
        if due and frame.t_s > due[0].end_anchor_s + LOOK_AHEAD * due[0].period_s:
            cycle = due.pop(0)
            for _ in out.reader.read(cycle):
                pass
            out.cycles.append(cycle)
    return out


def _trial(seed: int, seconds: float = 30.0) -> Trial:
    return run(RunnerSpec.random(seed), seconds, seed)


# --- the figures ------------------------------------------------------------------------------------------------------


def swing(figure: Figure) -> None:
    """The height difference of the feet, the anchors on it, and when each foot was really down."""
    trial = _trial(RUNNER)
    seen = watch(trial, ROUGH)
    start_s, end_s = 10.0, 12.4
    axes = figure.add_subplot()
    t_s, lift_cm = np.array(seen.t_s), 100 * np.array(seen.lift_m)
    inside = (t_s > start_s) & (t_s < end_s)
    axes.plot(t_s[inside] - start_s, lift_cm[inside], ".-", color="black", markersize=3, linewidth=0.8)
    for name, color, marker in (("right", BLUE, "v"), ("left", ORANGE, "^")):
        at = np.array([a.t_s for a in seen.anchors if a.side == name and start_s < a.t_s < end_s])
        axes.plot(at - start_s, 0 * at, marker, color=color, markersize=8, label=f"anchor: {name} foot now higher")
    top = float(np.nanmax(np.abs(lift_cm[inside])))
    for side, color, level in (("left", BLUE, -1.25), ("right", ORANGE, -1.42)):
        label = f"{side} foot on the belt (truth)"
        for on_s, off_s in zip(
            trial.events[f"{side}_contact_s"], _after(trial, f"{side}_off_s", f"{side}_contact_s"), strict=True
        ):
            if off_s > start_s and on_s < end_s:
                span = np.clip([on_s - start_s, off_s - start_s], 0.0, end_s - start_s)
                axes.plot(span, [level * top] * 2, color=color, linewidth=5, solid_capstyle="butt", label=label)
                label = ""
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.set(xlabel="time [s]", ylabel="left foot above right foot [cm]", ylim=(-1.6 * top, 1.25 * top))
    axes.set_title("Swing signal and anchors: 30 fps, 2 px of noise, 2 % of frames lost", fontsize=9)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=8)


def _after(trial: Trial, later: str, earlier: str) -> Floats:
    """For each of the earlier events the first of the later ones behind it, or the end of the trial."""
    times = np.append(trial.events[later], trial.t_s[-1])
    index = np.searchsorted(times, trial.events[earlier], side="right")
    return np.asarray(times[np.minimum(index, len(times) - 1)])


def events(figure: Figure) -> None:
    """Band-limited velocities of the left foot and the pelvis, what the kernel reads off them, and the truth."""
    trial = _trial(RUNNER)
    seen = watch(trial, PLAIN)
    cycle, feet = seen.cycles[-1], seen.reader.footing["left"]
    fit = seen.reader.feet.fit
    assert fit is not None
    speeds = velocities(fit, cycle.period_s)
    start, end = -0.15, 0.65
    index = np.arange(round(start * GRID), round(end * GRID))
    ms = index / GRID * cycle.period_s * 1e3
    foot = speeds[:, COLUMNS["left"][:3]].mean(axis=1)
    heel, pelvis = speeds[:, COLUMNS["left"][HEEL]], speeds[:, PELVIS]
    axes = figure.add_subplot()
    axes.plot(ms, foot[index % GRID], color=BLUE, label="heel, ankle and toe, mean")
    axes.plot(ms, heel[index % GRID], "--", color=GREEN, label="heel")
    axes.plot(ms, 2 * pelvis[index % GRID], color=ORANGE, label="pelvis (twice)")
    axes.axhline(0, color=GREY, linewidth=0.6)
    low, high = axes.get_ylim()
    low -= 1.0
    for name, phase in (("contact", feet.contact), ("off", feet.off)):
        true_ms = _true_phase(trial, seen.cycles[-20:], f"left_{name}_s") * cycle.period_s * 1e3
        said_ms = phase * cycle.period_s * 1e3
        axes.axvline(true_ms, color="black", linewidth=1)
        axes.axvline(said_ms, color="black", linewidth=1, linestyle=":")
        axes.text(true_ms - 6, high, f"{name}\nread {said_ms - true_ms:+.0f} ms", va="top", ha="right", fontsize=8)
    falls = (
        (foot, peak(-foot, *CONTACT_WINDOW, FIRST_SHARE), (-95.0, -2.8)),
        (2 * pelvis, peak(-pelvis, feet.contact - 0.02, feet.contact + 0.17), (-95.0, -2.2)),
    )
    for curve, phase, aside in falls:
        place = (phase * cycle.period_s * 1e3, curve[round(phase * GRID) % GRID])
        axes.plot(*place, "ko", markersize=4)
        axes.annotate(
            "fastest fall", place, aside, textcoords="data", fontsize=8,
            arrowprops={"arrowstyle": "-", "linewidth": 0.5},
        )  # fmt: skip
    axes.set(xlabel="time after the anchor [ms]", ylabel="upward velocity in the picture [m/s]", ylim=(low, high))
    axes.set_title("Left contact and toe-off: solid line = truth, dotted = read", fontsize=9)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, fontsize=8)


def _true_phase(trial: Trial, cycles: Sequence[Cycle], name: str) -> float:
    """Mean phase of an event in these cycles."""
    phases = []
    for cycle in cycles:
        phase = (trial.events[name] - cycle.start_anchor_s) / cycle.period_s
        phases += [p for p in phase if -0.3 < p < 0.7]
    return float(np.mean(phases))


NOISES_DEG = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
REPEATS = 60


def maxima(figure: Figure) -> None:
    """How far each way of reading peak drop overstates it, against the noise of one frame."""
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, fps in ((left, 60.0), (right, 30.0)):
        bias: dict[str, list[Floats]] = {way: [] for way in ("raw", "pooled", "plain")}
        for noise_deg in NOISES_DEG:
            errors = [_peak_errors(seed, fps, noise_deg) for seed in range(200, 206)]
            for way, column in (("raw", 0), ("pooled", 1), ("plain", 2)):
                bias[way].append(np.concatenate(errors)[:, column])
        for aside, (way, color, marker, label) in enumerate(
            (
                ("raw", ORANGE, "s", "mean of 20 raw maxima"),
                ("pooled", BLUE, "o", "maximum of the pooled curve"),
                ("plain", GREEN, "^", "the same, 8 harmonics, no prior"),
            )
        ):
            middle = [float(np.mean(b)) for b in bias[way]]
            spread = [float(np.std(b)) for b in bias[way]]
            at = np.array(NOISES_DEG) + 0.05 * (aside - 1)
            axes.errorbar(at, middle, spread, color=color, marker=marker, markersize=5, capsize=2, label=label)
        axes.axhline(0, color=GREY, linewidth=0.6)
        axes.set(xlabel="noise of one frame, sd [°]", title=f"{fps:g} fps")
    left.set_ylabel("error of peak drop [°], mean ± sd")
    left.legend(loc="upper left", fontsize=8)


def _peak_errors(seed: int, fps: float, noise_deg: float) -> Floats:
    """Errors (REPEATS, 3) of peak drop over 20 strides, a column a way of reading it.

    Mean of raw maxima; maximum of the pooled curve as the kernel fits it; of 8 harmonics by plain least squares.
    """
    spec = RunnerSpec.random(seed)
    rng = np.random.default_rng([seed, round(10 * noise_deg), round(fps)])

    def drop_deg(phase: Floats) -> Floats:
        parts = [a * np.cos(2 * np.pi * k * phase + at) for k, (a, at) in enumerate(spec.obliquity_deg, 1)]
        return -np.asarray(np.sum(parts, axis=0))

    grid = np.arange(0.0, spec.duty, 0.002)
    true, synthesis = drop_deg(grid).max(), basis(grid, HARMONICS)
    out = np.empty((REPEATS, 3))
    for i in range(REPEATS):
        pool = HarmonicPool(AMPLITUDE[[Channel.OBLIQUITY]], HARMONICS, 20, DECAY)
        plain = HarmonicPool(np.array([1e4]), 8, 20)
        raw = []
        for _ in range(20):
            phase = np.arange(rng.uniform(), spec.stride_s * fps) / (spec.stride_s * fps)
            said = drop_deg(phase) + rng.normal(0, noise_deg, len(phase))
            raw.append(said[phase < spec.duty].max())
            for model in (pool, plain):
                model.add(basis(phase, model.harmonics), said[:, None], np.ones((len(phase), 1)))
        pool.solve()  # the first solution sets the noise that the prior is weighed against
        peaks = [(synthesis[:, 1 : 1 + 2 * m.harmonics] @ m.solve().coef[0, 1:]).max() for m in (pool, plain)]
        out[i] = np.array([np.mean(raw), *peaks]) - true
    return out


def coverage(figure: Figure) -> None:
    """How often the interval of each metric holds the truth."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for seed in COVERED:
            paths.append(Path(folder) / f"analytic{seed}.npz")
            save_trial(_trial(seed, 20.0), paths[-1])
        report = score(paths, (PLAIN, ROUGH))
    axes = figure.add_subplot()
    bounds = [b for b in BOUNDS if any(c.error.get(k) for c in report.cases for k in b.keys)]
    axes.axvspan(90, 98, color="#e8e8e8", zorder=0)
    axes.axvline(95, color=GREY, linewidth=0.6)
    rows = np.arange(len(bounds))[::-1]
    for condition, color, marker, aside in ((PLAIN, BLUE, "o", 0.14), (ROUGH, ORANGE, "s", -0.14)):
        cases = report.of(condition.name)
        share = [100 * float(np.mean(np.concatenate([c.covered(k) for c in cases for k in b.keys]))) for b in bounds]
        axes.plot(share, rows + aside, marker, color=color, markersize=5, label=condition.name)
    axes.set_yticks(rows, [b.name for b in bounds])
    axes.set(xlim=(min(70.0, axes.get_xlim()[0]), 101), xlabel="strides whose ci95 holds the truth [%]")
    axes.set_title(f"{len(COVERED)} formula runners, hips only, camera at 0.95 m; grey: 90 to 98 %", fontsize=9)
    axes.legend(loc="lower left", fontsize=8)


FIGURES: dict[str, tuple[Callable[[Figure], None], tuple[float, float]]] = {
    "swing": (swing, (6.6, 3.4)),
    "events": (events, (6.6, 3.4)),
    "maxima": (maxima, (6.6, 2.9)),
    "coverage": (coverage, (6.6, 3.6)),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the figures of docs/kernel.md."""
    p = argparse.ArgumentParser(prog="python -m station.lab.figures", description=main.__doc__)
    p.add_argument("folder", type=Path)
    p.add_argument("--only", choices=sorted(FIGURES))
    o = p.parse_args(argv)
    o.folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        for name, (draw, size_inch) in FIGURES.items():
            if o.only in (None, name):
                figure = Figure(figsize=size_inch, layout="constrained", facecolor="white")
                draw(figure)
                figure.savefig(o.folder / f"kernel-{name}.svg", metadata={"Date": None, "Creator": None})
    return 0


if __name__ == "__main__":
    sys.exit(main())
