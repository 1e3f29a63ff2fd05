"""Rendered runners who wear a tag, kept as files: ``station.lab.tag_renders`` makes them, ``tag_scores`` reads them."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from station.types import Floats, Mount, Pixels, View

#: Pictures of 1280 and 1920 pixels, with the focal length of the same lens.
SIZES = {(1280, 720): 930.0, (1920, 1080): 1395.0}
DISTANCES_M = (2.0, 2.5, 3.0)


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Grey pictures as JPEG, their times, truth (n, 3) [deg], keypoints as a pose model would say them, and the view.

    ``stands`` (n,) marks the frames before the run.
    """

    name: str
    pictures: tuple[bytes, ...]
    t_s: Floats
    true_deg: Floats
    points_px: Floats
    stands: NDArray[np.bool_]
    view: View
    stride_s: float

    def luma(self, index: int) -> Pixels:
        """One picture."""
        packed = np.frombuffer(self.pictures[index], np.uint8)
        return np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


def save(clip: Clip, folder: Path) -> None:
    """Keep a clip, whole or not at all."""
    mount = clip.view.mount
    handle, name = tempfile.mkstemp(dir=folder, prefix=".clip-", suffix=".npz")
    with os.fdopen(handle, "wb") as file:
        np.savez(
            file, pictures=np.frombuffer(b"".join(clip.pictures), np.uint8),
            sizes=np.array([len(p) for p in clip.pictures]), t_s=clip.t_s, true_deg=clip.true_deg,
            points_px=clip.points_px, stands=clip.stands, stride_s=clip.stride_s,
            view=np.array([clip.view.width_px, clip.view.height_px, clip.view.fps]),
            mount=np.array([mount.height_m, mount.distance_m, mount.focal_px, mount.roll_deg, mount.pitch_deg]),
        )  # fmt: skip
    Path(name).replace(folder / f"{clip.name}.npz")


def load(path: Path) -> Clip:
    """A clip that was kept."""
    with np.load(path) as kept:
        ends = np.cumsum(kept["sizes"])
        every = kept["pictures"].tobytes()
        width, height, fps = kept["view"].tolist()
        height_m, distance_m, focal_px, roll_deg, pitch_deg = kept["mount"].tolist()
        return Clip(
            path.stem,
            tuple(every[end - size : end] for size, end in zip(kept["sizes"], ends, strict=True)),
            kept["t_s"], kept["true_deg"], kept["points_px"], kept["stands"],
            View(int(width), int(height), fps,
                 Mount(height_m, distance_m, focal_px, roll_deg=roll_deg, pitch_deg=pitch_deg)),
            float(kept["stride_s"]),
        )  # fmt: skip
