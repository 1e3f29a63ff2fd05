"""What must not change, changes nothing; what must swap, swaps."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from station import wire
from station.gait.cycles import LOOK_AHEAD
from station.metrics.table import METRICS, PELVIC
from station.types import KEYPOINTS, Live, Mount, Observation, Pose, SessionSummary, StrideMetrics
from tests.kernel.runners import PLAIN, feed, good, mirrored, moved, pose, seen, strides, unknown_pelvis, without

QUIET = replace(PLAIN, noise_px=0.05, pelvis_sd_deg=0.1)


def test_mirror_swaps_sides_and_keeps_the_rest() -> None:
    view, frames = seen(QUIET)
    plain = good(feed(view, frames))[-1].metrics
    turned = good(feed(view, [mirrored(f, view.width_px) for f in frames]))[-1].metrics
    tolerance = {"deg": 0.25, "ms": 4.0, "s": 0.004, "hw": 0.02, "mm": 2.5, "spm": 0.3, "pct": 1.5}
    for name in METRICS:
        other = name.replace("left", "*").replace("right", "left").replace("*", "right")
        a, b = plain[name].value, turned[other].value
        if name in ("pelvic_drop_difference_deg", "symmetry_time_pct"):
            b = None if b is None else -b
        assert (a is None) == (b is None), name
        if a is not None and b is not None:
            assert a == pytest.approx(b, abs=tolerance.get(name.split("_")[-1], 3.0)), name


def test_a_shift_in_time_shifts_the_times_and_nothing_else() -> None:
    view, frames = seen(PLAIN)
    a = strides(feed(view, frames))
    b = strides(feed(view, [replace(f, t_s=f.t_s + 4096.0) for f in frames]))
    assert len(a) == len(b) > 15
    for x, y in zip(a, b, strict=True):
        assert y.stride.start_s - x.stride.start_s == pytest.approx(4096.0, abs=1e-6)
        for name in METRICS:
            p, q = x.metrics[name].value, y.metrics[name].value
            assert p == q == None or p == pytest.approx(q, rel=1e-5, abs=1e-5), name  # noqa: E711


def test_panning_with_the_declared_centre_changes_nothing() -> None:
    view, frames = seen(PLAIN)
    center = (view.width_px / 2 + 37.0, view.height_px / 2 - 11.0)
    panned = replace(view, mount=replace(view.mount, center_px=center))
    a = good(feed(view, frames))[-1]
    b = good(feed(panned, [moved(f, pose(f).xy_px + np.array((37.0, -11.0))) for f in frames]))[-1]
    for name in METRICS:
        p, q = a.metrics[name].value, b.metrics[name].value
        assert p == q == None or p == pytest.approx(q, rel=1e-6, abs=1e-6), name  # noqa: E711


def test_zoom_without_a_calibrated_camera_changes_no_angle_and_no_ratio() -> None:
    view, frames = seen(QUIET)
    bare = replace(view, mount=Mount())
    middle = np.array((view.width_px / 2, view.height_px / 2))
    a = good(feed(bare, frames))[-1].metrics
    b = good(feed(bare, [moved(f, (pose(f).xy_px - middle) * 0.8 + middle) for f in frames]))[-1].metrics
    for name, tolerance in (
        ("pelvic_drop_peak_left_deg", 0.1), ("sway_hw", 0.01), ("vertical_oscillation_hw", 0.02), ("cadence_spm", 0.1),
        ("hip_adduction_left_deg", 0.6), ("trunk_lean_left_deg", 0.2), ("contact_time_left_ms", 3.0),
    ):  # fmt: skip
        assert a[name].value == pytest.approx(b[name].value, abs=tolerance), name
    assert a["sway_mm"].value is None
    assert a["sway_mm"].reason == "camera not calibrated"


def test_the_future_changes_nothing_that_was_said() -> None:
    view, frames = seen(PLAIN)
    half = len(frames) // 2
    other = [moved(f, pose(f).xy_px[::-1] * 0.7) for f in frames[half:]]

    def said(stream: Sequence[Observation]) -> list[str]:
        from station.session import Session

        session = Session(view)
        out: list[str] = []
        for index, frame in enumerate(stream):
            out += [repr(x) for x in session.feed(frame) if not isinstance(x, Live) and index < half]
        return out

    assert said(frames) == said((*frames[:half], *other)) != []


def test_a_stride_comes_out_within_its_stated_lag() -> None:
    view, frames = seen(PLAIN)
    from station.session import Session

    session = Session(view)
    for frame in frames:
        for x in session.feed(frame):
            if isinstance(x, StrideMetrics) and x.status == "ok":
                lag = frame.t_s - x.stride.end_s
                period = x.stride.end_s - x.stride.start_s
                assert lag <= (LOOK_AHEAD + 0.1) * period + 0.55


def test_the_same_frames_give_the_same_words() -> None:
    view, frames = seen(PLAIN)
    assert [repr(x) for x in feed(view, frames) if not isinstance(x, SessionSummary)] == [
        repr(x) for x in feed(view, frames) if not isinstance(x, SessionSummary)
    ]


@pytest.mark.parametrize(
    ("hidden", "lost", "kept"),
    [
        (("shoulder",), ("trunk_lean_left_deg",), ("pelvic_drop_peak_left_deg", "step_width_mm", "knee_gap_left_hw")),
        (("toe",), ("heel_whip_left_deg",), ("pelvic_drop_peak_left_deg", "contact_time_left_ms", "step_width_mm")),
        (("heel",), ("step_width_mm", "heel_whip_left_deg"), ("contact_time_left_ms", "sway_mm")),
        (("knee",), ("knee_gap_left_hw", "hip_adduction_left_deg"), ("cadence_spm", "pelvic_drop_peak_left_deg")),
    ],
)
def test_a_hidden_joint_costs_the_metrics_that_need_it_and_no_other(
    hidden: tuple[str, ...], lost: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    view, frames = seen(PLAIN)
    metrics = good(feed(view, [without(f, *hidden) for f in frames]))[-1].metrics
    assert set(metrics) == set(METRICS)
    for name in lost:
        assert metrics[name].value is None, name
        assert metrics[name].reason, name
    for name in kept:
        assert metrics[name].value is not None, name


def test_an_estimator_that_does_not_know_is_never_replaced_by_the_hips() -> None:
    view, frames = seen(PLAIN)
    stride = good(feed(view, [unknown_pelvis(f) for f in frames]))[-1]
    for name in PELVIC:
        assert stride.metrics[name].value is None
        assert stride.metrics[name].reason == "waist_hidden"
    assert stride.metrics["cadence_spm"].value is not None


def test_the_pelvis_angle_of_the_block_counts_not_the_hips() -> None:
    view, frames = seen(replace(PLAIN, pelvis_sd_deg=0.5))
    bent = []
    for f in frames:
        xy = pose(f).xy_px.copy()
        xy[2:4, 1] = xy[2:4, 1].mean()  # hips drawn level
        bent.append(moved(f, xy))
    a, b = good(feed(view, frames))[-1].metrics, good(feed(view, bent))[-1].metrics
    for name in PELVIC:
        assert a[name].value == pytest.approx(b[name].value, abs=0.05), name


def test_estimator_that_sees_cloth_is_told_by_its_sign() -> None:
    view, frames = seen(replace(PLAIN, pelvis_sd_deg=0.5))
    against = [
        replace(f, pelvis=replace(f.pelvis, obliquity_deg=-f.pelvis.obliquity_deg))
        for f in frames
        if f.pelvis is not None
    ]
    assert len(against) == len(frames)
    honest, cloth = good(feed(view, frames))[-1].metrics, good(feed(view, against))[-1].metrics
    assert honest["pelvic_drop_peak_left_deg"].value is not None
    assert cloth["pelvic_drop_peak_left_deg"].reason == "waist_hidden"
    assert cloth["cadence_spm"].value is not None


def test_no_nan_becomes_a_number_and_none_reaches_json() -> None:
    view, frames = seen(PLAIN)
    rng = np.random.default_rng(0)
    holed = []
    for f in frames:
        xy, score = pose(f).xy_px.copy(), pose(f).score.copy()
        gone = rng.uniform(size=len(KEYPOINTS)) < 0.15
        xy[gone], score[gone] = np.nan, 0.0
        holed.append(Observation(f.t_s, Pose(xy, score), f.pelvis))
    out = strides(feed(view, holed))
    assert out
    for stride in out:
        text = json.dumps(wire.stride_json(stride, "tm", "s", None), allow_nan=False)
        assert json.loads(text)["seq"] == stride.stride.seq
        for metric in stride.metrics.values():
            assert (metric.value is None) != (metric.reason is None)
            assert metric.value is None or math.isfinite(metric.value)
