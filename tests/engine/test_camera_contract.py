"""What every camera promises, on every camera that is here: files, the fake, and real devices when attached."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from station.camera import Camera, frames, picamera, v4l2
from station.camera.video import VideoFile
from station.config import CameraConfig
from station.types import Frame

from .clips import make_video
from .fake_camera import FakeCamera
from .fake_picamera import FakeLibrary

WITH_MOUNT = CameraConfig(height_m=0.95, focal_px=900.0)
Opener = Callable[[Path], Camera]


def _file(folder: Path, *, live: bool) -> Camera:
    return VideoFile(make_video(folder / "clip.mp4", frames=12, fps=60), WITH_MOUNT.mount, live=live)


def _v4l2(folder: Path) -> Camera:
    found = v4l2.devices()
    if not found:
        pytest.skip("no V4L2 camera attached")
    return v4l2.V4l2Camera(found[0], WITH_MOUNT)


def _picamera2(folder: Path) -> Camera:
    if not picamera.attached():
        pytest.skip("no Raspberry Pi camera attached")
    return picamera.PiCamera(WITH_MOUNT)


def _picamera2_without_glass(folder: Path) -> Camera:
    return picamera.PiCamera(WITH_MOUNT, FakeLibrary())


def _fake(folder: Path) -> Camera:
    return FakeCamera(ends_after=12)


CAMERAS: dict[str, Opener] = {
    "file": lambda folder: _file(folder, live=False),
    "live file": lambda folder: _file(folder, live=True),
    "fake": _fake,
    "v4l2": _v4l2,
    "picamera2 without glass": _picamera2_without_glass,
    "picamera2": _picamera2,
}


@pytest.fixture(params=list(CAMERAS))
def camera(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Camera]:
    opened = CAMERAS[request.param](tmp_path)
    yield opened
    opened.close()


def _some(camera: Camera, count: int = 10) -> list[Frame]:
    return list(itertools.islice(frames(camera), count))


def test_is_a_camera_and_says_what_it_is(camera: Camera) -> None:
    assert isinstance(camera, Camera)
    assert camera.name.strip()


def test_frames_have_the_size_and_layout_they_claim(camera: Camera) -> None:
    for frame in _some(camera):
        assert frame.size_px == (camera.view.width_px, camera.view.height_px)
        assert frame.image.dtype == np.uint8
        assert frame.image.flags.c_contiguous
        if frame.layout == "yuv420":
            assert frame.image.shape == (camera.view.height_px * 3 // 2, camera.view.width_px)
        else:
            assert frame.image.shape == (camera.view.height_px, camera.view.width_px, 3)


def test_the_small_twin_is_the_same_picture(camera: Camera) -> None:
    for frame in _some(camera, 3):
        if frame.small is None:
            continue
        rows, width = frame.small.shape
        assert frame.layout == "yuv420"
        assert width < camera.view.width_px
        assert rows * 2 / 3 / width == pytest.approx(camera.view.height_px / camera.view.width_px, rel=0.02)
        assert frame.small.flags.c_contiguous


def test_the_exposure_is_told_or_is_not_known(camera: Camera) -> None:
    _some(camera, 2)
    said = camera.exposure
    assert said is None or (said.exposure_ms is None or said.exposure_ms > 0)


def test_times_increase_and_indices_count_from_zero(camera: Camera) -> None:
    some = _some(camera)
    assert len(some) == 10
    assert [frame.index for frame in some] == list(range(10))
    times = [frame.t_s for frame in some]
    assert all(math.isfinite(t_s) for t_s in times)
    assert all(later > earlier for earlier, later in itertools.pairwise(times))


def test_times_agree_with_the_nominal_rate(camera: Camera) -> None:
    times = [frame.t_s for frame in _some(camera)]
    assert np.median(np.diff(times)) == pytest.approx(1 / camera.view.fps, rel=0.2)


def test_the_view_is_known_at_once_and_stays(camera: Camera) -> None:
    before = camera.view
    _some(camera)
    assert camera.view == before
    assert before.fps > 0


def test_a_frame_in_hand_is_not_overwritten_by_the_next(camera: Camera) -> None:
    first = camera.read()
    assert first is not None
    kept = first.image.copy()
    _some(camera, 8)
    np.testing.assert_array_equal(first.image, kept)


def test_after_close_there_is_nothing_and_closing_again_is_harmless(camera: Camera) -> None:
    _some(camera, 2)
    camera.close()
    camera.close()
    assert camera.read() is None


def test_the_mount_of_the_configuration_is_in_the_view(tmp_path: Path) -> None:
    with_mount = _file(tmp_path, live=False)
    assert with_mount.view.mount.height_m == 0.95
    assert with_mount.view.mount.focal_px == 900.0
    assert with_mount.view.mount.roll_deg is None
    with_mount.close()
