"""The main numbers: median over the run, 95 % interval, unit and zone; left and right as the runner feels them."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes

from station.plot.style import GRID, INK, QUIET, SIDE, SIDES, ZONE, plain, signed
from station.types import MetricSummary, SessionSummary, Side

#: Label, metric (``{}`` stands for the side), unit, digits. A second name is taken where the first is not known.
_ROWS: tuple[tuple[str, tuple[str, ...], str, int], ...] = (
    ("Peak pelvic drop", ("pelvic_drop_peak_{}_deg",), "°", 1),
    ("Drop from contact", ("pelvic_drop_{}_deg",), "°", 1),
    ("Hip adduction", ("hip_adduction_{}_deg",), "°", 1),
    ("Knee gap", ("knee_gap_{}_hw",), " hw", 2),
    ("Trunk lean", ("trunk_lean_{}_deg",), "°", 1),
    ("Contact time", ("contact_time_{}_ms",), " ms", 0),
    ("Drop, left − right", ("pelvic_drop_difference_deg",), "°", 1),
    ("Obliquity range", ("obliquity_range_deg",), "°", 1),
    ("Rotation range", ("rotation_range_deg",), "°", 1),
    ("Tilt, mean", ("tilt_mean_deg",), "°", 1),
    ("Sway", ("sway_mm", "sway_hw"), "", 0),
    ("Vertical oscillation", ("vertical_oscillation_mm", "vertical_oscillation_hw"), "", 0),
    ("Step width", ("step_width_mm", "step_width_hw"), "", 0),
    ("Cadence", ("cadence_spm",), " /min", 1),
    ("Stride time CV", ("stride_time_cv_pct",), " %", 1),
    ("Contact, right − left", ("symmetry_time_pct",), " %", 1),
    ("Stability, of 100", ("stability",), "", 0),
)
_X: Mapping[Side | None, float] = {"left": 0.385, "right": 0.70, None: 0.385}


def draw_table(axes: Axes, session: SessionSummary) -> None:
    """The table, filling ``axes``."""
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(len(_ROWS) + 1.3, -0.75)
    for side in SIDES:
        axes.text(
            _X[side] + 0.115, -0.35, side, fontsize=12.5, fontweight="bold", color=SIDE[side], va="center", ha="right"
        )
    for place, (label, names, unit, digits) in enumerate(_ROWS):
        row = place + 0.5
        axes.axhline(place, color=GRID, linewidth=0.8)
        axes.text(0.0, row, label, va="center", fontsize=12)
        sides: tuple[Side | None, ...] = SIDES if "{}" in names[0] else (None,)
        reasons = [_reason(names[0].format(column), session) for column in sides]
        for column, reason in zip(sides, reasons, strict=True):
            if reason is not None and column == "right" and reason == reasons[0]:
                continue  # said once for both sides
            _cell(axes, _X[column], row, [name.format(column) for name in names], (unit, digits), session)
    axes.axhline(len(_ROWS), color=GRID, linewidth=0.8)
    _legend(axes, len(_ROWS) + 0.75)


def _cell(axes: Axes, x: float, row: float, names: list[str], form: tuple[str, int], session: SessionSummary) -> None:
    known = [name for name in names if _known(session.metrics.get(name))]
    if not known:
        why = _reason(names[0], session)
        axes.text(x, row, f"–  {why}", va="center", fontsize=10.5, color=QUIET, style="italic")
        return
    name = known[0]
    unit, digits = {"mm": (" mm", 0), "hw": (" hw", 2)}.get(name.rpartition("_")[2], form)
    metric = session.metrics[name]
    value = signed(metric.median, digits)
    axes.text(x + 0.115, row, value, va="center", ha="right", fontsize=13, fontweight="bold", color=INK)
    sure = "" if metric.ci95 is None else f"± {metric.ci95:.{digits}f}"
    axes.text(x + 0.128, row, f"{sure}{unit}", va="center", fontsize=11, color=QUIET)
    zone = session.zones.get(name)
    if zone is not None:
        _mark(axes, x - 0.005, row, zone)


def _known(metric: MetricSummary | None) -> bool:
    return metric is not None and metric.n > 0


def _reason(name: str, session: SessionSummary) -> str | None:
    """Why a metric is not known; ``None`` when it is."""
    metric = session.metrics.get(name)
    if _known(metric):
        return None
    return plain(metric.reason) if metric is not None and metric.reason else "not measured"


def _mark(axes: Axes, x: float, row: float, zone: str) -> None:
    marker, color, _ = ZONE[zone]
    axes.plot(x, row, marker, color=color, markersize=8, clip_on=False)


def _legend(axes: Axes, row: float) -> None:
    for x, zone in zip((0.02, 0.27, 0.49), ZONE, strict=True):
        _mark(axes, x, row, zone)
        axes.text(x + 0.025, row, ZONE[zone][2], va="center", fontsize=11, color=QUIET)
    axes.text(1.0, row, "median ± 95 % interval", va="center", ha="right", fontsize=11, color=QUIET)
