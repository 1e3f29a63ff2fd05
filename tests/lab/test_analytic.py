"""Runners of formulas: their feet keep to the belt, their events are exact, their pelvis obeys gravity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from station.lab import analytic
from station.lab.analytic import GRAVITY, RunnerSpec, cycle, run
from station.lab.project import Condition, observe
from station.lab.truth import Truth, load_trial, strides_of
from station.types import KEYPOINT_INDEX, Floats

SEEDS = range(1, 9)


def _foot_over_phase(spec: RunnerSpec) -> tuple[Floats, Floats, Floats]:
    one = cycle(spec)
    phase = np.arange(len(one.marks["LTOE"])) / len(one.marks["LTOE"])
    return phase, one.marks["LTOE"], one.marks["LHEEL"]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_standing_foot_moves_with_the_belt(seed: int) -> None:
    spec = RunnerSpec.random(seed)
    phase, toe, heel = _foot_over_phase(spec)
    flat = (phase > 0.08 / spec.stride_s) & (phase < spec.heel_off * spec.duty * (1 - spec.asymmetry / 2) - 0.01)
    for z in (toe[:, 2], heel[:, 2]):
        speed = np.gradient(z, spec.stride_s / len(z))[flat]
        assert np.abs(speed - spec.speed_mps).max() < 0.05
    assert np.ptp(toe[flat, 1]) < 0.002


@pytest.mark.parametrize("seed", SEEDS)
def test_the_foot_is_off_the_belt_in_swing(seed: int) -> None:
    spec = RunnerSpec.random(seed)
    phase, toe, heel = _foot_over_phase(spec)
    swing = (phase > spec.duty * (1 - spec.asymmetry / 2) + 0.06) & (phase < 1 - 0.02)
    lowest = np.minimum(toe[:, 1], heel[:, 1])
    assert lowest[swing].min() > lowest[~swing].min() + 0.002


@pytest.mark.parametrize("seed", SEEDS)
def test_flight_is_free_fall_and_steps_carry_the_weight(seed: int) -> None:
    """Without the pelvis' own bounce its mean acceleration in flight is gravity, and zero over the stride."""
    spec = replace(RunnerSpec.random(seed), bounce_m=((0.0, 0.0),))
    one = cycle(spec)
    y = (one.marks["LHJC"] + one.marks["RHJC"])[:, 1] / 2
    dt = spec.stride_s / len(y)
    a = (np.roll(y, -1) - 2 * y + np.roll(y, 1)) / dt**2
    phase = np.arange(len(y)) / len(y)
    margin = 0.012 / spec.stride_s
    flight = (phase > one.left_off + margin) & (phase < 0.5 - margin)
    assert a[flight].mean() == pytest.approx(-GRAVITY, abs=0.1)
    assert a.mean() == pytest.approx(0, abs=1e-6)


def test_the_truth_of_a_run_is_what_was_asked_for() -> None:
    spec = RunnerSpec(
        cadence_spm=170,
        duty=0.33,
        asymmetry=0.06,
        step_width_m=-0.02,
        obliquity_deg=((3.0, np.pi / 2),),
        rotation_deg=((5.0, 0.0),),
        stride_sd=0.0,
        jitter_s=0.0,
        drift_m=0.0,
    )
    truth = Truth(run(spec, 20.0))
    got = truth.pooled(len(truth.strides) - 1)
    assert got["cadence_spm"] == pytest.approx(170, abs=0.01)
    assert got["contact_time_left_ms"] == pytest.approx(1e3 * 0.33 * 0.97 * 120 / 170, abs=0.1)
    assert got["symmetry_time_pct"] == pytest.approx(6.0, abs=0.01)
    assert got["obliquity_range_deg"] == pytest.approx(6.0, abs=0.05)
    assert got["rotation_range_deg"] == pytest.approx(10.0, abs=0.1)
    assert got["pelvic_drop_peak_left_deg"] == pytest.approx(3.0, abs=0.05)
    assert got["step_width_mm"] == pytest.approx(-20, abs=1.0)
    assert truth.hip_width_m == pytest.approx(0.16, abs=1e-4)


def test_jitter_moves_events_but_never_their_order() -> None:
    trial = run(replace(RunnerSpec.random(3), jitter_s=0.005, stride_sd=0.02), 60.0, seed=3)
    strides = strides_of(trial.events)
    assert len(strides) > 70
    assert all(s.start_s < s.left_off_s < s.right_contact_s < s.right_off_s < s.end_s for s in strides)
    assert np.std([s.end_s - s.start_s for s in strides]) > 0.005


@pytest.mark.parametrize("seed", SEEDS)
def test_bodies_stay_whole_and_in_the_picture(seed: int) -> None:
    trial = run(RunnerSpec.random(seed), 10.0, seed)
    for s in "LR":
        thigh = np.linalg.norm(trial.marks[s + "KNEE"] - trial.marks[s + "HJC"], axis=1)
        shank = np.linalg.norm(trial.marks[s + "ANKLE"] - trial.marks[s + "KNEE"], axis=1)
        assert np.ptp(thigh) < 0.05
        assert np.ptp(shank) < 0.08
        assert trial.marks[s + "HEEL"][:, 1].min() > -0.01
    seen = np.array([o.pose.xy_px for o in observe(trial, Condition(noise_px=0)) if o.pose is not None])
    assert np.isfinite(seen[:, KEYPOINT_INDEX["left_hip"]]).all()
    assert np.isfinite(seen[:, KEYPOINT_INDEX["right_toe"], 1]).mean() > 0.9


def test_random_runners_differ_and_repeat() -> None:
    assert RunnerSpec.random(5) == RunnerSpec.random(5)
    assert len({RunnerSpec.random(i).speed_mps for i in range(30)}) == 30
    asked = [RunnerSpec.random(i) for i in range(60)]
    assert {s.strike_deg > 2 for s in asked} == {True, False}
    assert {s.step_width_m < 0 for s in asked} == {True, False}


def test_walkers_have_both_feet_down() -> None:
    truth = Truth(run(RunnerSpec.walker(2), 20.0))
    got = truth.pooled(len(truth.strides) - 1)
    assert got["duty_factor"] > 0.55
    assert got["flight_time_left_ms"] < -50
    assert truth.mid_stance_s(truth.strides[3].start_s, truth.strides[3].left_off_s) > 0


def test_files_for_the_scorer(tmp_path: object) -> None:
    from pathlib import Path

    assert isinstance(tmp_path, Path)
    assert analytic.main([str(tmp_path), "--runners", "2", "--first", "4", "--seconds", "6"]) == 0
    trials = [load_trial(p) for p in sorted(tmp_path.glob("*.npz"))]
    assert [t.events_are_truth for t in trials] == [True, True]
    assert trials[0].speed_mps == pytest.approx(RunnerSpec.random(4).speed_mps)
