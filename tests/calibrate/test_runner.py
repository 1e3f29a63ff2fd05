"""Roll and height from someone who stands: what is estimable, and that the stated uncertainty holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from station.__main__ import main
from station.calibrate.runner import guessed, standing
from station.config import load
from station.errors import CalibrationError
from station.lab.pinhole import Pinhole
from station.types import KEYPOINTS, Floats, Mount, Observation, Pose, View
from station.wire import TrackWriter

#: A person of 1.72 m: half widths and heights of shoulders, hips, knees, ankles, heels and toes [m].
BODY = ((0.18, 1.40), (0.08, 0.92), (0.08, 0.50), (0.09, 0.09), (0.09, 0.03), (0.10, 0.03))


def person_m(tall_m: float = 1.72, lean_deg: float = 0.0) -> Floats:
    points = np.array([(sign * w, h, 0.0) for w, h in BODY for sign in (-1, 1)]) * tall_m / 1.72
    lean = np.tan(np.radians(lean_deg))
    points[:, 0] += lean * points[:, 1]
    return points


def film(camera: Pinhole, tall_m: float = 1.72, lean_deg: float = 0.0, seed: int = 0) -> list[Observation]:
    rng = np.random.default_rng(seed)
    xy = camera.project(person_m(tall_m, lean_deg))
    score = np.full(len(KEYPOINTS), 0.9)
    return [Observation(n / 20, Pose(xy + rng.normal(0, 1.5, xy.shape), score)) for n in range(100)]


def view(camera: Pinhole, **mount: float) -> View:
    return View(camera.width_px, camera.height_px, 20.0, Mount(**mount))  # type: ignore[arg-type]


def test_an_upright_person_tells_roll_and_with_the_pitch_the_height() -> None:
    camera = Pinhole(height_m=1.2, roll_deg=2.0, pitch_deg=-8.0)
    pose = standing(film(camera))
    guess = guessed(view(camera, pitch_deg=-8.0, focal_px=camera.focal_px), pose, 1.72)
    assert guess.roll_deg == pytest.approx(2.0, abs=0.1)
    assert guess.height_m == pytest.approx(1.2, abs=0.03)


def test_a_known_height_gives_the_pitch_instead() -> None:
    camera = Pinhole(height_m=1.3, pitch_deg=-11.0, roll_deg=-1.0)
    guess = guessed(view(camera, height_m=1.3, focal_px=camera.focal_px), standing(film(camera)), 1.72)
    assert guess.pitch_deg == pytest.approx(-11.0, abs=0.4)
    assert guess.roll_deg == pytest.approx(-1.0, abs=0.1)


def test_less_known_means_less_sure() -> None:
    camera = Pinhole()
    pose = standing(film(camera))
    all_told = guessed(view(camera, pitch_deg=-6.0, focal_px=camera.focal_px), pose, 1.72)
    no_stature = guessed(view(camera, pitch_deg=-6.0, focal_px=camera.focal_px), pose)
    nothing = guessed(view(camera), pose)
    assert all_told.sd_height_m < no_stature.sd_height_m < nothing.sd_height_m


def test_the_stated_uncertainty_holds_over_people_and_mounts() -> None:
    """Lean, stature and pitch drawn as they are assumed: two thirds within one sd, nearly all within two."""
    rng = np.random.default_rng(1)
    z_roll, z_height = [], []
    for seed in range(120):
        pitch = rng.normal(-4.5, 2.5)
        camera = Pinhole(height_m=rng.uniform(0.8, 1.2), roll_deg=rng.normal(0, 1.5), pitch_deg=pitch, focal_px=780.0)
        tall = float(np.clip(rng.normal(1.72, 0.09), 1.5, 2.0))
        pose = standing(film(camera, tall, rng.normal(0, 0.8), seed))
        guess = guessed(view(camera, focal_px=780.0), pose)
        z_roll.append((guess.roll_deg - camera.roll_deg) / guess.sd_roll_deg)
        z_height.append((guess.height_m - camera.height_m) / guess.sd_height_m)
    for z in (np.abs(z_roll), np.abs(z_height)):
        assert (z < 2).mean() > 0.9
        assert (z > 0.5).mean() > 0.3  # and not by being vague


def test_who_moves_is_not_taken() -> None:
    camera = Pinhole()
    walking = [
        Observation(n / 20, Pose(camera.project(person_m() + np.array([0.15 * np.sin(n / 6), 0, 0])), np.full(12, 0.9)))
        for n in range(100)
    ]
    with pytest.raises(CalibrationError, match="nobody stands still"):
        standing(walking)


def test_the_command_reads_a_track_and_writes_what_the_configuration_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    camera = Pinhole(height_m=1.1, roll_deg=1.5, pitch_deg=-6.0)
    track, out = tmp_path / "stand.track.jsonl", tmp_path / "mount.toml"
    with track.open("w", encoding="utf-8") as file:
        writer = TrackWriter(file, view(camera, pitch_deg=-6.0))
        for observation in film(camera):
            writer.write(observation)
    assert main(["calibrate", "--from-runner", str(track), "--stature", "1.72", "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert "coarse" in said
    station = tmp_path / "station.toml"
    station.write_text('[camera]\ncalibration = "mount.toml"\n')
    mount = load(station).camera.mount
    assert mount.roll_deg == pytest.approx(1.5, abs=0.15)
    assert mount.focal_px is None  # what nobody told stays unknown
    assert main(["calibrate", "--from-runner", str(track), "--stature", "17"]) == 2
    assert "--stature 17: must be metres" in capsys.readouterr().err
