"""The inclinometer: where it looks, what its numbers mean, and what it says of the bundled (rendered) runner."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from station.camera import BUNDLED_CLIP, frames
from station.camera.video import VideoFile
from station.models.build import build
from station.pelvis_net import (
    INPUT_PX,
    OUTPUTS,
    PRIOR_DEG,
    SCALE_DEG,
    Mirror,
    PelvisNet,
    decode,
    model_path,
    without_prior,
)
from station.pose import PoseEstimator
from station.types import KEYPOINT_INDEX, KEYPOINTS, Frame, Mount, Pose


@pytest.fixture(scope="module")
def net() -> PelvisNet:
    return PelvisNet.load(threads=2)


@pytest.fixture(scope="module")
def clip() -> list[tuple[Frame, Pose]]:
    """Every third frame of the first six seconds, with its pose."""
    build(("lite", "detector"), say=lambda _line: None)
    pose, seen = PoseEstimator.load("lite", 2), []
    for frame in frames(VideoFile(BUNDLED_CLIP, Mount())):
        found = pose.estimate(frame)
        if frame.index % 3 == 0:
            seen.append((frame, found))
        if frame.index >= 180:
            break
    return seen


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(BUNDLED_CLIP.with_suffix(".truth.json").read_text())
    return loaded


def test_answers_are_degrees_half_crops_and_a_share() -> None:
    raw = np.zeros(len(OUTPUTS), dtype=np.float32)
    raw[:3] = 1.0
    raw[3] = 2 * math.log(0.5)
    raw[6:10] = (-0.3, 0.1, 0.3, 0.05)
    raw[10] = 4.0
    angles, sd, hips, waist = decode(raw)
    assert angles == pytest.approx(SCALE_DEG)
    assert sd == pytest.approx([0.5 * SCALE_DEG[0], SCALE_DEG[1], SCALE_DEG[2]])
    assert hips.ravel() == pytest.approx([-0.3, 0.1, 0.3, 0.05])
    assert waist == pytest.approx(1 / (1 + math.exp(-4)))


def test_without_the_prior_a_least_squares_answer_has_gain_one_again() -> None:
    rng = np.random.default_rng(1)
    mean, prior = PRIOR_DEG[2]
    true = rng.normal(mean, prior, 20_000)
    noise = 6.0
    seen = true + rng.normal(0, noise, true.size)
    trust = prior**2 / (prior**2 + noise**2)
    posterior, sd = mean + trust * (seen - mean), prior * math.sqrt(1 - trust)
    said = [without_prior([0.0, 0.0, float(p)], [1.0, 1.0, sd]) for p in posterior]
    angles, sds = np.array([a[2] for a, _ in said]), said[0][1][2]
    assert np.polyfit(true, posterior, 1)[0] == pytest.approx(trust, abs=0.02)
    assert np.polyfit(true, angles, 1)[0] == pytest.approx(1.0, abs=0.02)
    assert sds == pytest.approx(noise)
    assert np.mean(np.abs(angles - true) <= sds) == pytest.approx(0.683, abs=0.02)


def test_a_picture_that_tells_nothing_is_not_known() -> None:
    angles, sd = without_prior([1.0, 1.0, 1.0], [1.0, PRIOR_DEG[1][1], 0.95 * PRIOR_DEG[2][1]])
    assert math.isfinite(angles[0])
    assert math.isnan(angles[1])
    assert math.isnan(angles[2])
    assert sd[1:] == [math.inf, math.inf]


def test_it_looks_where_the_pelvis_is(net: PelvisNet, clip: list[tuple[Frame, Pose]], truth: dict[str, Any]) -> None:
    camera = truth["camera"]
    for frame, pose in clip:
        region = net.region(pose)
        assert region is not None
        x, y = truth["hip_centre_px"][frame.index]
        metre_px = camera["focal_px"] / camera["distance_m"]
        assert region.side_px == pytest.approx(0.5425 * metre_px, rel=0.15)
        assert region.x_px == pytest.approx(x, abs=0.06 * region.side_px)
        assert region.y_px == pytest.approx(y - 0.057 * region.side_px, abs=0.09 * region.side_px)


def test_it_reads_the_rendered_runner(net: PelvisNet, clip: list[tuple[Frame, Pose]], truth: dict[str, Any]) -> None:
    said, sd, true = [], [], []
    for frame, pose in clip:
        level = net.read(frame, pose)
        assert level is not None
        said.append(level.obliquity_deg)
        sd.append(level.sd_obliquity_deg)
        true.append(truth["obliquity_deg"][frame.index])
    assert np.corrcoef(said, true)[0, 1] > 0.85
    assert 0.6 < np.polyfit(true, said, 1)[0] < 1.2
    assert np.median(sd) < 3.0


def test_nobody_is_no_reading_and_forgets_the_size(net: PelvisNet, clip: list[tuple[Frame, Pose]]) -> None:
    frame, pose = clip[0]
    assert net.read(frame, Pose.nobody()) is None
    assert math.isnan(net._side_px)
    hidden = Pose(pose.xy_px.copy(), pose.score.copy())
    for name in ("left_hip", "right_hip"):
        hidden.xy_px[KEYPOINT_INDEX[name]], hidden.score[KEYPOINT_INDEX[name]] = math.nan, 0.0
    assert net.read(frame, hidden) is None
    assert net.read(frame, pose) is not None


def test_shoulders_out_of_sight_leave_the_size_as_it_was(net: PelvisNet, clip: list[tuple[Frame, Pose]]) -> None:
    frame, pose = clip[0]
    net.read(frame, pose)
    size_px = net._side_px
    headless = Pose(pose.xy_px.copy(), pose.score.copy())
    headless.xy_px[KEYPOINT_INDEX["left_shoulder"]] = math.nan
    assert net.read(frame, headless) is not None
    assert net._side_px == size_px


def test_the_model_is_small_and_takes_the_crop(net: PelvisNet) -> None:
    assert model_path().stat().st_size <= 1_000_000
    assert net._model.inputs[0].shape == (1, INPUT_PX, INPUT_PX, 3)
    assert Path(model_path()).with_suffix(".md").is_file(), "a model without its card"


def test_what_the_mirror_changes_is_taken_out_and_motion_stays() -> None:
    mirror, t_s = Mirror(), np.arange(0, 6, 1 / 30)
    true = 5 * np.sin(2 * np.pi * 1.4 * t_s) + 2 * np.sin(2 * np.pi * 2.8 * t_s) - 1.0
    askew = 3.0  # the net's own sense of left and right: the same answer, whichever way the picture was turned
    said = []
    for angle in true:
        own = angle - askew if mirror.turn() else angle + askew
        said.append(mirror.centred([own, own, own])[0])
    error = np.array(said) - true
    assert abs(error[60:].mean()) < 0.1
    assert np.sqrt((error[60:] ** 2).mean()) < 0.5
    assert np.abs(error).max() <= askew + 0.5  # never worse than without


def _in_a_mirror(frame: Frame, pose: Pose) -> tuple[Frame, Pose]:
    other = [KEYPOINT_INDEX[n.replace("left", "x").replace("right", "left").replace("x", "right")] for n in KEYPOINTS]
    xy = pose.xy_px[other] * (-1.0, 1.0) + (frame.size_px[0] - 1.0, 0.0)
    picture = cv2.cvtColor(frame.image, cv2.COLOR_YUV2BGR_I420)
    return replace(frame, image=np.ascontiguousarray(picture[:, ::-1]), layout="bgr"), Pose(xy, pose.score[other])


def test_a_runner_and_her_mirror_image_are_read_alike(clip: list[tuple[Frame, Pose]]) -> None:
    assert clip[0][0].layout == "yuv420"
    angles = []
    for pictures in (clip, [_in_a_mirror(*seen) for seen in clip]):
        net = PelvisNet.load(threads=2)
        said = [level for seen in pictures if (level := net.read(*seen)) is not None][20:]
        angles.append(np.array([(level.obliquity_deg, level.rotation_deg, level.tilt_deg) for level in said]))
    plain, mirrored = angles[0].mean(axis=0), angles[1].mean(axis=0) * (-1.0, -1.0, 1.0)
    assert np.abs(plain - mirrored) == pytest.approx(0.0, abs=0.5)
