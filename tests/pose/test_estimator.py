"""Following the runner with the real models: through the clip, out of the picture and back, past other people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest

from station.errors import ModelError
from station.inference import Model
from station.pose import PoseEstimator
from station.pose.estimator import merit
from station.pose.region import Region
from station.pose.sides import rightward
from station.types import KEYPOINT_INDEX, Floats, Frame, Pixels, Pose
from tests.pose.conftest import bgr

HIPS = [KEYPOINT_INDEX["left_hip"], KEYPOINT_INDEX["right_hip"]]
ANKLES = [KEYPOINT_INDEX["left_ankle"], KEYPOINT_INDEX["right_ankle"]]


def hip_centre(pose: Pose) -> Floats:
    centre: Floats = pose.xy_px[HIPS].mean(axis=0)
    return centre


def moved(image: Pixels, dx: float, dy: float = 0.0, zoom: float = 1.0) -> Pixels:
    """The picture scaled about its centre and shifted, the edges continued."""
    height, width = image.shape[:2]
    matrix = np.array([[zoom, 0, (1 - zoom) * width / 2 + dx], [0, zoom, (1 - zoom) * height / 2 + dy]])
    out = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.uint8)


def scene(*people: tuple[Pixels, float, float]) -> Pixels:
    """A grey hall with cut-outs of the clip's runner: each (picture, x of its middle, size), the last in front."""
    hall = np.full((720, 1280, 3), 118, np.uint8)
    hall[520:] = 90
    for image, x, size in people:
        cut = cv2.resize(image[:, 430:850], None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
        left, top = int(x - cut.shape[1] / 2), 720 - cut.shape[0]
        low, high = max(left, 0), min(left + cut.shape[1], 1280)
        if high > low:
            hall[top:, low:high] = cut[:, low - left : high - left]
    return hall


def test_the_clip_every_frame_and_close_to_the_truth(estimator: PoseEstimator, clip_path: Path) -> None:
    """Found in at least 99 % of the frames; hips and ankles lie where the renderer put them."""
    truth = json.loads(clip_path.with_suffix(".truth.json").read_text("utf-8"))
    joints = np.array(truth["joints_px"])
    video, away, found = cv2.VideoCapture(str(clip_path)), [], []
    for i in range(truth["frames"]):
        good, image = video.read()
        assert good
        want = joints[i % len(joints)]  # one period; the clip repeats it
        pose = estimator.estimate(bgr(np.asarray(image, np.uint8), i))
        found.append(pose.someone)
        away.append(np.linalg.norm(pose.xy_px - want, axis=1))
        assert rightward(pose.xy_px) > 0.5
    error = np.array(away)
    assert np.mean(found) >= 0.99
    assert np.nanmean(error[:, HIPS]) < 10
    assert np.nanmedian(error[:, ANKLES]) < 25


def test_a_shifted_and_zoomed_runner_is_found_as_much_shifted_and_zoomed(
    loaded: tuple[Model, Model], clip: list[Pixels]
) -> None:
    def last(pictures: list[Pixels]) -> Pose:
        estimator = PoseEstimator(*loaded)
        return [estimator.estimate(bgr(image, i)) for i, image in enumerate(pictures)][-1]

    plain = last(clip[:8])
    shifted = last([moved(image, 60, 20) for image in clip[:8]])
    smaller = last([moved(image, 0, 0, 0.7) for image in clip[:8]])
    np.testing.assert_allclose(hip_centre(shifted) - hip_centre(plain), (60, 20), atol=3)
    middle = np.array([639.5, 359.5])
    np.testing.assert_allclose(hip_centre(smaller) - middle, 0.7 * (hip_centre(plain) - middle), atol=4)


def test_the_layouts_agree(loaded: tuple[Model, Model], clip: list[Pixels]) -> None:
    poses = {}
    layouts: tuple[Literal["bgr", "rgb", "yuv420"], ...] = ("bgr", "rgb", "yuv420")
    for layout in layouts:
        estimator = PoseEstimator(*loaded)
        for i, image in enumerate(clip[:5]):
            picture = image
            if layout == "rgb":
                picture = np.ascontiguousarray(image[..., ::-1])
            elif layout == "yuv420":
                picture = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), np.uint8)
            pose = estimator.estimate(Frame(i / 30, i, picture, layout))
        poses[layout] = pose
    np.testing.assert_array_equal(poses["bgr"].xy_px, poses["rgb"].xy_px)
    away = np.linalg.norm(poses["yuv420"].xy_px - poses["rgb"].xy_px, axis=1)
    # Colours differ by a step or two after the conversion, and the model turns that into pixels of the crop (3 here).
    assert np.median(away) < 6
    assert away[HIPS].max() < 5


@pytest.mark.parametrize(("width", "height"), [(3840, 2160), (720, 1280), (640, 480), (641, 361)])
def test_other_pictures_sizes(estimator: PoseEstimator, clip: list[Pixels], width: int, height: int) -> None:
    """4K, portrait, small and odd: hips where they are in the original."""
    reference = PoseEstimator(estimator._landmarks._model, estimator._detector._model)
    for i, image in enumerate(clip[:5]):
        want = hip_centre(reference.estimate(bgr(image, i)))
        zoom = height / 720
        wide = cv2.resize(image, (round(1280 * zoom), height), interpolation=cv2.INTER_AREA)
        left = (wide.shape[1] - width) // 2
        fitted = np.full((height, width, 3), 100, np.uint8)
        if left >= 0:
            fitted[:] = wide[:, left : left + width]
        else:
            fitted[:, -left : -left + wide.shape[1]] = wide
        pose = estimator.estimate(bgr(fitted, i))
    assert pose.someone
    np.testing.assert_allclose((hip_centre(pose) + np.array([left, 0])) / zoom, want, atol=12)


def test_an_empty_hall_is_nobody(estimator: PoseEstimator) -> None:
    for i, value in enumerate((0, 118, 255)):
        pose = estimator.estimate(bgr(np.full((720, 1280, 3), value, np.uint8), i))
        assert not pose.someone
        assert (pose.score == 0).all()


def test_leaving_and_coming_back(estimator: PoseEstimator, clip: list[Pixels]) -> None:
    """The runner steps off to the side and returns: dropped when off the belt, found again at once."""
    seen = []
    path = (
        [640.0] * 10 + list(np.linspace(640, 1500, 20)) + [1500.0] * 5 + list(np.linspace(1500, 640, 20)) + [640.0] * 5
    )
    for i, x in enumerate(path):
        pose = estimator.estimate(bgr(scene((clip[i % 60], x, 0.95)), i))
        seen.append(pose.someone)
        if pose.someone:
            assert abs(hip_centre(pose)[0] - x) < 60
            assert pose.xy_px[np.isfinite(pose.xy_px[:, 0])].max(axis=0)[0] <= 1279.5
    assert all(seen[:10])
    assert not any(seen[28:36])
    assert all(seen[-5:])


def test_the_runner_is_preferred_to_a_bystander_and_kept(estimator: PoseEstimator, clip: list[Pixels]) -> None:
    for i in range(20):
        pose = estimator.estimate(bgr(scene((clip[i + 7], 330, 0.6), (clip[i], 640, 0.95)), i))
        assert abs(hip_centre(pose)[0] - 640) < 60


def test_a_person_walking_past_behind_does_not_take_over(estimator: PoseEstimator, clip: list[Pixels]) -> None:
    for i, x in enumerate(np.linspace(60, 1220, 45)):
        pose = estimator.estimate(bgr(scene((clip[(i + 30) % 60], x, 0.55), (clip[i], 640, 0.95)), i))
        assert abs(hip_centre(pose)[0] - 640) < 60


def test_somebody_between_camera_and_runner_takes_over_for_no_longer_than_they_hide_the_runner(
    estimator: PoseEstimator, clip: list[Pixels]
) -> None:
    lost = 0
    for i, x in enumerate(np.concatenate([[-400.0] * 5, np.arange(-300.0, 1600.0, 30.0), [2000.0] * 5])):
        pose = estimator.estimate(bgr(scene((clip[i % 60], 640, 0.95), (clip[(i + 30) % 60], x, 1.0)), i))
        lost += not (pose.someone and abs(hip_centre(pose)[0] - 640) < 60)
    assert pose.someone
    assert abs(hip_centre(pose)[0] - 640) < 20
    assert lost <= 420 / 30 + 6  # the cut-out is 420 px wide


@pytest.mark.parametrize(("x", "size"), [(110.0, 0.7), (1090.0, 0.95)], ids=["bystander", "next treadmill"])
def test_when_the_runner_leaves_nobody_off_the_belt_is_followed(
    estimator: PoseEstimator, clip: list[Pixels], x: float, size: float
) -> None:
    for i in range(30):
        people = [(clip[i + 7], x, size)] + ([(clip[i], 640.0, 0.95)] if i < 12 else [])
        pose = estimator.estimate(bgr(scene(*people), i))
        assert pose.someone == (i < 12)


def test_the_runner_takes_over_from_somebody_small_who_was_there_first(
    estimator: PoseEstimator, clip: list[Pixels]
) -> None:
    for i in range(50):
        people = [(clip[i % 60], 840.0, 0.45)] + ([(clip[i], 600.0, 0.95)] if i >= 12 else [])
        pose = estimator.estimate(bgr(scene(*people), i))
    assert abs(hip_centre(pose)[0] - 600) < 60


def test_a_mirrored_runner_has_its_left_on_the_left_too(estimator: PoseEstimator, clip: list[Pixels]) -> None:
    for i, image in enumerate(clip[:10]):
        assert rightward(estimator.estimate(bgr(np.ascontiguousarray(image[:, ::-1]), i)).xy_px) > 0.5


def test_feet_below_the_picture_are_left_out(estimator: PoseEstimator, clip: list[Pixels]) -> None:
    for i, image in enumerate(clip[:10]):
        pose = estimator.estimate(bgr(moved(image, 0, 300, 1.0), i))
    hidden = ~np.isfinite(pose.xy_px[:, 0])
    assert hidden[ANKLES].all()
    assert not hidden[HIPS].any()
    assert (pose.score[hidden] == 0).all()
    assert (pose.score[~hidden] > 0).all()


def test_the_real_treadmill_video_from_the_side(estimator: PoseEstimator, shared_dir: Path) -> None:
    """Found in at least 98 % of the frames, and never torn: no whole-body renaming on the way."""
    video = cv2.VideoCapture(str(shared_dir / "fixtures" / "video" / "zz_male_side.mp4"))
    poses: list[Pose] = []
    while True:
        good, image = video.read()
        if not good:
            break
        poses.append(estimator.estimate(bgr(np.asarray(image, np.uint8), len(poses))))
    assert len(poses) == 360
    assert np.mean([pose.someone for pose in poses]) >= 0.98
    centres = np.array([hip_centre(pose) for pose in poses])
    assert np.linalg.norm(np.diff(centres, axis=0), axis=1).max() < 40
    assert estimator._sides._swapped is False


def test_merit_prefers_the_large_and_central() -> None:
    size = (1280, 720)
    runner, small, aside, off = (Region(x, 330, side) for x, side in ((640, 800), (640, 300), (900, 800), (1250, 800)))
    assert merit(runner, size) > merit(aside, size) > merit(off, size) == 0
    assert merit(runner, size) > merit(small, size) > 0
    assert merit(Region(640, 900, 800), size) == 0


def test_loading_an_unknown_model_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="heavy: no such pose model; choose one of lite, full"):
        PoseEstimator.load("heavy")
    with pytest.raises(ModelError, match=r"pose_lite_192_int8\.tflite: missing; run `station model build`"):
        PoseEstimator.load("lite", folder=tmp_path)
