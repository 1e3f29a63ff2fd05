"""The shipped clip, a rendered runner without a tag, with a tag drawn on its pelvis by exact projection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from station.camera import BUNDLED_CLIP
from station.lab.pinhole import Pinhole
from station.lab.sensor import Sensor
from station.lab.tagshots import Motion, Shot, Worn, picture
from station.types import Floats, Mount, Pixels

FPS = 30
#: Settings of the station that took the clip.
MOUNT = Mount(height_m=0.95, distance_m=2.4, focal_px=830.0, roll_deg=0.0, pitch_deg=-6.0)
CAMERA = Pinhole(focal_px=830.0, height_m=0.95, distance_m=2.4, pitch_deg=-6.0)
SENSOR = Sensor(noise=0.01, soft_px=0.7)
#: What a printed plate adds to its colour: none.
_NEUTRAL = 128


def truth() -> dict[str, Any]:
    """What the clip's runner does, exact by construction."""
    content: dict[str, Any] = json.loads(BUNDLED_CLIP.with_suffix(".truth.json").read_text(encoding="utf-8"))
    return content


def angles_deg(what: dict[str, Any]) -> Floats:
    """(frames, 3) obliquity, rotation, tilt."""
    return np.array([what[f"{name}_deg"] for name in ("obliquity", "rotation", "tilt")]).T


def motion_of(what: dict[str, Any], aside_m: float = 0.0) -> Motion:
    """Angles and mid-hip over time, the period repeating; ``aside_m``: the same runner on the next treadmill."""
    period = round(what["period_s"] * FPS)
    at = np.arange(period + 1) / FPS
    angles = angles_deg(what)[np.arange(period + 1) % period]
    centre = np.array(what["hip_centre_m"])[np.arange(period + 1) % period] + [aside_m, 0.0, 0.0]

    def now(t_s: float) -> tuple[Floats, Floats]:
        t_s %= what["period_s"]
        return tuple(np.array([np.interp(t_s, at, rows[:, i]) for i in range(3)]) for rows in (angles, centre))  # type: ignore[return-value]

    return now


def frames(count: int) -> Iterator[Pixels]:
    """The clip's pictures, I420 (1080, 1280)."""
    with av.open(str(BUNDLED_CLIP)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index == count:
                return
            yield np.asarray(frame.to_ndarray(format="yuv420p"), dtype=np.uint8)


def wearing(shot: Shot, motion: Motion, t_s: float, bare: Pixels, rng: np.random.Generator) -> Pixels:
    """An I420 picture with the plate in it; its chroma there is that of grey."""
    rows = shot.camera.height_px
    out = bare.copy()
    out[:rows] = picture(shot, motion, t_s, rng, np.ascontiguousarray(bare[:rows]))
    changed = cv2.absdiff(out[:rows], bare[:rows]) > 40
    half = cv2.resize(changed.astype(np.uint8), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) > 0
    chroma = out[rows:].reshape(2, rows // 2, -1)
    chroma[:, half] = _NEUTRAL
    return out


def write(path: Path, worn: Worn, stand_s: float, run_s: float, seed: int = 1) -> Floats:
    """A clip whose runner stands (the first picture held), then runs; the angles (frames, 3) at each frame."""
    what, rng = truth(), np.random.default_rng(seed)
    motion, shot = motion_of(what), Shot(worn, CAMERA, SENSOR, exposure_s=0.003, exposures=3)
    stand, run = round(stand_s * FPS), round(run_s * FPS)
    true = angles_deg(what)
    said = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "18", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = CAMERA.width_px, CAMERA.height_px, "yuv420p"
        still_motion, still_shot = (lambda _t: motion(0.0)), Shot(worn, CAMERA, SENSOR, exposures=1)
        number = 0
        for index, bare in enumerate(frames(run)):
            for held in range(stand + 1 if index == 0 else 1):
                moves = index > 0 or held == stand
                pixels = wearing(
                    shot if moves else still_shot, motion if moves else still_motion, index / FPS, bare, rng
                )
                frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, FPS)
                container.mux(stream.encode(frame))
                said.append(true[index])
                number += 1
        container.mux(stream.encode())
    return np.array(said)
