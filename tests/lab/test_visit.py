"""Visits, and a verdict that must see each way of being wrong about them."""

from __future__ import annotations

import numpy as np
import pytest

from station.lab.analytic import RunnerSpec
from station.lab.project import Condition, observe
from station.lab.truth import TrueStride, strides_of
from station.lab.visit import Part, Visit, day, verdict, visit
from station.types import Stride, StrideMetrics


@pytest.fixture(scope="module")
def seen() -> Visit:
    return day(1)


def _ok(s: TrueStride, late_s: float = 0.0) -> StrideMetrics:
    a, b = s.start_s + late_s, s.end_s + late_s
    return StrideMetrics(Stride(0, a, b, a, s.left_off_s, s.right_contact_s, s.right_off_s), "ok", (), {})


def _run_strides(seen: Visit) -> list[TrueStride]:
    runs = [s for s in seen.spans if s.what == "run"]
    return [s for s in strides_of(seen.trial.events) if any(r.start_s <= s.start_s and s.end_s < r.end_s for r in runs)]


def test_the_truth_gets_a_clean_verdict(seen: Visit) -> None:
    got = verdict([_ok(s) for s in _run_strides(seen)], seen)
    assert got.invented_s == ()
    assert got.missed == pytest.approx(0, abs=0.02)
    assert set(got.late) == {0}


def test_scoring_walked_strides_is_invention(seen: Visit) -> None:
    walked = [s for s in strides_of(seen.trial.events) if s not in _run_strides(seen) and s.right_off_s > s.end_s]
    assert len(walked) > 10
    assert len(verdict([_ok(s) for s in walked], seen).invented_s) == len(walked)


def test_a_stride_nobody_ran_is_invention(seen: Visit) -> None:
    stand = next(s for s in seen.spans if s.what == "stand")
    alone = TrueStride(
        stand.start_s + 1, stand.start_s + 1.25, stand.start_s + 1.37, stand.start_s + 1.6, stand.start_s + 1.75
    )
    assert verdict([_ok(alone)], seen).invented_s == (alone.start_s,)
    assert len(verdict([_ok(s, 0.2) for s in _run_strides(seen)[20:24]], seen).invented_s) == 4


def test_missing_strides_are_missed_and_lateness_counted(seen: Visit) -> None:
    strides = _run_strides(seen)
    assert verdict([], seen).missed == 1.0
    assert verdict([_ok(s) for s in strides[::2]], seen).missed == pytest.approx(0.5, abs=0.05)
    assert verdict([_ok(s) for s in strides[5:]], seen).late[0] == 5


def test_spans_cover_the_visit_and_nobody_is_seen_when_away(seen: Visit) -> None:
    frames = list(observe(seen.trial, Condition(fps=30)))
    away = next(s for s in seen.spans if s.what == "away")
    for o in frames:
        assert o.pose is not None
        if away.start_s < o.t_s < away.end_s:
            assert not o.pose.someone
    run = next(s for s in seen.spans if s.what == "run")
    assert all(o.pose is not None and o.pose.someone for o in frames if run.start_s < o.t_s < run.end_s)


def test_a_side_step_moves_the_whole_body_once() -> None:
    v = visit((Part("run", 10.0, RunnerSpec(drift_m=0.0), side_step_m=0.2),), 1)
    middle = (v.trial.marks["LHJC"] + v.trial.marks["RHJC"])[:, 0] / 2
    assert middle[-600:].mean() - middle[:600].mean() == pytest.approx(0.2, abs=0.01)


def test_events_after_a_stumble_come_later() -> None:
    spec = RunnerSpec(drift_m=0.0)
    plain, held = visit((Part("run", 12.0, spec),), 2), visit((Part("run", 12.0, spec, stumble_s=0.25),), 2)
    a, b = plain.trial.events["left_contact_s"], held.trial.events["left_contact_s"]
    assert np.isin(np.round(a[a < 4.5], 6), np.round(b, 6)).all()
    assert np.abs(b[b > 8][0] - 0.25 - a).min() < 1e-9
    assert len(b) < len(a)
