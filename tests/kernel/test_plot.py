"""The picture of a run: drawn from what the real kernel said, and asked what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="an extra: pip install '.[plot]'")

from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from station import plot
from station.errors import SourceError
from station.lab.analytic import RunnerSpec, run
from station.lab.project import Condition, observe, view_of
from station.lab.truth import Trial
from station.plot.cycle import events_pct
from station.plot.style import SIDE, SIDES, TINT, ZONE
from station.session import Session
from station.summary import Summary
from station.types import Metric, SessionSummary, Stride, StrideMetrics

Said = tuple[list[StrideMetrics], SessionSummary]


def kernel(trial: Trial, condition: Condition) -> Said:
    """The strides and the summary of one run."""
    session = Session(view_of(condition))
    out = [said for seen in observe(trial, condition) for said in session.feed(seen)]
    out += session.finish()
    (summary,) = (said for said in out if isinstance(said, SessionSummary))
    return [said for said in out if isinstance(said, StrideMetrics)], summary


@pytest.fixture(scope="module")
def trial() -> Trial:
    return run(RunnerSpec(), seconds=25.0, seed=3)


@pytest.fixture(scope="module")
def whole(trial: Trial) -> Said:
    """Every angle known."""
    return kernel(trial, Condition(pelvis_sd_deg=1.0))


@pytest.fixture(scope="module")
def hips(trial: Trial) -> Said:
    """No estimator, an uncalibrated camera, lost frames."""
    unknown = ("height_m", "distance_m", "focal_px", "roll_deg", "pitch_deg")
    return kernel(trial, Condition(fps=30.0, noise_px=2.0, drop_frames=0.05, undeclared=unknown))


def rejected(seq: int, start_s: float, reason: str) -> StrideMetrics:
    stride = Stride(seq, start_s, start_s + 0.7, None, None, None, None)
    return StrideMetrics(stride, "rejected", (reason,), {"pelvic_drop_peak_left_deg": Metric(reason=reason)})


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_visible() and text.get_text()]


def words(figure: Figure) -> str:
    return " | ".join(text.get_text().replace("\n", " ") for text in texts(figure))


def panel(figure: Figure, name: str) -> Axes:
    (axes,) = (axes for axes in figure.axes if axes.get_ylabel().startswith(name))
    return axes


def crowded(figure: Figure) -> list[str]:
    """Words that lie on other words, or leave the picture. Tick labels mind themselves."""
    ticks = {id(text) for axes in figure.axes for text in [*axes.get_xticklabels(), *axes.get_yticklabels()]}
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts(figure) if id(t) not in ticks]
    width, height = figure.canvas.get_width_height()
    faults = [
        f"{text!r} leaves the picture" for text, b in boxes if b.x0 < 0 or b.y0 < 0 or b.x1 > width or b.y1 > height
    ]
    for (one, a), (other, b) in combinations(boxes, 2):
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1:
            faults.append(f"{one!r} lies on {other!r}")
    return faults


def test_a_picture_of_1600_by_1000(whole: Said, tmp_path: Path) -> None:
    plot.draw(*whole, tmp_path / "run.png")
    pixels = imread(tmp_path / "run.png")
    assert pixels.shape[:2] == (1000, 1600)
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 100


def test_the_same_run_gives_the_same_picture(whole: Said, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plot.draw(*whole, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_events_lie_where_they_are(whole: Said, trial: Trial) -> None:
    events = events_pct(whole[0])
    contacts = trial.events["left_contact_s"]
    for name in ("left_off", "right_contact", "right_off"):
        times = trial.events[f"{name}_s"]
        place = np.searchsorted(contacts, times) - 1
        inside = (place >= 0) & (place < len(contacts) - 1)
        before, after = contacts[place[inside]], contacts[place[inside] + 1]
        truth = float(np.mean(100 * (times[inside] - before) / (after - before)))
        assert events[name] == pytest.approx(truth, abs=3.0)
    assert events["left_contact"] == 0.0


@pytest.mark.parametrize("name", ["Obliquity", "Rotation", "Tilt"])
def test_stances_are_shaded_and_the_curve_is_that_of_the_session(whole: Said, name: str) -> None:
    strides, summary = whole
    axes = panel(plot.figure(strides, summary), name)
    events = events_pct(strides)
    for side in SIDES:
        (shade,) = (
            patch
            for patch in axes.patches
            if isinstance(patch, Rectangle) and to_hex(patch.get_facecolor()) == TINT[side]
        )
        assert shade.get_x() == pytest.approx(events[f"{side}_contact"])
        assert shade.get_x() + shade.get_width() == pytest.approx(events[f"{side}_off"])
    curve = summary.curves[name.lower()]
    mean = max(axes.lines, key=lambda line: len(line.get_xdata()) == 101)  # type: ignore[arg-type]
    np.testing.assert_allclose(np.asarray(mean.get_ydata()), curve.mean)
    (band,) = (patch for patch in axes.collections if isinstance(patch, FillBetweenPolyCollection))
    reach = np.asarray(band.get_paths()[0].vertices)
    assert np.min(reach[:, 1]) == pytest.approx(np.min(curve.mean - curve.sd))
    assert np.max(reach[:, 1]) == pytest.approx(np.max(curve.mean + curve.sd))


def test_the_arrows_are_as_long_as_the_drops(whole: Said) -> None:
    strides, summary = whole
    figure = plot.figure(strides, summary)
    axes = panel(figure, "Obliquity")
    arrows = [text for text in axes.texts if getattr(text, "arrow_patch", None) is not None]
    assert len(arrows) == 2
    for arrow in arrows:
        (at, peak), (_, level) = arrow.xy, arrow.get_position()  # type: ignore[attr-defined]
        side = "left" if at < 45 else "right"
        drop = summary.metrics[f"pelvic_drop_peak_{side}_deg"]
        assert level - peak if side == "left" else peak - level == pytest.approx(drop.median, abs=0.4)
        assert f"{side} drop {drop.median:.1f}° ± {drop.ci95:.1f}°" in words(figure)


def test_the_numbers_are_those_of_the_summary(whole: Said) -> None:
    strides, summary = whole
    said = words(plot.figure(strides, summary))
    for name, digits in (("pelvic_drop_peak_left_deg", 1), ("cadence_spm", 1), ("step_width_mm", 0)):
        metric = summary.metrics[name]
        assert f" {metric.median:.{digits}f} |" in said
        assert f"± {metric.ci95:.{digits}f}" in said
    assert f"{summary.strides} strides measured" in said


def test_what_is_not_known_says_why(hips: Said) -> None:
    said = words(plot.figure(*hips))
    assert "Rotation is not known: not seen by this estimator" in said
    assert "Tilt is not known: not seen by this estimator" in said
    assert "Obliquity is not known" not in said
    assert " hw" in said
    assert " mm" not in said


def test_no_stride_at_all() -> None:
    nothing = Summary().result()
    said = words(plot.figure([], nothing))
    assert "Obliquity is not known: no stride was measured" in said
    assert "0 strides measured" in said
    assert crowded(plot.figure([], nothing)) == []


def test_a_runner_seen_from_the_side(whole: Said) -> None:
    strides, _ = whole
    beside = [
        replace(
            s,
            zones={},
            metrics={
                name: metric if name.startswith(("stride_time", "cadence")) else Metric(reason="not a rear view")
                for name, metric in s.metrics.items()
            },
        )
        for s in strides
    ]
    figure = plot.figure(beside, _numbers(beside))
    assert "Obliquity is not known: not a rear view" in words(figure)
    assert crowded(figure) == []


def test_rejected_strides_stand_on_the_timeline_with_their_reasons(whole: Said) -> None:
    strides, _ = whole
    reasons = ["gap", "gap", "walking", "low_confidence", "swapped_sides", "off_frame", "implausible_duration"]
    many = [*strides, *(rejected(90 + k, 19.0 + k / 2, reason) for k, reason in enumerate(reasons))]
    figure = plot.figure(many, _numbers(many))
    said = words(figure)
    assert "left out: gap (2)" in said
    assert "left out: low confidence (1)" in said
    assert "gap 2, implausible duration 1" in said
    marks = {line.get_marker() for line in panel(figure, "Peak drop").lines if "left out" in str(line.get_label())}
    assert len(marks) >= 6


def test_words_do_not_lie_on_words(whole: Said, hips: Said) -> None:
    for said in (whole, hips):
        figure = plot.figure(*said)
        assert crowded(figure) == []
        figure.text(0.02, 0.96, "in the way")
        figure.text(0.99, 0.5, "over the edge")
        assert len(crowded(figure)) >= 2


def test_a_long_run_counts_minutes(whole: Said) -> None:
    strides, summary = whole
    ok = next(stride for stride in strides if stride.status == "ok")
    long = [replace(ok, stride=_moved(ok.stride, 0.7 * k)) for k in range(3000)]
    axes = panel(plot.figure(long, replace(summary, duration_s=2100.0, strides=3000)), "Peak drop")
    assert axes.get_xlabel() == "time [min]"
    assert axes.get_xlim()[1] == pytest.approx(35.0)


def _moved(stride: Stride, by_s: float) -> Stride:
    assert stride.left_contact_s is not None
    assert stride.left_off_s is not None
    assert stride.right_contact_s is not None
    assert stride.right_off_s is not None
    return Stride(
        stride.seq, stride.start_s + by_s, stride.end_s + by_s, stride.left_contact_s + by_s,
        stride.left_off_s + by_s, stride.right_contact_s + by_s, stride.right_off_s + by_s,
    )  # fmt: skip


def test_only_the_strides_of_the_session_are_shown(whole: Said, tmp_path: Path) -> None:
    strides, summary = whole
    other = [replace(stride, stride=_moved(stride.stride, 500.0)) for stride in strides if stride.status == "ok"]
    plot.draw(strides, summary, tmp_path / "alone.png")
    plot.draw([*strides, *other], summary, tmp_path / "both.png")
    assert (tmp_path / "alone.png").read_bytes() == (tmp_path / "both.png").read_bytes()


def test_without_a_summary_the_numbers_still_stand(whole: Said, tmp_path: Path) -> None:
    plot.draw(whole[0], None, tmp_path / "run.svg")
    assert "<svg" in (tmp_path / "run.svg").read_text()[:1000]
    assert f"{whole[1].strides} strides measured" in words(plot.figure(whole[0], _numbers(whole[0])))


def _numbers(strides: Sequence[StrideMetrics]) -> SessionSummary:
    summary = Summary()
    for stride in strides:
        summary.add(stride)
    return summary.result()


def test_a_place_that_cannot_be_written_names_itself(whole: Said, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"missing.*--plot"):
        plot.draw(*whole, tmp_path / "missing" / "run.png")
    with pytest.raises(SourceError, match=r"run\.xyz.*\.png"):
        plot.draw(*whole, tmp_path / "run.xyz")


def _luminance(color: str) -> float:
    parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_sides_and_zones_can_be_told_without_colour_and_read() -> None:
    for side in SIDES:
        on_white = 1.05 / (_luminance(SIDE[side]) + 0.05)
        on_tint = (_luminance(TINT[side]) + 0.05) / (_luminance(SIDE[side]) + 0.05)
        assert min(on_white, on_tint) >= 3.0  # WCAG for large and bold words
    assert len({marker for marker, _, _ in ZONE.values()}) == 3
