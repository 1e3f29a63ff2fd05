"""A session in numbers that can be checked by hand, by NumPy, and after three hours."""

from __future__ import annotations

import gc
import math
import tracemalloc
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from station.harmonics import basis
from station.metrics.channels import AMPLITUDE, HARMONICS, Channel
from station.metrics.table import METRICS, bands
from station.summary import KEPT, POINTS, Summary, stride_curves
from station.types import Metric, Stride, StrideMetrics
from station.wire import dumps, session_json

DROP = "pelvic_drop_peak_left_deg"


def ok(seq: int, start_s: float, **metrics: Metric) -> StrideMetrics:
    table = {name: Metric(reason="not seen by this estimator") for name in METRICS} | metrics
    end_s = start_s + 0.7
    return StrideMetrics(Stride(seq, start_s, end_s, start_s, start_s, start_s, start_s), "ok", (), table)


def rejected(seq: int, start_s: float, *reasons: str) -> StrideMetrics:
    empty = Metric(reason=reasons[0])
    stride = Stride(seq, start_s, start_s + 0.7, None, None, None, None)
    return StrideMetrics(stride, "rejected", reasons, dict.fromkeys(METRICS, empty))


def drops(values: Iterable[tuple[float, float, float]]) -> Summary:
    """A stride a second with (value, stride, ci95)."""
    summary = Summary()
    for k, (value, stride, ci95) in enumerate(values):
        summary.add(ok(k, float(k), **{DROP: Metric(value, ci95, stride)}))
    return summary


def test_by_hand() -> None:
    result = drops([(5.0, 1.0, 0.4), (6.0, 5.0, 0.5), (9.0, 9.0, 0.9)]).result(profile="men", frames_seen=126)
    drop = result.metrics[DROP]
    assert (drop.median, drop.iqr, drop.ci95, drop.n) == (6.0, 4.0, 0.5, 3)
    assert drop.trend_per_min is None  # less than a minute
    assert result.zones == {DROP: "green"}  # 6.0 is on the border
    assert (result.start_s, result.duration_s, result.strides, result.frames_seen) == (0.0, 2.7, 3, 126)
    assert result.profile == "men"


def test_nothing_seen() -> None:
    result = Summary().result(start_s=10.0, end_s=14.0, frames_seen=3)
    assert (result.strides, result.duration_s, result.metrics, result.curves) == (0, 4.0, {}, {})
    assert Summary().result().duration_s == 0.0


def test_rejected_strides_are_counted_once_by_their_first_reason() -> None:
    summary = Summary()
    summary.add(rejected(0, 0.0, "warming_up"))
    summary.add(rejected(1, 0.7, "gap", "walking"))
    summary.add(rejected(2, 1.4, "gap"))
    result = summary.result()
    assert result.rejected == {"warming_up": 1, "gap": 2}
    assert result.strides == 0


def test_what_was_never_measured_says_why() -> None:
    summary = Summary()
    summary.add(ok(0, 0.0, tilt_mean_deg=Metric(reason="waist_hidden")))
    summary.add(ok(1, 0.7, tilt_mean_deg=Metric(reason="camera not calibrated")))
    summary.add(ok(2, 1.4, tilt_mean_deg=Metric(reason="waist_hidden")))
    tilt = summary.result().metrics["tilt_mean_deg"]
    assert (tilt.n, tilt.reason, tilt.trend_per_min, tilt.ci95) == (0, "waist_hidden", None, None)
    assert math.isnan(tilt.median)
    entry = session_json(summary.result(), "t", "replay")["metrics"]["tilt_mean_deg"]
    assert (entry["median"], entry["reason"]) == (None, "waist_hidden")


def test_a_zone_needs_the_interval_to_clear_the_border() -> None:
    assert drops([(6.5, 6.5, 0.6)]).result().zones[DROP] == "green"
    assert drops([(6.7, 6.7, 0.6)]).result().zones[DROP] == "amber"
    assert drops([(9.7, 9.7, 0.6)]).result().zones[DROP] == "red"
    women = Summary(bands("women"))
    women.add(ok(0, 0.0, **{DROP: Metric(6.7, 0.6, 6.7)}))
    assert women.result().zones[DROP] == "green"


def test_iqr_of_a_metric_without_a_reading_of_one_stride_is_that_of_its_value() -> None:
    summary = Summary()
    for k in range(5):
        summary.add(ok(k, float(k), stability=Metric(60.0 + 10 * k, 5.0)))
    assert summary.result().metrics["stability"].iqr == 20.0


def test_fatigue_is_a_trend() -> None:
    """Half a degree in ten minutes, whatever the clock began with."""
    summary = Summary()
    for k in range(900):
        t_s = 1e6 + 0.7 * k
        summary.add(ok(k, t_s, **{DROP: Metric(5.0 + 0.05 * (t_s - 1e6) / 60.0, 0.4, 5.0)}))
    assert summary.result().metrics[DROP].trend_per_min == pytest.approx(0.05, rel=1e-6)


maybe = st.none() | st.floats(-50.0, 50.0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(maybe, maybe), min_size=1, max_size=120))
def test_like_numpy(values: list[tuple[float | None, float | None]]) -> None:
    summary = Summary()
    for k, (value, stride) in enumerate(values):
        metric = Metric(value, 0.5, stride) if value is not None else Metric(reason="gap")
        summary.add(ok(k, float(k), **{DROP: metric}))
    known = [(k, value, stride) for k, (value, stride) in enumerate(values) if value is not None]
    drop = summary.result().metrics[DROP]
    assert drop.n == len(known)
    if not known:
        assert drop.reason == "gap"
        return
    assert drop.median == pytest.approx(np.median([value for _, value, _ in known]))
    own = [stride for _, _, stride in known if stride is not None] or [value for _, value, _ in known]
    low, high = np.percentile(own, (25, 75))
    assert drop.iqr == pytest.approx(high - low, abs=1e-9)
    times = np.array([k / 60.0 for k, _, _ in known])
    if times[-1] - times[0] < 1.0:
        assert drop.trend_per_min is None
    else:
        slope = np.polyfit(times, [value for _, value, _ in known], 1)[0]
        assert drop.trend_per_min == pytest.approx(slope, abs=1e-6)


def test_hours_keep_their_median_and_their_memory() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(5.0, 1.0, 6_000) + np.linspace(0.0, 3.0, 6_000)  # more than an hour
    curve = {"obliquity": np.zeros(POINTS)}
    summary = Summary()
    tracemalloc.start()
    size = {}
    for k, value in enumerate(values):
        summary.add(ok(k, 0.7 * k, **{DROP: Metric(float(value), 0.5, float(value))}), curve)
        if k in (2 * KEPT, 5_999):
            gc.collect()
            size[k] = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size[5_999] - size[2 * KEPT] < 20_000  # bytes
    drop = summary.result().metrics[DROP]
    assert drop.n == 6_000
    assert drop.median == pytest.approx(np.median(values), abs=0.1)
    low, high = np.percentile(values, (25, 75))
    assert drop.iqr == pytest.approx(high - low, abs=0.15)
    assert drop.trend_per_min == pytest.approx(np.polyfit(0.7 * np.arange(6_000) / 60, values, 1)[0], rel=1e-6)


def test_up_to_a_thousand_strides_are_exact() -> None:
    values = np.random.default_rng(2).normal(0.0, 1.0, KEPT)
    drop = drops((float(v), float(v), 0.5) for v in values).result().metrics[DROP]
    assert drop.median == pytest.approx(np.median(values), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30), st.integers(0, 99))
def test_curves_have_numpys_mean_and_sd(count: int, seed: int) -> None:
    curves = np.random.default_rng(seed).normal(0.0, 5.0, (count, POINTS))
    summary = Summary()
    for k, curve in enumerate(curves):
        summary.add(ok(k, 0.7 * k), {"rotation": curve} if k else {"rotation": curve, "tilt": curve})
    result = summary.result()
    np.testing.assert_allclose(result.curves["rotation"].mean, curves.mean(axis=0), atol=1e-9)
    expected = curves.std(axis=0, ddof=1) if count > 1 else np.zeros(POINTS)
    np.testing.assert_allclose(result.curves["rotation"].sd, expected, atol=1e-9)
    np.testing.assert_array_equal(result.curves["tilt"].sd, 0.0)


def test_curves_of_a_stride_from_its_coefficients() -> None:
    phase = np.linspace(0.0, 1.0, POINTS)
    coef = np.zeros((len(AMPLITUDE), 1 + 2 * HARMONICS))
    coef[Channel.OBLIQUITY, :3] = 1.0, 2.0, -3.0  # 1 + 2 cos − 3 sin
    coef[Channel.PELVIS_SIDE, :3] = 0.5, 0.0, 0.034  # metres about a place
    coef[Channel.TILT] = np.nan
    curves = stride_curves(coef, hip_width_m=0.17)
    assert set(curves) == {"obliquity", "rotation", "sway", "pelvis_height"}
    expected = 1 + 2 * np.cos(2 * np.pi * phase) - 3 * np.sin(2 * np.pi * phase)
    np.testing.assert_allclose(curves["obliquity"], expected, atol=1e-12)
    np.testing.assert_allclose(curves["sway"], 0.2 * np.sin(2 * np.pi * phase), atol=1e-12)
    assert curves["obliquity"][0] == pytest.approx(curves["obliquity"][-1])
    assert basis(phase, HARMONICS).shape == (POINTS, coef.shape[1])


def test_cues_and_advice_are_handed_on_and_all_is_json() -> None:
    summary = drops([(5.0, 5.0, 0.4)] * 3)
    summary.add(ok(9, 3.0), {"sway": np.linspace(0, 1, POINTS)})
    result = summary.result(cues=[{"cue": "metronome", "t_s": 1.0}], advice=("plank",))
    payload = session_json(result, "t", "replay")
    assert dumps(payload)
    assert payload["cues"] == [{"cue": "metronome", "t_s": 1.0}]
    assert payload["advice"] == ["plank"]
    assert len(payload["curves"]["sway"]["mean"]) == POINTS
