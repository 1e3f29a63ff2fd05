"""Arbitrary records of the kernel, for the property tests of the wire."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from station.types import (
    KEYPOINTS,
    Cue,
    Curve,
    Live,
    Metric,
    MetricSummary,
    Mount,
    Observation,
    PelvisReading,
    PelvisSample,
    Pose,
    Reason,
    SessionSummary,
    State,
    Stride,
    StrideMetrics,
    View,
)
from station.wire import schema

METRICS: tuple[str, ...] = tuple(schema("stride")["properties"]["metrics"]["required"])

finite = st.floats(allow_nan=False, allow_infinity=False)
modest = st.floats(-1e6, 1e6)
times = st.floats(0, 1e9).map(lambda t: round(t, 6))
nan_or = st.just(math.nan) | finite
sd = st.just(math.nan) | st.floats(0, 1e6)
unit = st.floats(0, 1)
maybe_side: st.SearchStrategy[Any] = st.sampled_from(["left", "right", None])
zones: st.SearchStrategy[Any] = st.dictionaries(
    st.sampled_from(METRICS), st.sampled_from(["green", "amber", "red"]), max_size=4
)
tokens = st.text("0123456789abcdef", min_size=8, max_size=8)

mounts = st.builds(
    Mount,
    height_m=st.none() | st.floats(0, 10),
    distance_m=st.none() | st.floats(0.01, 100),
    focal_px=st.none() | st.floats(1, 1e5),
    center_px=st.none() | st.tuples(finite, finite),
    distortion=st.none() | st.tuples(*[finite] * 5),
    roll_deg=st.none() | st.floats(-180, 180),
    pitch_deg=st.none() | st.floats(-90, 90),
)
views = st.builds(View, st.integers(1, 8000), st.integers(1, 8000), st.floats(1, 500), mounts)


@st.composite
def poses(draw: st.DrawFn) -> Pose:
    pose = Pose.nobody()
    for row in draw(st.sets(st.sampled_from(range(len(KEYPOINTS))))):
        pose.xy_px[row] = draw(finite), draw(finite)
        pose.score[row] = draw(unit)
    return pose


readings = st.builds(
    PelvisReading,
    **{f"{angle}_deg": nan_or for angle in ("obliquity", "rotation", "tilt", "level")},
    **{f"sd_{angle}_deg": sd for angle in ("obliquity", "rotation", "tilt")},
    source=st.text(max_size=10),
    level_sd_deg=sd,
    rate_dps=nan_or,
    rate_sd_dps=sd,
    waist=st.just(math.nan) | unit,
)


@st.composite
def tracks(draw: st.DrawFn) -> tuple[View, list[Observation]]:
    at = sorted(draw(st.sets(finite, max_size=5)))
    frames = [Observation(t, draw(st.none() | poses()), draw(st.none() | readings)) for t in at]
    return draw(views), frames


metrics = st.builds(
    Metric,
    value=modest,
    ci95=st.none() | st.floats(0, 1e3),
    stride=st.none() | modest,
    source=st.none() | st.sampled_from(["fused", "hips"]),
    parts=st.none() | st.dictionaries(st.sampled_from(["level", "still", "even"]), st.floats(0, 100)),
) | st.builds(Metric, reason=st.sampled_from(list(Reason)).map(str))


@st.composite
def strides(draw: st.DrawFn) -> StrideMetrics:
    ok = draw(st.booleans())
    event = times if ok else st.none() | times
    stride = Stride(draw(st.integers(0, 10**6)), draw(times), draw(times), *(draw(event) for _ in range(4)))
    null = Metric(reason=str(Reason.GAP))
    few = draw(st.lists(metrics, min_size=1, max_size=5))  # dealt out to all the names: drawing each is slow
    return StrideMetrics(
        stride,
        "ok" if ok else "rejected",
        () if ok else (str(draw(st.sampled_from(list(Reason)[:7]))),),
        {name: few[place % len(few)] if ok else null for place, name in enumerate(METRICS)},
        draw(zones) if ok else {},
    )


curves = st.builds(lambda seed: Curve(*np.random.default_rng(seed).normal(0, 5, (2, 101))), st.integers(0, 9))
summaries = st.builds(
    SessionSummary,
    start_s=times,
    duration_s=times,
    profile=st.sampled_from(["women", "men", None]),
    strides=st.integers(0, 10**6),
    rejected=st.dictionaries(st.sampled_from([str(reason) for reason in list(Reason)[:7]]), st.integers(0, 999)),
    metrics=st.dictionaries(
        st.sampled_from(METRICS),
        st.builds(MetricSummary, modest, modest, st.none() | modest, st.integers(0, 9999), st.none() | modest),
        max_size=3,
    ),
    zones=zones,
    curves=st.dictionaries(st.sampled_from(["obliquity", "rotation", "tilt", "sway", "height"]), curves, max_size=2),
    cues=st.lists(st.dictionaries(st.text(max_size=5), st.none() | modest | nan_or), max_size=2).map(tuple),
    advice=st.lists(st.text(max_size=20), max_size=3).map(tuple),
    frames_seen=st.integers(0, 10**9),
)
cues = st.builds(
    Cue,
    t_s=times,
    cue=st.sampled_from(["belt_line_level", "either_side_of_the_line"]),
    side=maybe_side,
    action=st.sampled_from(["raise", "clear", "praise"]),
    metric=st.sampled_from(METRICS),
    because=st.lists(st.integers(0, 10**6), max_size=10).map(tuple),
)
states = st.builds(
    State,
    name=st.sampled_from(["idle", "baseline", "warming_up", "running", "low_confidence", "summary", "camera_lost"]),
    since_s=times,
    session=st.none() | st.integers(0, 99),
    prompt=st.none() | st.just("tuck_shirt"),
)
samples = st.builds(
    PelvisSample,
    times,
    *([st.just(math.nan) | modest] * 3),
    *([st.just(math.nan) | st.floats(0, 90)] * 3),
    st.just("hips"),
)
lives = st.builds(
    Live,
    t_s=times,
    pelvis=st.none() | samples,
    phase=st.none() | unit,
    side=maybe_side,
    stability=st.none() | st.floats(0, 100),
)
