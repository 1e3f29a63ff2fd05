"""From a camera's buffer, whose rows may be padded, to the I420 picture of a frame: one copy, no more."""

from __future__ import annotations

from typing import Literal

import numpy as np

from station.errors import CameraError
from station.types import Pixels

Planar = Literal["YUV420", "NV12"]


def to_i420(flat: Pixels, size_px: tuple[int, int], stride: int, layout: Planar) -> Pixels:
    """The picture in ``flat``, (height * 3/2, width), in memory of its own: the buffer can go back to the camera.

    Luma rows are ``stride`` bytes apart. Chroma rows are half of that in ``YUV420`` (u plane, then v); in ``NV12`` they
    are as long as the luma's, u and v taking turns. Raises :class:`CameraError` for a buffer too short to hold it.
    """
    width, height = size_px
    needed = stride * height * 3 // 2
    if flat.size < needed or stride < width:
        raise CameraError(
            f"camera buffer of {flat.size} bytes for {width}x{height} with stride {stride}: "
            "the camera's driver contradicts itself; choose another camera.width and camera.height"
        )
    picture = np.empty((height * 3 // 2, width), np.uint8)
    np.copyto(picture[:height], flat[: stride * height].reshape(height, stride)[:, :width])
    planes = picture[height:].reshape(2, height // 2, width // 2)
    if layout == "YUV420":
        source = flat[stride * height : needed].reshape(2, height // 2, stride // 2)
        np.copyto(planes, source[:, :, : width // 2])
    else:
        source = flat[stride * height : needed].reshape(height // 2, stride)[:, :width].reshape(height // 2, -1, 2)
        np.copyto(planes, source.transpose(2, 0, 1))
    return picture
