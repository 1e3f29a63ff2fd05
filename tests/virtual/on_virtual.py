"""Runs inside the virtual system: the real picamera2 on libcamera's virtual camera (read N, strides N, pytest …).

The virtual pipeline lacks what picamera2 takes for granted of a Pi: a raw stream, buffers of one plane, a screen, and a
rate of its own (it fills a buffer as soon as it has one). Those four are supplied here; everything else is real.
"""
# mypy: ignore-errors
# ruff: noqa: E402

from __future__ import annotations

import json
import os
import sys
import threading
import time
import types

#: Of the clip that plays, and how fast it is played: slower than life, so that the models keep up anywhere.
CLIP_FPS, FRAMES = 30.0, 600
PACE_FPS = 8.0


class _Formats:
    def __getattr__(self, name: str) -> str:
        return name


_screen = types.ModuleType("pykms")
_screen.PixelFormat = _Formats()
sys.modules["pykms"] = _screen

from picamera2 import Picamera2
from picamera2.allocators import LibcameraAllocator
from picamera2.request import CompletedRequest

Picamera2._get_raw_modes = lambda _self: [{"format": "NV12", "size": (640, 480)}]

_open, _configure, _release = Picamera2._open_camera, Picamera2.configure_, CompletedRequest.release
_pace, _due_s = threading.Lock(), [0.0]


def _open_camera(self) -> None:
    _open(self)
    self._buffers_of_libcamera = LibcameraAllocator(self.camera)


def _configure_camera(self, *arguments, **options):
    self.allocator = self._buffers_of_libcamera
    return _configure(self, *arguments, **options)


def _paced_release(self) -> None:
    """A buffer goes back to the camera once a frame time: so the camera makes frames at that rate."""
    with _pace:
        now_s = time.monotonic()
        _due_s[0] = max(_due_s[0] + 1 / PACE_FPS, now_s)
        time.sleep(max(0.0, _due_s[0] - now_s))
    _release(self)


Picamera2._open_camera, Picamera2.configure_ = _open_camera, _configure_camera
CompletedRequest.release = _paced_release


def _main() -> int:
    if sys.argv[1] == "pytest":
        import pytest

        return int(pytest.main(sys.argv[2:]))
    return _read(int(sys.argv[2])) if sys.argv[1] == "read" else _strides(int(sys.argv[2]))


def _opened():
    from station.camera.picamera import PiCamera
    from station.config import CameraConfig

    return PiCamera(CameraConfig(fps=CLIP_FPS, width=1280, height=720))


def _read(count: int) -> int:
    """Frames of the station's own adapter: their times, and the number burnt into each picture and its small twin."""
    camera = _opened()
    height = camera.view.height_px
    print(json.dumps({"name": camera.name, "size": [camera.view.width_px, height]}))
    for _ in range(count):
        frame = camera.read()
        small = frame.small[: frame.small.shape[0] * 2 // 3]
        said = {"t": frame.t_s, "index": frame.index, "burnt": burnt(frame.image[:height]), "small": burnt(small)}
        said["chroma"] = [int(plane.mean()) for plane in frame.image[height:].reshape(2, -1)]
        print(json.dumps(said), flush=True)
    camera.close()
    return 0


def _strides(count: int) -> int:
    """Strides of the clip as the adapter gives it; times are those of the burnt numbers: the camera has no clock."""
    import dataclasses

    from station import wire
    from station.config import load
    from station.engine.observer import Observer, load_pose
    from station.session import Session, SessionSettings
    from station.types import StrideMetrics

    camera = _opened()
    observer, session = Observer(load_pose(load(None, []), print), camera.view), Session(camera.view, SessionSettings())
    before, rounds, rounds_before, fed = -1, 0, 0, 0
    while fed < count:
        frame = camera.read()
        number = burnt(frame.image[: camera.view.height_px])
        rounds += number < before - FRAMES // 2
        if (rounds, number) == (rounds_before, before):
            continue  # the same picture again
        rounds_before, before, fed = rounds, number, fed + 1
        t_s = (rounds * FRAMES + number) / CLIP_FPS
        for output in session.feed(observer.observe(dataclasses.replace(frame, t_s=t_s))):
            if isinstance(output, StrideMetrics):
                print(json.dumps(wire.stride_json(output, "virtual", "virtual", None)), flush=True)
    camera.close()
    return 0


def burnt(luma) -> int:
    """The number written into the top rows: twelve squares, the lowest bit on the left, white = 1."""
    side = luma.shape[1] // 40
    return sum(1 << bit for bit in range(12) if luma[side // 2, bit * side + side // 2] > 128)


if __name__ == "__main__":
    code = _main()
    sys.stdout.flush()
    os._exit(code)  # the virtual pipeline may hang when it is torn down
