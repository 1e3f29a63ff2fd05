"""Runs inside the guest of ``uml.py``: ``feed DEVICE`` plays numbered pictures, ``look SOURCE COUNT`` reads them."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import sys
import time

import numpy as np

WIDTH, HEIGHT, SIDE, BITS, RATE = 640, 360, 16, 12, 10.0
_S_FMT = 0xC0D05605
_OUTPUT, _NO_FIELD, _SRGB, _PRIVATE = 2, 1, 8, 0xFEEDCAFE


def feed(device: str) -> None:
    """Ten pictures a second, the number of each in binary on top, the lowest bit on the left."""
    handle = os.open(device, os.O_RDWR)
    form = bytearray(208)
    size = WIDTH * HEIGHT * 3 // 2
    fourcc = int.from_bytes(b"YU12", "little")
    struct.pack_into("=I", form, 0, _OUTPUT)
    struct.pack_into("=8I", form, 8, WIDTH, HEIGHT, fourcc, _NO_FIELD, WIDTH, size, _SRGB, _PRIVATE)
    fcntl.ioctl(handle, _S_FMT, form)
    picture = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    number = 0
    while True:
        for bit in range(BITS):
            picture[:SIDE, bit * SIDE : (bit + 1) * SIDE] = 255 if number >> bit & 1 else 0
        os.write(handle, picture.tobytes())
        number += 1
        time.sleep(1 / RATE)


def look(source: str, count: int) -> None:
    """A line a frame, and the error that ends it."""
    from station.camera import open_camera, v4l2
    from station.config import CameraConfig
    from station.errors import CameraError

    camera = open_camera(CameraConfig(source=source))
    size = [camera.view.width_px, camera.view.height_px]
    _tell(devices=v4l2.devices(), name=camera.name, size=size)
    try:
        for _ in range(count):
            frame = camera.read()
            assert frame is not None
            middles = [frame.image[SIDE // 2, bit * SIDE + SIDE // 2].mean() for bit in range(BITS)]
            burnt = sum(1 << bit for bit, grey in enumerate(middles) if grey > 128)
            tint = float(np.ptp(frame.image[HEIGHT // 2, WIDTH // 2]))
            now_s = time.monotonic()
            _tell(
                t=frame.t_s,
                index=frame.index,
                burnt=burnt,
                layout=frame.layout,
                shape=frame.image.shape,
                tint=tint,
                now=now_s,
            )
    except CameraError as error:
        _tell(error=str(error), now=time.monotonic())
    camera.close()


def _tell(**said: object) -> None:
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "feed":
        feed(sys.argv[2])
    else:
        look(sys.argv[2], int(sys.argv[3]))
