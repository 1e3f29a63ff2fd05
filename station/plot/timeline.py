"""Drop of both sides over the run: the level with its interval, single strides, and what was left out and why."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from station.metrics.table import bands
from station.plot.style import GRID, INK, QUIET, SIDE, SIDES, VOID, plain
from station.types import Floats, SessionSummary, Side, StrideMetrics

#: From here on the axis counts minutes [s].
_MINUTES_FROM_S = 180.0
#: A break longer than this is not bridged by a line [s].
_BREAK_S = 3.0
_MARKS = ("x", "+", "1", "d", "2", "*", "3")


def draw_timeline(axes: Axes, strides: Sequence[StrideMetrics], session: SessionSummary) -> None:
    """Peak drop of both sides over the time since the session began."""
    scale = 60.0 if session.duration_s > _MINUTES_FROM_S else 1.0
    axes.set_ylabel("Peak drop [°]", fontsize=12.5, labelpad=8)
    axes.set_xlabel("time [min]" if scale > 1 else "time [s]")
    axes.set_xlim(0.0, max(session.duration_s, 1.0) / scale)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    for side in SIDES:
        _draw_side(axes, side, strides, session.start_s, scale)
    border = bands(session.profile)["pelvic_drop_peak_left_deg"].green
    low, high = _reach(strides, border)
    axes.set_ylim(low - 0.17 * (high - low), high)
    axes.axhline(border, color=INK, linewidth=1.0, linestyle=(0, (6, 4)))
    axes.annotate(f"target\n≤ {border:g}°", (1.0, border), (8, 0), xycoords=("axes fraction", "data"),
                  textcoords="offset points", fontsize=11.5, va="center", color=INK)  # fmt: skip
    _draw_left_out(axes, strides, session.start_s, scale)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=8, frameon=False, fontsize=11, handletextpad=0.4,
            columnspacing=1.6, borderaxespad=0.1, markerscale=1.2,
        )  # fmt: skip


def _draw_side(axes: Axes, side: Side, strides: Sequence[StrideMetrics], start_s: float, scale: float) -> None:
    rows = _rows(side, strides)
    if not len(rows):
        return
    t, value, ci95, own = rows.T
    t = (t - start_s) / scale
    axes.plot(t, own, "o" if side == "left" else "D", color=SIDE[side], alpha=0.45, linewidth=0,
              markersize=_size(len(rows)), markeredgewidth=0, rasterized=True)  # fmt: skip
    breaks = np.flatnonzero(np.diff(rows[:, 0]) > _BREAK_S) + 1
    for part in np.split(np.arange(len(rows)), breaks):
        axes.fill_between(
            t[part], value[part] - ci95[part], value[part] + ci95[part], color=SIDE[side], alpha=0.16, linewidth=0
        )
        axes.plot(t[part], value[part], color=SIDE[side], linewidth=2.4, solid_capstyle="round")
    axes.plot([], [], "o-" if side == "left" else "D-", color=SIDE[side], linewidth=2.4, markersize=5,
              label=f"{side}: level with 95 % interval, single strides")  # fmt: skip


def _rows(side: Side, strides: Sequence[StrideMetrics]) -> Floats:
    """(n, 4): end of the stride [s], value, ci95, this stride alone (NaN where it has none) [°]."""
    rows = []
    for stride in strides:
        drop = stride.metrics.get(f"pelvic_drop_peak_{side}_deg")
        if stride.status == "ok" and drop is not None and drop.value is not None:
            own = math.nan if drop.stride is None else drop.stride
            rows.append((stride.stride.end_s, drop.value, drop.ci95 or 0.0, own))
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def _reach(strides: Sequence[StrideMetrics], border: float) -> tuple[float, float]:
    """What the axis must show [°]: the border, every stride and level, and of the early wide intervals a part."""
    shown = [np.array([border - 1.5, border + 1.5])]
    for side in SIDES:
        rows = _rows(side, strides)
        ci95 = np.minimum(rows[:, 2], 1.0)
        shown += [rows[:, 1] - ci95, rows[:, 1] + ci95, rows[:, 3]]
    values = np.concatenate(shown)
    return float(np.nanmin(values)) - 0.3, float(np.nanmax(values)) + 0.3


def _size(count: int) -> float:
    return float(np.clip(60.0 / math.sqrt(count), 2.0, 6.0))


def _draw_left_out(axes: Axes, strides: Sequence[StrideMetrics], start_s: float, scale: float) -> None:
    """Rejected strides along the foot of the picture, a mark for each reason."""
    times: dict[str, list[float]] = {}
    for stride in strides:
        if stride.status != "ok":
            middle_s = (stride.stride.start_s + stride.stride.end_s) / 2
            times.setdefault(stride.reasons[0] if stride.reasons else "rejected", []).append(middle_s)
    where = axes.get_xaxis_transform()
    if times:
        axes.axvspan(*axes.get_xlim(), 0.0, 0.1, color=VOID, linewidth=0, zorder=0)
    for place, (reason, at_s) in enumerate(sorted(times.items())):
        t = np.maximum(np.array(at_s) - start_s, 0.0) / scale  # the session may begin with its first whole stride
        axes.plot(
            t, np.full(len(t), 0.05), _MARKS[place % len(_MARKS)], transform=where, clip_on=False, color=QUIET,
            markersize=7, markeredgewidth=1.6, label=f"left out: {plain(reason)} ({len(t)})",
        )  # fmt: skip
