"""The bundled clip, made lighter for an emulated processor: in small, or with few of its pictures."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import av

from station.camera import BUNDLED_CLIP


def lighter(*, smaller: int = 1, every: int = 1) -> bytes:
    """An MP4 of every ``every``-th picture, ``smaller`` times as small, at the speed of life."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runner.mp4"
        with av.open(str(BUNDLED_CLIP)) as source, av.open(str(path), "w") as target:
            stream = source.streams.video[0]
            rate = Fraction(30, every)
            out = target.add_stream("libx264", rate=rate, options={"crf": "28", "tune": "fastdecode"})
            out.width, out.height, out.pix_fmt = stream.width // smaller, stream.height // smaller, "yuv420p"
            for number, frame in enumerate(source.decode(stream)):
                if number % every == 0:
                    picture = frame.reformat(out.width, out.height, "yuv420p")
                    picture.pts, picture.time_base = number // every, 1 / rate
                    target.mux(out.encode(picture))
            target.mux(out.encode())
        return path.read_bytes()
