"""The scorer must see what a kernel gets wrong: kernels with a known fault, and the tracks tool as second opinion."""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from station.lab import score, scorecard
from station.lab.analytic import RunnerSpec, run
from station.lab.floor import Perfect
from station.lab.project import Condition, observe, pinhole, view_of
from station.lab.truth import Trial, Truth, load_trial, save_trial, strides_of
from station.types import GaitEvent, Metric, Observation, Output, Stride, StrideMetrics
from tests.lab.test_truth import swaying_runner


class Oracle:
    """A kernel that knows the truth and is wrong by what it is told."""

    def __init__(self, trial: Trial, late_s: float = 0.0, shift_deg: float = 0.0, swap: bool = False) -> None:
        truth = Truth(trial)
        other = {"left": "right", "right": "left"}
        self._out: list[Output] = []
        for side in ("left", "right"):
            said = other[side] if swap else side
            for kind in ("contact", "off"):
                for t in trial.events[f"{side}_{kind}_s"]:
                    self._out.append(GaitEvent(kind, said, t + late_s, 0.005))  # type: ignore[arg-type]
        for i, s in enumerate(truth.strides):
            values = truth.pooled(i)
            values["pelvic_drop_peak_left_deg"] += shift_deg
            metrics = {k: Metric(v, 0.1, v) for k, v in values.items() if not k.endswith("_mean")}
            stride = Stride(i, s.start_s + late_s, s.end_s, s.start_s, s.left_off_s, s.right_contact_s, s.right_off_s)
            self._out.append(StrideMetrics(stride, "ok", (), metrics))

    def feed(self, observation: Observation) -> tuple[Output, ...]:
        return ()

    def finish(self) -> tuple[Output, ...]:
        return tuple(self._out)


def _case(trial: Trial, **wrong: float) -> score.Case:
    return score.score_one(Truth(trial), Condition(), 0, (), Oracle(trial, **wrong))  # type: ignore[arg-type]


def test_a_perfect_kernel_has_no_error() -> None:
    case = _case(swaying_runner())
    assert case.ok == case.true_strides > 10
    assert all(abs(case.bias(k)) < 1e-9 for k in [*case.error, *case.events])
    assert all(case.covered(k).all() for k in case.error)
    assert scorecard.all_met(score.Report((case,)))


def test_late_events_are_seen_as_late_to_the_millisecond() -> None:
    case = _case(swaying_runner(), late_s=0.025)
    assert {round(case.bias(k), 6) for k in case.events} == {25.0}
    assert not scorecard.all_met(score.Report((case,)))


def test_a_shifted_value_is_seen_and_not_covered() -> None:
    case = _case(swaying_runner(), shift_deg=0.7)
    assert case.bias("pelvic_drop_peak_left_deg") == pytest.approx(0.7)
    assert case.covered("pelvic_drop_peak_left_deg").mean() == 0.0
    assert case.covered("pelvic_drop_peak_right_deg").mean() == 1.0
    line = next(x for x in scorecard.lines(score.Report((case,)), "plain") if x.bound.name == "peak drop deg")
    assert line.worst == pytest.approx(0.7)
    assert line.met is False


def test_swapped_sides_are_swapped_not_missed_only() -> None:
    case = _case(swaying_runner(), swap=True)
    faults = {k: (len(e.missed_s), len(e.swapped_s)) for k, e in case.events.items()}
    assert all(missed == swapped > 10 for missed, swapped in faults.values())


def test_match_counts_missed_extra_and_ignores_the_edges() -> None:
    true_s = np.array([1.0, 4.0, 5.0, 6.0])
    got = score.match_events(true_s, true_s + 0.5, np.array([4.01, 4.25, 5.49, 6.1, 9.0]), 3.0, 7.0)
    assert got.error_ms == pytest.approx([10.0])
    assert got.missed_s == pytest.approx([5.0, 6.0])
    assert got.swapped_s == pytest.approx([5.49])
    assert got.extra_s == pytest.approx([4.25, 6.1])


def test_the_report_is_json_without_nan(tmp_path: Path) -> None:
    report = score.Report((_case(swaying_runner()),))
    scorecard.write_json(report, tmp_path / "r.json")
    read = json.loads((tmp_path / "r.json").read_text(), parse_constant=pytest.fail)
    assert read["cases"][0]["strides"]["ok"] == read["cases"][0]["strides"]["true"]
    assert "peak drop deg" in scorecard.text(report, details=True)


def test_a_missing_trial_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert score.main(["nowhere.npz"]) == 2
    assert "nowhere.npz" in capsys.readouterr().err


def test_pinhole_by_hand() -> None:
    camera = Condition(focal_px=1000.0, pitch_deg=0.0, size_px=(1000, 800))
    at = pinhole(np.array([[0.2, 1.1, -1.0], [0.0, 1.0, -3.0]]), np.array([0.0, 1.0, 1.0]), camera)
    assert at == pytest.approx(np.array([[600.0, 350.0], [500.0, 400.0]]))


def test_roll_reads_plus_roll_and_height_is_said() -> None:
    camera = Condition(roll_deg=5.0, pitch_deg=0.0, undeclared=("focal_px",))
    left, right = pinhole(np.array([[-0.1, 1.0, 0.0], [0.1, 1.0, 0.0]]), np.array([0.0, 1.0, 2.0]), camera)
    assert np.degrees(np.arctan2(left[1] - right[1], right[0] - left[0])) == pytest.approx(5.0)
    assert view_of(camera).mount.height_m == 0.95
    assert view_of(camera).mount.focal_px is None


# --- the tracks tool -------------------------------------------------------------------------------------------------


@pytest.fixture
def tool(shared_dir: Path) -> ModuleType:
    path = shared_dir / "tools" / "project_track.py"
    spec = importlib.util.spec_from_file_location("project_track", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _tool_frames(tool: ModuleType, path: Path, options: list[str]) -> Iterator[dict[str, Any]]:
    parser = argparse.ArgumentParser()
    tool.add_options(parser)
    rows = tool.make_track(path, parser.parse_args(options))
    next(rows)
    yield from rows


@pytest.mark.parametrize(
    ("condition", "options"),
    [
        (Condition(), "--pitch -6"),
        (
            Condition(fps=30, noise_px=2, drop_frames=0.02, lose=0.05, pelvis_sd_deg=1.5, height_m=1.4, roll_deg=2),
            "--fps 30 --noise-px 2 --drop-frames .02 --lose .05 --pelvis-sd 1.5 --height 1.4 --roll 2 --pitch -6",
        ),
        (
            Condition(noise_corr_s=0.1, hip_gain=1.3, jitter_ms=2.0, seconds=(2.0, 6.0), phase=0.25),
            "--noise-corr 0.1 --hip-gain 1.3 --jitter-ms 2 --seconds 2 6 --phase 0.25 --pitch -6",
        ),
        (
            Condition(height_m=1.4, distance_m=2.0, keep_outside=True),
            "--height 1.4 --distance 2 --keep-outside --pitch -6",
        ),
    ],
)
def test_projection_equals_the_tool(
    tool: ModuleType, shared_dir: Path, tmp_path: Path, condition: Condition, options: str
) -> None:
    path = shared_dir / "fixtures" / "mocap" / "rbds__RBDS001_T25.npz"
    ours = list(observe(load_trial(path), condition, seed=3))
    theirs = list(_tool_frames(tool, path, [*options.split(), "--seed", "3"]))
    assert [o.t_s for o in ours] == [r["t"] for r in theirs]
    from station.types import KEYPOINTS

    for o, r in zip(ours, theirs, strict=True):
        assert o.pose is not None
        kp = {
            k: [*o.pose.xy_px[i], o.pose.score[i]] for i, k in enumerate(KEYPOINTS) if np.isfinite(o.pose.xy_px[i, 0])
        }
        assert kp == r["kp"]
        if o.pelvis is not None:
            assert o.pelvis.obliquity_deg == r["pelvis"]["obliquity_deg"]
            assert o.pelvis.tilt_deg == r["pelvis"]["tilt_deg"]


def test_a_trial_survives_its_file(tmp_path: Path) -> None:
    trial = swaying_runner()
    save_trial(trial, tmp_path / "runner.npz")
    again = load_trial(tmp_path / "runner.npz")
    assert again.events_are_truth
    assert strides_of(again.events) == strides_of(trial.events)
    assert np.allclose(again.marks["LHEEL"], trial.marks["LHEEL"], atol=1e-6)


def test_the_floor_is_exact_without_noise_and_grows_with_it() -> None:
    trial = swaying_runner()
    truth = Truth(trial)

    def worst(noise_px: float, sd_deg: float | None) -> float:
        camera = Condition(noise_px=noise_px, pelvis_sd_deg=sd_deg, pitch_deg=0.0)
        case = score.score_one(truth, camera, 1, observe(trial, camera, 1), Perfect(truth, view_of(camera)))
        return max(
            abs(case.bias(k)) for k in ("pelvic_drop_peak_left_deg", "pelvic_drop_right_deg", "obliquity_range_deg")
        )

    assert worst(0.0, 0.0) < 0.02
    assert worst(0.0, None) < 0.1
    assert 0.05 < worst(3.0, None) < 2.0


def test_the_command_scores_the_station_kernel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    save_trial(run(RunnerSpec(), 12.0, 1), tmp_path / "runner.npz")
    out, pictures = tmp_path / "out.json", tmp_path / "pictures"
    options = [str(tmp_path / "runner.npz"), "--height", "1.0", "--json", str(out), "--plot-dir", str(pictures)]
    assert score.main(options) in (0, 1)
    assert "peak drop deg" in capsys.readouterr().out
    case = json.loads(out.read_text())["cases"][0]
    assert case["strides"]["ok"] > 8
    assert abs(case["metrics"]["cadence_spm"]["bias"]) < 1.0
    assert len(list(pictures.glob("*.png"))) == 1


def test_only_filters_the_suite_and_workers_agree(tmp_path: Path) -> None:
    path = tmp_path / "runner.npz"
    save_trial(run(RunnerSpec(), 8.0, 2), path)
    some = [c for c in score.suite() if c.fps == 30.0 and c.height_m == 0.95 and not c.undeclared]
    assert len(some) == 2
    alone, together = score.score([path], some), score.score([path], some, jobs=2)
    assert [c.error for c in alone.cases] == [c.error for c in together.cases]
