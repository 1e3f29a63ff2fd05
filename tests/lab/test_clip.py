"""The bundled clip and its truth, as they are shipped: they belong together, loop, and obey the physics they claim."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import station
from station.lab.pinhole import Pinhole
from station.types import KEYPOINT_INDEX, Floats, Pixels

ASSETS = Path(station.__file__).parent / "assets"
CLIP, TRUTH = ASSETS / "runner.mp4", ASSETS / "runner.truth.json"


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(TRUTH.read_text())
    return found


@pytest.fixture(scope="module")
def pictures() -> list[Pixels]:
    with av.open(str(CLIP)) as container:
        return [np.asarray(f.to_ndarray(format="rgb24")[::2, ::2], dtype=np.uint8) for f in container.decode(video=0)]


@pytest.fixture(scope="module")
def joints_m(truth: dict[str, Any]) -> Floats:
    return np.array(truth["joints_m"])


def _path(joints_m: Floats, name: str) -> Floats:
    return joints_m[:, KEYPOINT_INDEX[name]]


def test_the_clip_is_small_long_and_of_the_promised_size(truth: dict[str, Any], pictures: list[Pixels]) -> None:
    assert CLIP.stat().st_size <= 4_000_000
    assert pictures[0].shape == (360, 640, 3)
    assert len(pictures) == truth["frames"] >= 20 * truth["fps"]
    with av.open(str(CLIP)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.codec_context.name) == (1280, 720, "h264")
        assert float(stream.average_rate or 0) == truth["fps"] == 30


def test_the_last_picture_flows_into_the_first(pictures: list[Pixels]) -> None:
    small = [p.astype(np.int16) for p in pictures]
    steps = [float(np.abs(a - b).mean()) for a, b in pairwise(small)]
    seam = float(np.abs(small[0] - small[-1]).mean())
    assert seam <= 1.3 * max(steps)


def test_the_last_truth_flows_into_the_first(truth: dict[str, Any], joints_m: Floats) -> None:
    steps = np.linalg.norm(np.diff(joints_m, axis=0), axis=2).max(axis=0)
    assert (np.linalg.norm(joints_m[0] - joints_m[-1], axis=1) <= 1.05 * steps).all()
    for name in ("obliquity_deg", "rotation_deg", "tilt_deg"):
        curve = np.array(truth[name])
        assert abs(curve[0] - curve[-1]) <= 1.05 * np.abs(np.diff(curve)).max()


def test_angles_are_those_of_the_hip_line(truth: dict[str, Any], joints_m: Floats) -> None:
    line = _path(joints_m, "right_hip") - _path(joints_m, "left_hip")
    assert np.degrees(np.arctan2(line[:, 1], line[:, 0])) == pytest.approx(np.array(truth["obliquity_deg"]), abs=0.01)
    assert np.degrees(np.arctan2(-line[:, 2], line[:, 0])) == pytest.approx(np.array(truth["rotation_deg"]), abs=0.01)
    middle = (_path(joints_m, "right_hip") + _path(joints_m, "left_hip")) / 2
    assert middle == pytest.approx(np.array(truth["hip_centre_m"]), abs=2e-5)


def test_pixels_are_the_joints_seen_by_the_stated_camera(truth: dict[str, Any], joints_m: Floats) -> None:
    c = truth["camera"]
    camera = Pinhole(
        truth["width"],
        truth["height"],
        c["focal_px"],
        c["height_m"],
        c["distance_m"],
        pitch_deg=c["pitch_deg"],
        roll_deg=c["roll_deg"],
        centre_px=tuple(c["center_px"]),
    )
    assert camera.project(joints_m) == pytest.approx(np.array(truth["joints_px"]), abs=0.05)
    feet = [row for name, row in KEYPOINT_INDEX.items() if name.endswith(("heel", "toe"))]
    seen = np.array(truth["joints_px"])[:, feet]
    assert seen[..., 1].max() < truth["height"] - 10
    assert seen[..., 1].min() > 0


def test_hip_distance_and_bounce_are_human(truth: dict[str, Any], joints_m: Floats) -> None:
    hips_mm = 1000 * np.linalg.norm(_path(joints_m, "right_hip") - _path(joints_m, "left_hip"), axis=1)
    assert hips_mm == pytest.approx(hips_mm[0], abs=0.1)
    assert 160 <= hips_mm[0] <= 190
    contacts = sorted(truth["events"]["left_contact_s"] + truth["events"]["right_contact_s"])
    height_mm = 1000 * np.array(truth["hip_centre_m"])[:, 1]
    fine = np.interp(np.arange(0, truth["frames"], 0.1), np.arange(truth["frames"]), height_mm)
    for start, end in pairwise(contacts):
        step = fine[round(start * 300) : round(end * 300)]
        assert 45 <= np.ptp(step) <= 100


def test_a_planted_shoe_does_not_slip_on_the_belt(truth: dict[str, Any], joints_m: Floats) -> None:
    travel = truth["belt_mps"] / truth["fps"]
    for side in ("left", "right"):
        toe = _path(joints_m, f"{side}_toe")
        checked = 0
        for contact, off in zip(truth["events"][f"{side}_contact_s"], truth["events"][f"{side}_off_s"], strict=True):
            flat = contact + 0.2 * (off - contact)  # before that the shoe rolls over its heel
            frames = np.arange(np.ceil(flat * 30), np.floor(off * 30) + 1, dtype=int)
            frames = frames[frames < truth["frames"]]
            for one, other in pairwise(frames):
                slip = toe[other] - toe[one] - [0, 0, travel]
                assert np.abs(slip).max() < 0.003
                checked += 1
        assert checked > 50


def test_the_feet_are_down_exactly_between_contact_and_off(truth: dict[str, Any]) -> None:
    for side in ("left", "right"):
        contacts, offs = (np.array(truth["events"][f"{side}_{kind}_s"]) for kind in ("contact", "off"))
        for index, down in enumerate(truth["down"][side]):
            t = index / truth["fps"]
            assert down == bool(((contacts <= t + 1e-9) & (t < offs - 1e-9)).any())


def test_cadence_and_peak_drops_are_those_of_the_curves(truth: dict[str, Any]) -> None:
    contacts = truth["events"]["left_contact_s"]
    seconds = truth["frames"] / truth["fps"]
    assert truth["cadence_spm"] == pytest.approx(120 * len(contacts) / seconds)
    curve, t = np.array(truth["obliquity_deg"]), np.arange(truth["frames"]) / truth["fps"]
    for side, sign in (("left", -1.0), ("right", 1.0)):
        peaks = []
        for contact, off in zip(truth["events"][f"{side}_contact_s"], truth["events"][f"{side}_off_s"], strict=True):
            fine = np.interp(np.linspace(contact, off, 50), t, curve)
            peaks.append(float((sign * (fine - curve.mean())).max()))
        assert truth["peak_drop_deg"][side] == pytest.approx(np.mean(peaks), abs=0.25)
    assert truth["peak_drop_deg"]["left"] - truth["peak_drop_deg"]["right"] > 1.0


def test_the_picture_shows_the_runner_where_the_truth_says(truth: dict[str, Any], pictures: list[Pixels]) -> None:
    """The blue shirt lies between the shoulders, and the orange shoes follow the heels."""
    joints = np.array(truth["joints_px"]) / 2
    shoulders = joints[:, [KEYPOINT_INDEX["left_shoulder"], KEYPOINT_INDEX["right_shoulder"]]].mean(axis=1)
    off, found = [], 0
    for index in range(0, len(pictures), 7):
        red, green, blue = (pictures[index][..., i].astype(int) for i in range(3))
        shirt = (blue - red > 45) & (blue - green > 18)
        shirt[:, :270] = shirt[:, 370:] = False
        shirt[: int(shoulders[index, 1]) - 15] = shirt[int(shoulders[index, 1]) + 65 :] = False
        off.append(float(np.nonzero(shirt)[1].mean()) - shoulders[index, 0])
        shoes = (red - blue > 60) & (red - green > 35)
        for side in ("left", "right"):
            x, y = joints[index, KEYPOINT_INDEX[f"{side}_heel"]].astype(int)
            found += bool(shoes[y - 9 : y + 10, x - 9 : x + 10].any())
    assert abs(np.mean(off)) < 3.0
    assert np.std(off) < 2.5
    assert found > 0.75 * 2 * len(off)
