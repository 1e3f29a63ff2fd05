"""What the station says of its own picture, on the rendered clip and on what gyms do to pictures."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from station.camera import BUNDLED_CLIP, frames
from station.camera.look import Judgement, Look, blur_effect, framing, looks_dirty, luma
from station.camera.video import VideoFile
from station.types import KEYPOINT_INDEX, Frame, Pixels, Pose

#: The runner of the clip's first frame, by eye; the picture is 1280 by 720.
_XY = {
    "shoulder": ((578, 131), (687, 129)), "hip": (((611), 292), (665, 290)), "knee": ((620, 406), (653, 409)),
    "ankle": ((632, 519), (648, 518)), "heel": ((632, 531), (650, 529)), "toe": ((623, 575), (645, 580)),
}  # fmt: skip
SIZE_PX = (1280, 720)


def a_pose(dx_px: float = 0.0, dy_px: float = 0.0, scale: float = 1.0) -> Pose:
    """The runner moved and scaled about the middle of the picture; what leaves the picture is not found."""
    xy = np.full((len(KEYPOINT_INDEX), 2), np.nan)
    for name, points in _XY.items():
        for side, point in zip(("left", "right"), points, strict=True):
            xy[KEYPOINT_INDEX[f"{side}_{name}"]] = (np.array(point) - (640, 360)) * scale + (640 + dx_px, 360 + dy_px)
    outside = ((xy < 0) | (xy > SIZE_PX)).any(axis=1)
    xy[outside] = np.nan
    return Pose(xy, np.where(outside, 0.0, 0.9))


@pytest.fixture(scope="module")
def clip() -> list[Frame]:
    camera = VideoFile(BUNDLED_CLIP)
    seen = list(itertools.islice(frames(camera), 0, 48, 6))
    camera.close()
    return seen


def _changed(frame: Frame, t_s: float, change: Callable[[Pixels], np.ndarray]) -> Frame:
    image = frame.image.copy()
    height = frame.size_px[1]
    image[:height] = np.clip(change(image[:height]), 0, 255).astype(np.uint8)
    return dataclasses.replace(frame, t_s=t_s, image=image)


def _judged(
    clip: list[Frame], change: Callable[[Pixels], np.ndarray] = lambda grey: grey, gain: float | None = None
) -> Judgement:
    look = Look()
    for index, frame in enumerate([clip[0], *clip]):
        look.note(_changed(frame, float(index), change), a_pose(), gain)
    return look.judgement


def _smeared(grey: Pixels) -> np.ndarray:
    """A finger's grease over a third of the width: soft, and a little brighter."""
    mask = np.zeros(grey.shape, np.float32)
    cv2.circle(mask, (400, 260), 230, 1.0, -1)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), 30), np.float32)
    return np.asarray(grey * (1 - mask) + (cv2.GaussianBlur(grey, (0, 0), 7) * 0.8 + 40) * mask)


def test_a_good_picture_has_nothing_to_mend(clip: list[Frame]) -> None:
    seen = _judged(clip)
    assert seen.hints == ()
    assert seen.dirty is False
    assert seen.light is not None
    assert seen.light > 0.8
    assert seen.blur is not None
    assert seen.blur < 0.3
    assert seen.framing == 1.0
    assert seen.flicker is None  # too few frames to tell


def test_darkness(clip: list[Frame]) -> None:
    noise = np.random.default_rng(1).normal(0, 6, (720, 1280))
    for change in (lambda grey: grey * 0.25, lambda grey: grey * 0.3 + noise):
        seen = _judged(clip, change)
        assert seen.light is not None
        assert seen.light < 0.2
        assert seen.hints == ("dark",)


def test_light_sinks_steadily_with_the_picture(clip: list[Frame]) -> None:
    lights = [_judged(clip, lambda grey, by=by: grey * by).light for by in (1.0, 0.8, 0.6, 0.4, 0.2)]  # type: ignore[misc]
    assert lights == sorted(lights, key=lambda light: -(light or 0.0))
    assert lights[0] != lights[-1]


def test_a_picture_bright_by_gain_alone_is_not_lit(clip: list[Frame]) -> None:
    assert _judged(clip, gain=2.0).light == _judged(clip).light
    at_most = _judged(clip, gain=16.0)
    assert at_most.light is not None
    assert at_most.light <= 0.3


def test_too_bright(clip: list[Frame]) -> None:
    assert "bright" in _judged(clip, lambda grey: grey * 4.0).hints


@pytest.mark.parametrize(
    "soften",
    [lambda grey: cv2.GaussianBlur(grey, (0, 0), 2.5), lambda grey: cv2.blur(grey, (17, 1))],
    ids=["out of focus", "moved during the exposure"],
)
def test_blur(clip: list[Frame], soften: Callable[[Pixels], np.ndarray]) -> None:
    seen = _judged(clip, soften)
    assert seen.blur is not None
    assert seen.blur > 0.6
    assert seen.hints == ("blurred",)
    assert seen.dirty is False  # soft everywhere: focus, not dirt


def test_grease_on_a_part_of_the_lens_and_a_veil_over_all_of_it(clip: list[Frame]) -> None:
    for change in (_smeared, lambda grey: grey * 0.45 + 95):
        seen = _judged(clip, change)
        assert seen.dirty is True
        assert "dirty" in seen.hints


def test_a_bare_wall_says_nothing_of_dirt() -> None:
    assert looks_dirty(np.full((720, 1280), 120, np.uint8)) is None


def test_flicker_is_the_change_from_frame_to_frame(clip: list[Frame]) -> None:
    for depth, flickers in ((0.0, False), (0.2, True)):
        look = Look()
        for index in range(40):
            by = 1.0 + depth * (-1) ** index
            look.note(_changed(clip[0], index / 60, lambda grey, by=by: grey * by * 0.7), a_pose())  # type: ignore[misc]
        seen = look.judgement
        assert seen.flicker == pytest.approx(depth, rel=0.1, abs=0.001)
        assert ("flicker" in seen.hints) is flickers


@pytest.mark.parametrize(
    ("pose", "hint"),
    [
        (a_pose(dx_px=-250), "runner_left"),
        (a_pose(dx_px=250), "runner_right"),
        (a_pose(dy_px=160), "feet_cut"),
        (a_pose(dy_px=-125), "shoulders_cut"),
        (a_pose(scale=0.5), "too_far"),
    ],
)
def test_a_runner_off_the_middle(pose: Pose, hint: str) -> None:
    score, hints = framing(pose, SIZE_PX)
    assert score < 0.6
    assert hint in hints


def test_a_runner_who_fills_the_picture() -> None:
    score, hints = framing(a_pose(scale=1.75, dy_px=15), SIZE_PX)
    assert score < 0.6
    assert {"feet_cut", "too_near"} & set(hints)


def test_framing_sinks_steadily_as_the_runner_moves_aside() -> None:
    scores = [framing(a_pose(dx_px=dx), SIZE_PX)[0] for dx in (0, 100, 200, 300, 400)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == 1.0
    assert scores[-1] == 0.0


def test_nobody_is_no_framing_and_one_odd_look_changes_nothing(clip: list[Frame]) -> None:
    look = Look()
    look.note(clip[0], Pose.nobody())
    assert look.judgement == Judgement()  # not at once
    look.note(dataclasses.replace(clip[0], t_s=1.0), Pose.nobody())
    assert look.judgement.framing is None
    assert look.judgement.blur is None
    assert look.judgement.light is not None
    for index, frame in enumerate(clip[1:], start=2):
        look.note(dataclasses.replace(frame, t_s=float(index)), a_pose(dx_px=400 if index == 4 else 0))
    assert look.judgement.framing == 1.0
    assert look.judgement.hints == ()


def test_colour_pictures_are_judged_the_same(clip: list[Frame]) -> None:
    code = {"rgb": cv2.COLOR_YUV2RGB_I420, "bgr": cv2.COLOR_YUV2BGR_I420}
    planar = luma(clip[0]).astype(float)
    for layout in ("rgb", "bgr"):
        frame = Frame(0.0, 0, np.asarray(cv2.cvtColor(clip[0].image, code[layout]), np.uint8), layout)
        assert np.abs(luma(frame).astype(float) * 219 / 255 + 16 - planar).mean() < 3  # video range against full range


def test_the_blur_effect_by_hand() -> None:
    steps = np.tile(np.repeat(np.array([0, 200], np.uint8), 20), (64, 4))
    assert blur_effect(steps.T.copy()) == 1.0  # across: nothing to lose one way
    board = np.kron(np.indices((8, 8)).sum(axis=0) % 2, np.ones((20, 20))).astype(np.uint8) * 200
    assert blur_effect(board) < 0.2
    assert blur_effect(np.full((64, 64), 9, np.uint8)) == 1.0


def test_a_look_is_cheap_beside_a_frame(clip: list[Frame]) -> None:
    """Between looks next to nothing; a look itself less than a tenth of what one frame lasts at 30 fps, on average."""
    look, pose = Look(), a_pose()
    start_s = time.process_time()
    for index in range(300):
        look.note(dataclasses.replace(clip[0], t_s=index / 30), pose)
    assert (time.process_time() - start_s) / 300 < 0.1 / 30
