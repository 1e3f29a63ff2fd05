"""A run as a picture: curves over the gait cycle, drop over time, the main numbers. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from station.errors import SourceError
from station.plot.cycle import CURVES, draw_curve, draw_events, events_pct
from station.plot.style import INK, QUIET, SIZE_IN, STYLE, plain
from station.plot.table import draw_table
from station.plot.timeline import draw_timeline
from station.summary import Summary
from station.types import SessionSummary, StrideMetrics


def draw(strides: Sequence[StrideMetrics], summary: SessionSummary | None, path: Path) -> None:
    """Draw one session into ``path`` (1600 × 1000 pixels; the suffix chooses the format).

    ``summary`` gives the curves, the numbers and which of the ``strides`` are shown: those of its session. Without one
    every stride is shown, and no curve. Raises :class:`SourceError` for a path that cannot be written.
    """
    shown = _of_session(strides, summary)
    session = summary if summary is not None else _summarise(shown)
    picture = figure(shown, session)
    try:
        picture.savefig(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be written ({error.strerror}); choose another place for --plot") from None
    except ValueError as error:
        raise SourceError(f"{path}: {error}; end the name in .png") from None


def _of_session(strides: Sequence[StrideMetrics], summary: SessionSummary | None) -> list[StrideMetrics]:
    if summary is None:
        return list(strides)
    end_s = summary.start_s + summary.duration_s
    return [stride for stride in strides if summary.start_s - 2.0 <= stride.stride.start_s <= end_s]


def _summarise(strides: Sequence[StrideMetrics]) -> SessionSummary:
    summary = Summary()
    for stride in strides:
        summary.add(stride)
    return summary.result()


def figure(strides: Sequence[StrideMetrics], session: SessionSummary) -> Figure:
    """The picture of these strides of one session."""
    with mpl.rc_context(STYLE):
        picture = Figure(figsize=SIZE_IN, dpi=100)
        _head(picture, session)
        _curves(picture, strides, session)
        draw_table(picture.add_axes((0.665, 0.335, 0.32, 0.565)), session)
        draw_timeline(picture.add_axes((0.055, 0.075, 0.875, 0.195)), strides, session)
        picture.draw_without_rendering()  # fonts and layout while the settings hold
    return picture


def _head(picture: Figure, session: SessionSummary) -> None:
    left_out = sum(session.rejected.values())
    because = ", ".join(f"{plain(reason)} {count}" for reason, count in sorted(session.rejected.items()))
    parts = [
        _duration(session.duration_s),
        f"{session.strides} strides measured",
        f"{left_out} left out ({because})" if left_out else "none left out",
        *([f"target bands: {session.profile}"] if session.profile else []),
    ]
    picture.text(0.015, 0.957, "The pelvis over the run", fontsize=21, fontweight="bold", color=INK)
    picture.text(0.985, 0.96, "   ·   ".join(parts), fontsize=12.5, color=QUIET, ha="right")


def _duration(duration_s: float) -> str:
    if duration_s < 60.0:
        return f"{duration_s:.1f} s"
    return f"{int(duration_s // 60)}:{int(duration_s % 60):02d} min"


def _curves(picture: Figure, strides: Sequence[StrideMetrics], session: SessionSummary) -> None:
    events = events_pct(strides)
    height, gap, top = 0.163, 0.014, 0.888
    for place, curve in enumerate(CURVES):
        axes = picture.add_axes((0.055, top - (place + 1) * height - place * gap, 0.54, height))
        draw_curve(axes, curve, session, events)
        if place == 0:
            draw_events(axes, events)
        if place < len(CURVES) - 1:
            axes.tick_params(labelbottom=False)
        else:
            axes.set_xlabel(
                "stride, from left contact to left contact [%]   ·   line: mean of the strides, band: ± 1 sd"
            )
