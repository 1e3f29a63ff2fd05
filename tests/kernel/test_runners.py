"""Formula runners of known truth over frame rates, jitter, noise and drop-outs: errors within stated bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from station.lab.score import score
from station.lab.truth import save_trial
from station.session import Session
from tests.kernel.runners import PLAIN, trial

#: Bound on |bias of value| at 60 fps and 1 px, in the median and in the worst runner.
BOUNDS = {
    "cadence_spm": (0.2, 0.3),
    "pelvic_drop_peak_left_deg": (0.3, 0.7),
    "pelvic_drop_peak_right_deg": (0.3, 0.7),
    "pelvic_drop_left_deg": (0.4, 0.9),
    "pelvic_drop_difference_deg": (0.4, 0.8),
    "obliquity_range_deg": (0.5, 1.0),
    "sway_mm": (2.0, 4.0),
    "vertical_oscillation_mm": (2.0, 4.0),
    "step_width_mm": (5.0, 10.0),
    "knee_gap_left_hw": (0.05, 0.10),
    "hip_adduction_left_deg": (1.0, 2.0),
    "trunk_lean_left_deg": (0.4, 0.8),
    "contact_time_left_ms": (12.0, 25.0),
}
RUNNERS = (101, 102, 103)  # seeds that nothing was tuned on


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runners")
    paths = []
    for seed in RUNNERS:
        path = folder / f"runner{seed}.npz"
        save_trial(trial(seed, 20.0), path)
        paths.append(path)
    return paths


def _cases(trials, condition):
    return score(trials, (condition,), kernel=Session).cases


CONDITIONS = {
    "60 fps, 1 px": (PLAIN, 1.0),
    "24 fps": (replace(PLAIN, fps=24.0), 1.6),
    "30 fps, 2 px, 2 % of frames lost": (replace(PLAIN, fps=30.0, noise_px=2.0, drop_frames=0.02), 1.6),
    "50 fps, stamps 2 ms off": (replace(PLAIN, fps=50.0, jitter_ms=2.0), 1.6),
    "120 fps": (replace(PLAIN, fps=120.0), 1.0),
    "60 fps, noise that lasts 50 ms": (replace(PLAIN, noise_corr_s=0.05), 2.0),
    "60 fps, 5 % of keypoints lost": (replace(PLAIN, lose=0.05), 1.3),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_errors_stay_within_their_bounds(trials, name):
    condition, slack = CONDITIONS[name]
    cases = _cases(trials, condition)
    for metric, (median, worst) in BOUNDS.items():
        bias = [abs(float(np.nanmean(case.error[metric]))) for case in cases]
        assert np.median(bias) <= median * slack, (metric, bias)
        assert max(bias) <= worst * slack, (metric, bias)


def test_no_contact_is_missed_invented_or_swapped_after_three_seconds(trials):
    for case in _cases(trials, PLAIN):
        for name, events in case.events.items():
            assert len(events.extra_s) == 0, (case.trial, name)
            assert len(events.swapped_s) == 0, (case.trial, name)
            assert len(events.missed_s) <= 1, (case.trial, name)  # the very last one may lie beyond the recording


def test_intervals_hold_the_truth_as_often_as_they_say(trials):
    inside = total = 0
    for condition in (PLAIN, replace(PLAIN, fps=30.0, noise_px=2.0, drop_frames=0.02)):
        for case in _cases(trials, condition):
            for metric, error in case.error.items():
                width = np.asarray(case.ci95[metric])
                known = np.isfinite(error) & np.isfinite(width)
                inside += int((np.abs(np.asarray(error)[known]) <= width[known]).sum())
                total += int(known.sum())
    assert 0.90 <= inside / total <= 0.995


def test_a_block_of_rotation_and_tilt_gives_their_ranges(trials):
    for case in _cases(trials, replace(PLAIN, pelvis_sd_deg=1.5)):
        for metric in ("rotation_range_deg", "tilt_range_deg"):
            assert abs(float(np.nanmean(case.error[metric]))) <= 1.2, (case.trial, metric)
