"""Raspberry Pi cameras through picamera2: the only module that imports it.

One request per frame: copy the main stream, read its metadata, release the buffers at once. Two streams are configured:
``main`` at the wished size for the pelvis, ``lores`` for a search of the whole picture; both YUV420.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np

from station.config import CameraConfig
from station.errors import CameraError
from station.types import Frame, Pixels, View

_WISH = (1280, 720, 60.0)
_LORES = (320, 180)
#: A camera that gives no frame for this long has failed.
_TIMEOUT_S = 3.0


def attached() -> bool:
    """Whether picamera2 is installed and sees a camera of its own (USB cameras, which it lists too, do not count)."""
    if importlib.util.find_spec("picamera2") is None:
        return False
    try:
        return bool(_own_cameras(_picamera2_class()))
    except CameraError:
        return False


class PiCamera:
    """A Raspberry Pi camera. Frames are ``yuv420`` at the size and stride that libcamera really delivers.

    Times are ``SensorTimestamp`` (ns, monotonic, start of exposure) in seconds.
    """

    def __init__(self, config: CameraConfig) -> None:
        picamera2 = _picamera2_class()
        cameras = _own_cameras(picamera2)
        if not cameras:
            raise CameraError(
                "picamera2: no camera attached; check the ribbon cable, then `rpicam-hello --list-cameras`"
            )
        self._index = 0
        self._last_s = float("-inf")
        self._model = str(cameras[0].get("Model", "camera"))
        try:
            self._camera: Any = picamera2(cameras[0]["Num"])
        except (RuntimeError, IndexError, KeyError) as error:
            raise CameraError(
                f"picamera2: {self._model} cannot be opened ({error}); is another program using it?"
            ) from None
        self._open = True
        try:
            self._view = self._start(config)
        except (RuntimeError, ValueError, CameraError) as error:
            self.close()
            if isinstance(error, CameraError):
                raise
            raise CameraError(f"picamera2: {self._model} refuses its settings ({error}); check [camera]") from None

    @property
    def name(self) -> str:
        """Sensor, size and rate."""
        return f"{self._model} ({self._view.width_px}x{self._view.height_px}, {self._view.fps:.4g} fps)"

    @property
    def view(self) -> View:
        """Size and rate read back from libcamera."""
        return self._view

    def read(self) -> Frame | None:
        """The next frame; :class:`CameraError` when none comes within three seconds."""
        while self._open:
            stamp_ns, image = self._take()
            t_s = stamp_ns / 1e9
            if t_s <= self._last_s:
                continue
            self._last_s = t_s
            frame = Frame(t_s, self._index, image, "yuv420")
            self._index += 1
            return frame
        return None

    def close(self) -> None:
        """Stop the camera and give it back."""
        if self._open:
            self._open = False
            self._camera.stop()
            self._camera.close()

    def _start(self, config: CameraConfig) -> View:
        size = (config.width or _WISH[0], config.height or _WISH[1])
        duration_us = round(1e6 / (config.fps or _WISH[2]))
        wanted = self._camera.create_video_configuration(
            main={"size": size, "format": "YUV420"},
            lores={"size": _LORES, "format": "YUV420"},
            controls={"FrameDurationLimits": (duration_us, duration_us)},
            buffer_count=6,
        )
        self._camera.align_configuration(wanted)
        self._camera.configure(wanted)
        actual = self._camera.camera_configuration()["main"]
        self._format = str(actual["format"])
        if self._format not in ("YUV420", "NV12"):
            raise CameraError(f"picamera2: {self._model} delivers {self._format}, the station needs YUV420 or NV12")
        self._size = (int(actual["size"][0]), int(actual["size"][1]))
        self._stride = int(actual["stride"])
        self._cap_exposure()
        self._camera.start()
        return View(*self._size, 1e6 / self._actual_duration_us(duration_us), config.mount)

    def _cap_exposure(self) -> None:
        """Short exposures by the sport mode of the automatic exposure, where the camera has it."""
        if "AeExposureMode" in self._camera.camera_controls:
            # ExposureTime would switch the automatic gain off on older libcamera: the exposure *mode* keeps it on
            controls = importlib.import_module("libcamera").controls
            self._camera.set_controls({"AeExposureMode": controls.AeExposureModeEnum.Short})

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
            raise CameraError(
                f"picamera2: {self._model} gave no frame for {_TIMEOUT_S:g} s; check the ribbon cable and the power"
            ) from None

    def _take(self) -> tuple[int, Pixels]:
        request = self._request()
        try:  # the buffer goes back to the camera at once: holding it stalls the sensor
            metadata = request.get_metadata()
            flat = request.make_buffer("main")
        finally:
            request.release()
        unpad = unpad_nv12 if self._format == "NV12" else unpad_i420
        return int(metadata["SensorTimestamp"]), unpad(flat, self._size, self._stride)


def unpad_i420(flat: Pixels, size: tuple[int, int], stride: int) -> Pixels:
    """The I420 picture (height * 3/2, width) in a buffer: luma rows are ``stride`` bytes, chroma rows half of that.

    Without padding this is a view; with it, rows are copied once. Raises :class:`CameraError` for a short buffer.
    """
    width, height = size
    flat = _whole(flat, size, stride)
    if stride == width:
        return flat.reshape(height * 3 // 2, width)
    luma = flat[: stride * height].reshape(height, stride)[:, :width]
    chroma = flat[stride * height :].reshape(height, stride // 2)[:, : width // 2]
    return np.concatenate([luma.ravel(), chroma.ravel()]).reshape(height * 3 // 2, width)


def unpad_nv12(flat: Pixels, size: tuple[int, int], stride: int) -> Pixels:
    """The same picture as I420 from a buffer whose chroma rows are ``stride`` bytes too, u and v taking turns."""
    width, height = size
    rows = _whole(flat, size, stride).reshape(height * 3 // 2, stride)[:, :width]
    chroma = rows[height:].reshape(height // 2, width // 2, 2)
    return np.concatenate([rows[:height].ravel(), chroma[..., 0].ravel(), chroma[..., 1].ravel()]).reshape(-1, width)


def _whole(flat: Pixels, size: tuple[int, int], stride: int) -> Pixels:
    needed = stride * size[1] * 3 // 2
    if flat.size < needed:
        raise CameraError(f"picamera2: buffer of {flat.size} bytes for {size[0]}x{size[1]} with stride {stride}")
    return flat[:needed]


def _picamera2_class() -> Any:
    try:
        return importlib.import_module("picamera2").Picamera2
    except ImportError as error:
        raise CameraError(
            f"picamera2: not installed ({error}); on a Raspberry Pi: sudo apt-get install python3-picamera2, "
            "and a venv that sees system packages"
        ) from None


def _own_cameras(picamera2: Any) -> list[dict[str, Any]]:
    return [info for info in picamera2.global_camera_info() if "/usb" not in str(info.get("Id", ""))]
