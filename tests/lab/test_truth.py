"""The truth itself, on a runner simple enough to do in the head."""

from __future__ import annotations

import numpy as np
import pytest

from station.lab.truth import Trial, TrueStride, Truth, load_trial, strides_of, without_drift
from station.types import Floats

HZ = 4 / 3
"""Strides a second: 160 steps a minute, 0.75 s a stride."""
CONTACT_S = 0.27


def swaying_runner(strides: int = 26, drift_mps: float = 0.0, cross_m: float = 0.0) -> Trial:
    """Sines of the stride: left contact at phase 0, right at 0.5, pelvis lowest 0.15 s after each contact.

    Obliquity 1° less 4°·sin of the phase: the left stance drops. Rotation 6°·cos, sway 10 mm, rise 30 mm, hips 0.2 m.
    """
    t_s = np.arange(0.0, (strides + 0.5) / HZ, 1 / 200)
    phase = 2 * np.pi * HZ * t_s
    obliquity, rotation = np.radians(1 - 4 * np.sin(phase)), np.radians(6 * np.cos(phase))
    x = 0.010 * np.sin(phase) + drift_mps * t_s
    lowest = 2 * np.pi * HZ * 0.15
    y = 0.95 - 0.030 * np.cos(2 * (phase - lowest))
    zero = np.zeros_like(t_s)
    middle = np.stack([x, y, zero], 1)
    # hip line whose frontal projection has exactly this obliquity and whose top view exactly this rotation
    line = np.stack([np.ones_like(x), np.tan(obliquity), -np.tan(rotation)], 1)
    line *= 0.2 / np.linalg.norm(line, axis=1)[:, None]
    marks: dict[str, Floats] = {"LHJC": middle - line / 2, "RHJC": middle + line / 2}
    for letter, sign in (("L", -1), ("R", 1)):
        hip = marks[letter + "HJC"]
        marks[letter + "KNEE"] = hip + np.array([-sign * 0.4 * np.tan(np.radians(3)), -0.4, 0])
        marks[letter + "HEEL"] = np.stack([zero + sign * (0.03 - cross_m), zero + 0.05, zero], 1)
        marks[letter + "ANKLE"] = marks[letter + "HEEL"] + [0, 0.05, 0]
        marks[letter + "SHO"] = middle + np.array([sign * 0.18 + 0.5 * np.tan(np.radians(2)), 0.5, 0])
    contact = np.arange(strides + 1) / HZ
    events = {
        "left_contact_s": contact,
        "left_off_s": contact[:-1] + CONTACT_S,
        "right_contact_s": contact[:-1] + 0.5 / HZ,
        "right_off_s": contact[:-1] + 0.5 / HZ + CONTACT_S - 0.03,
    }
    return Trial("swaying", t_s, marks, events, "exact", 3.0)


@pytest.fixture(scope="module")
def pooled() -> dict[str, float]:
    return Truth(swaying_runner()).pooled(20)


def test_times_by_hand(pooled: dict[str, float]) -> None:
    assert pooled["cadence_spm"] == pytest.approx(160)
    assert pooled["contact_time_left_ms"] == pytest.approx(270)
    assert pooled["contact_time_right_ms"] == pytest.approx(240)
    assert pooled["flight_time_left_ms"] == pytest.approx(105)
    assert pooled["flight_time_right_ms"] == pytest.approx(135)
    assert pooled["duty_factor"] == pytest.approx(0.255 / 0.75)
    assert pooled["symmetry_time_pct"] == pytest.approx(100 * -30 / 255)
    assert pooled["step_time_left_s"] == pytest.approx(0.375)
    assert pooled["stride_time_cv_pct"] == pytest.approx(0, abs=1e-6)


def test_drop_by_hand(pooled: dict[str, float]) -> None:
    """The left drop is 4·sin around its level: its peak is 4 above the level, and 4 above the drop at contact."""
    assert pooled["pelvic_drop_peak_left_deg"] == pytest.approx(4, abs=0.01)
    assert pooled["pelvic_drop_peak_right_deg"] == pytest.approx(4, abs=0.01)
    assert pooled["pelvic_drop_left_deg"] == pytest.approx(4, abs=0.01)
    assert pooled["pelvic_drop_difference_deg"] == pytest.approx(0, abs=0.01)
    assert pooled["obliquity_range_deg"] == pytest.approx(8, abs=0.01)
    assert pooled["rotation_range_deg"] == pytest.approx(12, abs=0.01)


def test_pelvis_travel_by_hand(pooled: dict[str, float]) -> None:
    assert pooled["sway_mm"] == pytest.approx(20, abs=0.1)
    assert pooled["sway_hw"] == pytest.approx(0.1, abs=0.001)
    assert pooled["vertical_oscillation_mm"] == pytest.approx(60, abs=0.1)


def test_mid_stance_readings_by_hand(pooled: dict[str, float]) -> None:
    """Pelvis lowest 0.15 s after contact, phase 0.2: 4·sin(72°) = 3.80° of drop above the level of ∓1°."""
    drop = 4 * np.sin(np.radians(72))
    assert pooled["hip_adduction_left_deg"] == pytest.approx(3 + drop - 1, abs=0.02)
    assert pooled["hip_adduction_right_deg"] == pytest.approx(3 + drop + 1, abs=0.02)
    assert pooled["trunk_lean_left_deg"] == pytest.approx(-2, abs=0.01)
    assert pooled["trunk_lean_right_deg"] == pytest.approx(2, abs=0.01)
    assert pooled["step_width_mm"] == pytest.approx(60, abs=0.01)
    assert pooled["push_back_left"] == pytest.approx((0.27 - 0.15) / 0.27, abs=0.01)
    assert pooled["push_back_right"] == pytest.approx((0.24 - 0.15) / 0.24, abs=0.01)
    rotation = np.radians(6 * np.cos(np.radians(72)))
    width = 0.2 / np.sqrt(1 + np.tan(np.radians(1 - drop)) ** 2 + np.tan(rotation) ** 2)
    assert pooled["knee_gap_left_hw"] == pytest.approx((width - 0.8 * np.tan(np.radians(3))) / 0.2, abs=1e-3)


def test_crossing_feet_are_negative() -> None:
    assert Truth(swaying_runner(cross_m=0.04)).pooled(20)["step_width_mm"] == pytest.approx(-20, abs=0.01)


def test_drift_is_no_sway() -> None:
    drifting = Truth(swaying_runner(drift_mps=0.05))
    assert drifting.pooled(22)["sway_mm"] == pytest.approx(20, abs=0.3)
    assert drifting.per_stride[15]["sway_mm"] == pytest.approx(20, abs=0.3)


def test_without_drift_keeps_strides_and_removes_slow() -> None:
    t_s = np.arange(0, 20, 0.01)
    fast, slow = np.sin(2 * np.pi * 1.3 * t_s), 3 * np.sin(2 * np.pi * 0.1 * t_s)
    left = without_drift(t_s, fast + slow)
    assert np.abs(left - fast)[300:-300].max() < 0.01


def test_pooling_uses_the_last_strides_only() -> None:
    trial = swaying_runner(40)
    late = trial.t_s > 15
    trial.marks["RHEEL"][late, 0] += 0.02
    truth = Truth(trial)
    at = next(i for i, s in enumerate(truth.strides) if s.start_s >= 15)
    assert truth.pooled(at - 1)["step_width_mm"] == pytest.approx(60)
    assert truth.pooled(at + 9)["step_width_mm"] == pytest.approx(70)
    assert truth.pooled(at + 19)["step_width_mm"] == pytest.approx(80)
    assert truth.pooled(at + 9, window=10)["step_width_mm"] == pytest.approx(80)


def test_strides_need_all_four_events() -> None:
    events = {k: v.copy() for k, v in swaying_runner(4).events.items()}
    events["right_contact_s"] = np.delete(events["right_contact_s"], 1)
    assert [round(s.start_s / 0.75) for s in strides_of(events)] == [0, 2, 3]


def test_walking_offs_lie_beyond_the_stride() -> None:
    contact: Floats = np.arange(4) * np.float64(1.0)
    events: dict[str, Floats] = {
        "left_contact_s": contact,
        "left_off_s": contact + 0.6,
        "right_contact_s": contact + 0.5,
        "right_off_s": contact + 1.1,
    }
    assert strides_of(events)[0] == TrueStride(0.0, 0.6, 0.5, 1.1, 1.0)


def test_real_runner_matches_its_description(shared_dir: object) -> None:
    """Median contact 275 ms left, 278 ms right and 156.9 steps a minute, as measured by the force plate."""
    from pathlib import Path

    assert isinstance(shared_dir, Path)
    truth = Truth(load_trial(shared_dir / "fixtures" / "mocap" / "rbds__RBDS001_T25.npz"))
    assert np.median([r["contact_time_left_ms"] for r in truth.per_stride]) == pytest.approx(275, abs=3)
    assert np.median([r["contact_time_right_ms"] for r in truth.per_stride]) == pytest.approx(278, abs=3)
    assert truth.pooled(37, window=38)["cadence_spm"] == pytest.approx(156.9, abs=0.3)
    assert truth.hip_width_m == pytest.approx(0.154, abs=0.001)
