"""Recorded runners, projected as a rear camera sees them: the bounds that the kernel is held to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from station.lab.project import Condition
from station.lab.score import score
from station.session import Session

PLAIN = Condition(name="60 fps, 1 px", fps=60.0)
ROUGH = Condition(name="30 fps, 2 px, 2 % lost", fps=30.0, noise_px=2.0, drop_frames=0.02, slack=1.6)
#: |bias of value| per trial against the truth pooled over the same strides: median trial, each trial.
BOUNDS = {
    "pelvic_drop_peak": (0.25, 0.6),
    "pelvic_drop": (0.4, 0.9),
    "pelvic_drop_difference": (0.4, 0.8),
    "obliquity_range": (0.5, 0.5),
    "sway_mm": (2.0, 4.0),
    "vertical_oscillation_mm": (2.0, 4.0),
    "step_width_mm": (5.0, 10.0),
    "knee_gap": (0.05, 0.10),
    "hip_adduction": (1.0, 2.0),
    "trunk_lean": (0.4, 0.8),
    "cadence": (0.3, 0.3),
}


SEEDS = (0, 1)  # draws of the pixel noise


def _family(metric: str) -> str:
    base = metric.removesuffix("_deg").removesuffix("_hw").removesuffix("_spm")
    return base.removesuffix("_left").removesuffix("_right")


@pytest.fixture(scope="module")
def trials(shared_dir: Path) -> list[Path]:
    return sorted((shared_dir / "fixtures" / "mocap").glob("*.npz"))


@pytest.mark.parametrize("condition", [PLAIN, ROUGH], ids=lambda c: c.name)
@pytest.mark.parametrize("sd_deg", [None, 1.5], ids=["hips", "pelvis block"])
def test_bias_of_every_metric(trials: list[Path], condition: Condition, sd_deg: float | None) -> None:
    cases = score(trials, (replace(condition, pelvis_sd_deg=sd_deg),), seeds=SEEDS, kernel=Session).cases
    draws: dict[tuple[str, str], list[float]] = {}
    for case in cases:
        for metric, error in case.error.items():
            if _family(metric) in BOUNDS and np.isfinite(error).any():
                draws.setdefault((metric, str(case.trial)), []).append(float(np.nanmean(error)))
    found: dict[str, list[float]] = {}
    for (metric, _), errors in draws.items():
        found.setdefault(_family(metric), []).append(abs(float(np.mean(errors))))
    assert set(found) >= set(BOUNDS)
    for family, bias in found.items():
        median, worst = BOUNDS[family]
        assert np.median(bias) <= median * condition.slack, (family, bias)
        # two draws of the noise over one short trial: a tenth of room for what they leave
        assert max(bias) <= 1.1 * max(worst, 2 * median) * condition.slack, (family, bias)


@pytest.mark.parametrize("condition", [PLAIN, ROUGH], ids=lambda c: c.name)
def test_contacts_and_offs_against_force_plates(trials: list[Path], condition: Condition) -> None:
    plates = [path for path in trials if path.name.startswith("rbds")]
    (case,) = score(plates, (condition,), kernel=Session).cases
    for name, events in case.events.items():
        error = np.asarray(events.error_ms)
        assert abs(error.mean()) <= 10.0 * condition.slack, name
        assert error.std() <= 6.0 * condition.slack, name
        assert len(events.extra_s) == len(events.swapped_s) == 0, name
    for side in ("left", "right"):
        assert abs(np.nanmean(case.error[f"contact_time_{side}_ms"])) <= 12.0 * condition.slack


@pytest.mark.parametrize(
    "condition", [PLAIN, ROUGH, replace(PLAIN, height_m=1.4, pitch_deg=-14.0)], ids=["plain", "rough", "1.4 m"]
)
def test_no_stride_is_missed_or_invented(trials: list[Path], condition: Condition) -> None:
    for case in score(trials, (condition,), kernel=Session).cases:
        for name, events in case.events.items():
            assert len(events.swapped_s) == 0, (case.trial, name)
            assert len(events.extra_s) == 0, (case.trial, name)
            assert len(events.missed_s) <= 1, (case.trial, name)
