"""The curves over the gait cycle: mean, band, stances, events, and the peak drops where they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from station.plot.style import BAND, GRID, HALO, INK, QUIET, SIDE, SIDES, TINT, VOID, plain, signed
from station.types import Curve, Floats, MetricSummary, SessionSummary, Side, StrideMetrics

#: Which way obliquity goes when the pelvis drops in the stance of that side.
_DOWN: Mapping[Side, float] = {"left": -1.0, "right": 1.0}
#: Events of the mean stride [%], by name; empty without a measured stride.
Events = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Panel:
    """One curve of the session; ``metric`` is the one that says why there is no curve."""

    name: str
    title: str
    up: str
    down: str
    metric: str


CURVES: tuple[_Panel, ...] = (
    _Panel("obliquity", "Obliquity", "right up", "left up", "obliquity_range_deg"),
    _Panel("rotation", "Rotation", "right\n   forward", "left\n   forward", "rotation_range_deg"),
    _Panel("tilt", "Tilt", "forward", "backward", "tilt_range_deg"),
)
_EVENTS: tuple[tuple[str, str, Side], ...] = (
    ("left_contact", "left\ncontact", "left"), ("left_off", "left\noff", "left"),
    ("right_contact", "right\ncontact", "right"), ("right_off", "right\noff", "right"),
)  # fmt: skip


def events_pct(strides: Sequence[StrideMetrics]) -> Events:
    """Mean place of each event over the measured strides [% of the stride]."""
    found: dict[str, list[float]] = {name: [] for name, _, _ in _EVENTS}
    for metrics in strides:
        stride = metrics.stride
        length_s = stride.end_s - stride.start_s
        for name, times in found.items():
            at_s = getattr(stride, f"{name}_s")
            if metrics.status == "ok" and at_s is not None and length_s > 0:
                times.append(100.0 * (at_s - stride.start_s) / length_s)
    return {name: float(np.mean(times)) for name, times in found.items() if times}


def draw_curve(axes: Axes, panel: _Panel, session: SessionSummary, events: Events) -> None:
    """One panel; a curve that is not known says so."""
    axes.set_xlim(0, 100)
    axes.set_xticks(range(0, 101, 10))
    axes.set_ylabel(f"{panel.title} [°]", fontsize=12.5, labelpad=8)
    curve = session.curves.get(panel.name)
    if curve is None:
        _say_why(axes, panel, session)
        return
    for side in SIDES:
        start, end = _stance(events, side)
        axes.axvspan(start, end, color=TINT[side], linewidth=0, zorder=0)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    for name, _, side in _EVENTS:
        if name in events:
            axes.axvline(events[name], color=SIDE[side], linewidth=0.9, linestyle=(0, (4, 3)), alpha=0.7)
    _draw_mean(axes, curve, events)
    low, high = float((curve.mean - curve.sd).min()), float((curve.mean + curve.sd).max())
    room = max(high - low, 2.0) * (0.20 if panel.name == "obliquity" else 0.14)
    axes.set_ylim(low - room, high + room)
    _direction(axes, panel)
    if panel.name == "obliquity":
        _mark_drops(axes, curve, session, events)


def draw_events(axes: Axes, events: Events) -> None:
    """Names of the events and the stances above a panel."""
    for name, text, side in _EVENTS:
        if name in events:
            axes.annotate(
                text, (events[name], 1.0), (0, 5), xycoords=("data", "axes fraction"), textcoords="offset points",
                ha="right" if name.endswith("off") else "left", va="bottom", fontsize=10, linespacing=1.0,
                color=SIDE[side],
            )  # fmt: skip
    for side in SIDES:
        if f"{side}_off" in events:
            start, end = _stance(events, side)
            axes.annotate(
                f"{side} stance", ((start + end) / 2, 1.0), (0, 9), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="center", va="bottom", fontsize=12, fontweight="bold", color=SIDE[side],
            )  # fmt: skip


def _stance(events: Events, side: Side) -> tuple[float, float]:
    return events.get(f"{side}_contact", 0.0), events.get(f"{side}_off", 0.0)


def _draw_mean(axes: Axes, curve: Curve, events: Events) -> None:
    phase = np.linspace(0.0, 100.0, len(curve.mean))
    axes.fill_between(phase, curve.mean - curve.sd, curve.mean + curve.sd, color=BAND, alpha=0.35, linewidth=0)
    axes.plot(phase, curve.mean, color=INK, linewidth=1.6)
    fine = np.linspace(0.0, 100.0, 1001)
    for side in SIDES:
        start, end = _stance(events, side)
        part = fine[(fine >= start) & (fine <= end)]
        axes.plot(part, np.interp(part, phase, curve.mean), color=SIDE[side], linewidth=3.2, solid_capstyle="butt")


def _direction(axes: Axes, panel: _Panel) -> None:
    """Which way is up, beside the panel."""
    for y, arrow, text, va in ((1.0, "↑", panel.up, "top"), (0.0, "↓", panel.down, "bottom")):
        axes.annotate(
            f"{arrow} {text}", (1.0, y), (7, 0), xycoords="axes fraction", textcoords="offset points", va=va,
            fontsize=10, color=QUIET, linespacing=1.05,
        )  # fmt: skip


def _mark_drops(axes: Axes, curve: Curve, session: SessionSummary, events: Events) -> None:
    """An arrow from the runner's level to each peak, with the drop it stands for."""
    phase = np.linspace(0.0, 100.0, len(curve.mean))
    found: list[tuple[Side, float, float, float]] = []
    for side, sign in _DOWN.items():
        drop = session.metrics.get(f"pelvic_drop_peak_{side}_deg")
        start, end = _stance(events, side)
        if drop is not None and drop.n and end > start:
            at, peak = _peak(phase, curve.mean, start, end, sign)
            found.append((side, at, peak, peak - sign * drop.median))
    if not found:
        return
    level = float(np.mean([item[3] for item in found]))
    axes.axhline(level, color=QUIET, linewidth=1.0, linestyle=(0, (1.5, 2)))
    if "left_off" in events:
        axes.annotate(
            "level", (events["left_off"], level), (5, 3), textcoords="offset points", fontsize=10, color=QUIET
        )
    for side, at, peak, _ in found:
        drop = session.metrics[f"pelvic_drop_peak_{side}_deg"]
        _mark_drop(axes, side, (at, peak), level, _stance(events, side)[0], drop)


def _mark_drop(
    axes: Axes, side: Side, peak: tuple[float, float], level: float, contact: float, drop: MetricSummary
) -> None:
    """The words stand on the far side of the level, where the curve of a stance does not go, from the contact on."""
    color, down = SIDE[side], _DOWN[side] < 0
    arrow = {"arrowstyle": "-|>", "color": color, "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 14}
    axes.annotate("", peak, (peak[0], level), arrowprops=arrow)
    axes.plot(*peak, "v" if down else "^", color=color, markersize=9, markeredgecolor="white", zorder=5)
    sure = "" if drop.ci95 is None else f" ± {drop.ci95:.1f}°"
    axes.annotate(
        f"{side} drop {signed(drop.median, 1)}°{sure}", (contact, level), (6, 6 if down else -6),
        textcoords="offset points", ha="left", va="bottom" if down else "top", fontsize=13, fontweight="bold",
        color=color, zorder=6, path_effects=HALO,
    )  # fmt: skip


def _peak(phase: Floats, mean: Floats, start: float, end: float, sign: float) -> tuple[float, float]:
    """Place and height of the mean curve's peak drop in a stance."""
    inside = np.linspace(start, end, 200)
    curve = np.interp(inside, phase, mean)
    best = int(np.argmax(sign * curve))
    return float(inside[best]), float(curve[best])


def _say_why(axes: Axes, panel: _Panel, session: SessionSummary) -> None:
    metric = session.metrics.get(panel.metric)
    if not session.strides:
        why = "no stride was measured"
    elif metric is not None and metric.reason is not None:
        why = plain(metric.reason)
    else:
        why = "no curve of this session"
    axes.set_yticks([])
    axes.tick_params(bottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_facecolor(VOID)
    axes.text(
        0.5, 0.5, f"{panel.title} is not known: {why}", transform=axes.transAxes, ha="center", va="center", fontsize=13,
        color=QUIET, style="italic",
    )  # fmt: skip
