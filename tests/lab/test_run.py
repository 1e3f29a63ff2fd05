"""The run itself: planted feet, honest pelvis angles, a loop without a seam. Needs no exported bodies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from station.lab.gaitplan import Plan, Style
from station.lab.legs import Legs
from station.lab.pinhole import Pinhole
from station.lab.rotations import Spline, pelvis_rotation
from station.lab.skinning import Rig
from tests.lab.stick import stick_body

STYLES = [
    Style(),
    Style(strides=7, period_s=5.0, speed_mps=2.7, seed=11),
    Style(strides=8, period_s=6.2, speed_mps=2.3, drop_left_deg=1.0, drop_right_deg=9.0, step_width_m=0.01, seed=2),
]


@pytest.fixture(params=range(len(STYLES)), ids=["bundled", "short", "slow"])
def legs(request: pytest.FixtureRequest) -> Legs:
    return Legs(stick_body(), Plan(STYLES[request.param]))


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (6.0, -8.0, 12.0), (-9.0, 15.0, -5.0)])
def test_the_pelvis_projects_at_exactly_the_angles_asked_for(angles: tuple[float, float, float]) -> None:
    right, up, back = pelvis_rotation(*angles).T
    assert np.degrees(np.arctan2(right[1], right[0])) == pytest.approx(angles[0], abs=1e-9)
    assert np.degrees(np.arctan2(-right[2], right[0])) == pytest.approx(angles[1], abs=1e-9)
    assert np.degrees(np.arctan2(-up[2], up[1])) == pytest.approx(angles[2], abs=1e-9)
    assert np.stack([right, up, back]) @ np.stack([right, up, back]).T == pytest.approx(np.eye(3), abs=1e-12)


def test_a_planted_ball_of_the_foot_travels_with_the_belt(legs: Legs) -> None:
    speed, frame = legs.plan.style.speed_mps, 1 / 30
    for side in "LR":
        for step in legs.plan.steps[side]:
            flat = step.contact_s + 0.2 * (step.off_s - step.contact_s)
            times = np.linspace(flat, step.off_s - 1e-6, 8)
            balls = np.array([legs.pose(side, float(t)).ball for t in times])
            slip_mm = 1000 * np.abs(balls[:, 2] - balls[0, 2] - speed * (times - times[0]))
            assert slip_mm.max() * frame / (times[-1] - times[0]) < 3.0
            assert 1000 * np.abs(balls[:, 1]).max() < 1.0
            assert 1000 * np.ptp(balls[:, 0]) < 1.0


def _lowest_m(legs: Legs, side: str, t_s: float) -> float:
    foot, pose = legs.feet[side], legs.pose(side, t_s)
    toe = pose.ball + pose.toes @ np.array([0.0, 0.0, -(foot.length_m - foot.ball_m)])
    return min(float((pose.ankle + pose.foot @ foot.heel)[1]), float(pose.ball[1]), float(toe[1]))


def test_the_sole_is_down_between_contact_and_off_and_up_outside(legs: Legs) -> None:
    for side in "LR":
        for step in legs.plan.steps[side][:4]:
            inside = np.linspace(step.contact_s + 1e-4, step.off_s - 1e-4, 20)
            assert max(abs(_lowest_m(legs, side, float(t))) for t in inside) < 0.002
            assert _lowest_m(legs, side, step.contact_s - 0.012) > 0.003
            assert _lowest_m(legs, side, step.off_s + 0.030) > 0.002
            swing = np.linspace(
                step.off_s + 0.01, step.contact_s + 0.62 * legs.plan.style.period_s / legs.plan.style.strides, 20
            )
            assert min(_lowest_m(legs, side, float(t)) for t in swing) > -0.003


def test_the_legs_keep_their_length_and_meet_the_hips(legs: Legs) -> None:
    for side in "LR":
        thigh_m, shank_m = legs.lengths_m(side)
        for t in np.linspace(0, legs.plan.style.period_s, 97):
            pose = legs.pose(side, float(t))
            assert np.linalg.norm(pose.knee - pose.hip) == pytest.approx(thigh_m, abs=1e-9)
            assert np.linalg.norm(pose.ankle - pose.knee) == pytest.approx(shank_m, abs=1e-9)
            assert pose.hip == pytest.approx(legs.hip(side, float(t)))


def test_joints_do_not_jump_at_landing_or_leaving(legs: Legs) -> None:
    step = 1e-4
    for side in "LR":
        for one in legs.plan.steps[side][:5]:
            for event in (one.contact_s, one.off_s):
                before, after = legs.pose(side, event - step), legs.pose(side, event + step)
                assert np.linalg.norm(after.ankle - before.ankle) < 0.004
                assert np.linalg.norm(after.knee - before.knee) < 0.004


def test_bounce_and_sway_are_those_of_runners(legs: Legs) -> None:
    style = legs.plan.style
    stride = style.period_s / style.strides
    path = np.array([legs.pelvis(float(t))[0] for t in np.arange(0, style.period_s, 1 / 120)])
    step = round(stride / 2 * 120)
    bounces = [np.ptp(path[i : i + step, 1]) for i in range(0, len(path) - step, step)]
    assert 0.050 < np.mean(bounces) < 0.100
    sways = [np.ptp(path[i : i + 2 * step, 0]) for i in range(0, len(path) - 2 * step, 2 * step)]
    assert 0.020 < np.mean(sways) < 0.045


def test_the_run_repeats_after_its_period(legs: Legs) -> None:
    rig = Rig(legs.body, legs.plan)
    period = legs.plan.style.period_s
    for t in (0.0, 0.111, 1.234, period - 0.01):
        one, other = rig.skeleton(t), rig.skeleton(t + period)
        assert one.joint_m == pytest.approx(other.joint_m, abs=1e-9)
        assert one.attitude == pytest.approx(other.attitude, abs=1e-9)


def test_nothing_jumps_at_the_seam(legs: Legs) -> None:
    rig, period = Rig(legs.body, legs.plan), legs.plan.style.period_s
    before, after = rig.skeleton(period - 5e-4), rig.skeleton(period + 5e-4)
    assert np.abs(after.joint_m - before.joint_m).max() < 0.012  # 1 ms of a fast foot


def test_drop_follows_the_style_side_by_side() -> None:
    for left, right in ((8.0, 2.0), (1.0, 6.0)):
        plan = Plan(replace(Style(), drop_left_deg=left, drop_right_deg=right, variability=0.0))
        angles = np.array([plan.angles_deg(float(t))[0] for t in np.arange(0, 3, 0.004)])
        assert -angles.min() == pytest.approx(left, abs=0.6)
        assert angles.max() == pytest.approx(right, abs=0.6)


def test_the_pelvis_moves_without_the_legs_and_the_legs_without_the_pelvis() -> None:
    still = Plan(replace(Style(), drop_left_deg=0.0, drop_right_deg=0.0))
    assert max(abs(still.angles_deg(float(t))[0]) for t in np.linspace(0, 5, 99)) < 1e-9
    moving = Plan(Style())
    assert [s.contact_s for s in still.steps["L"]] == [s.contact_s for s in moving.steps["L"]]


def test_strides_vary_but_only_a_little() -> None:
    style = Style()
    contacts = np.array([s.contact_s for s in Plan(style).steps["L"]])
    strides = np.diff(np.append(contacts, contacts[0] + style.period_s))
    assert strides.mean() == pytest.approx(style.period_s / style.strides)
    assert 0.002 < strides.std() / strides.mean() < 0.03


def test_a_periodic_spline_wraps_smoothly() -> None:
    curve = Spline([0.0, 0.3, 0.7], [1.0, -1.0, 0.5], period=1.0)
    assert float(curve(0.3)) == pytest.approx(-1.0)
    assert float(curve(-0.7)) == pytest.approx(-1.0)
    left, right = (curve(1.0) - curve(1.0 - 1e-6)), (curve(1e-6) - curve(0.0))
    assert float(left) == pytest.approx(float(right), rel=1e-3)


def test_the_camera_obeys_the_track_headers_signs() -> None:
    ahead = np.array([[-0.1, 1.0, 0.0], [0.1, 1.0, 0.0]])
    rolled = Pinhole(roll_deg=3.0, pitch_deg=0.0).project(ahead)
    line = np.degrees(np.arctan2(-(rolled[1, 1] - rolled[0, 1]), rolled[1, 0] - rolled[0, 0]))
    assert line == pytest.approx(3.0, abs=1e-6)  # its right side is lower: a level line reads +roll
    level, raised = (Pinhole(pitch_deg=p).project(ahead)[0, 1] for p in (0.0, 5.0))
    assert raised > level  # looking up, everything sinks in the picture
    assert Pinhole(x_m=0.0).project(ahead)[0, 0] < 640 < Pinhole(x_m=0.0).project(ahead)[1, 0]
    assert np.isnan(Pinhole().project(np.array([0.0, 1.0, 5.0]))).all()
