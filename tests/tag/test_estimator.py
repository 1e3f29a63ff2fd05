"""The tag in drawn pictures: angles, honesty, occlusion, foreign tags. Truth is simulated and exact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from station.engine.tag_first import TagFirst
from station.lab.bodies import load_library
from station.lab.pinhole import Pinhole
from station.lab.rotations import pelvis_rotation
from station.lab.sensor import Sensor
from station.lab.tag_clips import load, save
from station.lab.tag_scores import Run, Scene, frame_of, pose_of, replayed, run, scene, starting, stride_errors_deg
from station.lab.tagshots import Motion, Shot, Worn, jog, picture
from station.tag import PLATES, TagEstimator
from station.tag.attitude import projected_deg
from station.tag.plates import LARGE, SMALL
from station.tag.search import Found, search
from station.types import Frame, Mount, PelvisReading, Pixels, Pose, View

FAR = Pinhole(focal_px=930.0, distance_m=2.63)
VIEW = View(1280, 720, 30.0, Mount(0.95, 2.5, 930.0, pitch_deg=-6.0))
PLAIN = Sensor(noise=0.012, soft_px=0.7)
BOUNDS_DEG = np.array([0.4, 1.5, 1.5])


def still(obliquity: float, rotation: float, tilt: float) -> Motion:
    return lambda t_s: (np.array([obliquity, rotation, tilt]), np.array([0.0, 0.93, 0.0]))


def a_scene(motion: Motion | None = None, worn: Worn | None = None, **changed: Any) -> Scene:
    shot = replace(Shot(worn or Worn(LARGE), FAR, PLAIN), **changed)
    return Scene(shot, motion or jog(), VIEW, 85, 1)


def rmse(result: Run) -> np.ndarray:
    return np.asarray(np.sqrt((result.error_deg**2).mean(axis=0)))


def read_one(what: Scene, estimator: TagEstimator | None = None, t_s: float = 0.0) -> PelvisReading | None:
    rng = np.random.default_rng(0)
    luma = picture(what.shot, what.motion, t_s, rng)
    return (estimator or TagEstimator(what.view)).read(frame_of(luma, t_s, 0), pose_of(what, t_s, rng))


@pytest.mark.parametrize(
    ("plate", "size", "distance_m"),
    [
        ("large", (1280, 720), 3.0),
        ("small", (1280, 720), 3.0),
        ("belt", (1280, 720), 2.5),
        ("large", (1920, 1080), 2.0),
    ],
)
def test_angles_of_a_runner_with_a_handmade_tag(plate: str, size: tuple[int, int], distance_m: float) -> None:
    result = run(scene(PLATES[plate], size, distance_m, 3), 1.8)
    assert result.seen >= 0.9
    assert (rmse(result) <= BOUNDS_DEG).all()
    strides = stride_errors_deg(result)
    assert len(strides) >= 2
    assert (np.abs(strides) <= BOUNDS_DEG).all()


@pytest.mark.parametrize("angles", [(6.0, 0.0, 0.0), (0.0, 12.0, 5.0), (0.0, 0.0, 15.0), (-5.0, -10.0, 9.0)])
def test_signs_are_those_of_the_metrics(angles: tuple[float, float, float]) -> None:
    reading = read_one(a_scene(still(*angles)))
    assert reading is not None
    assert reading.source == "tag"
    assert (reading.obliquity_deg, reading.rotation_deg, reading.tilt_deg) == pytest.approx(angles, abs=0.5)


def test_the_mount_of_the_camera_is_taken_out() -> None:
    shot = Shot(Worn(LARGE), replace(FAR, roll_deg=3.0, pitch_deg=-14.0, height_m=1.5), PLAIN)
    view = replace(VIEW, mount=replace(VIEW.mount, height_m=1.5, roll_deg=3.0, pitch_deg=-14.0))
    reading = read_one(Scene(shot, still(4.0, 8.0, 6.0), view, 85, 1))
    assert reading is not None
    assert (reading.obliquity_deg, reading.rotation_deg, reading.tilt_deg) == pytest.approx((4.0, 8.0, 6.0), abs=0.5)


def test_an_unknown_lens_costs_certainty_not_the_angles() -> None:
    known = read_one(a_scene(still(4.0, 8.0, 6.0)))
    unknown = read_one(replace(a_scene(still(4.0, 8.0, 6.0)), view=View(1280, 720, 30.0, Mount(pitch_deg=-6.0))))
    assert known is not None
    assert unknown is not None
    assert unknown.rotation_deg == pytest.approx(8.0, abs=1.0)
    assert unknown.obliquity_deg == pytest.approx(4.0, abs=0.5)
    assert unknown.sd_tilt_deg > known.sd_tilt_deg


def test_a_distorting_lens_is_undone() -> None:
    what = a_scene(still(4.0, 8.0, 6.0), Worn(LARGE, offset_m=(0.0, 0.28, 0.13)))
    rng = np.random.default_rng(0)
    flat = picture(what.shot, what.motion, 0.0, rng)
    k1 = -0.25
    rows, columns = np.mgrid[0:720, 0:1280] + 0.5
    seen = np.stack([(columns - 640) / 930, (rows - 360) / 930], axis=-1).reshape(-1, 1, 2).astype(np.float32)
    eye, lens = np.eye(3, dtype=np.float32), np.array([k1, 0, 0, 0, 0], np.float32)
    ideal = cv2.undistortPoints(seen, eye, lens).reshape(720, 1280, 2) * 930 + [640, 360] - 0.5
    bent = cv2.remap(flat, ideal[..., 0].astype(np.float32), ideal[..., 1].astype(np.float32), cv2.INTER_CUBIC)
    view = replace(VIEW, mount=replace(VIEW.mount, distortion=(k1, 0.0, 0.0, 0.0)))
    reading = TagEstimator(view).read(frame_of(np.asarray(bent, np.uint8), 0.0, 0), pose_of(what, 0.0, rng))
    assert reading is not None
    assert (reading.obliquity_deg, reading.rotation_deg, reading.tilt_deg) == pytest.approx((4.0, 8.0, 6.0), abs=0.6)


def test_one_facet_is_enough_and_says_so() -> None:
    """An arm or a fold of the shirt over half of the clip: no jump to the mirrored pose, a wider sd."""
    free, covered = a_scene(starting(jog())), a_scene(starting(jog()), hide=(0.5, 1.0, 0.0, 1.0))
    whole, half = run(free, 1.6), run(covered, 1.6)
    assert half.seen > 0.9
    assert (rmse(half) < [0.5, 1.5, 1.5]).all()
    assert np.nanmedian(half.sd_deg[:, 1]) > np.nanmedian(whole.sd_deg[:, 1])


def test_a_tag_that_is_covered_for_a_while_is_found_again() -> None:
    estimator, motion = TagEstimator(VIEW), jog()
    free, covered = a_scene(motion), a_scene(motion, hide=(0.0, 1.0, 0.0, 1.0))
    rng = np.random.default_rng(0)
    seen = []
    for index in range(24):
        what, t_s = (covered if 8 <= index < 14 else free), index / 30
        luma = picture(what.shot, motion, t_s, rng)
        seen.append(estimator.read(frame_of(luma, t_s, index), pose_of(what, t_s, rng)) is not None)
    assert all(seen[:8])
    assert not any(seen[8:14])
    assert all(seen[15:])


def test_motion_blur_does_not_hide_it() -> None:
    result = run(a_scene(starting(jog()), exposure_s=0.016, exposures=8), 1.6)
    assert result.seen > 0.9
    assert (rmse(result) < BOUNDS_DEG).all()


def test_a_skew_clip_does_not_turn_a_nod_into_a_drop() -> None:
    skew = Worn(LARGE, mount=pelvis_rotation(5.0, 8.0, 0.0))
    nodding = starting(jog(drop_deg=0.0, turn_deg=0.0, nod_deg=6.0))
    result = run(a_scene(nodding, skew), 2.0)
    # hung 8 degrees askew, 6 degrees of nod would show 0.8 degrees of false drop
    assert np.nanstd(result.said_deg[:, 0]) < 0.25


@pytest.mark.parametrize("other", ["dictionary", "april", "poster", "neighbour"])
def test_tags_of_others_are_not_read(other: str) -> None:
    rng = np.random.default_rng(0)
    what = a_scene(still(4.0, 8.0, 6.0))
    if other == "neighbour":  # the same clip on the next runner, a treadmill aside
        luma = picture(what.shot, lambda _t: (np.array([4.0, 8.0, 6.0]), np.array([1.2, 0.93, 0.0])), 0.0, rng)
    elif other == "poster":  # a print of our own clip on the wall in front, beside the runner
        far = replace(FAR, distance_m=5.6)
        shot = Shot(Worn(LARGE, offset_m=(0.3, 0.2, 0.0)), far, PLAIN)
        luma = picture(shot, still(0.0, 0.0, 0.0), 0.0, rng)
    else:
        kind = cv2.aruco.DICT_ARUCO_MIP_36h12 if other == "dictionary" else cv2.aruco.DICT_APRILTAG_36h11
        luma = np.full((720, 1280), 130, np.uint8)
        tags = cv2.aruco.getPredefinedDictionary(kind)
        for k, tag_id in enumerate((7, 159 if other == "april" else 8)):
            luma[190:260, 570 + 74 * k : 640 + 74 * k] = 250
            marker = cv2.aruco.generateImageMarker(tags, tag_id, 56)
            luma[197:253, 577 + 74 * k : 633 + 74 * k] = marker
    estimator = TagEstimator(VIEW)
    for index in range(6):
        t_s = 0.5 * index
        assert estimator.read(frame_of(luma, t_s, index), pose_of(what, t_s, rng)) is None
    assert (7 in estimator.foreign) == (other == "dictionary")


def test_without_a_tag_it_is_looked_for_now_and_then_only(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[float] = []

    def counted(image: Pixels, ids: tuple[int, ...], scale: float) -> tuple[list[Found], list[int]]:
        looked.append(scale)
        return search(image, ids, scale)

    monkeypatch.setattr("station.tag.estimator.search", counted)
    what, blank = a_scene(), np.full((720, 1280), 110, np.uint8)
    tags = TagEstimator(VIEW)
    rng = np.random.default_rng(0)
    for index in range(60):
        assert tags.read(frame_of(blank, index / 30, index), pose_of(what, 0.0, rng)) is None
    assert 3 <= len(looked) <= 6
    assert tags.read(frame_of(blank, 2.0, 60), Pose.nobody()) is None


class Level:
    source = "fused"
    sees = True
    model: str | None = "abc"

    def read(self, frame: Frame, pose: Pose) -> PelvisReading:
        return PelvisReading(1.0, 2.0, 3.0, 0.5, 0.5, 0.5)


def test_auto_takes_the_tag_when_worn_and_every_value_says_so() -> None:
    what = a_scene(still(4.0, 8.0, 6.0))
    both = TagFirst(VIEW, Level())
    rng = np.random.default_rng(0)
    worn = picture(what.shot, what.motion, 0.0, rng)
    bare: Pixels = np.full((720, 1280), 110, np.uint8)
    said = []
    for index, luma in enumerate([bare, worn, bare, bare]):
        t_s = (0.0, 0.5, 0.6, 3.5)[index]
        said.append(both.read(frame_of(luma, t_s, index), pose_of(what, 0.0, rng)))
    assert [reading.source for reading in said] == ["fused", "tag", "tag", "fused"]
    assert said[1].obliquity_deg == pytest.approx(4.0, abs=0.4)
    assert np.isnan(said[2].obliquity_deg)  # hidden for a moment: never the other one's level instead
    assert both.source == "fused"


def test_a_plate_at_rest_reads_its_own_angles() -> None:
    assert projected_deg(pelvis_rotation(5.0, -7.0, 11.0)) == pytest.approx([5.0, -7.0, 11.0], abs=1e-9)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("plate", "size", "distance_m"),
    [
        ("small", (1280, 720), 2.5),
        ("large", (1920, 1080), 3.0),
        ("belt", (1920, 1080), 2.5),
        ("belt", (1280, 720), 3.0),
        ("small", (1920, 1080), 2.0),
        ("large", (1280, 720), 2.0),
    ],
)
def test_a_wholly_rendered_runner_who_wears_it(
    plate: str, size: tuple[int, int], distance_m: float, tmp_path: Path
) -> None:
    pytest.importorskip("moderngl", reason="the renderer is in the extra `lab`")
    from station.lab.tag_renders import rendered

    save(rendered(PLATES[plate], size, distance_m, 7, load_library()), tmp_path)
    (path,) = tmp_path.glob("*.npz")
    result = replayed(load(path))
    assert result.seen >= 0.9
    assert (rmse(result) <= BOUNDS_DEG).all()
    strides = stride_errors_deg(result)
    assert len(strides) >= 2
    assert (np.abs(strides) <= BOUNDS_DEG).all()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_sd_is_honest_and_the_bounds_hold_over_many() -> None:
    runs = [
        run(scene(PLATES[plate], (1280, 720), distance_m, seed), 2.2)
        for plate in PLATES for distance_m in (2.0, 2.5, 3.0) for seed in (20, 21, 22)
    ]  # fmt: skip
    error = np.concatenate([r.error_deg for r in runs])
    sd = np.concatenate([r.sd_deg[np.isfinite(r.sd_deg).all(axis=1)] for r in runs])
    assert (np.sqrt((error**2).mean(axis=0)) <= BOUNDS_DEG).all()
    within = (np.abs(error) <= sd).mean(axis=0)
    assert (within >= 0.60).all()
    # drawn pictures are kinder than rendered ones, by which the sd is set: here it is wider than it need be
    assert (np.median(sd, axis=0) <= [0.2, 0.5, 0.5]).all()


def test_the_small_clip_is_known_from_the_large_one() -> None:
    tags = TagEstimator(VIEW)
    assert read_one(a_scene(still(0.0, 0.0, 5.0), Worn(SMALL)), tags) is not None
    assert tags.plate == "small"
