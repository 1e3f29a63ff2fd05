"""Pictures and meshes of the renderer. What needs the exported bodies says so and is skipped without them."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("moderngl", reason="the renderer is in the extra `lab`")

from station.lab import clip
from station.lab.bodies import BONE, Body, cache_dir, load_library, take
from station.lab.clip import bundled
from station.lab.gaitplan import Plan, Style
from station.lab.garments import SKIN, Outfit, dress
from station.lab.gl import Light, Look, Renderer
from station.lab.pinhole import Pinhole
from station.lab.runner import Studio
from station.lab.scene import gym
from station.lab.sensor import Sensor
from station.lab.shoes import SOLE, shoe
from station.lab.skinning import Normals, Rig, skin
from station.lab.variety import random_take
from tests.lab.stick import stick_body


@pytest.fixture(scope="module", params=[0, 1, 15])
def body(request: pytest.FixtureRequest) -> Body:
    if not (cache_dir() / "bodies.npz").is_file():
        pytest.skip("no exported bodies: `python -m station.lab.bodies` makes them (extra `lab`)")
    return take(load_library(), request.param)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    try:
        return Renderer(160, 90, samples=2)
    except Exception as error:  # moderngl raises bare Exceptions
        pytest.skip(f"no off-screen OpenGL here: {error}")


def test_the_shipped_truth_is_what_the_recipe_gives(repository: Path) -> None:
    if not (cache_dir() / "bodies.npz").is_file():
        pytest.skip("no exported bodies: `python -m station.lab.bodies` makes them (extra `lab`)")
    shipped = json.loads((repository / "station/assets/runner.truth.json").read_text())
    studio = Studio(bundled(), load_library())
    assert clip.truth_of(studio, 30)["events"]["left_contact_s"] == shipped["events"]["left_contact_s"][:14]
    for index in (0, 7, 123, 299):
        now = studio.truth_at(index / clip.FPS)
        assert now["obliquity_deg"] == pytest.approx(shipped["obliquity_deg"][index], abs=1e-3)
        assert now["points_m"] == pytest.approx(np.array(shipped["joints_m"][index]), abs=1e-4)
        assert now["points_px"] == pytest.approx(np.array(shipped["joints_px"][index]), abs=0.05)


def test_hips_of_women_and_men_are_as_far_apart_as_in_people(body: Body) -> None:
    assert 0.160 <= body.hip_distance_m <= 0.190
    assert 1.5 < body.stature_m < 2.1


def test_the_rendered_sole_stands_on_the_belt_and_moves_with_it(body: Body) -> None:
    rig = Rig(body, Plan(Style(strides=7, period_s=5.0, speed_mps=2.7)))
    mesh = dress(rig, Outfit()).mesh
    for side in "LR":
        mine = mesh.weights[:, [BONE[f"foot.{side}"], BONE[f"toes.{side}"]]].sum(axis=1) > 0.5
        sole = np.flatnonzero((mesh.material == SOLE) & mine)
        for step in rig.plan.steps[side][:3]:
            times = np.linspace(step.contact_s + 1e-3, step.off_s - 1e-3, 12)
            seen = [skin(rig, rig.skeleton(float(t)), mesh)[sole] for t in times]
            assert all(abs(float(v[:, 1].min())) < 0.002 for v in seen)
            for before, after in pairwise(seen):
                touching = (before[:, 1] < 0.002) & (after[:, 1] < 0.002)
                if touching.any():
                    slip = after[touching, 2] - before[touching, 2] - 2.7 * (times[1] - times[0])
                    assert float(np.median(np.abs(slip))) < 0.003


def test_no_skin_is_left_under_the_clothes(body: Body) -> None:
    rig = Rig(body, Plan(Style(strides=7, period_s=5.0)))
    worn = dress(rig, Outfit(leg=1.6, hem_m=None))
    mesh = worn.mesh
    used = np.unique(mesh.faces)
    bare = used[mesh.material[used] == SKIN]
    thigh = mesh.weights[bare][:, [BONE["thigh.L"], BONE["thigh.R"]]].sum(axis=1) > 0.9
    assert not thigh.any()


def test_a_shoe_has_a_flat_sole_and_bends_at_the_ball() -> None:
    rig = Rig(stick_body(), Plan(Style()))
    foot, ankle = rig.legs.feet["R"], rig.body.joint("foot.R")
    grey = np.full(3, 0.5)
    mesh = shoe(foot, ankle, rig.legs.neutral["foot.R"], "R", (grey, grey, grey))
    local = (mesh.vertices_m - ankle) @ rig.legs.neutral["foot.R"].T
    bottom = local[:, 1] < local[:, 1].min() + 1e-6
    assert bottom.sum() > 30
    assert local[:, 1].min() == pytest.approx(-foot.ankle_m)
    toes = mesh.weights[:, BONE["toes.R"]]
    assert toes[local[:, 2] < foot.ball[2] - 0.02].min() == 1.0
    assert toes[local[:, 2] > foot.ball[2] + 0.02].max() == 0.0


def test_normals_of_a_cube_point_outward() -> None:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float32)
    faces = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
                      [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]], dtype=np.int32)  # fmt: skip
    normals = Normals(faces, 8)(corners)
    assert (np.einsum("ij,ij->i", normals, corners) > 0.9).all()


def test_a_gym_is_rendered_and_two_seeds_differ(renderer: Renderer) -> None:
    pictures = []
    for seed in (1, 2):
        renderer.set_scene(gym(np.random.default_rng(seed)))
        camera = Pinhole(160, 90, focal_px=104.0)
        light = renderer.draw(camera, Light(), Look(wall=seed))
        assert light.shape == (90, 160, 4)
        assert np.isfinite(light).all()
        assert 0.02 < float(light[..., :3].mean()) < 1.5
        pictures.append(light[..., :3])
    assert float(np.abs(pictures[0] - pictures[1]).mean()) > 0.01


def test_the_runner_is_drawn_where_the_camera_projects_her(renderer: Renderer, body: Body) -> None:
    rig = Rig(body, Plan(Style(strides=7, period_s=5.0)))
    worn = dress(rig, Outfit())
    renderer.set_scene(gym(np.random.default_rng(1)))
    renderer.set_runner(worn)
    camera = Pinhole(160, 90, focal_px=104.0)
    vertices = skin(rig, rig.skeleton(0.2), worn.mesh)
    normals = Normals(worn.mesh.faces, len(vertices))(vertices)
    without = renderer.draw(camera, Light(), Look())[..., :3]
    with_her = renderer.draw(camera, Light(), Look(), runner=(vertices, normals))[..., :3]
    changed = np.argwhere(np.abs(with_her - without).sum(axis=2) > 0.12)
    upper = changed[changed[:, 0] < 45]  # above the floor there are no shadows
    spots = camera.project(vertices[np.unique(worn.mesh.faces)])
    spots = spots[(spots[:, 1] < 45) & (spots[:, 1] > 0)]
    assert upper[:, 1].min() == pytest.approx(spots[:, 0].min(), abs=3)
    assert upper[:, 1].max() == pytest.approx(spots[:, 0].max(), abs=3)
    renderer.set_runner(None)


def test_the_sensor_darkens_corners_and_adds_repeatable_noise() -> None:
    flat = np.full((60, 100, 3), 0.4, dtype=np.float32)
    clean = Sensor(noise=0.0, vignette=0.3).develop(flat, None)
    assert clean[30, 50, 0] > clean[0, 0, 0] + 10
    noisy = [Sensor(noise=0.02, vignette=0.0).develop(flat, np.random.default_rng(1)) for _ in range(2)]
    assert (noisy[0] == noisy[1]).all()
    assert 1.0 < float(noisy[0].std()) < 12.0
    whole = replace(Sensor(noise=0.0), soft_px=0.0).develop(flat, None)
    part = replace(Sensor(noise=0.0), soft_px=0.0).develop(flat[10:30, 20:60], None, (20, 10), (100, 60))
    assert (whole[10:30, 20:60] == part).all()


def test_random_takes_follow_their_seed_and_are_plausible() -> None:
    assert random_take(np.random.default_rng(4)) == random_take(np.random.default_rng(4))
    takes = [random_take(np.random.default_rng(seed)) for seed in range(200)]
    assert len({t.body for t in takes}) > 15
    assert 0.15 < np.mean([t.outfit.hem_m is None for t in takes]) < 0.45
    drops = np.array([[t.style.drop_left_deg, t.style.drop_right_deg] for t in takes])
    assert abs(np.corrcoef(drops.T)[0, 1]) < 0.2  # left and right drop are drawn independently
    assert all(0.6 <= t.camera.height_m <= 1.6 and 1.6 <= t.camera.distance_m <= 3.5 for t in takes)
