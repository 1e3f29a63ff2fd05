"""Where frames come from: one protocol, three sources (Raspberry Pi camera, V4L2 device, video file).

A frame leaves a camera in the layout it was captured in; nothing here converts the colours of a whole picture. Times
are those of the sensor or the container, never of the wall clock.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from station.camera.exposure import Exposure
from station.config import MOUNT_KEYS, CameraConfig
from station.errors import CameraError
from station.types import Frame, Mount, View
from station.wire import mount_from_json

#: The clip that ships with the station: a rendered runner from behind, 30 fps, seamless.
BUNDLED_CLIP = Path(__file__).resolve().parent.parent / "assets" / "runner.mp4"


@runtime_checkable
class Camera(Protocol):
    """A source of frames; ``tests/engine/test_camera_contract.py`` holds every implementation to this.

    ``name`` says in a few words what it is. ``view`` is known once the camera is open and does not change: the *actual*
    size and rate, not the wished ones. :meth:`read` is called by one thread only.
    """

    @property
    def name(self) -> str:
        """What this camera is, for people: device or file, size and rate."""

    @property
    def view(self) -> View:
        """Actual picture size, nominal frame rate, mount."""

    @property
    def exposure(self) -> Exposure | None:
        """What the sensor did for the newest frame; ``None`` = this camera does not say."""

    def read(self) -> Frame | None:
        """The next frame, waiting for it; ``None`` at the end or after :meth:`close`.

        Times strictly increase, indices count up from 0. Raises :class:`CameraError` when the source fails.
        """

    def close(self) -> None:
        """Give the device or file back; harmless when repeated."""


def frames(camera: Camera) -> Iterator[Frame]:
    """All frames until the end."""
    while (frame := camera.read()) is not None:
        yield frame


def open_camera(config: CameraConfig) -> Camera:
    """The live camera of ``[camera] source``: ``auto`` takes a Pi camera, else a V4L2 camera, else the bundled clip.

    Raises :class:`CameraError` naming the source and the mend.
    """
    # the adapters are imported on use: picamera2 exists on a Pi only, and starting takes long enough without the others
    from station.camera import picamera, v4l2  # noqa: PLC0415
    from station.camera.video import VideoFile  # noqa: PLC0415

    source = config.source
    if source == "picamera2" or (source == "auto" and picamera.attached()):
        return picamera.PiCamera(config)
    if source == "auto" and (devices := v4l2.devices()):
        source = f"v4l2:{devices[0]}"
    if source.startswith("v4l2:") or source.startswith("/dev/"):
        return v4l2.V4l2Camera(source.removeprefix("v4l2:"), config)
    if source != "auto":
        return VideoFile(Path(source).expanduser(), config.mount, live=True)
    if not BUNDLED_CLIP.is_file():
        raise CameraError(
            f"{BUNDLED_CLIP}: no camera is attached and the bundled clip is missing: attach one, "
            "or play a video with --set camera.source=FILE"
        )
    return VideoFile(BUNDLED_CLIP, _bundled_mount(config.mount), live=True)


def _bundled_mount(configured: Mount) -> Mount:
    """The mount of the bundled clip's virtual camera, which is known; keys that are configured win over it."""
    truth = BUNDLED_CLIP.with_suffix(".truth.json")
    known = mount_from_json(json.loads(truth.read_text(encoding="utf-8"))["camera"]) if truth.is_file() else Mount()
    chosen = {key: getattr(configured, key) for key in MOUNT_KEYS if getattr(configured, key) is not None}
    return dataclasses.replace(known, **chosen)
