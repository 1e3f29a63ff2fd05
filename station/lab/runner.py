"""A whole take: who runs, how, dressed how, where, seen by which camera — and its exposures and truth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.lab.bodies import BONE, BodyLibrary, Build, take
from station.lab.gaitplan import Plan, Style
from station.lab.garments import Outfit, dress, join
from station.lab.gl import Light, Look, Renderer
from station.lab.pinhole import Pinhole
from station.lab.scene import gym
from station.lab.sensor import Sensor
from station.lab.skinning import Mesh, Normals, Rig, Skeleton, skin
from station.lab.sweep import Sweep
from station.types import KEYPOINTS, Floats

_LIMBS = {"shoulder": "upperarm", "hip": "thigh", "knee": "shank", "ankle": "foot"}


@dataclass(frozen=True, slots=True)
class Take:
    """Everything that decides a rendered clip; equal takes give equal pictures. ``sweep``: the pelvis moves alone."""

    body: int = 0
    style: Style = field(default_factory=Style)
    outfit: Outfit = field(default_factory=Outfit)
    camera: Pinhole = field(default_factory=Pinhole)
    light: Light = field(default_factory=Light)
    look: Look = field(default_factory=Look)
    sensor: Sensor = field(default_factory=Sensor)
    scene_seed: int = 3
    exposure_s: float = 0.003
    exposures: int = 2
    sweep: Sweep | None = None
    build: Build = field(default_factory=Build)


class Studio:
    """Renders one take. The window is the part of the picture that changes; the rest is rendered once."""

    def __init__(self, shot: Take, library: BodyLibrary, samples: int = 4) -> None:
        self.shot = shot
        self.rig = Rig(take(library, shot.body, shot.build), Plan(shot.style))
        self.clothed = dress(self.rig, shot.outfit)
        self._normals = Normals(self.clothed.mesh.faces, len(self.clothed.mesh.vertices_m))
        self._solid = gym(np.random.default_rng(shot.scene_seed))
        self._samples = samples
        self.window_px = self._window()
        self._renderers: dict[tuple[int, int], Renderer] = {}
        self._background: NDArray[np.float32] | None = None

    def dress_over(self, mesh: Mesh) -> None:
        """Wear one thing more. To be called before anything is rendered."""
        self.clothed = replace(self.clothed, mesh=join([self.clothed.mesh, mesh]))
        self._normals = Normals(self.clothed.mesh.faces, len(self.clothed.mesh.vertices_m))

    def skeleton(self, t_s: float) -> Skeleton:
        """The bones at a time, pelvis sweep included."""
        sweep = self.shot.sweep
        return self.rig.skeleton(t_s) if sweep is None else sweep.skeleton(self.rig, t_s)

    def _window(self) -> tuple[int, int, int, int]:
        camera, period = self.shot.camera, self.shot.style.period_s / self.shot.style.strides
        seen = []
        for t in np.linspace(0, 3 * period, 48):
            points = skin(self.rig, self.skeleton(float(t)), self.clothed.mesh)[::9]
            toward = np.asarray(self.shot.light.key) / self.shot.light.key[1]
            shade = points - points[:, 1:2] * toward
            seen += [camera.project(points), camera.project(shade)]
        belt = [[x, 0.0, z] for x in (-0.29, 0.29) for z in (-0.95, min(0.9, self.shot.camera.distance_m - 1.0))]
        seen.append(camera.project(np.array(belt)))
        every = np.concatenate(seen)
        size = np.array([camera.width_px, camera.height_px])
        low = np.clip(np.nanmin(every, axis=0) - 24, 0, size - 32).astype(int)
        high = np.clip(np.nanmax(every, axis=0) + 24, low + 32, size).astype(int)
        width, height = high - low
        return int(low[0]), int(low[1]), int(width + width % 2), int(height + height % 2)

    def _renderer(self, width: int, height: int) -> Renderer:
        if (width, height) not in self._renderers:
            renderer = Renderer(width, height, self._samples)
            renderer.set_scene(self._solid)
            renderer.set_runner(self.clothed)
            self._renderers[width, height] = renderer
        return self._renderers[width, height]

    def background(self) -> NDArray[np.float32]:
        """The whole picture without the runner, linear light (rendered once)."""
        if self._background is None:
            camera, n = self.shot.camera, self.shot.exposures
            renderer = self._renderer(camera.width_px, camera.height_px)
            views = [
                renderer.draw(_jitter(camera, i, n), self.shot.light, self.shot.look, turn=i / (5 * n))
                for i in range(n)
            ]
            self._background = np.asarray(np.mean(views, axis=0)[..., :3], dtype=np.float32)
        return self._background

    def expose(self, t_s: float, whole: bool = False) -> NDArray[np.float32]:
        """Linear light of the window (or of the whole picture) exposed around ``t_s``: the mean of a few instants."""
        shot, n = self.shot, self.shot.exposures
        camera = shot.camera
        left, top, width, height = (0, 0, camera.width_px, camera.height_px) if whole else self.window_px
        renderer = self._renderer(width, height)
        total = np.zeros((height, width, 4), dtype=np.float32)
        for i in range(n):
            at = t_s + shot.exposure_s * ((i + 0.5) / n - 0.5)
            vertices = skin(self.rig, self.skeleton(at), self.clothed.mesh)
            shifted = _jitter(camera, i, n)
            total += renderer.draw(
                shifted,
                shot.light,
                shot.look,
                shot.style.speed_mps * at,
                (vertices, self._normals(vertices)),
                (left, top),
                shadows=i == 0,
                still=whole,
                turn=i / (5 * n),
            )
        total /= n
        if whole:
            return total[..., :3]
        behind = np.zeros((height, width, 3), dtype=np.float32)  # the window may overhang the picture by a pixel
        stored = self.background()[top : top + height, left : left + width]
        behind[: stored.shape[0], : stored.shape[1]] = stored
        return np.asarray(total[..., :3] + (1.0 - total[..., 3:]) * behind, dtype=np.float32)

    def keypoints_m(self, bones: Skeleton) -> Floats:
        """The twelve keypoints of the pose track in the world, rows in the order of ``KEYPOINTS``."""
        rows = []
        for name in KEYPOINTS:
            side, _, joint = name.partition("_")
            letter = side[0].upper()
            foot, leg = self.rig.legs.feet[letter], bones.legs[letter]
            if joint == "heel":
                rows.append(leg.ankle + leg.foot @ foot.heel_mark)
            elif joint == "toe":
                rows.append(leg.ball + leg.toes @ (foot.toe_mark - foot.ball))
            else:
                rows.append(bones.joint_m[BONE[f"{_LIMBS[joint]}.{letter}"]])
        return np.array(rows)

    def truth_at(self, t_s: float) -> dict[str, Any]:
        """Angles, pelvis centre, keypoints and foot contact at an instant (``angles`` straight from the hip line)."""
        bones = self.skeleton(t_s)
        points = self.keypoints_m(bones)
        line = bones.hips_m["R"] - bones.hips_m["L"]
        up = bones.pelvis[:, 1]
        return {
            "t": t_s,
            "obliquity_deg": float(np.degrees(np.arctan2(line[1], line[0]))),
            "rotation_deg": float(np.degrees(np.arctan2(-line[2], line[0]))),
            "tilt_deg": float(np.degrees(np.arctan2(-up[2], up[1]))),
            "points_m": points,
            "points_px": self.shot.camera.project(points),
            "down": {side: leg.planted for side, leg in bones.legs.items()},
        }


def _jitter(camera: Pinhole, i: int, n: int) -> Pinhole:
    """Sub-frames see the scene a fraction of a pixel apart (mean zero): smooth edges for nothing."""
    if n < 2:
        return camera
    offsets = np.array([[k / n, (k * (2 if n > 2 else 1) % n) / n] for k in range(n)])
    dx, dy = offsets[i] - offsets.mean(axis=0)
    cx, cy = camera.principal_px
    return replace(camera, centre_px=(cx + float(dx), cy + float(dy)))
