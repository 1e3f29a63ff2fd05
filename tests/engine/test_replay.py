"""``station replay`` as its user meets it: a process with standard output, standard error and an exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from station.camera import BUNDLED_CLIP

from .clips import make_sound, make_video

REPOSITORY = Path(__file__).resolve().parents[2]


def station(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, "-m", "station", *map(str, arguments)],
        capture_output=True, text=True, env=environment, cwd=cwd, timeout=120, check=False,
    )  # fmt: skip


def strides(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("replay:", "INFO:", "W0", "I0"))]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("station: ")
    return lines[0]


def test_a_track_becomes_strides_on_standard_output(track: Path) -> None:
    done = station("replay", track)
    assert done.returncode == 0, done.stderr
    found = strides(done)
    assert len(found) >= 24
    assert {(s["schema"], s["station"], s["session"], s["wall"]) for s in found} == {
        ("hipline.stride/1", "replay", "replay", None)
    }
    cadences = [s["metrics"]["cadence_spm"]["value"] for s in found if s["status"] == "ok"]
    assert cadences[-1] == pytest.approx(165, abs=0.5)
    assert "600 frames" in done.stderr
    assert "100.0 %" in done.stderr


def test_a_track_of_a_track_is_the_same_track_and_the_same_strides(track: Path, tmp_path: Path) -> None:
    first = station("replay", track, "--track", tmp_path / "copy")
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "copy").read_bytes() == track.read_bytes()
    assert station("replay", tmp_path / "copy").stdout == first.stdout != ""
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_broken_line_stops_after_the_strides_before_it(track: Path, tmp_path: Path) -> None:
    lines = track.read_text().splitlines(keepends=True)
    broken = tmp_path / "broken.jsonl"
    broken.write_text("".join([*lines[:400], '{"t": 13.4, "kp": {"left_hip"\n', *lines[401:]]))
    done = station("replay", broken, "--track", tmp_path / "out")
    assert done.returncode == 2
    message = one_line(done)
    assert str(broken) in message
    assert "line 401" in message
    whole = strides(station("replay", track))
    before = [s for s in whole if s["end_s"] < json.loads(lines[399])["t"]]
    found = strides(done)
    assert len(before) - 1 <= len(found) <= len(before) + 1  # the stride at the edge may be judged with less to see
    assert [s["start_s"] for s in found[:-2]] == [s["start_s"] for s in before[: len(found) - 2]]
    assert not (tmp_path / "out").exists()  # whole or not at all
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.jsonl"]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('{"t": NaN, "kp": {}}', "finite"),
        ('{"t": 0.0, "kp": {}}', "time does not increase"),
        ("[1, 2]", "not a JSON object"),
        ('{"kp": {}}', "no time"),
    ],
)
def test_every_fault_of_a_line_names_the_line(track: Path, tmp_path: Path, line: str, named: str) -> None:
    lines = track.read_text().splitlines()[:6]
    path = tmp_path / "bad.jsonl"
    path.write_text("\n".join([*lines, line]) + "\n")
    done = station("replay", path)
    assert done.returncode == 2
    message = one_line(done)
    assert f"{path}: line 7" in message
    assert named in message


def test_a_mount_given_by_hand_wins_over_the_tracks(track: Path, tmp_path: Path) -> None:
    done = station("replay", track, "--set", "camera.roll_deg=5", "--track", tmp_path / "rolled")
    assert done.returncode == 0
    header = json.loads((tmp_path / "rolled").open().readline())
    assert header["camera"]["roll_deg"] == 5.0
    assert header["camera"]["height_m"] == 0.95


def test_bad_input_and_configuration_exit_2_with_one_line(track: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text.txt").write_text("hello\n" * 100)
    (tmp_path / "other.json").write_text('{"format": "something/1"}\n')
    make_sound(tmp_path / "sound.m4a")
    os.mkfifo(tmp_path / "pipe")
    cases: list[tuple[list[str | Path], str]] = [
        ([tmp_path / "absent.mp4"], "no such file"),
        ([tmp_path], "is a folder"),
        ([tmp_path / "empty"], "0 bytes"),
        ([tmp_path / "pipe"], "is a pipe"),
        ([tmp_path / "text.txt"], "text.txt"),
        ([tmp_path / "other.json"], "line 1"),
        ([tmp_path / "sound.m4a"], "sound only"),
        ([track, "--set", "camera.hight_m=1"], "camera.height_m"),
        ([track, "--config", tmp_path / "absent.toml"], "absent.toml"),
        ([track, "--track", tmp_path / "no" / "such" / "folder"], "--track"),
        ([track, "--track", tmp_path], "it is a folder"),
        ([track, "--plot", tmp_path / "no" / "plot.png"], "--plot"),
    ]
    for arguments, named in cases:
        done = station("replay", *arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert named in one_line(done)
        assert done.stdout == ""


def test_a_track_goes_through_a_link_and_into_a_pipe(track: Path, tmp_path: Path) -> None:
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert station("replay", track, "--track", tmp_path / "link").returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == track.read_bytes()
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "read").open("wb") as read, subprocess.Popen(["cat", tmp_path / "pipe"], stdout=read) as reader:
        assert station("replay", track, "--track", tmp_path / "pipe").returncode == 0
        assert reader.wait(10) == 0
    assert (tmp_path / "read").read_bytes() == track.read_bytes()
    assert (tmp_path / "pipe").is_fifo()


def test_a_full_disk_behind_standard_output_is_one_line(track: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "station", "replay", str(track)],
            stdout=full, stderr=subprocess.PIPE, text=True, env=environment, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "standard output" in one_line(done)


def test_wrong_usage_exits_2(track: Path) -> None:
    wrong: list[list[str | Path]] = [[], ["replay"], ["frobnicate"], ["replay", track, "--frobnicate"]]
    for arguments in wrong:
        done = station(*arguments)
        assert done.returncode == 2
        assert "usage: station" in done.stderr


def test_help_teaches_and_exits_0() -> None:
    done = station("--help")
    assert done.returncode == 0
    assert "station replay run.mp4" in done.stdout
    for command in ["run", "replay", "web", "doctor", "bench", "model"]:
        shown = station(command, "--help")
        assert shown.returncode == 0
        assert len(shown.stdout.splitlines()) > 4
    assert station("--version").stdout.startswith("hipline-station ")


def test_a_reader_that_goes_away_is_no_reason_for_a_traceback(track: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, "-m", "station", "replay", str(track)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 1
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


@pytest.fixture(scope="session")
def pose_models() -> None:
    """The built pose models; `make test` builds them."""
    from station.models.build import build

    build(("lite", "detector"), say=lambda _line: None)


@pytest.mark.usefixtures("pose_models")
def test_an_empty_belt_has_no_strides(tmp_path: Path) -> None:
    video = make_video(tmp_path / "empty.mp4", frames=20, size=(320, 180))
    done = station("replay", video, "--track", tmp_path / "track")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    lines = [json.loads(line) for line in (tmp_path / "track").read_text().splitlines()]
    assert (lines[0]["width"], lines[0]["height"]) == (320, 180)
    assert [line["kp"] for line in lines[1:]] == [{}] * 20
    assert not any("pelvis" in line for line in lines[1:])


@pytest.mark.usefixtures("pose_models")
def test_a_video_cut_off_gives_what_was_in_it_and_exits_2(tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    whole = BUNDLED_CLIP.read_bytes()
    assert whole.find(b"moov") < whole.find(b"mdat")  # the index comes first, so that the half has one
    cut.write_bytes(whole[: len(whole) // 2])
    done = station("replay", cut)
    assert done.returncode == 2
    assert len(strides(done)) >= 8
    message = one_line(done)
    assert str(cut) in message
    assert "cut off" in message or "damaged" in message


@pytest.fixture(params=["bundled", "real"])
def video(request: pytest.FixtureRequest) -> Path:
    if request.param == "bundled":
        return BUNDLED_CLIP
    shared: Path = request.getfixturevalue("shared_dir")
    return shared / "fixtures" / "video" / "zz_male_side.mp4"


@pytest.mark.usefixtures("pose_models")
def test_the_track_of_a_video_gives_its_strides_number_for_number(video: Path, tmp_path: Path) -> None:
    first = station("replay", video, "--track", tmp_path / "track")
    assert first.returncode == 0, first.stderr
    again = station("replay", tmp_path / "track")
    assert again.stdout == first.stdout
    assert len(strides(first)) >= 12
    lines = [json.loads(line) for line in (tmp_path / "track").read_text().splitlines()]
    with_someone = [line for line in lines[1:] if line["kp"]]
    assert len(with_someone) >= 0.98 * len(lines[1:])
    assert all(line["pelvis"]["source"] == "fused" for line in with_someone)
    known = [one["metrics"]["cadence_spm"]["value"] for one in strides(first)]
    cadence = [value for value in known if value is not None][-1]
    assert abs(cadence - (168.0 if video == BUNDLED_CLIP else 168.9)) <= (0.5 if video == BUNDLED_CLIP else 1.0)
