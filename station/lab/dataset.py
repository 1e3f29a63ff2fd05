"""Pelvis crops with exact truth: ``python -m station.lab.dataset OUT_DIR --shards 100 --seed 1 [--held-out]``.

Each shard is one file, drawn from (seed, number) alone: an interrupted run goes on where it stopped and ends with the
same data. What a model could learn instead of the pelvis is taken away from it: obliquity, rotation and tilt are drawn
on their own, legs stand, run, stay or follow by chance, trunks lean, shirts hang over the waistband and go with the
thighs. ``--held-out`` draws from bodies and a shading method that training never sees.
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

from station.lab.bodies import LIBRARY_SIZE, BodyLibrary, load_library, take
from station.lab.gaitplan import Plan
from station.lab.garments import Outfit, dress
from station.lab.gl import Look, Renderer
from station.lab.pinhole import Pinhole
from station.lab.scene import gym
from station.lab.sensor import Sensor
from station.lab.skinning import Loose, Normals, Rig, Skeleton, skin
from station.lab.variety import random_camera, random_light, random_outfit, random_style
from station.types import Floats, Pixels

SIDE_PX = 128
PER_SHARD, PER_RUNNER = 96, 8
HELD_OUT_BODIES = (LIBRARY_SIZE - 4, LIBRARY_SIZE)
#: Columns of ``labels``: camera-frame angles, hip centres in crop pixels, share of the waistband that shows, phase of
#: gait, world angles, how far the legs follow.
LABELS = ("obliquity_deg", "rotation_deg", "tilt_deg", "left_x", "left_y", "right_x", "right_y", "waist", "phase",
          "world_obliquity_deg", "world_rotation_deg", "world_tilt_deg", "follow")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Crop:
    """A crop and its label."""

    image: Pixels
    label: Floats


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m station.lab.dataset", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for the shards (made when missing)")
    parser.add_argument("--shards", type=int, default=100, help=f"how many, of {PER_SHARD} crops each (default 100)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default 1)")
    parser.add_argument("--held-out", action="store_true", help="bodies and shading kept for scoring")
    options = parser.parse_args(arguments)
    if options.shards < 1 or (options.out.exists() and not options.out.is_dir()):
        print(f"{options.out}: must be a folder, and --shards at least 1", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    library, renderer, begin, made = load_library(), Renderer(SIDE_PX, SIDE_PX), time.monotonic(), 0
    for number in range(options.shards):
        path = options.out / f"{'held' if options.held_out else 'train'}_{options.seed}_{number:04d}.npz"
        if path.is_file():
            continue
        crops = shard(library, renderer, options.seed, number, options.held_out)
        partial = path.with_suffix(".part.npz")
        np.savez_compressed(
            partial,
            images=np.stack([c.image for c in crops]),
            labels=np.stack([c.label for c in crops]).astype(np.float32),
        )
        partial.replace(path)
        made += 1
        pace = (time.monotonic() - begin) / made
        left_min = pace * (options.shards - number - 1) / 60
        print(f"{path.name}: {pace:.0f} s a shard, {left_min:.0f} min left", flush=True)
    return 0


def shard(library: BodyLibrary, renderer: Renderer, seed: int, number: int, held_out: bool) -> list[Crop]:
    """The crops of one shard."""
    rng = np.random.default_rng([seed, number, int(held_out)])
    crops: list[Crop] = []
    while len(crops) < PER_SHARD:
        crops += _of_one_runner(library, renderer, rng, held_out)
    return crops


def _of_one_runner(library: BodyLibrary, renderer: Renderer, rng: np.random.Generator, held_out: bool) -> list[Crop]:
    bodies = HELD_OUT_BODIES if held_out else (0, HELD_OUT_BODIES[0])
    rig = Rig(take(library, int(rng.integers(*bodies))), Plan(random_style(rng)))
    outfit = random_outfit(rng)
    worn = dress(rig, outfit)
    renderer.set_scene(gym(rng))
    renderer.set_runner(worn)
    normals = Normals(worn.mesh.faces, len(worn.mesh.vertices_m))
    look = Look((0.0, 0.0, 0.0), int(rng.integers(3)), cloth=int(held_out))
    crops = []
    for _ in range(PER_RUNNER):
        t_s, camera = float(rng.uniform(0, rig.plan.style.period_s)), random_camera(rng)
        loose = random_pelvis(rng, rig.plan.angles_deg(t_s))
        skeleton = rig.skeleton(t_s, loose)
        window = crop_window(rng, camera, skeleton)
        vertices = skin(rig, skeleton, worn.mesh)
        seed = rng.uniform(0, 9, 3)
        look = replace(look, seed=(float(seed[0]), float(seed[1]), float(seed[2])))
        light = renderer.draw(window, random_light(rng), look, float(rng.uniform(0, 3)), (vertices, normals(vertices)))
        image = _seen(rng, light[..., :3])
        crops.append(Crop(image, label_of(window, skeleton, outfit, rig.plan.phase(t_s) % 1.0, t_s, rig, loose)))
    return crops


def random_pelvis(rng: np.random.Generator, run_deg: tuple[float, float, float]) -> Loose:
    """A pelvis that owes nothing to the legs, or nearly: half of all samples are drawn quite freely."""
    follow = float(rng.choice([0.0, 1.0, rng.uniform(0, 1)]))
    if rng.uniform() < 0.25:
        return Loose(run_deg, 0.0)
    if rng.uniform() < 0.15:  # level over running legs: what must not be mistaken for a drop
        return Loose((0.0, run_deg[1], run_deg[2]), 0.0)
    angles = (float(rng.normal(0, 5.5)), float(rng.normal(0, 8)), float(np.clip(rng.normal(9, 6), -8, 26)))
    return Loose(angles, follow)


def crop_window(rng: np.random.Generator, camera: Pinhole, skeleton: Skeleton) -> Pinhole:
    """The camera of the crop: placed about the hips as tracking places it, with its errors of place and size."""
    hips = np.stack([skeleton.hips_m["L"], skeleton.hips_m["R"]])
    middle = camera.project(hips.mean(axis=0))
    depth = float(np.linalg.norm(hips.mean(axis=0) - camera.position_m))
    side = 0.62 * camera.focal_px / depth * float(np.exp(rng.normal(0, 0.10)))
    middle = middle + rng.normal(0, 0.045, 2) * side + np.array([0.0, -0.05 * side])
    zoom = SIDE_PX / side
    cx, cy = camera.principal_px
    centre = ((cx - middle[0]) * zoom + SIDE_PX / 2, (cy - middle[1]) * zoom + SIDE_PX / 2)
    return replace(
        camera,
        width_px=SIDE_PX,
        height_px=SIDE_PX,
        focal_px=camera.focal_px * zoom,
        centre_px=(float(centre[0]), float(centre[1])),
    )


def label_of(
    window: Pinhole, skeleton: Skeleton, outfit: Outfit, phase: float, t_s: float, rig: Rig, loose: Loose
) -> Floats:
    """The label of one crop, in the order of :data:`LABELS`."""
    seen = window.attitude.T @ skeleton.pelvis
    right, up = seen[:, 0], seen[:, 1]
    angles = np.degrees([np.arctan2(right[1], right[0]), np.arctan2(-right[2], right[0]), np.arctan2(-up[2], up[1])])
    hips = window.project(np.stack([skeleton.hips_m["L"], skeleton.hips_m["R"]])).ravel()
    world = loose.angles_deg if loose is not None else rig.plan.angles_deg(t_s)
    return np.array([*angles, *hips, waist_share(outfit), phase, *world, loose.follow])


def waist_share(outfit: Outfit) -> float:
    """How much of the waistband the shirt leaves in view, 0..1."""
    covered = 0.0 if outfit.hem_m is None else max(0.0, outfit.hem_m)
    return float(np.clip(1.0 - covered / outfit.band_m, 0.0, 1.0))


def _seen(rng: np.random.Generator, light: NDArray[np.float32]) -> Pixels:
    """What a real chain of lens, exposure and codec leaves of the crop."""
    if rng.uniform() < 0.5:  # exposure blur, a straight smear
        length, angle = float(rng.uniform(1, 5)), float(rng.uniform(0, np.pi))
        reach = int(np.ceil(length))
        kernel = np.zeros((2 * reach + 1, 2 * reach + 1), dtype=np.float32)
        for step in np.linspace(-length / 2, length / 2, 9):
            kernel[round(reach + step * np.sin(angle)), round(reach + step * np.cos(angle))] += 1
        light = np.asarray(cv2.filter2D(light, -1, kernel / kernel.sum()), dtype=np.float32)
    sensor = Sensor(float(rng.uniform(0.6, 1.6)), float(rng.uniform(0.003, 0.03)), float(rng.uniform(0.3, 1.1)), 0.0)
    image = sensor.develop(light, rng)
    if rng.uniform() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 92))]
        image = np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR), dtype=np.uint8)
    return image


if __name__ == "__main__":
    sys.exit(main())
