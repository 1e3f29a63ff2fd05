"""What the station asks of a Raspberry Pi camera, on a picamera2 without glass that records it; when it gives up."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from station.camera.exposure import ExposureKeeper
from station.camera.picamera import PiCamera, attached
from station.camera.sensors import SENSORS, choose_mode, frame_duration_us
from station.config import CameraConfig
from station.errors import CameraError

from .fake_picamera import FakeLibrary


def _opened(library: FakeLibrary, **config: Any) -> PiCamera:
    return PiCamera(CameraConfig(**config), library)


def _read(camera: PiCamera, seconds: float) -> None:
    first = camera.read()
    assert first is not None
    while (frame := camera.read()) is not None and frame.t_s - first.t_s < seconds:
        pass


@pytest.mark.parametrize(
    ("model", "fps", "size"),
    [
        ("imx708_wide", None, (1536, 864)),
        ("imx708_wide", 30.0, (2304, 1296)),
        ("imx708_wide", 50.0, (2304, 1296)),
        ("imx708_wide", 90.0, (1536, 864)),
        ("imx708_wide", 120.0, (1536, 864)),
        ("imx708", None, (2304, 1296)),
        ("imx296", None, (1456, 1088)),
        ("imx296", 60.0, (1456, 1088)),
        ("imx477", None, (2028, 1080)),
        ("imx477", 30.0, (2028, 1520)),
        ("imx477", 120.0, (1332, 990)),
        ("imx219", None, (1640, 1232)),
        ("imx219", 30.0, (1640, 1232)),
    ],
)
def test_the_mode_reaches_the_rate_and_sees_most(model: str, fps: float | None, size: tuple[int, int]) -> None:
    mode = choose_mode(SENSORS[model], fps)
    if (model, fps) == ("imx219", 30.0):
        assert mode.field == 1.0
    assert (mode.width_px, mode.height_px) == size
    assert fps is None or mode.fps_max >= fps * 0.998


def test_a_rate_that_no_mode_reaches_takes_the_fastest_that_sees_enough() -> None:
    mode = choose_mode(SENSORS["imx296"], 120.0)
    assert mode.fps_max == 60.38
    assert frame_duration_us(120.0, mode.fps_max, None) == pytest.approx(1e6 / 60.38, abs=1)


@pytest.mark.parametrize(
    ("fps", "fps_max", "mains_hz", "got"),
    [
        (30.0, 120.0, None, 33333),
        (60.0, 120.13, 50, 20000),
        (60.0, 60.38, 60, 16667),
        (50.0, 56.03, 50, 20000),
        (50.0, 50.03, 50, 20000),
        (90.0, 120.13, 50, 10000),
        (90.0, 120.13, 60, 8333),
        (120.0, 120.13, 60, 8333),
        (60.0, 56.03, 60, 25000),
        (41.0, 41.85, 50, 30000),
        (30.0, 41.85, 60, 33333),
    ],
)
def test_frames_keep_in_step_with_the_light(fps: float, fps_max: float, mains_hz: int | None, got: int) -> None:
    duration_us = frame_duration_us(fps, fps_max, mains_hz)
    assert duration_us == got
    assert duration_us >= 1e6 / fps_max / 1.003
    if mains_hz:
        pulses = duration_us * 2e-6 * mains_hz
        assert pulses == pytest.approx(round(pulses), abs=1e-3)


def test_what_is_configured() -> None:
    library = FakeLibrary("imx708_wide")
    camera = _opened(library, distance_m=2.5, mains_hz=50)
    (wanted,) = library.called("configure")
    assert wanted["main"] == {"size": (1536, 864), "format": "YUV420"}
    assert wanted["lores"] == {"size": (320, 180), "format": "YUV420"}
    assert wanted["sensor"] == {"output_size": (1536, 864), "bit_depth": 10}
    assert wanted["raw"] is None
    assert wanted["controls"]["FrameDurationLimits"] == (20000, 20000)
    assert wanted["controls"]["AeExposureMode"] == 1
    assert wanted["controls"]["LensPosition"] == pytest.approx(0.4)  # dioptres: 1 / 2.5 m
    assert wanted["controls"]["AfMode"] == 0
    assert camera.view.fps == 50
    assert camera.name == "Camera Module 3 Wide, imx708_wide (1536x864, 50 fps)"


def test_a_camera_without_focus_or_unknown_to_the_table_is_asked_for_less() -> None:
    library = FakeLibrary("imx296")
    _opened(library)
    assert "LensPosition" not in library.called("configure")[0]["controls"]
    stranger = FakeLibrary("imx999")
    assert _opened(stranger, fps=30).view.width_px == 1280
    assert stranger.called("configure")[0]["sensor"] == {}


@pytest.mark.parametrize(
    ("lux", "exposure_us", "gain"),
    [(400.0, 4000, 3.0), (4000.0, 1200, 1.0), (100.0, 4000, 12.0), (20.0, 4000, 16.0)],
)
def test_exposure_settles_is_cut_to_4_ms_and_held(lux: float, exposure_us: int, gain: float) -> None:
    library = FakeLibrary("imx708_wide", lux=lux)
    camera = _opened(library, distance_m=2.4)
    _read(camera, 6.0)
    changes = library.called("set_controls")[1:]
    assert len(changes) == 1  # once, and nothing moves any more
    held = changes[0]
    assert (held["AeEnable"], held["AwbEnable"], held["AfMode"]) == (False, False, 0)
    assert held["ExposureTime"] == pytest.approx(exposure_us, rel=0.03)
    assert held["AnalogueGain"] == pytest.approx(gain, rel=0.03)
    assert held["ColourGains"] == (1.8, 1.5)
    assert camera.exposure is not None
    assert camera.exposure.locked
    assert camera.exposure.exposure_ms == pytest.approx(exposure_us / 1000, rel=0.03)


def test_the_focus_is_searched_for_where_the_distance_is_unknown_and_then_held() -> None:
    library = FakeLibrary("imx708_wide")
    camera = _opened(library)
    start = library.called("configure")[0]["controls"]
    assert (start["AfMode"], start["AfTrigger"]) == (1, 0)
    _read(camera, 6.0)
    held = library.called("set_controls")[1]
    assert held["AfMode"] == 0
    assert held["LensPosition"] == 0.4


def test_the_gain_follows_the_light_in_one_late_step() -> None:
    library = FakeLibrary("imx296")
    camera = _opened(library)
    _read(camera, 3.0)
    before = library.called("set_controls")[-1]
    library.lux = 200.0  # half the lamps go out
    _read(camera, 9.0)
    assert library.called("set_controls")[-1] is before
    _read(camera, 3.0)
    after = library.called("set_controls")[-1]
    assert after["AnalogueGain"] == pytest.approx(2 * before["AnalogueGain"])
    assert after["ExposureTime"] == before["ExposureTime"]
    _read(camera, 15.0)
    assert library.called("set_controls")[-1] is after


def test_a_light_that_only_flickers_past_changes_nothing() -> None:
    library = FakeLibrary("imx296")
    camera = _opened(library)
    _read(camera, 3.0)
    changes = len(library.called("set_controls"))
    for _ in range(4):
        library.lux = 1000.0
        _read(camera, 4.0)
        library.lux = 400.0
        _read(camera, 4.0)
    assert len(library.called("set_controls")) == changes


def test_a_camera_without_exposure_controls_is_left_alone() -> None:
    keeper = ExposureKeeper({"FrameDurationLimits": (16666, 33333, None)}, 33333)
    assert keeper.at_start() == {"FrameDurationLimits": (33333, 33333)}
    assert keeper.note(1.0, {"SensorTimestamp": 1}) == {}
    assert keeper.seen.exposure_ms is None
    assert not keeper.seen.locked


def test_buffers_go_back_before_the_next_is_asked_for_and_frames_are_not_overwritten() -> None:
    camera = _opened(FakeLibrary("imx296", align=128))  # 1456 is no multiple: rows are padded
    first, second = camera.read(), camera.read()  # the library refuses a second request while one is in hand
    assert first is not None
    assert second is not None
    assert first.image[:1088, 0].min() == first.image[:1088, 0].max() >= 40
    assert first.image.shape == (1632, 1456)
    assert first.image[0, 0] != second.image[0, 0]


def test_a_camera_that_hangs_is_an_error_within_its_time_and_closing_it_too() -> None:
    library = FakeLibrary(hangs_after=5)
    camera = _opened(library)
    for _ in range(4):
        assert camera.read() is not None
    with pytest.raises(CameraError, match="gave no frame for 3 s; check the ribbon cable"):
        camera.read()
    start_s = time.monotonic()
    camera.close()  # stop() of the library does not come back
    assert time.monotonic() - start_s < 3.0
    assert camera.read() is None


def test_no_camera_and_a_strange_format_say_so() -> None:
    with pytest.raises(CameraError, match="no camera attached"):
        _opened(FakeLibrary(cameras=0))
    library = FakeLibrary(layout="MJPEG")
    with pytest.raises(CameraError, match="delivers MJPEG"):
        _opened(library)
    assert library.called("close") == [None]


def test_a_picamera2_built_against_another_numpy_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "picamera2.py").write_text('raise ValueError("numpy.dtype size changed")')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "picamera2", raising=False)
    assert not attached()
    with pytest.raises(CameraError, match=r"does not fit .*numpy\.dtype size changed.*make setup"):
        PiCamera(CameraConfig())


def test_settings_that_the_camera_refuses_name_the_table() -> None:
    library = FakeLibrary()
    with pytest.raises(CameraError, match=r"refuses its settings .*check \[camera\]"):
        _opened(library, width=641, height=360)
    assert library.called("close") == [None]
