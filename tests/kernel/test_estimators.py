"""Another estimator of the pelvis in the middle of a run: no stride, no pooled value and no summary mixes two."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest

from station.coach.evidence import Watch
from station.coach.settings import CoachSettings
from station.gait.recent import MOST_SOURCES
from station.lab.project import Condition, observe, view_of
from station.metrics.table import BANDS, METRICS, OF_THE_PELVIS
from station.session import Session
from station.summary import Summary
from station.types import Live, Metric, Observation, PelvisReading, SessionSummary, Stride, StrideMetrics, View
from tests.kernel.runners import trial

SECONDS = 30.0
SWITCH_S = 15.0
WHAT = Condition("switch", noise_px=0.5, fps=30.0, pelvis_sd_deg=0.3, seconds=(0.0, SECONDS))
DROPS = ("pelvic_drop_peak_left_deg", "pelvic_drop_peak_right_deg")


@pytest.fixture(scope="module")
def frames() -> tuple[Observation, ...]:
    return tuple(observe(trial(3, SECONDS), WHAT, 3))


def says(frame: Observation, source: str) -> Observation:
    """The tag says the truth, the other one six degrees more and half of the movement."""
    assert frame.pelvis is not None
    gain, bias = {"tag": (1.0, 0.0)}.get(source, (0.5, 6.0))
    reading = replace(frame.pelvis, obliquity_deg=gain * frame.pelvis.obliquity_deg + bias, source=source)
    return replace(frame, pelvis=reading)


def said(frames: Iterable[Observation], view: View | None = None) -> list[object]:
    session = Session(view or view_of(WHAT))
    out: list[object] = [x for frame in frames for x in session.feed(frame)]
    out += session.finish()
    return [x for x in out if not isinstance(x, Live)]


def strides(frames: Iterable[Observation]) -> list[StrideMetrics]:
    return [x for x in said(frames) if isinstance(x, StrideMetrics) and x.status == "ok"]


def by(frames: tuple[Observation, ...], who: Callable[[float], str]) -> list[Observation]:
    return [says(frame, who(frame.t_s)) for frame in frames]


def source(stride: StrideMetrics) -> str | None:
    named = {metric.source for metric in stride.metrics.values() if metric.source is not None}
    assert len(named) <= 1
    return named.pop() if named else None


def test_strides_of_two_estimators_are_those_of_each_alone(frames: tuple[Observation, ...]) -> None:
    switched = strides(by(frames, lambda t: "tag" if t < SWITCH_S else "fused"))
    alone = {name: {s.stride.seq: s for s in strides(by(frames, lambda _t, n=name: n))} for name in ("tag", "fused")}  # type: ignore[misc]
    sources = [source(stride) for stride in switched]
    first = sources.index("fused")
    last = len(sources) - sources[::-1].index("tag")
    assert 5 < last <= first <= last + 1  # one change, and at most one stride of which neither knew enough
    assert set(sources[first:]) == {"fused"}
    assert [s.pooled for s in switched[last : last + 5]] == [1, 2, 3, 4, 5]
    for stride in switched[:last]:
        same = alone["tag"][stride.stride.seq]
        for name in OF_THE_PELVIS:
            assert stride.metrics[name].value == pytest.approx(same.metrics[name].value, abs=1e-9), name
    # after it each is near what the other estimator alone would have said, from its first stride on
    for stride in switched[first:]:
        same = alone["fused"][stride.stride.seq]
        for name in ("obliquity_range_deg", "pelvic_drop_peak_left_deg"):
            value, whole = stride.metrics[name].value, same.metrics[name].value
            assert value is not None
            assert value == pytest.approx(whole, abs=0.8), (stride.stride.seq, name)
    # and the two could not be taken for each other
    ranges = [s.metrics["obliquity_range_deg"].value or np.nan for s in switched]
    assert np.nanmean(ranges[:last]) > 1.5 * np.nanmean(ranges[first:])


def test_every_value_of_the_pelvis_names_its_estimator(frames: tuple[Observation, ...]) -> None:
    for stride in strides(by(frames, lambda t: "tag" if t < SWITCH_S else "fused")):
        for name, metric in stride.metrics.items():
            assert (metric.source is not None) == (name in OF_THE_PELVIS and metric.value is not None), name


def test_some_frames_of_another_do_not_change_the_stride(frames: tuple[Observation, ...]) -> None:
    """A tag that flickers up for five frames: the stride goes on with its own estimator, without those frames."""
    flickering = strides(by(frames, lambda t: "tag" if t % 2.0 < 0.16 and t > 5 else "fused"))
    steady = {s.stride.seq: s for s in strides(by(frames, lambda _t: "fused"))}
    assert {source(stride) for stride in flickering} == {"fused"}
    assert [s.pooled for s in flickering] == [s.pooled for s in steady.values()]
    for stride in flickering[3:]:
        for name in DROPS:
            whole = steady[stride.stride.seq].metrics[name].value
            assert stride.metrics[name].value == pytest.approx(whole, abs=0.3)


def test_frames_in_turn_stay_with_the_first(frames: tuple[Observation, ...]) -> None:
    turns = strides([says(frame, "fused" if k % 3 else "net") for k, frame in enumerate(frames)])
    assert {source(stride) for stride in turns} == {"fused"}
    assert max(s.pooled for s in turns) == 20


def test_a_waist_that_shows_late_is_measured_then(frames: tuple[Observation, ...]) -> None:
    """For ten seconds the estimator knows nothing; what it says after that counts."""
    blank = [replace(f, pelvis=PelvisReading()) if f.t_s < 10 else says(f, "fused") for f in frames]
    late = strides(blank)
    assert late[3].metrics["obliquity_range_deg"].reason == "waist_hidden"
    (first,) = (s for s in late if s.stride.start_s > 10.0 > s.stride.start_s - 1.0)
    assert first.metrics["obliquity_range_deg"].value == pytest.approx(4.5, abs=1.0)


def test_a_level_serves_its_own_estimator_only(frames: tuple[Observation, ...]) -> None:
    """Standing is seen by the tag; what the other one measures later counts from the mean of its run."""
    session = Session(view_of(WHAT))
    session._meter.set_level(-4.0, 1.0, "tag")
    out = [x for frame in by(frames, lambda t: "tag" if t < SWITCH_S else "fused") for x in session.feed(frame)]
    both = [x for x in out if isinstance(x, StrideMetrics) and x.status == "ok"]
    free = strides(by(frames, lambda t: "tag" if t < SWITCH_S else "fused"))
    for with_level, without in zip(both, free, strict=False):
        left, plain = (s.metrics["pelvic_drop_peak_left_deg"].value for s in (with_level, without))
        if left is None or plain is None:
            assert source(with_level) is None
        else:
            assert (abs(left - plain) > 0.5) == (source(with_level) == "tag")


def test_a_session_is_summed_up_by_one_estimator(frames: tuple[Observation, ...]) -> None:
    (whole,) = (x for x in said(by(frames, lambda t: "tag" if t < 10 else "fused")) if isinstance(x, SessionSummary))
    mostly = [s for s in strides(by(frames, lambda t: "tag" if t < 10 else "fused")) if source(s) == "fused"]
    swing = whole.metrics["obliquity_range_deg"]
    assert swing.source == "fused"
    assert swing.n == len(mostly)
    assert swing.median == pytest.approx(np.median([s.metrics["obliquity_range_deg"].value or np.nan for s in mostly]))
    assert whole.metrics["cadence_spm"].source is None
    assert whole.metrics["cadence_spm"].n > len(mostly)
    assert whole.metrics["stability"].source == "fused"
    (fused,) = (x for x in said(by(frames, lambda _t: "fused")) if isinstance(x, SessionSummary))
    curve, same = (s.curves["obliquity"].mean for s in (whole, fused))
    assert np.ptp(curve) == pytest.approx(np.ptp(same), rel=0.2)


def test_a_summary_keeps_to_the_estimator_of_most_strides_after_thinning() -> None:
    summary = Summary()
    for seq in range(3000):
        name, value = ("tag", 3.0) if seq % 3 == 0 else ("fused", 7.0)
        metrics = dict.fromkeys(METRICS, Metric(reason="not_estimated"))
        metrics["rotation_range_deg"] = Metric(value, 0.5, value, source=name)
        summary.add(StrideMetrics(Stride(seq, seq * 0.7, seq * 0.7 + 0.7, None, None, None, None), "ok", (), metrics))
    found = summary.result().metrics["rotation_range_deg"]
    assert (found.median, found.iqr, found.source, found.n) == (7.0, 0.0, "fused", 2000)


def test_the_coach_does_not_count_strides_of_another_estimator() -> None:
    watch = Watch(BANDS["pelvic_drop_peak_left_deg"], CoachSettings())
    for seq in range(9):
        watch.feed(seq, Metric(20.0, 0.1, 20.0, source="fused"), "red")
    assert watch.out
    watch.feed(9, Metric(20.0, 0.1, 20.0, source="tag"), "red")
    assert not watch.out
    assert watch.because == (9,)


def test_a_recording_that_names_many_estimators_is_still_read(frames: tuple[Observation, ...]) -> None:
    some = [says(frame, f"estimator {k // 60}") for k, frame in enumerate(frames)]
    assert len({frame.pelvis.source for frame in some if frame.pelvis}) < MOST_SOURCES
    assert strides(some)
    assert strides([says(frame, f"estimator {k}") for k, frame in enumerate(frames)])
