"""The pelvis along the line of sight of any camera, and back into the world."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("moderngl", reason="the workbench's renderer is not installed (make setup-lab)")

from station.geometry import RayCaster
from station.lab.heights import HEIGHTS_M, ROTATION_DEG, along_the_sight, take
from station.lab.pinhole import Pinhole
from station.pelvis import Sightline
from station.pelvis.frames import Angles
from station.types import Mount, View


@pytest.mark.parametrize("seed", range(12))
def test_there_and_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    camera = Pinhole(
        height_m=float(rng.uniform(0.5, 1.8)), distance_m=float(rng.uniform(1.8, 3.2)),
        pitch_deg=float(rng.uniform(-20, 5)), roll_deg=float(rng.normal(0, 3)),
    )  # fmt: skip
    mount = Mount(
        height_m=camera.height_m, distance_m=camera.distance_m, focal_px=camera.focal_px, roll_deg=camera.roll_deg,
        pitch_deg=camera.pitch_deg,
    )  # fmt: skip
    hips_m = np.array([rng.normal(0, 0.1), rng.uniform(0.8, 1.0), rng.normal(0, 0.1)])
    angles = [float(rng.normal(0, 5)), float(rng.normal(0, 8)), float(rng.normal(9, 6))]
    (x, y) = camera.project(hips_m).tolist()
    sight = Sightline(RayCaster(View(1280, 720, 30.0, mount))).at((x - 20, y), (x + 20, y))
    assert sight is not None
    seen = along_the_sight(camera, hips_m, angles)
    told = sight.to_world(Angles(seen, (0.01, 0.01, 0.01)))
    assert told.deg == pytest.approx(angles, abs=0.01)
    if abs(camera.height_m - hips_m[1]) > 0.3:
        assert abs(seen[0] - angles[0]) > 0.02  # it was no identity


def test_the_two_cameras_see_the_same_strides() -> None:
    low, high = (take(0, height_m, 6.0) for height_m in HEIGHTS_M)
    assert low.style == high.style
    assert low.style.rotation_deg == ROTATION_DEG
    assert (low.body, low.outfit, low.build) == (high.body, high.outfit, high.build)
    assert (low.camera.height_m, high.camera.height_m) == HEIGHTS_M
