"""A picamera2 without glass that works: it refuses what the real one refuses, pads rows, meters light, keeps a log.

``log`` holds (seconds since it was made, what was called, with what). Frames come as fast as they are asked for, their
sensor times go by the frame duration that was set.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

#: What the light of ``lux`` asks for: exposure in µs times gain, at 400 lux.
_TOTAL_AT_400 = 12_000.0
_OFFERS: dict[str, tuple[Any, Any, Any]] = {
    "FrameDurationLimits": (8333, 1_000_000, 33333),
    "ExposureTime": (20, 1_000_000, 20000),
    "AnalogueGain": (1.0, 16.0, 1.0),
    "AeEnable": (False, True, True),
    "AeExposureMode": (0, 3, 0),
    "AwbEnable": (False, True, None),
    "ColourGains": (0.0, 32.0, None),
}
_FOCUS: dict[str, tuple[Any, Any, Any]] = {
    "AfMode": (0, 2, 0), "AfTrigger": (0, 1, 0), "LensPosition": (0.0, 32.0, 1.0),
}  # fmt: skip


class FakeLibrary:
    """Stands for the module picamera2 with one camera of ``model``; ``align`` = row lengths are multiples of it."""

    def __init__(
        self,
        model: str = "imx708_wide",
        *,
        lux: float = 400.0,
        align: int = 64,
        layout: str = "YUV420",
        hangs_after: int | None = None,
        cameras: int = 1,
    ) -> None:
        self.model, self.lux, self.align, self.layout = model, lux, align, layout
        self.hangs_after, self.cameras = hangs_after, cameras
        self.log: list[tuple[float, str, Any]] = []
        self._born_s = time.monotonic()
        library = self

        class Picamera2(FakePicamera2):
            def __init__(self, number: int = 0) -> None:
                super().__init__(library, number)

            @staticmethod
            def global_camera_info() -> list[dict[str, Any]]:
                usb = {"Model": "webcam", "Id": "/base/usb@1", "Num": library.cameras}
                return [{"Model": library.model, "Id": f"/i2c@{n}", "Num": n} for n in range(library.cameras)] + [usb]

        self.Picamera2 = Picamera2
        self.MappedArray = FakeMapped

    def note(self, what: str, how: Any = None) -> None:
        self.log.append((time.monotonic() - self._born_s, what, how))

    def called(self, what: str) -> list[Any]:
        return [how for _, name, how in self.log if name == what]


class FakePicamera2:
    """The part of the class that the station calls."""

    def __init__(self, library: FakeLibrary, number: int) -> None:
        self._library = library
        if number >= library.cameras:
            raise RuntimeError(f"No camera number {number} found")
        self.camera_controls = dict(_OFFERS) | (_FOCUS if library.model.startswith("imx708") else {})
        self.controls: dict[str, Any] = {}
        self._config: dict[str, Any] | None = None
        self.started = False
        self.in_hand = 0
        self._frames = itertools.count()
        self._exposure_us, self._gain = 20_000.0, 1.0
        self._t_ns = 5_000_000_000
        library.note("open", number)

    def create_video_configuration(self, **wanted: Any) -> dict[str, Any]:
        return wanted

    def configure(self, wanted: dict[str, Any]) -> None:
        assert not self.started, "Camera must be stopped before configuring"
        self._library.note("configure", wanted)
        config = dict(wanted)
        for name in ("main", "lores"):
            width, height = wanted[name]["size"]
            if width % 2 or height % 2:
                raise RuntimeError("width and height should be even")
            stride = -(-width // self._library.align) * self._library.align
            config[name] = {"size": (width, height), "format": self._library.layout, "stride": stride}
        self.set_controls(wanted["controls"])
        self._config = config

    def camera_configuration(self) -> dict[str, Any]:
        assert self._config is not None
        return self._config

    def set_controls(self, controls: dict[str, Any]) -> None:
        unknown = set(controls) - set(self.camera_controls)
        if unknown:
            raise RuntimeError(f"Control {unknown.pop()} is not advertised by libcamera")
        self._library.note("set_controls", dict(controls))
        self.controls |= controls

    def start(self) -> None:
        self.started = True
        self._library.note("start")

    def capture_request(self, wait: bool | None = None) -> Iterator[FakeRequest | None]:
        assert self.started
        assert wait is False, "waiting without an end"
        return iter([self._expose()])

    def wait(self, job: Iterator[FakeRequest | None], timeout: float | None = None) -> FakeRequest:
        assert timeout is not None, "waiting without an end"
        request = next(job)
        if request is None:
            raise TimeoutError
        return request

    def stop(self) -> None:
        if self._library.hangs_after is not None and self._library.called("hang"):
            time.sleep(3600)  # as libcamera does
        self.started = False
        self._library.note("stop")

    def close(self) -> None:
        self._library.note("close")

    def _expose(self) -> FakeRequest | None:
        number = next(self._frames)
        if number == self._library.hangs_after:
            self._library.note("hang")
            return None
        duration_us = self.controls["FrameDurationLimits"][0]
        self._t_ns += duration_us * 1000
        wanted = _TOTAL_AT_400 * 400.0 / self._library.lux
        if self.controls.get("AeEnable", True):
            self._exposure_us += 0.5 * (min(wanted, duration_us) - self._exposure_us)
            self._gain += 0.5 * (min(max(wanted / self._exposure_us, 1.0), 16.0) - self._gain)
        else:
            self._exposure_us, self._gain = self.controls["ExposureTime"], self.controls["AnalogueGain"]
        assert self.in_hand == 0, "the last request was not given back"
        self.in_hand += 1
        metadata = {
            "SensorTimestamp": self._t_ns, "FrameDuration": duration_us, "ExposureTime": round(self._exposure_us),
            "AnalogueGain": self._gain, "DigitalGain": 1.0, "Lux": self._library.lux, "ColourGains": (1.8, 1.5),
        }  # fmt: skip
        if "AfMode" in self.camera_controls:
            scanning = self.controls.get("AfMode") == 1 and number < 40
            metadata |= {"AfState": 1 if scanning else 2, "LensPosition": self.controls.get("LensPosition", 0.4)}
        return FakeRequest(self, metadata, number)


class FakeRequest:
    """A completed request: its buffers are padded, and overwritten once it was released."""

    def __init__(self, camera: FakePicamera2, metadata: dict[str, Any], number: int) -> None:
        self._camera, self._metadata = camera, metadata
        self.buffers = {name: self._buffer(name, number) for name in ("main", "lores")}

    def get_metadata(self) -> dict[str, Any]:
        return self._metadata

    def release(self) -> None:
        self._camera.in_hand -= 1
        for buffer in self.buffers.values():
            buffer[:] = 0

    def _buffer(self, name: str, number: int) -> np.ndarray:
        config = self._camera.camera_configuration()[name]
        (width, height), stride = config["size"], config["stride"]
        flat = np.full(stride * height * 3 // 2 + 4096, 255, np.uint8)  # kernels round up to pages
        rows = flat[: stride * height].reshape(height, stride)
        rows[:, :width] = 40 + (number * 7 + np.arange(width) // 8) % 150
        return flat


class FakeMapped:
    """``MappedArray``: the buffer itself, for as long as the request is in hand."""

    def __init__(self, request: FakeRequest, name: str, reshape: bool = True, write: bool = True) -> None:
        assert not reshape
        assert not write
        self.array = request.buffers[name]

    def __enter__(self) -> FakeMapped:
        return self

    def __exit__(self, *_: object) -> None:
        del self.array
