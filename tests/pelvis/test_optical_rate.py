"""The optical gyroscope on drawn patches whose motion is exact, and on the bundled clip."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from station.camera import BUNDLED_CLIP
from station.camera.video import VideoFile
from station.optical_rate import OpticalRate
from station.types import KEYPOINT_INDEX, KEYPOINTS, Frame, PelvisRate, Pixels, Pose, View

FPS = 30.0
WIDTH, HEIGHT = 480, 480
HIPS_PX, TRUNK_PX = np.array([240.0, 300.0]), 150.0


def noise(seed: int, blur: float = 2.0, contrast: float = 30.0, level: float = 120.0) -> np.ndarray:
    """A texture with structure of a few pixels."""
    raw = np.random.default_rng(seed).standard_normal((HEIGHT, WIDTH))
    soft = cv2.GaussianBlur(raw, (0, 0), blur)
    return np.asarray(level + contrast * soft / soft.std())


def turned(picture: np.ndarray, angle_deg: float, shift_px: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """``picture`` turned about the hips, + = right side rises, then shifted."""
    matrix = cv2.getRotationMatrix2D((float(HIPS_PX[0]), float(HIPS_PX[1])), angle_deg, 1.0)
    matrix[:, 2] += np.array(shift_px)
    return np.asarray(cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LANCZOS4, borderMode=2))


@dataclass
class Scene:
    """A back of cloth in front of a wall, on two legs; each part turns on its own."""

    seed: int = 0
    pelvis_deg: Callable[[float], float] = lambda t: 0.0
    legs_deg: Callable[[float], float] = lambda t: 0.0
    bounce_px: Callable[[float], float] = lambda t: 0.0
    back: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.back, self.legs, self.wall = noise(self.seed), noise(self.seed + 1000), noise(self.seed + 2000, level=80)

    def draw(self, t_s: float) -> Pixels:
        shift = (0.5 * self.bounce_px(t_s), self.bounce_px(t_s))
        back = turned(self.back, self.pelvis_deg(t_s), shift)
        legs = turned(self.legs, self.legs_deg(t_s), shift)
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        x, y = x - HIPS_PX[0] - shift[0], y - HIPS_PX[1] - shift[1]
        body = np.abs(x) < 0.36 * TRUNK_PX
        picture = np.where(body, np.where(y < 0.02 * TRUNK_PX, back, legs), self.wall)
        return np.asarray(np.clip(picture + 0.5, 0, 255), np.uint8)

    def pose(self, t_s: float) -> Pose:
        return a_pose(HIPS_PX + np.array([0.5, 1.0]) * self.bounce_px(t_s))


def a_pose(hips_px: np.ndarray, trunk_px: float = TRUNK_PX) -> Pose:
    xy = np.full((len(KEYPOINTS), 2), np.nan)
    for side, sign in (("left", -1.0), ("right", 1.0)):
        xy[KEYPOINT_INDEX[f"{side}_hip"]] = hips_px + np.array([sign * 0.17 * trunk_px, 0.0])
        xy[KEYPOINT_INDEX[f"{side}_shoulder"]] = hips_px + np.array([sign * 0.3 * trunk_px, -trunk_px])
    return Pose(xy, np.isfinite(xy[:, 0]).astype(float))


def frame(index: int, gray: Pixels, layout: str = "bgr") -> Frame:
    bgr = cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR)
    if layout == "yuv420":
        return Frame(index / FPS, index, np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420), np.uint8), "yuv420")
    return Frame(index / FPS, index, np.asarray(bgr, np.uint8), "rgb" if layout == "rgb" else "bgr")


def rates(
    scene: Scene, count: int = 12, layout: str = "bgr", change: Callable[[int, Pixels], Pixels] | None = None
) -> list[PelvisRate]:
    gyroscope = OpticalRate(View(WIDTH, HEIGHT, FPS))
    out = []
    for i in range(count):
        gray = scene.draw(i / FPS)
        out.append(gyroscope.read(frame(i, change(i, gray) if change else gray, layout), scene.pose(i / FPS)))
    return out


def swing(amplitude_deg: float, hz: float = 1.4, phase: float = 0.0) -> Callable[[float], float]:
    return lambda t: amplitude_deg * math.sin(2 * math.pi * hz * t + phase)


def per_frame(angle_deg: Callable[[float], float], count: int = 12) -> np.ndarray:
    return np.diff([angle_deg(i / FPS) for i in range(count)])


def measured(found: list[PelvisRate]) -> np.ndarray:
    return np.array([rate.rate_dps / FPS for rate in found[1:]])


@pytest.mark.parametrize("seed", range(5))
def test_a_known_turn_is_read_with_its_sign_and_size(seed: int) -> None:
    angle = swing(5.0, phase=seed)
    scene = Scene(seed, pelvis_deg=angle, bounce_px=swing(9.0, 2.8))
    found, true = measured(rates(scene)), per_frame(angle)
    assert np.abs(found - true).max() < 0.15
    assert found @ true / (true @ true) == pytest.approx(1.0, abs=0.04)


def test_the_right_side_rising_is_positive() -> None:
    rate = rates(Scene(pelvis_deg=lambda t: 30.0 * t), 4)[-1]
    assert rate.rate_dps == pytest.approx(30.0, abs=3.0)
    assert rate.points >= 16
    assert 0 < rate.sd_dps < 20


@pytest.mark.parametrize("seed", range(3))
def test_legs_alone_turn_nothing(seed: int) -> None:
    found = measured(rates(Scene(seed, legs_deg=swing(20.0, phase=seed), bounce_px=swing(6.0, 2.8))))
    assert np.abs(found).max() < 0.1
    assert abs(np.cumsum(found)).max() < 0.25


def test_an_arm_across_the_belt_is_outvoted() -> None:
    angle = swing(5.0)
    arm = noise(77, level=170.0)

    def cross(index: int, gray: Pixels) -> Pixels:
        out = gray.copy()
        left = 190 + 5 * index  # moves 5 px a frame
        out[:, left : left + 18] = np.clip(np.roll(arm, 9 * index, axis=0)[:, left : left + 18], 0, 255)
        return out

    found, true = measured(rates(Scene(3, pelvis_deg=angle), change=cross)), per_frame(angle)
    assert np.abs(found - true).max() < 0.4


@pytest.mark.parametrize("layout", ["rgb", "yuv420"])
def test_layouts_agree(layout: str) -> None:
    scene = Scene(1, pelvis_deg=swing(6.0))
    assert measured(rates(scene, 6, layout)) == pytest.approx(measured(rates(scene, 6)), abs=0.04)


def test_light_and_blur_and_noise_cost_little() -> None:
    angle, grain = swing(5.0), np.random.default_rng(5)

    def spoil(index: int, gray: Pixels) -> Pixels:
        dim = cv2.GaussianBlur(gray, (0, 0), 1.5).astype(float) * (0.5 + 0.01 * index)
        return np.asarray(np.clip(dim + grain.normal(0, 2.0, gray.shape), 0, 255), np.uint8)

    found, true = measured(rates(Scene(2, pelvis_deg=angle), change=spoil)), per_frame(angle)
    assert found @ true / (true @ true) == pytest.approx(1.0, abs=0.1)


def test_sd_grows_when_points_disagree() -> None:
    grain = np.random.default_rng(6)

    def spoil(index: int, gray: Pixels) -> Pixels:
        return np.asarray(np.clip(gray + grain.normal(0, 25.0, gray.shape), 0, 255), np.uint8)

    clean = np.median([rate.sd_dps for rate in rates(Scene(4))[1:]])
    noisy = np.median([rate.sd_dps for rate in rates(Scene(4), change=spoil)[1:]])
    assert noisy > 1.3 * clean


def lost(rate: PelvisRate) -> bool:
    return math.isnan(rate.rate_dps) and math.isinf(rate.sd_dps) and rate.points == 0


def test_plain_cloth_is_lost() -> None:
    found = rates(Scene(), 5, change=lambda _, gray: np.full_like(gray, 110))
    assert all(lost(rate) for rate in found)


def test_faint_texture_under_noise_is_lost_not_guessed() -> None:
    """What is left of a plain shirt is noise; noise does not turn."""
    grain = np.random.default_rng(7)
    found = rates(Scene(), 8, change=lambda _, gray: np.asarray(grain.normal(110, 1.0, gray.shape) + 0.5, np.uint8))
    assert all(lost(rate) for rate in found)


def test_first_frame_gap_and_time_standing_still_are_lost() -> None:
    scene, gyroscope = Scene(pelvis_deg=swing(5.0)), OpticalRate(View(WIDTH, HEIGHT, FPS))

    def at(t_s: float) -> PelvisRate:
        return gyroscope.read(replace(frame(0, scene.draw(t_s)), t_s=t_s), scene.pose(t_s))

    assert lost(at(0.0))
    assert not lost(at(1 / FPS))
    assert lost(at(1 / FPS))  # the same instant again
    assert lost(at(0.5))  # after a gap
    assert not lost(at(0.5 + 1 / FPS))
    assert lost(at(0.1))  # backward
    assert not lost(at(0.1 + 1 / FPS))


def test_nobody_is_lost_and_the_next_one_starts_anew() -> None:
    scene, gyroscope = Scene(), OpticalRate(View(WIDTH, HEIGHT, FPS))
    poses = [scene.pose(0), scene.pose(0), Pose.nobody(), scene.pose(0), scene.pose(0)]
    found = [gyroscope.read(frame(i, scene.draw(i / FPS)), pose) for i, pose in enumerate(poses)]
    assert [lost(rate) for rate in found] == [True, False, True, True, False]


def test_a_runner_at_the_edge_or_far_away_is_lost() -> None:
    gyroscope = OpticalRate(View(WIDTH, HEIGHT, FPS))
    for i, pose in enumerate([a_pose(np.array([5.0, 8.0]))] * 3 + [a_pose(HIPS_PX, trunk_px=15.0)] * 3):
        assert lost(gyroscope.read(frame(i, Scene().draw(0)), pose))


def test_hips_that_jitter_do_not_turn_the_pelvis() -> None:
    rng, gyroscope, scene = np.random.default_rng(8), OpticalRate(View(WIDTH, HEIGHT, FPS)), Scene(9)
    found = []
    for i in range(15):
        pose = a_pose(HIPS_PX + rng.normal(0, 3.0, 2), TRUNK_PX * float(rng.normal(1.0, 0.02)))
        found.append(gyroscope.read(frame(i, scene.draw(0)), pose))
    assert np.abs(measured(found)).max() < 0.05


def test_a_big_picture_reads_the_same() -> None:
    """Trunks of more than 180 px are shrunk."""
    scene, gyroscope = Scene(1, pelvis_deg=swing(6.0)), OpticalRate(View(2 * WIDTH, 2 * HEIGHT, FPS))
    found = []
    for i in range(8):
        big = cv2.resize(scene.draw(i / FPS), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        found.append(gyroscope.read(frame(i, np.asarray(big, np.uint8)), a_pose(2 * HIPS_PX + 0.5, 2 * TRUNK_PX)))
    assert np.abs(measured(found) - per_frame(scene.pelvis_deg, 8)).max() < 0.2


def test_the_frame_is_only_read() -> None:
    picture = frame(0, Scene().draw(0))
    before = picture.image.copy()
    picture.image.setflags(write=False)
    gyroscope = OpticalRate(View(WIDTH, HEIGHT, FPS))
    for i in range(2):
        gyroscope.read(replace(picture, t_s=i / FPS), a_pose(HIPS_PX))
    assert (picture.image == before).all()


def rendered(count: int) -> Iterator[tuple[Frame, Pose, float]]:
    """The bundled clip with its true joints and obliquity (simulated truth)."""
    truth = json.loads(Path(BUNDLED_CLIP).with_suffix(".truth.json").read_text(encoding="utf-8"))
    video = VideoFile(BUNDLED_CLIP)
    for i in range(count):
        seen = video.read()
        assert seen is not None
        yield seen, Pose(np.array(truth["joints_px"][i]), np.ones(len(KEYPOINTS))), truth["obliquity_deg"][i]
    video.close()


def test_the_rendered_runner_swings_as_the_truth_says() -> None:
    """The clip's cloth passes on part of the pelvis' turn only: sign and shape are held here, not the gain."""
    gyroscope = OpticalRate(View(1280, 720, 30.0))
    said, true = [], []
    for seen, pose, obliquity in rendered(150):
        rate = gyroscope.read(seen, pose)
        said.append(rate.rate_dps / 30.0)
        true.append(obliquity)
    found = np.array(said[1:])
    assert np.isfinite(found).mean() > 0.95
    assert np.corrcoef(np.where(np.isfinite(found), found, 0.0), np.diff(true))[0, 1] > 0.75
