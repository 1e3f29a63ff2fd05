"""``station verify`` from end to end: a rendered runner with a tag, an estimator that is wrong by a known factor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from station.__main__ import main
from station.config import Config
from station.doctor import machine
from station.engine.pelvis import PelvisEstimator, load_pelvis, load_plain, verified
from station.lab.rotations import pelvis_rotation
from station.lab.tagshots import Worn
from station.publish.sayings import Sayings
from station.tag.plates import LARGE
from station.tag.record import ANGLES, load_all
from station.types import Floats, Frame, Mount, PelvisReading, Pose, View
from tests.tag import worn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

STAND_S, RUN_S = 1.4, 8.3
NOISE_DEG = (1.0, 1.0, 0.5)
SETTINGS = [
    part
    for key in ("height_m", "distance_m", "focal_px", "roll_deg", "pitch_deg")
    for part in ("--set", f"camera.{key}={getattr(worn.MOUNT, key)}")
]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Floats]:
    """The clip, and the truth of every frame (n, 3). The plate hangs askew, as plates do."""
    path = tmp_path_factory.mktemp("clip") / "worn.mp4"
    return path, worn.write(path, Worn(LARGE, mount=pelvis_rotation(2.0, -3.0, 4.0)), STAND_S, RUN_S)


class Misscaled:
    """Says ``gains`` times what is true about its mean, with noise."""

    source = "fused"
    sees = True
    model: str | None = "misscaled"

    def __init__(self, true_deg: Floats, gains: tuple[float, float, float]) -> None:
        run = true_deg[round(STAND_S * worn.FPS) :].mean(axis=0)
        noise = np.random.default_rng(3).normal(0.0, NOISE_DEG, true_deg.shape)
        self._said = run + np.array(gains) * (true_deg - run) + noise

    def read(self, frame: Frame, pose: Pose) -> PelvisReading:
        del pose
        obliquity, rotation, tilt = self._said[frame.index].tolist()
        return PelvisReading(obliquity, rotation, tilt, *NOISE_DEG, source=self.source)


@pytest.mark.parametrize("gains", [(0.5, 1.3, 0.8), (1.3, 0.5, 1.0), (0.8, 1.0, 0.5), (1.0, 0.8, 1.3)])
def test_the_command_finds_the_gain_and_what_it_found_counts(
    gains: tuple[float, float, float],
    clip: tuple[Path, Floats],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, true = clip
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setattr("station.verify.load_plain", lambda _config, _view: Misscaled(true, gains))
    assert main(["verify", str(path), *SETTINGS]) == 0
    printed = capsys.readouterr()
    (record,) = load_all()
    for name, gain in zip(ANGLES, gains, strict=True):
        found = record.angles[name]
        assert found.gain == pytest.approx(gain, abs=0.05), name
        assert f"{found.gain:.2f} ± {found.gain_ci95:.2f}" in printed.out
    obliquity = record.angles["obliquity"]
    assert obliquity.scatter_deg == pytest.approx(NOISE_DEG[0], abs=0.15)
    assert obliquity.bias_deg is not None, "standing was not seen"
    assert record.tag_seen >= 0.9
    assert record.strides >= 5
    swing = record.metrics["obliquity_range_deg"]
    # noise alone stretches a range by less than its sd
    assert np.sign(swing.mean) == np.sign(gains[0] - 1.0) or abs(swing.mean) < NOISE_DEG[0]
    assert {f"pelvic_drop_peak_{side}_deg" for side in ("left", "right")} <= set(record.metrics)
    _numbers_only(tmp_path)
    _counts(tmp_path, obliquity.gain or 0.0)


def _numbers_only(state: Path) -> None:
    """The record is the one thing that was written, and it holds neither a picture nor a name."""
    (file,) = (path for path in state.rglob("*") if path.is_file())
    assert file.parent.name == "verify"
    assert file.stat().st_size < 4000

    def leaves(node: Any) -> list[Any]:
        if isinstance(node, dict):
            return [leaf for value in node.values() for leaf in leaves(value)]
        assert not isinstance(node, list), "a series might show who ran"
        return [node]

    content = json.loads(file.read_text(encoding="utf-8"))
    texts = {leaf for leaf in leaves(content) if isinstance(leaf, str)}
    assert texts == {content[key] for key in ("format", "when", "station", "estimator", "model", "plate")}


def _counts(state: Path, gain: float) -> None:
    """What ``run`` would take up: status, the doctor, and the sd that widens every ``ci95``."""
    del state
    finding = machine.verified()
    assert f"gain {gain:.2f}" in finding.seen
    assert finding.verdict == ("warn" if abs(gain - 1.0) > 0.35 else "ok")
    estimator = load_pelvis(Config(), View(1280, 720, 30.0, Mount()))
    told = verified(estimator)
    assert told is not None
    assert told["gain"] == pytest.approx(gain)
    status = json.loads(Sayings("hipline/v1/gym/tm-07", "1", {}, told).will().payload)
    assert status["verified"] == json.loads(json.dumps(dict(told)))


def test_the_gain_told_of_the_shipped_estimator_is_its_gain_against_the_truth(
    clip: tuple[Path, Floats], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, true = clip
    heard: dict[int, float] = {}

    class Overheard:
        def __init__(self, estimator: PelvisEstimator) -> None:
            self._estimator = estimator
            self.source, self.model, self.sees = estimator.source, estimator.model, estimator.sees

        def read(self, frame: Frame, pose: Pose) -> PelvisReading:
            reading = self._estimator.read(frame, pose)
            heard[frame.index] = reading.obliquity_deg
            return reading

    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setattr("station.verify.load_plain", lambda config, view: Overheard(load_plain(config, view)))
    assert main(["verify", str(path), *SETTINGS]) == 0
    (record,) = load_all()
    said = np.array([heard[k] for k in range(len(true))])
    rows = np.isfinite(said) & (np.arange(len(true)) >= round(STAND_S * worn.FPS))
    gain = np.polyfit(true[rows, 0], said[rows], 1)[0]
    assert record.angles["obliquity"].gain == pytest.approx(gain, abs=0.05)
