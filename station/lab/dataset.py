"""Pelvis crops with exact truth: ``python -m station.lab.dataset OUT_DIR --shards 100 --seed 1 [--kind held]``.

Each shard is one file, drawn from (seed, number) alone: an interrupted run goes on where it stopped and ends with the
same data. What a model could learn instead of the pelvis is taken away from it: obliquity, rotation and tilt are drawn
on their own, legs stand, run, stay, follow or are lifted by chance, trunks lean and bend, waists are as firm as bone or
as soft as flesh, shirts hang over the waistband and go with the thighs. One camera in five looks from the side, half of
the runners stand before something else than a gym, some wear a number belt. ``--kind plain`` is what stations mostly
see: runners only, upright, of soft waist, straight from behind. ``--kind held`` and ``--kind check`` draw from bodies
and a shading method that training never sees.

Angles are those of the line of sight (:class:`station.types.PelvisLevel`): what a crop can show.
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
from station.lab.garments import Dressed, Outfit, dress
from station.lab.gl import Look, Renderer
from station.lab.pinhole import Pinhole
from station.lab.rotations import arc
from station.lab.scene import gym
from station.lab.sensor import Sensor
from station.lab.skinning import Loose, Normals, Rig, Skeleton, skin
from station.lab.variety import random_build, random_light, random_outfit, random_style, random_weave
from station.types import Floats, Pixels

SIDE_PX = 128
PER_SHARD, PER_RUNNER = 96, 8
KINDS = ("train", "held", "check", "plain")
CHECK_BODIES, HELD_OUT_BODIES = (LIBRARY_SIZE - 4, LIBRARY_SIZE - 2), (LIBRARY_SIZE - 2, LIBRARY_SIZE)
#: Counted up when what a seed draws changes.
REVISION = 4
#: Half of the way round the waist that a camera behind the runner sees.
_ROUND_BACK = np.radians(np.linspace(-84, 84, 25))
#: Columns of ``labels``: line-of-sight angles, hip centres in crop pixels, share of the waistband that shows, phase of
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
    parser.add_argument(
        "--kind",
        choices=KINDS,
        default="train",
        help="plain: upright runners from behind; held: two bodies kept for scoring; check: two others, to fit the "
        "told variances; both in a shading that training never sees (default train)",
    )
    options = parser.parse_args(arguments)
    if options.shards < 1 or (options.out.exists() and not options.out.is_dir()):
        print(f"{options.out}: must be a folder, and --shards at least 1", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    library, renderer, begin, made = load_library(), Renderer(SIDE_PX, SIDE_PX, shadow_px=768), time.monotonic(), 0
    for number in range(options.shards):
        path = options.out / f"{options.kind}_{options.seed}_{number:04d}.npz"
        if path.is_file():
            continue
        crops = shard(library, renderer, options.seed, number, options.kind)
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


def shard(library: BodyLibrary, renderer: Renderer, seed: int, number: int, kind: str) -> list[Crop]:
    """The crops of one shard."""
    rng = np.random.default_rng([REVISION, seed, number, KINDS.index(kind)])
    crops: list[Crop] = []
    while len(crops) < PER_SHARD:
        crops += _of_one_runner(library, renderer, rng, kind)
    return crops


def _of_one_runner(library: BodyLibrary, renderer: Renderer, rng: np.random.Generator, kind: str) -> list[Crop]:
    bodies, plain = {"check": CHECK_BODIES, "held": HELD_OUT_BODIES}.get(kind, (0, CHECK_BODIES[0])), kind == "plain"
    build = replace(random_build(rng), belt=0.0) if plain else random_build(rng)
    rig = Rig(take(library, int(rng.integers(*bodies)), build), Plan(random_style(rng)))
    outfit = random_outfit(rng)
    worn = dress(rig, outfit)
    renderer.set_scene(gym(rng))
    renderer.set_runner(worn)
    normals = Normals(worn.mesh.faces, len(worn.mesh.vertices_m))
    look = Look((0.0, 0.0, 0.0), int(rng.integers(3)), cloth=int(kind in ("held", "check")))
    if look.cloth == 0:
        look = replace(look, weave=(random_weave(rng), random_weave(rng)))
    elsewhere = rng.uniform() < 0.5
    number_belt = NumberBelt.random(rng, rig, worn) if rng.uniform() < 0.12 else None
    crops = []
    for _ in range(PER_RUNNER):
        t_s, camera = float(rng.uniform(0, rig.plan.style.period_s)), random_camera(rng, askew=not plain)
        loose = random_pelvis(rng, rig.plan.angles_deg(t_s), bends=not plain)
        skeleton = rig.skeleton(t_s, loose)
        window = crop_window(rng, camera, skeleton)
        vertices = skin(rig, skeleton, worn.mesh)
        seed = rng.uniform(0, 9, 3)
        look = replace(look, seed=(float(seed[0]), float(seed[1]), float(seed[2])))
        light, drawn = random_light(rng), (vertices, normals(vertices))
        seen = renderer.draw(window, light, look, float(rng.uniform(0, 3)), drawn, surroundings=not elsewhere)
        linear, covered = seen[..., :3], seen[..., 3:].clip(0, 1)
        if elsewhere:
            linear += (1 - covered) * _backdrop(rng, float(linear.sum() / max(covered.sum(), 1.0) / 3))
        if number_belt is not None:
            linear = number_belt.draw(linear, window, skeleton)
        image = _seen(rng, linear)
        label = label_of(window, skeleton, outfit, rig.plan.phase(t_s) % 1.0, t_s, rig, loose)
        if number_belt is not None:
            label[LABELS.index("waist")] = 1.0
        crops.append(Crop(image, label))
    return crops


def random_camera(rng: np.random.Generator, askew: bool = True) -> Pinhole:
    """Any mount and lens that the station should cope with, aimed at the runner with errors; one in five far askew."""
    height, distance = float(rng.uniform(0.6, 1.6)), float(rng.uniform(1.6, 3.5))
    round_deg = float(rng.uniform(-40, 40) if askew and rng.uniform() < 0.2 else rng.normal(0, 2))
    away = distance * np.array([np.sin(np.radians(round_deg)), np.cos(np.radians(round_deg))])
    return Pinhole(
        focal_px=640 / float(np.tan(np.radians(rng.uniform(50, 90)) / 2)),
        height_m=height,
        distance_m=float(away[1]),
        x_m=float(away[0] + rng.normal(0, 0.08)),
        pitch_deg=float(rng.normal(np.degrees(np.arctan2(0.85 - height, distance)), 4.0)),
        roll_deg=float(np.clip(rng.normal(0, 1.5), -3, 3)),
        yaw_deg=round_deg + float(rng.normal(0, 1.5)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class NumberBelt:
    """An elastic belt round the waist: a ring that goes with the pelvis, ``rim_m`` (2, n, 3) in the rest pose."""

    rim_m: Floats
    origin_m: Floats
    colour: Floats

    @classmethod
    def random(cls, rng: np.random.Generator, rig: Rig, worn: Dressed) -> NumberBelt | None:
        """A belt that fits the runner; ``None`` where the clothes leave no waist to put it on."""
        vertices = worn.mesh.vertices_m
        height, width = worn.waist_y_m + float(rng.uniform(-0.05, 0.03)), float(rng.uniform(0.012, 0.05))
        near = (np.abs(vertices[:, 1] - height) < 0.03) & (worn.mesh.weights[:, 0] > 0.5)
        if near.sum() < 12:
            return None
        ring = vertices[near]
        middle = (ring.max(axis=0) + ring.min(axis=0)) / 2
        half = (ring.max(axis=0) - ring.min(axis=0)) / 2 + 0.004
        x, z = middle[0] + half[0] * np.sin(_ROUND_BACK), middle[2] + half[2] * np.cos(_ROUND_BACK)
        rim = np.stack([np.stack([x, np.full_like(x, height + side * width / 2), z], 1) for side in (1, -1)])
        return cls(rim, rig.body.joint("pelvis"), rng.uniform(0.02, 0.8, 3))

    def draw(self, linear: NDArray[np.float32], window: Pinhole, skeleton: Skeleton) -> NDArray[np.float32]:
        """The belt over the picture."""
        upper, lower = window.project((self.rim_m - self.origin_m) @ skeleton.attitude[0].T + skeleton.joint_m[0])
        outline = np.round(np.concatenate([upper, lower[::-1]]) * 64).astype(np.int32)
        mask = np.zeros(linear.shape[:2], dtype=np.uint8)
        cv2.fillPoly(mask, [outline], 255, cv2.LINE_AA, 6)
        share = (mask / 255.0).astype(np.float32)[..., None]
        shade = cv2.GaussianBlur(linear.mean(axis=2), (0, 0), 4)[..., None] * 1.3 + 0.02
        painted: NDArray[np.float32] = linear * (1 - share) + share * (2 * shade * self.colour).astype(np.float32)
        return painted


def _backdrop(rng: np.random.Generator, level: float) -> NDArray[np.float32]:
    """Something else behind the runner: blotches, edges and people-sized blocks of any colour."""
    scene = np.full((SIDE_PX, SIDE_PX, 3), rng.uniform(0, 2, 3) * level, dtype=np.float32)
    for _ in range(int(rng.integers(3, 14))):
        middle, size = rng.uniform(0, SIDE_PX, 2), rng.uniform(4, 60, 2)
        box = cv2.boxPoints((tuple(middle), tuple(size), float(rng.uniform(0, 90)))).astype(np.int32)
        cv2.fillPoly(scene, [box], tuple(float(v) for v in rng.uniform(0, 2.5, 3) * level))
    grain = rng.normal(0, 1, (16, 16, 3)).astype(np.float32)
    scene *= np.exp(float(rng.uniform(0, 0.6)) * cv2.resize(grain, (SIDE_PX, SIDE_PX))).astype(np.float32)
    cv2.GaussianBlur(scene, (0, 0), float(rng.uniform(0.5, 2.5)), dst=scene)
    return scene


def random_pelvis(rng: np.random.Generator, run_deg: tuple[float, float, float], bends: bool = True) -> Loose:
    """A pelvis that owes nothing to the legs, or nearly: half of all samples are drawn quite freely."""
    follow = float(rng.choice([0.0, 1.0, rng.uniform(0, 1)]))
    if rng.uniform() < 0.25:
        return Loose(run_deg, 0.0)
    if rng.uniform() < 0.15:  # level over running legs: what must not be mistaken for a drop
        return Loose((0.0, run_deg[1], run_deg[2]), 0.0)
    wide = 2.0 if rng.uniform() < 0.1 else 1.0
    tilt = float(np.clip(rng.normal(9, 6 * wide), -8 * wide, 26 * wide))
    angles = (float(rng.normal(0, 5.0 * wide)), float(rng.normal(0, 8)), tilt)
    if not bends or rng.uniform() < 0.75:
        return Loose(angles, follow)
    bend, lean, turn = rng.normal([8, 0, 0], [14, 8, 10]).tolist()  # no runner any more: balances, stretches, bends
    lifted = [(float(rng.normal(0, 20)), float(abs(rng.normal(0, 12)))) for _ in "LR"]
    return Loose(angles, follow, (bend, lean, turn), (lifted[0], lifted[1]))


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
    middle = (skeleton.hips_m["L"] + skeleton.hips_m["R"]) / 2
    toward = window.attitude.T @ (middle - window.position_m)
    line_of_sight = arc(np.array([0.0, 0.0, -1.0]), toward / np.linalg.norm(toward))
    seen = line_of_sight.T @ window.attitude.T @ skeleton.pelvis
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
