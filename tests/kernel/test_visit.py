"""A day on the treadmill: standing, walking, running, rails, stumble, side-step, leaving. Nothing is invented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from station.lab.project import observe, view_of
from station.lab.visit import Visit, day, verdict
from station.session import Session, SessionSettings
from station.types import KEYPOINTS, Live, Observation, Output, Pose, SessionSummary, State
from tests.kernel.runners import PLAIN, feed, good, moved, pose, seen, strides, without


@pytest.fixture(scope="module", params=[21, 22])
def told(request: pytest.FixtureRequest) -> tuple[Visit, list[Output]]:
    seen_day = day(request.param)
    return seen_day, feed(view_of(PLAIN), observe(seen_day.trial, PLAIN, 0))


def test_no_stride_is_invented_and_running_is_followed(told: tuple[Visit, list[Output]]) -> None:
    seen_day, said = told
    result = verdict(said, seen_day)
    assert len(result.invented_s) == 0
    assert result.missed <= 0.02
    assert max(result.late) <= 4


def test_walking_is_told_and_not_scored(told: tuple[Visit, list[Output]]) -> None:
    seen_day, said = told
    walk = next(span for span in seen_day.spans if span.what == "walk")
    inside = [s for s in strides(said) if walk.start_s + 3 < s.stride.start_s < walk.end_s - 1]
    assert len(inside) >= 6
    assert all(s.status == "rejected" for s in inside)
    assert sum("walking" in s.reasons for s in inside) >= 0.8 * len(inside)


def test_the_session_ends_with_a_summary_when_the_runner_leaves(told: tuple[Visit, list[Output]]) -> None:
    _, said = told
    names = [s.name for s in said if isinstance(s, State)]
    assert names[-1] == "summary"
    summary = [s for s in said if isinstance(s, SessionSummary)]
    assert len(summary) == 1
    assert summary[0].strides == len(good(said))
    assert summary[0].rejected["walking"] > 5


def _swapped(frame: Observation, joints: tuple[str, ...]) -> Observation:
    xy = pose(frame).xy_px.copy()
    for i in range(0, len(KEYPOINTS), 2):
        if KEYPOINTS[i].split("_")[1] in joints:
            xy[[i, i + 1]] = xy[[i + 1, i]]
    return moved(frame, xy)


ALL = tuple({name.split("_")[1] for name in KEYPOINTS})


def test_swapped_sides_are_told_never_measured() -> None:
    view, frames = seen(PLAIN)
    said = strides(feed(view, [_swapped(f, ALL) for f in frames]))
    assert len(said) > 20
    assert all("swapped_sides" in s.reasons for s in said)


@pytest.mark.parametrize("joints", [ALL, ("ankle", "heel", "toe")])
def test_two_seconds_of_swapped_labels_leave_no_swapped_stride(joints: tuple[str, ...]) -> None:
    view, frames = seen(PLAIN)
    plain = np.array([s.stride.start_s for s in good(feed(view, frames))])
    said = good(feed(view, [_swapped(f, joints) if 10 < f.t_s < 12 else f for f in frames]))
    assert len(said) >= len(plain) - 6
    for s in said:
        assert np.abs(plain - s.stride.start_s).min() < 0.06


def test_a_long_gap_rejects_the_stride_and_a_short_one_does_not() -> None:
    view, frames = seen(PLAIN)
    n = len(good(feed(view, frames)))
    short = feed(view, [f for f in frames if not 8.0 < f.t_s < 8.1])
    long = feed(view, [f for f in frames if not 8.0 < f.t_s < 8.4])
    assert len(good(short)) == n
    assert n - 3 <= len(good(long)) < n
    assert any("gap" in s.reasons for s in strides(long))


def test_two_runners_in_a_row_share_nothing() -> None:
    view, first = seen(PLAIN, 3)
    _, second = seen(PLAIN, 4)
    start = first[-1].t_s + 6.0
    empty = [Observation(first[-1].t_s + 0.1 * i, Pose.nobody()) for i in range(1, 60)]
    later = [Observation(f.t_s + start, f.pose, f.pelvis) for f in second]
    both = feed(view, [*first, *empty, *later])
    alone = good(feed(view, later))
    summaries = [s for s in both if isinstance(s, SessionSummary)]
    assert len(summaries) == 2
    tail = [s for s in good(both) if s.stride.start_s > start]
    assert [s.stride.seq for s in tail] == [s.stride.seq for s in alone]
    for a, b in zip(tail, alone, strict=True):
        assert a.metrics["pelvic_drop_peak_left_deg"].value == pytest.approx(
            b.metrics["pelvic_drop_peak_left_deg"].value, abs=1e-9
        )


def test_nothing_is_said_of_a_runner_who_did_not_start() -> None:
    view, frames = seen(PLAIN)
    assert strides(feed(view, frames, SessionSettings(auto_start=False))) == []


def test_a_tap_starts_and_stops_and_chooses_the_zones() -> None:
    view, frames = seen(PLAIN)
    session = Session(view, SessionSettings(auto_start=False))
    said: list[Output] = []
    for f in frames:
        if f is frames[120]:
            said += session.start(f.t_s, "women")
        if f is frames[900]:
            said += session.stop(f.t_s)
        said += [x for x in session.feed(f) if not isinstance(x, Live)]
    assert {s.stride.seq for s in strides(said)} == set(range(1, len(strides(said)) + 1))
    assert all(frames[120].t_s - 1.5 < s.stride.end_s <= frames[900].t_s for s in strides(said))
    summary = next(s for s in said if isinstance(s, SessionSummary))
    assert summary.profile == "women"


def test_a_standing_baseline_becomes_the_level_of_drop() -> None:
    view, frames = seen(PLAIN)
    stand, rng = frames[0], np.random.default_rng(1)
    xy = pose(stand).xy_px.copy()
    for i in range(6, len(KEYPOINTS), 2):
        xy[i : i + 2, 1] = xy[i : i + 2, 1].mean()  # both feet on the belt
    xy[2:4, 1] = xy[2:4, 1].mean() + np.array([3.0, -3.0])  # stands with the right hip up
    tilt = np.degrees(np.arctan2(6.0, xy[3, 0] - xy[2, 0]))
    still = [
        Observation(stand.t_s - 4.0 + i / 60, Pose(xy + rng.normal(0, 0.5, xy.shape), pose(stand).score))
        for i in range(239)
    ]
    plain = good(feed(view, frames))[-1].metrics
    based = good(feed(view, [*still, *frames]))[-1].metrics
    before, after = plain["pelvic_drop_peak_left_deg"].value, based["pelvic_drop_peak_left_deg"].value
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(tilt - _mean_obliquity(frames), abs=0.4)
    assert based["pelvic_drop_peak_right_deg"].value is not None


def _mean_obliquity(frames: Sequence[Observation]) -> float:
    d = np.array([pose(f).xy_px[3] - pose(f).xy_px[2] for f in frames])
    return float(np.degrees(np.arctan2(-d[:, 1], d[:, 0])).mean())


def test_a_change_of_speed_starts_the_pool_over_and_says_so(told: tuple[Visit, list[Output]]) -> None:
    seen_day, said = told
    runs = [span for span in seen_day.spans if span.what == "run"]
    before = [s for s in good(said) if runs[0].end_s - 5 < s.stride.start_s < runs[0].end_s]
    after = [s for s in good(said) if runs[1].start_s < s.stride.start_s < runs[1].end_s]
    assert before[-1].pooled == 20
    assert min(s.pooled for s in after[:4]) <= 3
    assert after[-1].pooled == 20


def test_feet_outside_the_picture_are_told_as_such() -> None:
    view, frames = seen(PLAIN)
    said = feed(view, [without(f, "ankle", "heel", "toe") for f in frames])
    assert len(strides(said)) > 15
    assert all("off_frame" in s.reasons for s in strides(said))


def test_a_session_may_begin_on_any_frame() -> None:
    view, frames = seen(PLAIN)
    for at in range(600, 660):  # a stride and more: between any two slices of the work on it
        session = Session(view)
        said = [out for f in frames[:at] for out in session.feed(f)]
        said = list(session.start(frames[at].t_s))
        said += [out for f in frames[at : at + 240] for out in session.feed(f)]
        told = good(said)
        assert told[0].pooled == 1
        assert [s.stride.seq for s in strides(said)] == list(range(1, len(strides(said)) + 1))


def test_who_runs_on_after_a_stop_is_not_measured_until_he_left() -> None:
    view, frames = seen(PLAIN)
    session, said = Session(view), list[Output]()
    for f in frames:
        if f is frames[700]:
            said += session.stop(f.t_s)
        said += [x for x in session.feed(f) if not isinstance(x, Live)]
    assert [s.name for s in said if isinstance(s, State)][-1] == "summary"
    assert all(s.stride.end_s <= frames[700].t_s for s in strides(said))
    end = frames[-1].t_s
    for i in range(60):
        said += session.feed(Observation(end + 0.1 * (i + 1), Pose.nobody()))
    later = [replace(f, t_s=f.t_s + end + 6.2) for f in frames[:600]]
    again = [x for f in later for x in session.feed(f)]
    assert len(good(again)) > 5
