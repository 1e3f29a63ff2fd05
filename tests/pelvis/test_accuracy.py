"""The scoring itself: numbers that a person can check, on angles made up for the purpose."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from station.__main__ import main
from station.config import load
from station.errors import SourceError
from station.lab.accuracy import DROPS, ClipScore, accuracy, score_angle, score_readings, table
from station.types import PelvisReading
from tests.kernel.runners import PLAIN, pose, seen

SWING = 5.0 * np.sin(np.linspace(0.0, 20 * np.pi, 600, endpoint=False))


def test_an_angle_said_rightly_scores_full() -> None:
    score = score_angle(SWING, SWING, np.full(600, 0.1))
    assert (score.known, score.bias, score.rmse, score.within) == (1.0, 0.0, 0.0, 1.0)
    assert score.r == pytest.approx(1.0)
    assert score.gain == pytest.approx(1.0)


def test_half_the_swing_and_a_degree_too_much() -> None:
    score = score_angle(0.5 * SWING + 1.0, SWING, np.full(600, 1.0))
    assert score.gain == pytest.approx(0.5)
    assert score.bias == pytest.approx(1.0, abs=0.05)
    assert score.rmse == pytest.approx(float(np.hypot(1.0, 2.5 / np.sqrt(2))), rel=0.02)


def test_frames_that_are_not_known_are_counted_not_scored() -> None:
    said = np.where(np.arange(600) % 4 == 0, np.nan, SWING)
    score = score_angle(said, SWING, np.full(600, 0.5))
    assert score.known == pytest.approx(0.75)
    assert score.rmse == 0.0
    assert score_angle(np.full(600, np.nan), SWING, np.full(600, np.nan)).rmse is None


def test_two_thirds_within_one_sd_when_the_sd_is_right() -> None:
    noise = np.random.default_rng(0).normal(0, 0.7, 600)
    within = score_angle(SWING + noise, SWING, np.full(600, 0.7)).within
    assert within is not None
    assert 0.62 < within < 0.74


def scored() -> list[ClipScore]:
    view, frames = seen(replace(PLAIN, pelvis_sd_deg=0.05, noise_px=0.3))
    true = [frame.pelvis for frame in frames]
    assert all(reading is not None for reading in true)
    told = [reading for reading in true if reading is not None]
    truth = {f"{angle}_deg": [getattr(r, f"{angle}_deg") for r in told] for angle in ("obliquity", "rotation", "tilt")}
    middle = float(np.mean(truth["obliquity_deg"]))
    half = [replace(r, obliquity_deg=middle + 0.5 * (r.obliquity_deg - middle)) for r in told]
    unknown = [PelvisReading(source="net")] * len(told)
    t_s = np.array([frame.t_s for frame in frames])
    readings = {"fused": told, "hips": half, "net": unknown}
    return score_readings("clip", truth, view, t_s, [pose(frame) for frame in frames], readings)


def test_drops_are_errors_against_the_true_angle_through_the_same_kernel() -> None:
    right, half, unknown = scored()
    for name in DROPS:
        error, missing = right.drops[name], half.drops[name]
        assert isinstance(error, float)
        assert isinstance(missing, float)
        assert abs(error) < 0.05
        assert missing < -0.4  # half of a drop is missing
        assert unknown.drops[name] == "waist_hidden"
    assert half.angles["obliquity"].gain == pytest.approx(0.5, abs=0.01)
    text = table([right, half, unknown])
    assert "waist_hidden" in text
    assert "| clip | hips |" in text


def test_a_clip_without_truth_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = tmp_path / "runner.mp4"
    clip.write_bytes(b"no video")
    with pytest.raises(SourceError, match=r"runner\.truth\.json"):
        accuracy(load(None), [clip], as_json=True)
    assert main(["bench", "latency", str(clip)]) == 2
    assert "takes no clip" in capsys.readouterr().err


@pytest.mark.slow
def test_the_bundled_clip_scored_by_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    import station

    clip = Path(station.__file__).parent / "assets" / "runner.mp4"
    assert main(["bench", "accuracy", "--json", str(clip)]) == 0
    scores = {row["estimator"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(scores) == {"fused", "net", "optical", "hips"}
    ours, hips = (scores[name]["angles"]["obliquity"] for name in ("fused", "hips"))
    assert ours["r"] > 0.8 > hips["r"]
    assert ours["rmse"] < hips["rmse"]
