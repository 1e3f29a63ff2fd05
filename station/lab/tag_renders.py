"""Wholly rendered runners who wear the tag, no two alike: ``python -m station.lab.tag_renders FOLDER --seeds 0 1``.

They differ in body, gait, clothes, light, camera, exposure, lens blur, noise and compression, and in how the plate was
folded and how it hangs. Each stands for a moment, then runs for a little more than a stride. Only the window about the
pelvis is rendered: nothing else of the picture is looked at. A clip is rendered once and kept in the folder;
``python -m station.lab.tag_scores --clips FOLDER`` scores what is there. Truth is exact by construction.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from station.lab.bodies import LIBRARY_SIZE, BodyLibrary, load_library
from station.lab.gl import Look
from station.lab.handmade import handmade
from station.lab.pinhole import Pinhole
from station.lab.rotations import pelvis_rotation
from station.lab.runner import Studio, Take
from station.lab.sensor import Sensor
from station.lab.skinning import Loose, Rig, Skeleton
from station.lab.sweep import Sweep
from station.lab.tag_clips import DISTANCES_M, SIZES, Clip, save
from station.lab.tagshots import Worn
from station.lab.variety import random_light, random_outfit, random_style
from station.lab.wear import FPS, truth_of, wear
from station.tag.plates import PLATES, Plate
from station.types import KEYPOINT_INDEX, Floats, Mount, Pixels, View

#: Frames that a runner stands, and strides run after that.
STANDS, STRIDES = 10, 1.15
#: What is rendered of a runner: so far from mid-hip sideways, up and down [m]. The tag is looked for in less.
_ASIDE_M, _ABOVE_M, _BELOW_M, _TORSO_M = 0.42, 0.50, 0.24, 0.5
#: What a calibration leaves: share of the focal length, roll and pitch [deg], one sd.
_FOCAL_SD, _ROLL_SD, _PITCH_SD = 0.003, 0.05, 0.1
#: What a pose model is off by [px per 1280 px of width].
_POSE_PX = 4.0


@dataclass(frozen=True, slots=True)
class Poised(Sweep):
    """Caught in mid-stride, the pelvis at ``angles_deg`` until further notice: who stands."""

    angles_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def skeleton(self, rig: Rig, t_s: float) -> Skeleton:
        """The same at any time."""
        del t_s
        return rig.skeleton(self.still_s, Loose(self.angles_deg))


def name_of(plate: Plate, size_px: tuple[int, int], distance_m: float, seed: int) -> str:
    """What a clip is called."""
    return f"{plate.name}-{size_px[0]}-{distance_m:.1f}-{seed}"


def runner(plate: Plate, size_px: tuple[int, int], distance_m: float, seed: int) -> tuple[Take, Worn]:
    """Who is seen, how, and the plate as it was made and hangs; equal seeds give equal runners."""
    rng = np.random.default_rng([seed, size_px[0], round(distance_m * 100), plate.ids[0]])
    height_m = float(rng.uniform(0.75, 1.35))
    camera = Pinhole(
        *size_px, focal_px=SIZES[size_px], height_m=height_m, distance_m=distance_m + 0.13,
        x_m=float(rng.normal(0, 0.04)), pitch_deg=float(np.degrees(np.arctan2(0.85 - height_m, distance_m))),
        roll_deg=float(rng.normal(0, 1.2)), yaw_deg=float(rng.normal(0, 1.0)),
    )  # fmt: skip
    shot = Take(
        body=int(rng.integers(LIBRARY_SIZE)), style=random_style(rng),
        outfit=replace(random_outfit(rng), hem_m=None), camera=camera, light=random_light(rng),
        look=Look(seed=(float(rng.uniform(0, 9)), float(rng.uniform(0, 9)), float(rng.uniform(0, 9))),
                  wall=int(rng.integers(3))),
        sensor=Sensor(float(rng.uniform(0.75, 1.2)), float(rng.uniform(0.006, 0.02)), float(rng.uniform(0.5, 1.0))),
        scene_seed=int(rng.integers(1 << 30)), exposure_s=float(rng.uniform(0.002, 0.008)),
    )  # fmt: skip
    mount = pelvis_rotation(*rng.normal([0.0, 0.0, float(rng.uniform(0, 10))], [3.0, 3.0, 2.0]))
    return shot, Worn(plate, mount=mount, placement=handmade(plate, rng))


def rendered(plate: Plate, size_px: tuple[int, int], distance_m: float, seed: int, library: BodyLibrary) -> Clip:
    """Render one."""
    shot, worn = runner(plate, size_px, distance_m, seed)
    stride_s = shot.style.period_s / shot.style.strides
    rng = np.random.default_rng([seed, 77])
    studio = Studio(shot, library)
    wear(studio, worn)
    run_s = np.arange(round(STRIDES * stride_s * FPS)) / FPS
    run = truth_of(studio, run_s)
    studio.window_px = box = _waist(np.array(run["points_px"]), size_px)
    quality = int(rng.integers(60, 95))
    behind = _grey(shot.sensor.develop(studio.background(), rng))

    def developed(light: NDArray[np.float32]) -> bytes:
        whole = behind.copy()
        left, top, width, height = box
        part = shot.sensor.develop(light, rng, (left, top), size_px)
        whole[top : top + height, left : left + width] = _grey(part)
        return _packed(whole, quality)

    moving = [developed(studio.expose(float(t))) for t in run_s]
    level = (0.0, float(rng.normal(0, 1.0)), float(np.mean(run["tilt_deg"])))
    studio.shot = replace(shot, sweep=Poised("locked", angles_deg=level))
    stand, light = truth_of(studio, np.zeros(STANDS)), studio.expose(0.0)
    angles = [np.array([part[f"{name}_deg"] for name in ("obliquity", "rotation", "tilt")]).T for part in (stand, run)]
    points = np.concatenate([np.array(part["points_px"]) for part in (stand, run)])
    camera = shot.camera
    mount = Mount(
        camera.height_m, distance_m, camera.focal_px * float(rng.normal(1, _FOCAL_SD)),
        roll_deg=camera.roll_deg + float(rng.normal(0, _ROLL_SD)),
        pitch_deg=camera.pitch_deg + float(rng.normal(0, _PITCH_SD)),
    )  # fmt: skip
    return Clip(
        name_of(plate, size_px, distance_m, seed),
        (*(developed(light) for _ in range(STANDS)), *moving),
        np.concatenate([np.arange(STANDS) / FPS, STANDS / FPS + run_s]),
        np.concatenate(angles),
        points + rng.normal(0, _POSE_PX * size_px[0] / 1280, points.shape),
        np.arange(STANDS + len(run_s)) < STANDS,
        View(*size_px, FPS, mount),
        stride_s,
    )


def _waist(points_px: Floats, size_px: tuple[int, int]) -> tuple[int, int, int, int]:
    """The window (left, top, width, height) in which the pelvis stays; keypoints (n, 12, 2)."""
    hips, shoulders = (
        points_px[:, [KEYPOINT_INDEX[f"{side}_{joint}"] for side in ("left", "right")]].mean(axis=1)
        for joint in ("hip", "shoulder")
    )
    px_per_m = float(np.linalg.norm(hips - shoulders, axis=1).max()) / _TORSO_M
    low = np.floor(hips.min(axis=0) - px_per_m * np.array([_ASIDE_M, _ABOVE_M])).astype(int)
    high = np.ceil(hips.max(axis=0) + px_per_m * np.array([_ASIDE_M, _BELOW_M])).astype(int)
    low, high = np.maximum(low, 0), np.minimum(high, size_px)
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])


def _grey(picture: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _packed(grey: Pixels, quality: int) -> bytes:
    done, packed = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("JPEG encoding failed")
    return packed.tobytes()


def main(arguments: list[str] | None = None) -> int:
    """The command: renders what is missing, one seed after the other."""
    parser = argparse.ArgumentParser(
        prog="python -m station.lab.tag_renders", description=(__doc__ or "").split(":")[0]
    )
    parser.add_argument("folder", type=Path, help="where the clips are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="which runners of each plate, size, distance")
    parser.add_argument("--plates", nargs="*", default=list(PLATES), choices=list(PLATES))
    parser.add_argument("--widths", type=int, nargs="*", default=[1280, 1920], choices=[1280, 1920])
    parser.add_argument("--distances", type=float, nargs="*", default=list(DISTANCES_M), help="camera to runner [m]")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    library = load_library()
    for seed in options.seeds:
        for size in [size for size in SIZES if size[0] in options.widths]:
            for distance in options.distances:
                for plate in (PLATES[name] for name in options.plates):
                    path = options.folder / f"{name_of(plate, size, distance, seed)}.npz"
                    if path.is_file():
                        continue
                    began = time.monotonic()
                    save(rendered(plate, size, distance, seed, library), options.folder)
                    print(f"{path.stem}: {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
