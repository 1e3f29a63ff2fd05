"""A camera at 1.4 m, calibrated as well as promised, against one at hip height: the same pelvic drop.

The witness sees the true pelvis along its line of sight, as a model would that was perfect but for its noise; what the
height of the camera does to that is taken out with the mount. Without that the same comparison fails by degrees.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from station.geometry import RayCaster
from station.lab.analytic import RunnerSpec, run
from station.lab.pinhole import Pinhole
from station.lab.project import Condition, observe, view_of
from station.lab.rotations import arc, pelvis_rotation
from station.lab.truth import Trial, load_trial, pelvis_angles, resample
from station.pelvis.frames import Angles, Sightline
from station.session import Session
from station.types import KEYPOINT_INDEX, Floats, Observation, PelvisReading, StrideMetrics, View

LOW = Condition("hip height", keep_outside=True)
HIGH = replace(LOW, name="1.4 m", height_m=1.4, pitch_deg=-13.0, roll_deg=1.0)
HIPS = [KEYPOINT_INDEX["left_hip"], KEYPOINT_INDEX["right_hip"]]
NOISE_DEG = 1.0


def calibrated(condition: Condition) -> View:
    """The header after a calibration that is off by all that is allowed at once."""
    view = view_of(condition)
    mount = view.mount
    assert mount.height_m is not None
    assert mount.distance_m is not None
    assert mount.focal_px is not None
    assert mount.roll_deg is not None
    off = replace(
        mount,
        height_m=mount.height_m - 0.01,
        distance_m=1.01 * mount.distance_m,
        focal_px=1.01 * mount.focal_px,
        roll_deg=mount.roll_deg + 0.05,
    )
    return replace(view, mount=off)


def seen_along_the_sight(trial: Trial, c: Condition, t_s: float, angles: Floats) -> tuple[float, float, float]:
    """The pelvis' angles as the camera sees them that looks straight at the hips."""
    hips = trial.marks["LHJC"] + trial.marks["RHJC"]
    mean = np.nanmean(hips, axis=0) / 2
    camera = Pinhole(
        height_m=c.height_m, distance_m=mean[2] + c.distance_m, x_m=mean[0], pitch_deg=c.pitch_deg, roll_deg=c.roll_deg
    )
    middle = resample(trial.t_s, hips / 2, np.array([t_s]))[0]
    toward = camera.attitude.T @ (middle - camera.position_m)
    m = arc(np.array([0.0, 0.0, -1.0]), toward).T @ camera.attitude.T @ pelvis_rotation(*angles)
    right, up = m[:, 0], m[:, 1]
    seen = np.degrees([np.arctan2(right[1], right[0]), np.arctan2(-right[2], right[0]), np.arctan2(-up[2], up[1])])
    return float(seen[0]), float(seen[1]), float(seen[2])


def drops(trial: Trial, c: Condition, *, corrected: bool = True) -> tuple[Floats, float]:
    """Peak drop left and right (the median of the last strides), and the rotation's amplitude."""
    view = calibrated(c)
    sightline, session = Sightline(RayCaster(view)), Session(view)
    rng = np.random.default_rng(5)
    curves = pelvis_angles(trial.marks)
    known = [curves["obliquity_deg"], curves["rotation_deg"], curves.get("tilt_deg")]
    filled = np.stack([np.zeros(len(trial.t_s)) if curve is None else curve for curve in known], axis=1)
    found: list[StrideMetrics] = []
    for observation in observe(trial, c, seed=1):
        angles = resample(trial.t_s, filled, np.array([observation.t_s]))[0]
        seen = seen_along_the_sight(trial, c, observation.t_s, angles)
        noisy = tuple(value + rng.normal(0, NOISE_DEG) for value in seen)
        sds = (NOISE_DEG, NOISE_DEG, NOISE_DEG)
        world = Angles((noisy[0], noisy[1], noisy[2]), sds)
        assert observation.pose is not None
        (lx, ly), (rx, ry) = observation.pose.xy_px[HIPS].tolist()
        sight = sightline.at((lx, ly), (rx, ry))
        if corrected and sight is not None:
            world = sight.to_world(world)
        reading = PelvisReading(*world.deg, *sds, source="net")
        told = session.feed(Observation(observation.t_s, observation.pose, reading))
        found += [one for one in told if isinstance(one, StrideMetrics)]
    found += [one for one in session.finish() if isinstance(one, StrideMetrics)]
    values = [
        [one.metrics[f"pelvic_drop_peak_{side}_deg"].value for side in ("left", "right")]
        for one in found
        if one.status == "ok"
    ]
    rows = np.array([row for row in values if None not in row], dtype=float)
    assert len(rows) >= 5
    return np.median(rows[-10:], axis=0), float(np.ptp(filled[:, 1]) / 2)


@pytest.mark.parametrize("lag_rad", [0.5, 3.7])
def test_a_high_mount_tells_the_same_drop_of_a_runner_who_turns_by_8_degrees(lag_rad: float) -> None:
    spec = RunnerSpec(rotation_deg=((8.0, lag_rad), (0.8, 2.0)))
    trial = run(spec, 20.0, seed=4)
    (low, turned_deg), (high, _) = drops(trial, LOW), drops(trial, HIGH)
    assert turned_deg > 7.5
    assert np.abs(high - low).max() <= 0.3, (low, high)


def test_uncorrected_the_same_mount_is_wrong_by_more() -> None:
    trial = run(RunnerSpec(rotation_deg=((8.0, 3.7), (0.8, 2.0))), 20.0, seed=4)
    low, high = drops(trial, LOW)[0], drops(trial, HIGH, corrected=False)[0]
    assert np.abs(high - low).max() > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rbds__RBDS001_T25", "ric__20140515T133244", "welk007__natural2_0-20s"])
def test_a_high_mount_tells_the_same_drop_of_recorded_runners(shared_dir: Path, name: str) -> None:
    trial = load_trial(shared_dir / "fixtures" / "mocap" / f"{name}.npz")
    (low, turned_deg), (high, _) = drops(trial, LOW), drops(trial, HIGH)
    print(f"{name}: rotation ± {turned_deg:.1f}°, drop at hip height {low.round(2)}, at 1.4 m {high.round(2)}")
    assert np.abs(high - low).max() <= 0.3, (low, high)
