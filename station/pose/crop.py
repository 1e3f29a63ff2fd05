"""Cuts a region out of a frame as a small RGB picture, whatever the frame's layout.

The warp comes first and the colour conversion after it, so that only the crop is converted, never the frame.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from station.pose.region import Region
from station.types import Floats, Frame, Pixels

_BLACK_YUV = (16, 128, 128)


def on_one_thread() -> None:
    """Keep OpenCV from its threads, in the whole process.

    Pictures this small are done before other threads are awake: with two of them a frame costs a tenth more.
    """
    cv2.setNumThreads(1)


class Cropper:
    """Crops of ``size_px`` squared (even). Outside the picture is black, or its edge continued with ``replicate``.

    With ``width_px`` (a multiple of 4) only the middle columns are cut. The returned array is the cropper's own and is
    overwritten by the next call.
    """

    def __init__(self, size_px: int, *, replicate: bool, width_px: int | None = None) -> None:
        self._size = size_px
        width_px = width_px or size_px
        self._aside_px = (size_px - width_px) // 2
        self._border = cv2.BORDER_REPLICATE if replicate else cv2.BORDER_CONSTANT
        self._rgb = np.empty((size_px, width_px, 3), np.uint8)
        self._bgr = np.empty_like(self._rgb)
        self._yuv = np.empty((size_px * 3 // 2, width_px), np.uint8)
        self._luma = self._yuv[:size_px]
        chroma = self._yuv[size_px:].reshape(2, size_px // 2, width_px // 2)
        self._chroma = (chroma[0], chroma[1])

    def crop(self, frame: Frame, region: Region) -> Pixels:
        """``region`` of ``frame`` as RGB, (size, width, 3)."""
        matrix = region.to_crop(self._size)
        matrix[0, 2] -= self._aside_px
        if frame.layout == "rgb":
            self._warp(frame.image, matrix, self._rgb)
        elif frame.layout == "bgr":
            self._warp(frame.image, matrix, self._bgr)
            cv2.cvtColor(self._bgr, cv2.COLOR_BGR2RGB, dst=self._rgb)
        else:
            self._crop_yuv(frame, matrix)
        return self._rgb

    def _crop_yuv(self, frame: Frame, matrix: Floats) -> None:
        width, height = frame.size_px
        self._warp(frame.image[:height], matrix, self._luma, _BLACK_YUV[0])
        # A chroma sample sits amid four pixels, so its coordinate is (x - 0.5) / 2, in picture and crop alike.
        (a, b, x), (c, d, y) = matrix.tolist()
        coarse = np.array([[a, b, (0.5 * (a + b) + x - 0.5) / 2], [c, d, (0.5 * (c + d) + y - 0.5) / 2]])
        planes = frame.image[height:].reshape(2, height // 2, width // 2)
        for plane, out, black in zip(planes, self._chroma, _BLACK_YUV[1:], strict=True):
            self._warp(plane, coarse, out, black)
        cv2.cvtColor(self._yuv, cv2.COLOR_YUV2RGB_I420, dst=self._rgb)

    def _warp(self, plane: Pixels, matrix: Floats, out: Pixels, black: int = 0) -> None:
        """Sample ``plane`` at ``matrix`` into ``out``; a much larger region is reduced first: no pixel is skipped."""
        factor = int(0.5 / math.hypot(matrix[0, 0], matrix[1, 0]))
        if factor >= 2:
            plane, matrix = _reduced(plane, matrix, factor, (out.shape[1], out.shape[0]))
        cv2.warpAffine(
            plane, matrix, (out.shape[1], out.shape[0]), dst=out, flags=cv2.INTER_LINEAR,
            borderMode=self._border, borderValue=(black, black, black),
        )  # fmt: skip


def _reduced(plane: Pixels, matrix: Floats, factor: int, size_px: tuple[int, int]) -> tuple[Pixels, Floats]:
    """The part of ``plane`` that the crop shows, averaged over ``factor``² pixels, and the matrix that goes with it."""
    back = cv2.invertAffineTransform(matrix)
    width, height = size_px
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ back[:, :2].T + back[:, 2]
    rows, columns = plane.shape[:2]
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 2 * factor, 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 2 * factor, (columns, rows))
    count = np.maximum((high - low) // factor, 1)
    high = np.minimum(low + count * factor, (columns, rows))
    part = plane[low[1] : high[1], low[0] : high[0]]
    if part.size == 0:
        return plane, matrix
    small = cv2.resize(part, (int(count[0]), int(count[1])), interpolation=cv2.INTER_AREA)
    adjusted = matrix * factor
    adjusted[:, 2] = matrix[:, :2] @ (low + (factor - 1) / 2) + matrix[:, 2]
    return np.asarray(small, np.uint8), adjusted
