"""Raspberry Pi cameras through picamera2: the only module that imports it.

Two streams: ``main`` at the size of the sensor's mode, from which the crops of the models are cut, and ``lores`` for
the search of the whole picture. One request a frame: its buffers are copied once, row padding left behind, and go back
to the camera before anything is computed. What the camera really delivers (format, size, stride, rate) is read back;
what is asked of it is decided in ``sensors`` and ``exposure``, which know no camera.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import threading
from typing import Any

from station.camera.exposure import Exposure, ExposureKeeper
from station.camera.planes import Planar, to_i420
from station.camera.sensors import SENSORS, USUAL_FPS, Mode, choose_mode, frame_duration_us
from station.config import CameraConfig
from station.errors import CameraError
from station.types import Frame, Pixels, View

#: For a sensor that the table does not know: what libcamera makes of it is read back.
_UNKNOWN = Mode(1280, 720, 1000.0)
_LORES_WIDTH = 320
#: Buffers in flight: one being filled, one kept by picamera2, one copied from, and some against a late thread.
_BUFFERS = 6
#: A camera that gives no frame for this long has failed; closing one that hangs is tried this long.
_TIMEOUT_S, _CLOSE_S = 3.0, 2.0


def attached() -> bool:
    """Whether picamera2 is installed and sees a camera of its own (USB cameras, which it lists too, do not count)."""
    if importlib.util.find_spec("picamera2") is None:
        return False
    try:
        return bool(_own_cameras(_picamera2()))
    except CameraError:
        return False


class PiCamera:
    """A Raspberry Pi camera. Frames are ``yuv420`` at the size that libcamera really delivers, with a small twin.

    Times are ``SensorTimestamp`` (ns, monotonic, start of exposure) in seconds. Frames own their memory.
    """

    def __init__(self, config: CameraConfig, library: Any = None) -> None:
        """Open and start; ``library`` stands for the module picamera2 (tests have one without glass)."""
        library = library or _picamera2()
        self._mapped = library.MappedArray
        cameras = _own_cameras(library)
        if not cameras:
            raise CameraError(
                "picamera2: no camera attached; check the ribbon cable, then `rpicam-hello --list-cameras`"
            )
        self._index = 0
        self._last_s = float("-inf")
        self._model = str(cameras[0].get("Model", "camera"))
        try:
            self._camera: Any = library.Picamera2(cameras[0]["Num"])
        except (RuntimeError, IndexError, KeyError) as error:
            raise CameraError(
                f"picamera2: {self._model} cannot be opened ({error}); is another program using it?"
            ) from None
        self._open, self._hung = True, False
        try:
            self._view = self._start(config)
        except (RuntimeError, ValueError, KeyError) as error:
            self.close()
            raise CameraError(f"picamera2: {self._model} refuses its settings ({error}); check [camera]") from None
        except CameraError:
            self.close()
            raise

    @property
    def name(self) -> str:
        """Sensor, size and rate."""
        known = SENSORS.get(self._model)
        what = f"{known.name}, {self._model}" if known else self._model
        return f"{what} ({self._view.width_px}x{self._view.height_px}, {self._view.fps:.4g} fps)"

    @property
    def view(self) -> View:
        """Size and rate read back from libcamera."""
        return self._view

    @property
    def exposure(self) -> Exposure | None:
        """What the sensor did for the newest frame."""
        return self._keeper.seen

    def read(self) -> Frame | None:
        """The next frame; :class:`CameraError` when none comes within three seconds."""
        while self._open:
            t_s, image, small = self._take()
            if t_s <= self._last_s:
                continue
            self._last_s = t_s
            frame = Frame(t_s, self._index, image, "yuv420", small)
            self._index += 1
            return frame
        return None

    def close(self) -> None:
        """Stop the camera and give it back; one that hangs is left behind after two seconds."""
        if not self._open:
            return
        self._open = False
        if self._hung:  # else the interpreter waits for it once more on its way out
            atexit.unregister(self._camera.close)
        closing = threading.Thread(target=self._give_back, name="camera-close", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)

    def _give_back(self) -> None:
        self._camera.stop()
        self._camera.close()

    def _start(self, config: CameraConfig) -> View:
        sensor = SENSORS.get(self._model)
        mode = choose_mode(sensor, config.fps) if sensor else _UNKNOWN
        fps = config.fps or min(USUAL_FPS, mode.fps_max)
        duration_us = frame_duration_us(fps, mode.fps_max, config.mains_hz)
        size = (config.width or mode.width_px, config.height or mode.height_px)
        self._keeper = ExposureKeeper(
            self._camera.camera_controls, duration_us, cap_ms=config.exposure_max_ms, focus_m=config.distance_m
        )
        wanted = self._camera.create_video_configuration(
            main={"size": size, "format": "YUV420"},
            lores={"size": lores_size(size), "format": "YUV420"},
            raw=None,
            sensor={"output_size": (mode.width_px, mode.height_px), "bit_depth": mode.bit_depth} if sensor else {},
            controls=self._keeper.at_start(),
            buffer_count=_BUFFERS,
        )
        self._camera.configure(wanted)
        actual = self._camera.camera_configuration()
        self._streams = {name: _Stream(self._model, actual[name]) for name in ("main", "lores")}
        self._camera.start()
        return View(*self._streams["main"].size_px, 1e6 / self._actual_duration_us(duration_us), config.mount)

    def _actual_duration_us(self, wished_us: int) -> float:
        request = self._request()
        try:
            return float(request.get_metadata().get("FrameDuration", wished_us))
        finally:
            request.release()

    def _request(self) -> Any:
        job = self._camera.capture_request(wait=False)
        try:
            return self._camera.wait(job, timeout=_TIMEOUT_S)
        except TimeoutError:
            self._hung = True
            raise CameraError(
                f"picamera2: {self._model} gave no frame for {_TIMEOUT_S:g} s; check the ribbon cable and the power"
            ) from None

    def _take(self) -> tuple[float, Pixels, Pixels]:
        request = self._request()
        try:  # the buffers go back to the camera at once: holding them stalls the sensor
            metadata = request.get_metadata()
            image, small = self._copy(request, "main"), self._copy(request, "lores")
        finally:
            request.release()
        t_s = int(metadata["SensorTimestamp"]) / 1e9
        if change := self._keeper.note(t_s, metadata):
            self._camera.set_controls(change)
        return t_s, image, small

    def _copy(self, request: Any, name: str) -> Pixels:
        with self._mapped(request, name, reshape=False, write=False) as buffer:
            return self._streams[name].picture(buffer.array.ravel())


class _Stream:
    """One stream as libcamera configured it."""

    def __init__(self, model: str, actual: dict[str, Any]) -> None:
        if actual["format"] not in ("YUV420", "NV12"):
            raise CameraError(
                f"picamera2: {model} delivers {actual['format']}, the station needs YUV420 or NV12; "
                "take another camera, or a USB camera with camera.source = v4l2:/dev/video0"
            )
        self._layout: Planar = actual["format"]
        self.size_px = (int(actual["size"][0]), int(actual["size"][1]))
        self._stride = int(actual["stride"])

    def picture(self, flat: Pixels) -> Pixels:
        """The picture in a buffer of this stream, in memory of its own."""
        return to_i420(flat, self.size_px, self._stride, self._layout)


def lores_size(size: tuple[int, int]) -> tuple[int, int]:
    """A small stream of the same shape: what the detector looks at."""
    width = min(_LORES_WIDTH, size[0])
    return width, 2 * round(width * size[1] / size[0] / 2)


def _picamera2() -> Any:
    try:
        return importlib.import_module("picamera2")
    except ImportError as error:
        raise CameraError(
            f"picamera2: not installed ({error}); on a Raspberry Pi: sudo apt-get install python3-picamera2, "
            "and a venv that sees system packages"
        ) from None
    except ValueError as error:  # NumPy's word for an extension that was built against another NumPy
        raise CameraError(
            f"picamera2: installed, but it does not fit the packages beside it ({error}); make setup again"
        ) from None


def _own_cameras(library: Any) -> list[dict[str, Any]]:
    return [info for info in library.Picamera2.global_camera_info() if "/usb" not in str(info.get("Id", ""))]
