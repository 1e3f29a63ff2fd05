"""Video files: times from the container, rotation, rates, sizes, and one clear line for what cannot be played."""

from __future__ import annotations

import itertools
import json
import random
import time
from pathlib import Path

import av
import numpy as np
import pytest

from station.camera import BUNDLED_CLIP, frames, open_camera
from station.camera.planes import to_i420
from station.camera.video import VideoFile
from station.config import CameraConfig
from station.errors import CameraError

from .clips import make_sound, make_video, turn_like_a_phone


def _read(path: Path) -> list[tuple[float, np.ndarray]]:
    video = VideoFile(path)
    got = [(frame.t_s, frame.image) for frame in frames(video)]
    video.close()
    return got


def _fails(path: Path) -> str:
    with pytest.raises(CameraError) as caught:
        _read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("fps", [24, 25, 30, 30000 / 1001, 50, 60, 120])
def test_every_frame_at_its_own_time(tmp_path: Path, fps: float) -> None:
    got = _read(make_video(tmp_path / "clip.mp4", frames=25, fps=fps))
    np.testing.assert_allclose([t_s for t_s, _ in got], np.arange(25) / fps, atol=1e-4)
    assert VideoFile(tmp_path / "clip.mp4").view.fps == pytest.approx(fps, rel=1e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_variable_frame_rate_keeps_the_containers_times(tmp_path: Path, suffix: str) -> None:
    times_s = [0.0, 0.033, 0.070, 0.1, 0.25, 0.26, 0.3, 0.5]
    got = _read(make_video(tmp_path / f"clip{suffix}", times_s=times_s))
    np.testing.assert_allclose([t_s for t_s, _ in got], times_s, atol=1e-3)


@pytest.mark.parametrize(("quarter_turns", "corner"), [(1, "top right"), (2, "bottom right"), (3, "bottom left")])
def test_a_phone_held_upright_gives_upright_pictures(tmp_path: Path, quarter_turns: int, corner: str) -> None:
    path = turn_like_a_phone(make_video(tmp_path / "clip.mp4", frames=3, size=(96, 64)), quarter_turns)
    video = VideoFile(path)
    width, height = (96, 64) if quarter_turns == 2 else (64, 96)
    assert (video.view.width_px, video.view.height_px) == (width, height)
    frame = video.read()
    assert frame is not None
    luma = frame.image[:height]
    corners = {
        "top left": luma[4, 4],
        "top right": luma[4, width - 5],
        "bottom left": luma[height - 5, 4],
        "bottom right": luma[height - 5, width - 5],
    }
    assert max(corners, key=lambda name: corners[name]) == corner
    assert corners[corner] > 200
    # chroma turned with it: grey stays grey
    assert np.abs(frame.image[height:].astype(int) - 128).max() <= 4


def test_4k_and_an_odd_size(tmp_path: Path) -> None:
    [(_, image)] = _read(make_video(tmp_path / "4k.mp4", frames=1, size=(3840, 2160)))
    assert image.shape == (3240, 3840)
    [(_, image)] = _read(make_video(tmp_path / "odd.mkv", frames=1, size=(63, 47), codec="ffv1", pix_fmt="bgr0"))
    assert image.shape == (47, 63, 3)


def test_ten_bit_and_full_chroma_become_plain_420(tmp_path: Path) -> None:
    for name, pix_fmt in [("hdr.mkv", "yuv420p10le"), ("full.mkv", "yuv444p")]:
        got = _read(make_video(tmp_path / name, frames=3, codec="ffv1", pix_fmt=pix_fmt))
        assert [image.shape for _, image in got] == [(72, 64)] * 3
        assert got[0][1][4, 4] > 200


def test_a_live_file_loops_without_a_seam_at_its_own_pace(tmp_path: Path) -> None:
    video = VideoFile(make_video(tmp_path / "clip.mp4", frames=6, fps=60), live=True)
    before = time.monotonic()
    times = [frame.t_s for frame in itertools.islice(frames(video), 20)]
    elapsed_s = time.monotonic() - before
    video.close()
    np.testing.assert_allclose(np.diff(times), 1 / 60, atol=2e-4)
    assert elapsed_s >= 19 / 60 - 0.02


def test_missing_empty_folder(tmp_path: Path) -> None:
    assert "no such file" in _fails(tmp_path / "absent.mp4")
    assert "is a folder" in _fails(tmp_path)
    (tmp_path / "empty.mp4").touch()
    assert "0 bytes" in _fails(tmp_path / "empty.mp4")


@pytest.mark.parametrize("content", [b"this is a shopping list\n" * 40, bytes(range(256)) * 40, b"\0" * 4096])
@pytest.mark.parametrize("name", ["x.mp4", "x.txt", "x"])
def test_what_is_no_video(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    _fails(tmp_path / name)


def test_a_picture_and_sound_are_no_video(tmp_path: Path) -> None:
    assert "sound only" in _fails(make_sound(tmp_path / "sound.m4a"))
    make_video(tmp_path / "still.jpg", frames=1, codec="mjpeg", pix_fmt="yuvj420p")
    assert "no video" in _fails(tmp_path / "still.jpg")


def test_a_bare_stream_has_no_times_and_says_how_to_give_it_some(tmp_path: Path) -> None:
    assert "ffmpeg -r" in _fails(make_video(tmp_path / "rpicam.h264", frames=20))


def test_a_file_cut_off_before_its_index(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", frames=60).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    assert "cut off" in _fails(tmp_path / "cut.mp4")


def test_a_file_cut_off_behind_its_index_gives_what_it_has_first(tmp_path: Path) -> None:
    source = make_video(tmp_path / "whole.mp4", frames=120, options={"movflags": "+faststart"})
    whole = source.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    video = VideoFile(tmp_path / "cut.mp4")
    got: list[float] = []
    with pytest.raises(CameraError, match=r"cut off|damaged"):
        got.extend(frame.t_s for frame in frames(video))
    assert len(got) > 20


def test_a_source_that_names_a_missing_file_or_device() -> None:
    with pytest.raises(CameraError, match=r"nowhere\.mp4: no such file"):
        open_camera(CameraConfig(source="nowhere.mp4"))
    with pytest.raises(CameraError, match="/dev/video99: no such device"):
        open_camera(CameraConfig(source="v4l2:/dev/video99"))


def test_auto_without_a_camera_plays_the_bundled_clip() -> None:
    if not BUNDLED_CLIP.is_file():
        pytest.skip("the bundled clip is not in this tree")
    camera = open_camera(CameraConfig(roll_deg=1.5))
    frame = camera.read()
    camera.close()
    assert frame is not None
    assert frame.size_px == (1280, 720)
    truth = json.loads(BUNDLED_CLIP.with_suffix(".truth.json").read_text())["camera"]
    assert camera.view.mount.focal_px == truth["focal_px"]  # its virtual camera is known
    assert camera.view.mount.roll_deg == 1.5  # what is configured wins


def test_unpadding_keeps_the_picture_and_drops_the_padding() -> None:
    width, height, stride = 6, 4, 8
    luma = np.arange(24, dtype=np.uint8).reshape(4, 6)
    chroma = np.arange(100, 112, dtype=np.uint8).reshape(4, 3)  # two rows of u, two of v
    flat = np.concatenate(
        [np.pad(luma, ((0, 0), (0, 2)), constant_values=255).ravel(), np.pad(chroma, ((0, 0), (0, 1))).ravel()]
    )
    image = to_i420(flat, (width, height), stride, "YUV420")
    assert image.shape == (6, 6)
    np.testing.assert_array_equal(image[:4], luma)
    np.testing.assert_array_equal(image[4:].ravel(), chroma.ravel())
    with pytest.raises(CameraError):
        to_i420(flat[:-1], (width, height), stride, "YUV420")


def test_nv12_becomes_i420_with_and_without_padding() -> None:
    width, height = 6, 4
    luma = np.arange(24, dtype=np.uint8).reshape(4, 6)
    u, v = np.arange(100, 106, dtype=np.uint8).reshape(2, 3), np.arange(200, 206, dtype=np.uint8).reshape(2, 3)
    chroma = np.stack([u, v], axis=-1).reshape(2, 6)
    for stride in (6, 8):
        rows = np.pad(np.vstack([luma, chroma]), ((0, 0), (0, stride - width)), constant_values=255)
        image = to_i420(rows.ravel(), (width, height), stride, "NV12")
        np.testing.assert_array_equal(image[:4], luma)
        np.testing.assert_array_equal(image[4:].ravel(), np.concatenate([u.ravel(), v.ravel()]))


def test_the_real_video_is_read_whole(shared_dir: Path) -> None:
    path = shared_dir / "fixtures" / "video" / "zz_male_side.mp4"
    got = _read(path)
    with av.open(str(path)) as container:
        assert len(got) == container.streams.video[0].frames == 360
    assert got[0][1].shape == (1920, 720)


def test_metadata_in_another_encoding_is_no_obstacle(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=5)
    data = path.read_bytes()
    assert data.count(b"VideoHandler") == 1
    path.write_bytes(data.replace(b"VideoHandler", "Videögerät..".encode("latin-1")))
    assert len(_read(path)) == 5


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_damaged_files_play_or_say_why_and_never_crash(tmp_path: Path, name: str) -> None:
    whole = make_video(tmp_path / f"whole{name}", frames=40).read_bytes()
    path = tmp_path / name
    played, complaints = 0, []
    for seed in range(40):
        chance = random.Random(seed)
        damaged = bytearray(whole[: chance.randrange(len(whole))] if seed % 3 == 0 else whole)
        for _ in range(min(len(damaged), chance.choice([1, 5, 50, 400]))):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            times = [t_s for t_s, _ in _read(path)]
        except CameraError as error:
            complaints.append(str(error))
        else:
            assert all(later > earlier for earlier, later in itertools.pairwise(times))
            played += 1
    assert played > 0
    assert complaints
    assert all(str(path) in complaint and "\n" not in complaint for complaint in complaints)
