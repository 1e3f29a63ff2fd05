"""Left and right of a body seen from behind."""

from __future__ import annotations

import numpy as np
import pytest

from station.pose.sides import SideKeeper, rightward
from station.types import KEYPOINT_INDEX, KEYPOINTS, Floats


def body(across: float, ankles_crossed: bool = False) -> Floats:
    """A body with a trunk of 100 px, its hips 40 and shoulders 60 px apart, times ``across`` (1 = seen from behind)."""
    width = {"shoulder": 60, "hip": 40, "knee": 30, "ankle": -20 if ankles_crossed else 20, "heel": 20, "toe": 20}
    height = {"shoulder": 0, "hip": 100, "knee": 200, "ankle": 300, "heel": 310, "toe": 315}
    out = np.empty((len(KEYPOINTS), 2))
    for name, row in KEYPOINT_INDEX.items():
        side, part = name.split("_")
        out[row] = (1 if side == "right" else -1) * width[part] / 2 * across, height[part]
    return out


def named(keeper: SideKeeper, xy_px: Floats) -> Floats:
    return xy_px[keeper.order(xy_px)]


def test_evidence_in_trunk_lengths() -> None:
    assert rightward(body(1)) == pytest.approx(1.0)
    assert rightward(body(-1)) == pytest.approx(-1.0)
    assert rightward(body(0)) == 0.0


def test_a_body_called_the_right_way_round_is_left_alone() -> None:
    np.testing.assert_array_equal(named(SideKeeper(), body(1)), body(1))


def test_a_body_taken_for_facing_the_camera_is_renamed_as_a_whole() -> None:
    flipped = body(-1)
    out = named(SideKeeper(), flipped)
    for part in ("shoulder", "hip", "knee", "ankle", "heel", "toe"):
        left, right = out[KEYPOINT_INDEX[f"left_{part}"]], out[KEYPOINT_INDEX[f"right_{part}"]]
        assert left[0] < right[0]
        np.testing.assert_array_equal(left, flipped[KEYPOINT_INDEX[f"right_{part}"]])


def test_crossed_ankles_stay_crossed() -> None:
    out = named(SideKeeper(), body(1, ankles_crossed=True))
    assert out[KEYPOINT_INDEX["left_ankle"], 0] > out[KEYPOINT_INDEX["right_ankle"], 0]
    assert out[KEYPOINT_INDEX["left_hip"], 0] < out[KEYPOINT_INDEX["right_hip"], 0]


def test_single_frames_with_the_wrong_way_round_are_mended_at_once() -> None:
    keeper = SideKeeper()
    for i in range(40):
        out = named(keeper, body(-1 if i % 7 == 3 else 1))
        assert rightward(out) == pytest.approx(1.0)


def test_an_unclear_frame_keeps_the_last_verdict() -> None:
    keeper = SideKeeper()
    named(keeper, body(-1))
    np.testing.assert_array_equal(named(keeper, body(-0.2)), body(0.2))
    np.testing.assert_array_equal(named(keeper, body(0.2)), body(-0.2))


def test_a_side_view_is_never_torn() -> None:
    """From the side hips and shoulders swing past each other; whichever way the body is named, it stays so."""
    for camera in (1, -1):  # on the runner's left and on the right
        for start in (0.0, 1.0, 2.0, 4.0):
            keeper, orders = SideKeeper(), []
            for i in range(200):
                orders.append(keeper.order(body(camera * (0.25 + 0.45 * np.sin(start + i * 0.3)))))
            assert all(order == orders[0] for order in orders)


def test_hips_that_are_not_known_say_nothing() -> None:
    keeper = SideKeeper()
    named(keeper, body(-1))
    hidden = body(1)
    hidden[KEYPOINT_INDEX["left_hip"]] = np.nan
    assert keeper.order(hidden) != list(range(len(KEYPOINTS)))
    keeper.forget()
    assert keeper.order(hidden) == list(range(len(KEYPOINTS)))
