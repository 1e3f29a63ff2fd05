"""The known motions of ``station warp``, how answers are read, and the command on the bundled clip."""

from __future__ import annotations

import json
import math
from pathlib import Path

import av
import numpy as np
import pytest

from station.__main__ import main
from station.camera import BUNDLED_CLIP
from station.lab.warp import answer
from station.lab.warps import Body, bodies_of, lift_leg, turn_pelvis, turn_picture
from station.types import KEYPOINT_INDEX, KEYPOINTS, Floats, Pixels, Pose

WIDTH_PX = 60.0
BODY = Body(np.array([300.0, 260.0]), WIDTH_PX, np.array([[330.0, 260.0], [332.0, 400.0], [334.0, 540.0]]))


def a_line(middle_y: float) -> Pixels:
    """Black, with a level white line across."""
    image = np.zeros((600, 600, 3), np.uint8)
    image[round(middle_y) - 1 : round(middle_y) + 2] = 255
    return image


def angle_deg(image: Pixels, left: int, right: int) -> float:
    """How far the line between two columns has turned, + = right side higher."""
    rows = np.arange(len(image))[:, None]
    bright = image[:, left:right, 0].astype(float)
    height = (rows * bright).sum(axis=0) / bright.sum(axis=0)
    return float(-math.degrees(math.atan(np.polyfit(np.arange(left, right), height, 1)[0])))


@pytest.mark.parametrize("turn_deg", [-7.0, 2.0, 7.0])
def test_the_pelvis_turns_by_the_whole_angle(turn_deg: float) -> None:
    image = a_line(float(BODY.middle_px[1]))
    turned = turn_pelvis(image, BODY, turn_deg)
    assert angle_deg(turned, 250, 350) == pytest.approx(turn_deg, abs=0.05)
    whole = turn_picture(image, BODY, turn_deg)
    assert angle_deg(whole, 100, 500) == pytest.approx(turn_deg, abs=0.05)


def test_beyond_its_reach_the_pelvis_warp_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 255, (600, 600, 3), dtype=np.uint8)
    turned = turn_pelvis(image, BODY, 8.0)
    reach = 1.55 * WIDTH_PX + 1
    middle = float(BODY.middle_px[1])
    changed = np.flatnonzero((turned != image).any(axis=(1, 2)))
    assert middle - reach < changed[0] < middle < changed[-1] < middle + reach
    assert (turn_pelvis(image, BODY, 0.0) == image).all()


def test_the_leg_goes_up_and_not_a_pixel_of_the_pelvis_changes() -> None:
    image = np.random.default_rng(1).integers(0, 255, (600, 600, 3), dtype=np.uint8)
    image[480:484, 310:350] = 255
    lifted = lift_leg(image, BODY, 20.0)
    assert (lifted[:330] == image[:330]).all()  # the middle of the thigh
    assert (lifted[:, :270] == image[:, :270]).all()  # the other leg
    assert (lifted[460:464, 330:336] == 255).all()
    assert (lift_leg(image, BODY, 0.0) == image).all()


def test_a_runner_half_out_of_the_picture_is_warped_where_there_is_one() -> None:
    image = np.random.default_rng(2).integers(0, 255, (100, 80, 3), dtype=np.uint8)
    for x, y in ((0.0, 0.0), (79.0, 99.0), (-500.0, 40.0)):
        body = Body(np.array([x, y]), 30.0, np.array([[x, y], [x, y + 30], [x, y + 60]]))
        for warp in (turn_pelvis, turn_picture, lift_leg):
            assert warp(image, body, 5.0).shape == image.shape
    no_leg = Body(np.array([40.0, 50.0]), 30.0, np.full((3, 2), np.nan))
    assert (lift_leg(image, no_leg, 5.0) == image).all()


def test_bodies_follow_the_hips_and_bridge_gaps() -> None:
    poses = []
    for i in range(20):
        xy = np.full((len(KEYPOINTS), 2), np.nan)
        for side, sign in (("left", -1), ("right", 1)):
            xy[KEYPOINT_INDEX[f"{side}_hip"]] = 100 + sign * 10 + i, 200
            xy[KEYPOINT_INDEX[f"{side}_shoulder"]] = 100 + sign * 20 + i, 100
        poses.append(Pose.nobody() if i == 7 else Pose(xy, np.ones(len(KEYPOINTS))))
    bodies = bodies_of(poses)
    assert [body is None for body in bodies] == [i == 7 for i in range(20)]
    ten = bodies[10]
    assert ten is not None
    assert ten.hips_px == pytest.approx([110, 200], abs=0.3)
    assert ten.width_px == pytest.approx(34, abs=1)
    assert bodies_of([Pose.nobody()] * 3) == [None] * 3


def swings(count: int = 90) -> tuple[Floats, Floats]:
    t_s = np.arange(count) / 30.0
    return t_s, 6.0 * np.sin(2 * np.pi * 1.9 * t_s)


def test_an_answer_has_gain_sign_correlation_and_scatter() -> None:
    t_s, applied = swings()
    a = answer(t_s, applied, -0.4 * applied + 3.0 + 0.7 * t_s)  # a level and a steady drift are nobody's fault
    assert a.gain == pytest.approx(-0.4)
    assert a.sign == "-"
    assert a.r == pytest.approx(-1.0)
    assert a.rmse_deg == pytest.approx(0.0, abs=1e-9)
    noisy = answer(t_s, applied, applied + np.random.default_rng(3).normal(0, 0.5, len(t_s)))
    assert noisy.gain == pytest.approx(1.0, abs=0.05)
    assert noisy.jitter_deg == pytest.approx(0.5, abs=0.1)
    assert noisy.rmse_deg == pytest.approx(0.5, abs=0.1)


def test_an_answer_to_nothing_is_no_answer() -> None:
    t_s, applied = swings()
    silent = answer(t_s, applied, np.full(len(t_s), np.nan))
    assert silent.known == 0
    assert silent.sign == "?"
    assert math.isnan(silent.gain)
    still = answer(t_s, applied, np.zeros(len(t_s)))
    assert (still.gain, still.r) == (0.0, 0.0)


def test_the_command_tells_who_notices(capsys: pytest.CaptureFixture[str]) -> None:
    """The gyroscope sees the pelvis turn, the hips of the pose model hardly do; a lifted leg turns nothing."""
    code = main(["warp", str(BUNDLED_CLIP), "--seconds", "1.4", "--hz", "2", "--json", "--set", "pose.threads=1"])
    report = json.loads(capsys.readouterr().out)
    assert code == 0
    assert report["frames"] == 43
    optical, hips = report["estimators"]["optical"], report["estimators"]["hips"]
    assert 0.85 < optical["pelvis"]["gain"] < 1.1
    assert optical["pelvis"]["r"] > 0.95
    assert 0.85 < optical["whole"]["gain"] < 1.1
    assert abs(optical["leg"]["gain"]) < 0.3
    assert hips["pelvis"]["gain"] < 0.5
    assert hips["whole"]["gain"] > 0.7


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("missing.mp4", [], "no such file"),
        ("text.mp4", [], "not a video"),
        ("empty.mp4", [], "a runner's hips in 0 of"),
        ("empty.mp4", ["--amplitude", "40"], "--amplitude 40: must be 0.5 to 15"),
        ("empty.mp4", ["--hz", "nan"], "--hz nan: must be"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    name: str, arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.mp4").write_text("not a film\n")
    with av.open(str(tmp_path / "empty.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(35):
            wall = av.VideoFrame.from_ndarray(np.full((240, 320, 3), 90, np.uint8), format="rgb24")
            container.mux(stream.encode(wall))
        container.mux(stream.encode())
    assert main(["warp", str(tmp_path / name), *arguments]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("station: ")]
    assert len(error) == 1
    assert says in error[0]
