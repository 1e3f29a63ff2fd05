"""Pose tracks: what is written reads back exactly, what is broken is told by file and line."""

from __future__ import annotations

import io
import json
import math
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from station.errors import TrackError
from station.types import Mount, Observation, Pose, View
from station.wire import TrackWriter, read_track, schema
from tests.wire.records import tracks

HEADER = {"format": "hipline.track/1", "width": 1280, "height": 720, "fps": 60.0}
FRAME: dict[str, Any] = {
    "t": 0.5,
    "kp": {"left_hip": [604.1, 331.9, 0.97], "right_hip": [671.8, 330.2, 0.98]},
    "pelvis": {"obliquity_deg": 3.1, "rotation_deg": -4.0, "tilt_deg": None, "sd_deg": 0.9, "source": "fused",
               "level_deg": 2.8, "level_sd_deg": 1.6, "rate_dps": 41.0, "rate_sd_dps": 9.0, "waist": 0.8},
}  # fmt: skip


def write(path: Path, *lines: object) -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def track(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def one(track: Path, frame: object) -> Observation:
    _, frames = read_track(write(track, HEADER, frame))
    return next(frames)


def error(track: Path, *lines: object) -> str:
    write(track, *lines)
    with pytest.raises(TrackError) as caught:
        list(read_track(track)[1])
    assert str(caught.value).startswith(f"{track}: line ")
    return str(caught.value).removeprefix(f"{track}: ")


def test_the_example_of_the_format(track: Path) -> None:
    camera = {"height_m": 0.95, "distance_m": 2.4, "focal_px": 930.0, "roll_deg": 0.0, "pitch_deg": -6.0}
    view, frames = read_track(write(track, {**HEADER, "camera": camera}, FRAME))
    assert view == View(1280, 720, 60.0, Mount(0.95, 2.4, 930.0, None, None, 0.0, -6.0))
    (seen,) = frames
    assert seen.t_s == 0.5
    assert seen.pose is not None
    assert seen.pelvis is not None
    assert seen.pose.xy_px[2].tolist() == [604.1, 331.9]
    assert seen.pose.score.tolist() == [0, 0, 0.97, 0.98, 0, 0, 0, 0, 0, 0, 0, 0]
    assert np.isnan(seen.pose.xy_px).all(axis=1).sum() == 10
    assert math.isnan(seen.pelvis.tilt_deg)
    assert (seen.pelvis.obliquity_deg, seen.pelvis.sd_tilt_deg, seen.pelvis.waist) == (3.1, 0.9, 0.8)


def test_no_keypoints_is_not_nobody(track: Path) -> None:
    nobody = one(track, {"t": 1, "kp": {}}).pose
    assert nobody is not None
    assert not nobody.someone
    not_run = one(track, {"t": 1})
    assert (not_run.pose, not_run.pelvis) == (None, None)


def test_a_block_with_nulls_is_a_reading_that_does_not_know(track: Path) -> None:
    reading = one(track, {"t": 1, "kp": {}, "pelvis": {"obliquity_deg": None}}).pelvis
    assert reading is not None
    assert math.isnan(reading.obliquity_deg)
    assert math.isnan(reading.sd_obliquity_deg)


def test_one_sd_for_all_or_one_for_each(track: Path) -> None:
    each = one(track, {"t": 1, "pelvis": {"obliquity_deg": 1, "sd_deg": {"obliquity": 0.5, "tilt": 2}}}).pelvis
    assert each is not None
    assert (each.sd_obliquity_deg, each.sd_tilt_deg) == (0.5, 2.0)
    assert math.isnan(each.sd_rotation_deg)


def test_unknown_names_are_ignored(track: Path) -> None:
    pose = one(track, {"t": 1, "kp": {"nose": "anything", "left_toe": [1, 2, 1]}, "weather": [None]}).pose
    assert pose is not None
    assert pose.score.sum() == 1


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ("not json", "not JSON"),
        ("", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"t": 2', "not JSON"),
        ('{"t": NaN}', "number NaN is not finite"),
        ('{"t": 2, "kp": {"left_hip": [1, Infinity, 1]}}', "number Infinity is not finite"),
        ('{"t": 2, "kp": {"unknown": [1e999]}}', "number 1e999 is not finite"),
        ('{"t": 2, "kp": {"left_hip": [1' + "0" * 400 + ", 1, 1]}}", "kp.left_hip is not finite"),
        ({"kp": {}}, 'no time: every frame needs "t"'),
        ({"t": None}, "t must be a number, not null"),
        ({"t": True}, "t must be a number, not true"),
        ({"t": "2"}, 't must be a number, not "2"'),
        ({"t": 1.0}, "time does not increase (1.0 after 1.0): write frames in time order"),
        ({"t": 0.9}, "time does not increase (0.9 after 1.0)"),
        ({"t": 2, "kp": None}, "kp must be an object"),
        ({"t": 2, "kp": []}, "kp must be an object"),
        ({"t": 2, "kp": {"left_hip": None}}, "kp.left_hip must be [x_px, y_px, score]"),
        ({"t": 2, "kp": {"left_hip": [1, 2]}}, "kp.left_hip must be [x_px, y_px, score]"),
        ({"t": 2, "kp": {"left_hip": [1, 2, 1.1]}}, "kp.left_hip has score 1.1: scores go from 0 to 1"),
        ({"t": 2, "kp": {"left_hip": [1, 2, -0.1]}}, "kp.left_hip has score -0.1"),
        ({"t": 2, "kp": {"left_hip": [1, True, 1]}}, "kp.left_hip must be a number, not true"),
        ({"t": 2, "kp": {"left_hip": [None, 2, 1]}}, "kp.left_hip must be a number, not null"),
        ({"t": 2, "pelvis": None}, "pelvis must be an object"),
        ({"t": 2, "pelvis": {"obliquity_deg": "3"}}, 'pelvis.obliquity_deg must be a number, not "3"'),
        ({"t": 2, "pelvis": {"sd_deg": -1}}, "pelvis.sd_deg.obliquity is -1.0: a standard deviation is not negative"),
        ({"t": 2, "pelvis": {"sd_deg": {"tilt": "1"}}}, "pelvis.sd_deg.tilt must be a number"),
        ({"t": 2, "pelvis": {"source": 3}}, "pelvis.source must be a text"),
        ({"t": 2, "pelvis": {"waist": 1.5}}, "pelvis.waist is 1.5: it goes from 0 to 1"),
    ],
)
def test_a_broken_frame_is_told_by_its_line(track: Path, frame: object, message: str) -> None:
    assert error(track, HEADER, {"t": 1.0}, frame, {"t": 3.0}).startswith(f"line 3: {message}")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({}, 'format is None, not "hipline.track/1"'),
        ({**HEADER, "format": "hipline.track/2"}, "format is 'hipline.track/2'"),
        ({**HEADER, "width": 0}, "width is 0.0: must be a whole number of pixels, more than 0"),
        ({**HEADER, "height": -720}, "height is -720.0: must be"),
        ({**HEADER, "height": 720.5}, "height is 720.5: must be"),
        ({**HEADER, "width": "1280"}, 'width must be a number, not "1280"'),
        ({key: HEADER[key] for key in ("format", "width", "height")}, "fps is missing"),
        ({**HEADER, "fps": 0}, "fps is 0.0: must be the nominal frame rate"),
        ({**HEADER, "camera": [1]}, "camera must be an object"),
        ({**HEADER, "camera": {"height_m": 950}}, "camera.height_m is 950.0: must be metres above the belt"),
        ({**HEADER, "camera": {"distance_m": 0}}, "camera.distance_m is 0.0"),
        ({**HEADER, "camera": {"center_px": [1]}}, "camera.center_px is [1]: must be [x, y] in pixels"),
        ({**HEADER, "camera": {"distortion": [1, 2, 3]}}, "camera.distortion is [1,2,3]: must be OpenCV's"),
        ({**HEADER, "camera": {"roll_deg": "2"}}, 'camera.roll_deg must be a number, not "2"'),
    ],
)
def test_a_broken_header_is_told(track: Path, header: object, message: str) -> None:
    assert error(track, header, FRAME).startswith(f"line 1: {message}")


def test_every_frame_before_the_broken_line_was_handed_out(track: Path) -> None:
    _, frames = read_track(write(track, HEADER, {"t": 1}, {"t": 2}, "{"))
    assert [next(frames).t_s, next(frames).t_s] == [1, 2]
    with pytest.raises(TrackError, match="line 4"):
        next(frames)


def test_a_file_that_is_not_there_or_empty(tmp_path: Path, track: Path) -> None:
    with pytest.raises(TrackError, match=r"nowhere: cannot be read \(No such file"):
        read_track(tmp_path / "nowhere")
    with pytest.raises(TrackError, match="cannot be read"):
        read_track(tmp_path)
    track.write_bytes(b"")
    with pytest.raises(TrackError, match="line 1: not JSON"):
        read_track(track)
    track.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrackError, match="line 1: not UTF-8 text"):
        read_track(track)
    track.write_bytes(b"x" * 2_000_000)
    with pytest.raises(TrackError, match="line 1: longer than 1000000 bytes"):
        read_track(track)


def test_null_in_the_camera_is_unknown(track: Path) -> None:
    for camera in (None, {}, {"height_m": None, "center_px": None}):
        assert read_track(write(track, {**HEADER, "camera": camera}))[0].mount == Mount()


def test_a_header_alone_is_a_track_without_frames(track: Path) -> None:
    assert list(read_track(write(track, HEADER))[1]) == []


def same(a: Observation, b: Observation) -> bool:
    if (a.pose is None) != (b.pose is None) or a.t_s != b.t_s or repr(a.pelvis) != repr(b.pelvis):
        return False
    if a.pose is None or b.pose is None:
        return True
    return a.pose.xy_px.tobytes() == b.pose.xy_px.tobytes() and a.pose.score.tobytes() == b.pose.score.tobytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tracks())
def test_what_is_written_reads_back_number_for_number(track: Path, recording: tuple[View, list[Observation]]) -> None:
    view, frames = recording
    with track.open("w", encoding="utf-8") as file:
        writer = TrackWriter(file, view)
        for frame in frames:
            writer.write(frame)
    lines = [json.loads(line) for line in track.read_text().splitlines()]
    jsonschema.validate(lines[0], schema("track-header"))
    for line in lines[1:]:
        jsonschema.validate(line, schema("track-frame"))
    view_again, again = read_track(track)
    assert view_again == view
    assert all(same(a, b) for a, b in zip(frames, again, strict=True))


def test_the_writer_refuses_a_time_that_does_not_increase() -> None:
    writer = TrackWriter(io.StringIO(), View(10, 10, 30.0))
    writer.write(Observation(1.0, None))
    for t_s in (1.0, 0.5, math.nan):
        with pytest.raises(ValueError, match="time does not increase"):
            writer.write(Observation(t_s, None))


def test_half_a_keypoint_is_no_keypoint() -> None:
    pose = Pose.nobody()
    pose.xy_px[0] = 3.0, math.nan
    pose.score[0] = 0.9
    file = io.StringIO()
    TrackWriter(file, View(10, 10, 30.0)).write(Observation(1.0, pose))
    assert json.loads(file.getvalue().splitlines()[1]) == {"t": 1.0, "kp": {}}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.binary(max_size=200))
@example(b'{"format": "hipline.track/1", "width": 1, "height": 1, "fps": 1}\n' + b"[" * 100_000)
@example(b'{"format": "hipline.track/1", "width": 1, "height": 1, "fps": 1' + b"0" * 5000 + b"}")
@example(b'{"format": "hipline.track/1", "width": 1, "height": 1, "fps": 1}\n{"t": 1, "kp": {"\\ud800": "\\ud800"}}')
@example(b'{"format": "\\ud800"}')
def test_any_bytes_are_a_track_or_a_track_error(track: Path, data: bytes) -> None:
    track.write_bytes(data)
    drain(track)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def spoiled(draw: st.DrawFn) -> list[Any]:
    """A header and a frame in which something was replaced by something else."""
    lines: list[Any] = json.loads(json.dumps([{**HEADER, "camera": {"height_m": 1.0, "center_px": [1, 2]}}, FRAME]))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = draw(st.sampled_from(lines))
        while True:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if isinstance(place[key], (dict, list)) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            place[key] = draw(anything)
            break
        if not all(isinstance(line, dict) and line for line in lines):
            break
    return lines


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=500)
@given(spoiled())
def test_any_spoiled_track_is_a_track_or_a_track_error(track: Path, lines: list[Any]) -> None:
    write(track, *[json.dumps(line) for line in lines])
    drain(track)


def drain(track: Path) -> None:
    message = f"{track}: line "
    try:
        _, frames = read_track(track)
        for frame in frames:
            assert math.isfinite(frame.t_s)
    except TrackError as caught:
        message = str(caught)
    assert message.startswith(f"{track}: line ")
    assert "\n" not in message
    assert message.encode()


def test_an_hour_needs_no_more_memory_than_a_minute(track: Path) -> None:
    view = View(1280, 720, 60.0)
    pose = Pose(np.arange(24.0).reshape(12, 2), np.full(12, 0.5))

    def frames(count: int) -> Iterator[Observation]:
        return (Observation(index / 60, pose) for index in range(count))

    peaks = []
    for count in (500, 5_000):
        with track.open("w") as file:
            writer = TrackWriter(file, view)
            for frame in frames(count):
                writer.write(frame)
        tracemalloc.start()
        assert sum(1 for _ in read_track(track)[1]) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_the_projected_mocap_tracks_read(shared_dir: Path, track: Path) -> None:
    import subprocess
    import sys

    tool = shared_dir / "tools" / "project_track.py"
    trial = shared_dir / "fixtures" / "mocap" / "ric__20140515T133244.npz"
    command = [sys.executable, tool, trial, track, "--pelvis-sd", "0.9", "--lose", "0.1"]
    subprocess.run([str(part) for part in command], check=True)
    view, frames = read_track(track)
    seen = list(frames)
    assert view.mount.height_m == 0.95
    assert len(seen) > 100
    assert all(frame.pose is not None and frame.pose.someone for frame in seen)
