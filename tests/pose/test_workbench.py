"""Calibrating and comparing the pose models on a few frames."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from station.lab import calibrate_pose, compare_pose
from station.models.build import load_ranges
from station.models.recipes import RECIPES
from station.types import Pixels


@pytest.fixture
def pictures(clip: list[Pixels], tmp_path: Path) -> Path:
    """A folder with two pictures of the runner and one of nobody."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, image in (("a", clip[0]), ("b", clip[10]), ("c", np.full_like(clip[0], 90))):
        cv2.imwrite(str(folder / f"{name}.png"), image)
    return folder


def test_calibration_measures_what_the_recipe_needs_and_the_same_each_time(
    models: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        assert calibrate_pose.main([str(pictures), "--out", str(tmp_path / name)]) == 0
        written.append((tmp_path / name / "ranges_lite.json").read_text("utf-8"))
    assert written[0] == written[1]
    table = json.loads(written[0])
    assert table["crops"] == 8
    file = RECIPES["lite"].ranges
    assert file is not None
    assert table["ranges"].keys() == load_ranges(file).keys()
    assert all(low <= high for low, high in table["ranges"].values())
    assert "lite: 55 ranges from 8 crops, sha256 " in capsys.readouterr().out


def test_the_comparison_has_a_row_for_every_model(
    models: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare_pose.main([str(pictures)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "2 frames"
    rows = [line.split(" | ") for line in out[4:]]
    assert len(rows) == 6
    assert rows[1][3].startswith("0.00 / 0.00")  # folding changes nothing
    assert 0 < float(rows[2][3].split(" / ")[0]) < 6  # int8 a little


def test_nothing_to_look_at_is_one_line(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"no picture")
    for command in (calibrate_pose.main, compare_pose.main):
        for source, reason in (("empty", "no pictures"), ("bad", "not a picture"), ("nowhere", "no pictures")):
            assert command([str(tmp_path / source)]) == 2
            error = capsys.readouterr().err.strip().splitlines()
            assert reason in error[-1]
