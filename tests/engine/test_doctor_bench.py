"""``station doctor`` and ``station bench`` as processes, on a video in place of a camera."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .clips import make_video
from .test_replay import one_line, pose_models, station

__all__ = ["pose_models"]

pytestmark = pytest.mark.usefixtures("pose_models", "mosquitto_path")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return make_video(tmp_path / "clip.mp4", frames=60, fps=60, size=(320, 180))


def test_the_doctor_finds_a_sound_station(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    done = station("doctor", "--json", "--set", f"camera.source={video}")
    report = json.loads(done.stdout)
    verdicts = {check["what"]: check["verdict"] for check in report["checks"]}
    assert list(verdicts) == [
        "versions", "model", "camera", "focus", "exposure", "light", "framing", "broker", "page", "disk", "clock",
        "temperature", "throttling", "power", "verified", "update",
    ]  # fmt: skip
    assert verdicts["broker"] == "ok"
    assert verdicts["model"] in ("ok", "warn")  # a busy machine is slow
    assert "fail" not in verdicts.values()
    assert report["ok"] is True
    assert done.returncode == 0
    camera = next(check for check in report["checks"] if check["what"] == "camera")
    assert camera["verdict"] == "warn"  # no mount is configured, and the mend says which keys
    assert "camera.focal_px" in camera["mend"]


def test_the_doctor_names_what_fails_with_the_mend(tmp_path: Path) -> None:
    done = station(
        "doctor", "--set", f"camera.source={tmp_path / 'absent.mp4'}", "--set", "mqtt.host=127.0.0.1",
        "--set", "mqtt.port=1",
    )  # fmt: skip
    assert done.returncode == 1
    lines = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert lines["camera"].startswith("fail")
    assert "check the path" in lines["camera"]
    assert lines["broker"].startswith("fail")
    assert "mqtt.port" in lines["broker"]
    assert lines["model"].split()[0] in ("ok", "warn")
    assert "focus" not in lines  # without a picture there is nothing more to say of it


def test_the_bench_gives_ordered_percentiles_of_every_stage(video: Path) -> None:
    done = station("bench", "latency", "--json", "--frames", "30", "--set", f"camera.source={video}")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert list(report["ms"]) == ["decode", "crop", "infer", "pose", "pelvis", "kernel", "wire", "whole"]
    for stage in report["ms"].values():
        assert 0 <= stage["p50"] <= stage["p95"] <= stage["p99"]
    assert report["ms"]["pose"]["p50"] >= report["ms"]["infer"]["p50"]
    # at 60 fps every second frame goes without a pose: the median frame is not one that has it
    assert report["ms"]["whole"]["p95"] >= report["ms"]["pose"]["p50"]
    assert report["rss_mb"] > 50
    assert report["cpu_ms_per_frame"] > 0
    table = station("bench", "--frames", "30", "--set", f"camera.source={video}").stdout
    assert [line.split()[0] for line in table.splitlines()[3:]] == list(report["ms"])


def test_the_bench_refuses_a_clip_that_is_too_short(tmp_path: Path) -> None:
    done = station("bench", "--set", f"camera.source={make_video(tmp_path / 'short.mp4', frames=3)}")
    assert done.returncode == 2
    assert "too short" in one_line(done)
