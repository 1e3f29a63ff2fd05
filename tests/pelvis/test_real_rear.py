"""Real rear views: a known warp is seen by the gyroscope, and waist lines marked by eye are followed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from station.__main__ import main
from station.camera import frames
from station.camera.video import VideoFile
from station.lab.footage import fetch, footage_dir
from station.optical_rate import OpticalRate
from station.pose import PoseEstimator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def footage() -> dict[str, Path]:
    return {path.stem: path for path in fetch(footage_dir())}


@pytest.mark.parametrize("name", ["cam03", "cam04"])
def test_the_gyroscope_sees_the_pelvis_turn_and_no_leg(
    name: str, footage: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["warp", str(footage[name]), "--json", "--set", "pose.threads=1"]) == 0
    optical = json.loads(capsys.readouterr().out)["estimators"]["optical"]
    assert 0.8 < optical["pelvis"]["gain"] < 1.15
    assert optical["pelvis"]["r"] > 0.95
    assert optical["pelvis"]["jitter_deg"] < 0.3
    assert abs(optical["leg"]["gain"]) < 0.3


def test_waist_lines_marked_by_eye_are_followed(footage: dict[str, Path], shared_dir: Path) -> None:
    """The person tips over by 25 degrees and comes back; marks hold to 2 degrees at best."""
    marks = json.loads((shared_dir / "fixtures" / "real_rear" / "marks.json").read_text(encoding="utf-8"))["labels"]
    lines = sorted((mark["frame"], -mark["angle"]) for mark in marks.values() if mark["src"] == "p2s4")
    video = VideoFile(footage["cam04"])
    gyroscope, pose, angle_deg, at_s = OpticalRate(video.view), PoseEstimator.load(), [0.0], math.nan
    for frame in frames(video):
        rate = gyroscope.read(frame, pose.estimate(frame)).rate_dps
        if frame.index:
            angle_deg.append(angle_deg[-1] + (rate * (frame.t_s - at_s) if math.isfinite(rate) else 0.0))
        at_s = frame.t_s
    marked = np.array([angle for _, angle in lines])
    read = np.array([angle_deg[index] for index, _ in lines])
    assert len(lines) >= 6
    assert np.corrcoef(marked, read)[0, 1] > 0.98
    assert 0.85 < np.polyfit(marked, read, 1)[0] < 1.35
