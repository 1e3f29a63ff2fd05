"""USB cameras (and anything else behind ``/dev/video*``) through OpenCV's V4L2 backend."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import time
from pathlib import Path

import cv2
import numpy as np

from station.config import CameraConfig
from station.errors import CameraError
from station.types import Frame, View

_QUERYCAP = 0x80685600  # VIDIOC_QUERYCAP: _IOR('V', 0, struct v4l2_capability of 104 bytes)
_CAPTURE = 0x1  # V4L2_CAP_VIDEO_CAPTURE in device_caps
#: Drivers of real cameras; a Pi's own ISP and codec nodes also call themselves capture devices.
_CAMERA_DRIVERS = ("uvcvideo", "v4l2 loopback")
_WISH = (1280, 720, 30.0)


def devices() -> list[str]:
    """Paths of the attached capture devices that are cameras, lowest number first."""
    nodes = sorted(Path("/dev").glob("video[0-9]*"), key=lambda node: int(node.name.removeprefix("video")))
    return [str(node) for node in nodes if _is_camera(node)]


def _is_camera(node: Path) -> bool:
    try:
        handle = os.open(node, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        answer = fcntl.ioctl(handle, _QUERYCAP, bytes(104))
    except OSError:
        return False
    finally:
        os.close(handle)
    driver = answer[:16].split(b"\0")[0].decode(errors="replace")
    (device_caps,) = struct.unpack_from("=I", answer, 88)
    return driver in _CAMERA_DRIVERS and bool(device_caps & _CAPTURE)


class V4l2Camera:
    """A V4L2 device. Frames are ``bgr``: OpenCV unpacks the device's JPEG or YUYV itself.

    Size and rate are what the driver says it delivers, not what was asked. Times are the driver's buffer stamps
    (monotonic clock); a driver that gives none is stamped on arrival.
    """

    def __init__(self, device: str, config: CameraConfig) -> None:
        self._device = device
        self._index = 0
        self._last_s = float("-inf")
        if not Path(device).exists():
            raise CameraError(f"{device}: no such device; plug the camera in, or set camera.source")
        cv2.utils.logging.setLogLevel(
            cv2.utils.logging.LOG_LEVEL_ERROR
        )  # what OpenCV warns of is said below, in one line
        # links under /dev/v4l/by-id stay the same when cameras change places; OpenCV wants the number behind them
        numbered = re.fullmatch(r"/dev/video(\d+)", str(Path(device).resolve()))
        self._capture = cv2.VideoCapture(int(numbered[1]) if numbered else device, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise CameraError(f"{device}: cannot be opened; is it a camera, free, and may this user read it (video)?")
        self._configure(config)
        ok, image = self._capture.read()
        if not ok or image is None:
            self.close()
            raise CameraError(f"{device}: opened but gives no picture; unplug it and plug it in again")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        height, width = image.shape[:2]
        self._view = View(width, height, float(rate) if 0 < rate <= 1000 else _WISH[2], config.mount)

    @property
    def name(self) -> str:
        """Device, size and rate."""
        return f"{self._device} ({self._view.width_px}x{self._view.height_px}, {self._view.fps:.4g} fps)"

    @property
    def view(self) -> View:
        """Size and rate read back from the driver."""
        return self._view

    @property
    def exposure(self) -> None:
        """OpenCV does not say."""
        return None

    def read(self) -> Frame | None:
        """The next picture; :class:`CameraError` when the device stops giving any (unplugged)."""
        while self._capture.isOpened():
            ok, image = self._capture.read()
            if not ok or image is None:
                raise CameraError(f"{self._device}: gives no more pictures; check its cable and power")
            t_s = self._stamp_s()
            if t_s <= self._last_s:
                continue
            self._last_s = t_s
            frame = Frame(t_s, self._index, np.asarray(image, dtype=np.uint8), "bgr")
            self._index += 1
            return frame
        return None

    def close(self) -> None:
        """Give the device back."""
        self._capture.release()

    def _configure(self, config: CameraConfig) -> None:
        # motion JPEG first: raw YUYV does not fit through USB 2 at 720p and 30 fps
        self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, config.width or _WISH[0])
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, config.height or _WISH[1])
        self._capture.set(cv2.CAP_PROP_FPS, config.fps or _WISH[2])
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 2)

    def _stamp_s(self) -> float:
        stamp_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        return float(stamp_ms) / 1000.0 if stamp_ms > 0 else time.monotonic()
