"""From the line of sight to the world: exact where the mount is known, and unsure by as much as it is not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from station.geometry import RayCaster
from station.lab.pinhole import Pinhole
from station.pelvis.frames import USUAL_SD_DEG, Angles, Sight, Sightline
from station.types import KEYPOINT_INDEX, Floats, Mount, Pose, View
from tests.pelvis.witnesses import Runner, high

SURE = (1e-6, 1e-6, 1e-6)


def sights(runner: Runner, mount: Mount, poses: list[Pose]) -> list[Sight]:
    line = Sightline(RayCaster(View(1280, 720, runner.fps, mount)))
    hips = [KEYPOINT_INDEX["left_hip"], KEYPOINT_INDEX["right_hip"]]
    found = []
    for pose in poses:
        (lx, ly), (rx, ry) = pose.xy_px[hips].tolist()
        sight = line.at((lx, ly), (rx, ry))
        assert sight is not None
        found.append(sight)
    return found


def world(runner: Runner, mount: Mount, sd: tuple[float, float, float] = SURE) -> tuple[Floats, Floats]:
    """World angles (n, 3) and their sd, from the true angles along the line of sight."""
    seen, poses = runner.seen_deg(runner.t_s)
    told = [
        sight.to_world(Angles((float(o), float(r), float(t)), sd))
        for sight, (o, r, t) in zip(sights(runner, mount, poses), seen, strict=True)
    ]
    return np.array([a.deg for a in told]), np.array([a.sd_deg for a in told])


@pytest.mark.parametrize(
    "camera",
    [
        Pinhole(),
        Pinhole(height_m=1.4, distance_m=2.0, pitch_deg=-14.0),
        Pinhole(height_m=0.6, distance_m=3.2, pitch_deg=4.0, roll_deg=2.5, focal_px=1000.0),
        Pinhole(height_m=1.6, distance_m=1.8, pitch_deg=-20.0, roll_deg=-3.0),
    ],
)
def test_with_a_known_mount_the_world_angles_come_back_exactly(camera: Pinhole) -> None:
    runner = Runner(seconds=1.5, camera=camera)
    angles, _ = world(runner, runner.mount)
    assert np.abs(angles - runner.angles_deg(runner.t_s)).max() < 0.02


def turning(runner: Runner) -> Runner:
    return replace(runner, drop_deg=0.0, mean_deg=0.0, rotation_deg=8.0, seconds=3.0)


def leak(runner: Runner, angles: Floats) -> float:
    return float(np.polyfit(runner.angles_deg(runner.t_s)[:, 1], angles[:, 0], 1)[0])


def test_rotation_seen_from_above_is_not_taken_for_obliquity() -> None:
    runner = turning(high(Runner(), 1.4))
    seen, _ = runner.seen_deg(runner.t_s)
    assert leak(runner, seen) > 0.15 or leak(runner, seen) < -0.15  # what there is to correct
    known = runner.mount
    pitch_untold = replace(known, pitch_deg=None)
    assert abs(leak(runner, world(runner, known)[0])) < 0.002
    assert abs(leak(runner, world(runner, pitch_untold)[0])) < 0.03


def test_roll_counts_one_to_one() -> None:
    level = Runner(seconds=1.0)
    askew = replace(level, camera=replace(level.camera, roll_deg=2.0))
    told = replace(askew.mount, roll_deg=0.0)
    off = world(askew, told)[0][:, 0] - world(askew, askew.mount)[0][:, 0]
    assert off == pytest.approx(2.0, abs=0.05)


def test_without_rotation_a_high_camera_is_unsure_of_obliquity() -> None:
    runner = high(Runner(seconds=0.2), 1.4)
    _, poses = runner.seen_deg(runner.t_s)
    sight = sights(runner, runner.mount, poses)[0]
    elevation = math.radians(12.0)
    nothing = sight.to_world(Angles((1.0, math.nan, math.nan), (0.1, math.nan, math.nan)))
    assert nothing.sd_deg[0] == pytest.approx(math.tan(elevation) * USUAL_SD_DEG[1], rel=0.3)
    assert math.isnan(nothing.deg[1])
    assert math.isnan(nothing.deg[2])
    sure = sight.to_world(Angles((1.0, 3.0, 9.0), (0.1, 0.5, 0.5)))
    assert sure.sd_deg[0] < 0.5 < nothing.sd_deg[0]


def test_less_known_of_the_mount_is_a_wider_sd_never_a_narrower_one() -> None:
    runner = high(Runner(seconds=0.5), 1.4)
    mounts = [
        runner.mount,
        replace(runner.mount, pitch_deg=None),
        replace(runner.mount, pitch_deg=None, roll_deg=None),
        Mount(),
    ]
    widths = np.array([world(runner, mount, (0.5, 2.0, 2.0))[1].mean(axis=0) for mount in mounts])
    assert (np.diff(widths[:, 0]) >= -0.01).all()
    assert widths[2, 0] > widths[0, 0] + 0.5
    angles, sd = world(runner, Mount(), (0.5, 2.0, 2.0))
    assert (np.abs(angles - runner.angles_deg(runner.t_s)) < 2.5 * sd).mean() > 0.9


def test_hips_that_are_not_seen_give_no_sight() -> None:
    line = Sightline(RayCaster(View(1280, 720, 30.0)))
    assert line.at((math.nan, 1.0), (2.0, 3.0)) is None
