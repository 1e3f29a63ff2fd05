"""Whatever the frames hold, the kernel answers with records that keep their promises."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from station import wire
from station.metrics.table import METRICS
from station.session import Session
from station.types import KEYPOINTS, Live, Observation, Output, PelvisReading, Pose, State, StrideMetrics
from tests.kernel.runners import PLAIN, pose, seen

number = st.floats(-5000, 5000) | st.just(math.nan)
reading = st.builds(
    PelvisReading,
    number,
    number,
    number,
    st.floats(0, 50) | st.just(math.nan),
    source=st.sampled_from(("fused", "hips")),
)


def frames(kinds: Sequence[str], start: int, seed: int, block: PelvisReading) -> list[Observation]:
    """A real run with stretches of it broken in every way that a track may be."""
    _, real = seen(PLAIN)
    out: list[Observation] = []
    t_s = 0.0
    rng = np.random.default_rng(seed)
    for kind in kinds:
        for k in range(25):
            base = real[(start + len(out) + k) % len(real)]
            t_s += {"g": 0.35, "f": 0.0004}.get(kind, 1 / 60) if k == 0 or kind == "f" else 1 / 60
            xy, score = pose(base).xy_px.copy(), pose(base).score.copy()
            if kind == "n":
                out.append(Observation(t_s, Pose.nobody()))
                continue
            if kind == "p":
                out.append(Observation(t_s, None))
                continue
            if kind == "l":
                xy[rng.uniform(size=12) < 0.5] = np.nan
            elif kind == "b":
                xy = rng.uniform(-3000, 3000, (12, 2))
            elif kind == "s":
                score[:] = rng.uniform(0, 0.4, 12)
            elif kind == "z":
                xy[:] = xy[0]
            out.append(Observation(t_s, Pose(xy, score), block if kind == "b" else None))
    return out


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from("rrrrnlbsgzfp"), min_size=8, max_size=24),
    st.integers(0, 200),
    st.integers(0, 2**32 - 1),
    reading,
)
def test_any_frames(kinds: list[str], start: int, seed: int, block: PelvisReading) -> None:
    view, _ = seen(PLAIN)
    stream = frames(kinds, start, seed, block)
    session = Session(view)
    said: list[Output] = []
    for frame in stream:
        said += session.feed(frame)
    said += session.finish()
    seqs: dict[int, set[int]] = {}
    number_of = 0
    for x in said:
        if isinstance(x, State) and x.session is not None:
            number_of = x.session
        if isinstance(x, StrideMetrics):
            assert x.stride.seq not in seqs.setdefault(number_of, set())
            seqs[number_of].add(x.stride.seq)
            assert set(x.metrics) == set(METRICS)
            assert x.stride.start_s < x.stride.end_s
            for metric in x.metrics.values():
                assert (metric.value is None) != (metric.reason is None)
            json.dumps(wire.stride_json(x, "a", "b", None), allow_nan=False)
            if x.status == "ok":
                s = x.stride
                assert s.left_contact_s is not None
                assert s.left_off_s is not None
                assert s.start_s <= s.left_contact_s < s.left_off_s < s.end_s
            else:
                assert x.reasons
        if isinstance(x, Live):
            assert x.phase is None or 0 <= x.phase < 1
    assert len(KEYPOINTS) == 12
