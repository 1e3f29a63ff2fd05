"""Tiny videos made on the spot: a bright square on grey that says which frame it is."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def picture(index: int, width: int, height: int) -> np.ndarray:
    """Grey, the top left corner white, brightness of the lower half = index (mod 8) * 24."""
    image = np.full((height, width, 3), 90, np.uint8)
    image[: height // 4, : width // 4] = 255
    image[height // 2 :] = (index % 8) * 24
    return image


def make_video(
    path: Path,
    frames: int = 30,
    fps: float = 30,
    *,
    size: tuple[int, int] = (64, 48),
    times_s: Iterable[float] | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> Path:
    """Write ``frames`` pictures at ``fps``, or at ``times_s``; the key frames are dense."""
    width, height = size
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.gop_size = 10
        stream.codec_context.time_base = Fraction(1, 60000)
        stamps = list(times_s) if times_s is not None else [index / float(rate) for index in range(frames)]
        for index, t_s in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(picture(index, width, height), format="rgb24")
            frame.pts, frame.time_base = round(t_s * 60000), Fraction(1, 60000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def make_sound(path: Path) -> Path:
    """A tenth of a second of silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        for index in range(5):
            frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = 44100, index * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn_like_a_phone(path: Path, quarter_turns: int) -> Path:
    """Write a rotation into the track header of an MP4 file, as phones do: clockwise quarter turns for display."""
    a, b, c, d = {1: (0, 1, -1, 0), 2: (-1, 0, 0, -1), 3: (0, -1, 1, 0)}[quarter_turns]
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    data[start : start + 36] = matrix
    path.write_bytes(data)
    return path
