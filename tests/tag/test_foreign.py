"""Tags that are not the runner's, in pictures of a rendered runner: the neighbour's, posters, other dictionaries."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from station.lab.pinhole import Pinhole
from station.lab.tag_scores import frame_of
from station.lab.tagshots import Motion, Shot, Worn, picture
from station.tag import TagEstimator
from station.tag.plates import BELT, LARGE, PLATES, SMALL, Plate
from station.types import KEYPOINT_INDEX, KEYPOINTS, Floats, PelvisReading, Pixels, Pose, View
from tests.tag import worn

VIEW = View(1280, 720, 30.0, worn.MOUNT)
#: So far apart stand treadmills at the least [m]; a poster hangs on the wall in front of them, so far from the camera.
NEXT_M, WALL_M = 1.0, 5.0
#: Frames half a second apart: each is searched.
COUNT, EVERY_S = 4, 0.5


@pytest.fixture(scope="module")
def bare() -> tuple[list[Pixels], list[Pose]]:
    """The shipped clip's runner without a tag, every fifteenth picture, and where her joints are."""
    step = round(EVERY_S * worn.FPS)
    pictures = [p[:720] for k, p in enumerate(worn.frames(step * (COUNT - 1) + 1)) if k % step == 0]
    what = worn.truth()
    poses = []
    for k in range(COUNT):
        pose = Pose.nobody()
        seen = dict(zip(what["joints"], what["joints_px"][k * step], strict=True))
        for name in KEYPOINTS:
            if name in seen:
                pose.xy_px[KEYPOINT_INDEX[name]], pose.score[KEYPOINT_INDEX[name]] = seen[name], 0.9
        poses.append(pose)
    return pictures, poses


def drawn(shots: list[tuple[Shot, Motion]], pictures: list[Pixels]) -> list[Pixels]:
    """Plates over the pictures, the first one behind."""
    rng, out = np.random.default_rng(0), []
    for k, luma in enumerate(pictures):
        whole = np.ascontiguousarray(luma)
        for shot, motion in shots:
            whole = picture(shot, motion, k * EVERY_S, rng, whole)
        out.append(whole)
    return out


def read(pictures: list[Pixels], poses: list[Pose]) -> tuple[list[PelvisReading | None], TagEstimator]:
    estimator = TagEstimator(VIEW)
    said = [
        estimator.read(frame_of(luma, k * EVERY_S, k), pose)
        for k, (luma, pose) in enumerate(zip(pictures, poses, strict=True))
    ]
    return said, estimator


def shot(plate: Plate, camera: Pinhole = worn.CAMERA, offset_m: tuple[float, float, float] = (0.0, 0.09, 0.13)) -> Shot:
    return Shot(Worn(plate, offset_m=offset_m), camera, worn.SENSOR, exposure_s=0.003)


def errors(said: list[PelvisReading | None]) -> Floats:
    true = worn.angles_deg(worn.truth())[:: round(EVERY_S * worn.FPS)][:COUNT]
    return np.array([
        [np.nan] * 3 if r is None else [r.obliquity_deg, r.rotation_deg, r.tilt_deg] for r in said
    ]) - true  # fmt: skip


@pytest.mark.parametrize("plate", list(PLATES))
def test_ones_own_tag_is_read(bare: tuple[list[Pixels], list[Pose]], plate: str) -> None:
    """So that what is not read below is not read for the right reason."""
    pictures, poses = bare
    said, _ = read(drawn([(shot(PLATES[plate]), worn.motion_of(worn.truth()))], pictures), poses)
    assert (np.abs(errors(said)) < [0.5, 1.5, 1.5]).all()


@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("plate", list(PLATES))
def test_the_neighbours_tag_is_not_hers(bare: tuple[list[Pixels], list[Pose]], plate: str, side: float) -> None:
    pictures, poses = bare
    neighbour = worn.motion_of(worn.truth(), side * NEXT_M)
    said, _ = read(drawn([(shot(PLATES[plate]), neighbour)], pictures), poses)
    assert said == [None] * COUNT


def test_both_wear_the_same_tag_and_hers_is_read(bare: tuple[list[Pixels], list[Pose]]) -> None:
    pictures, poses = bare
    neighbour = (shot(LARGE), worn.motion_of(worn.truth(), NEXT_M))
    said, _ = read(drawn([neighbour, (shot(LARGE), worn.motion_of(worn.truth()))], pictures), poses)
    assert (np.abs(errors(said)) < [0.5, 1.5, 1.5]).all()


@pytest.mark.parametrize("plate", [SMALL, LARGE, BELT], ids=lambda plate: plate.name)
@pytest.mark.parametrize("place_m", [(-0.5, 0.25), (0.45, 0.0), (0.6, 0.4)])
def test_a_poster_of_our_own_tag_is_not_hers(
    bare: tuple[list[Pixels], list[Pose]], plate: Plate, place_m: tuple[float, float]
) -> None:
    """The sheet hung up flat on the wall, beside her and above her shoulder."""
    pictures, poses = bare
    flat = Shot(Worn(plate, shape=(0.0,) * len(plate.shape), offset_m=(*place_m, 0.0)),
                replace(worn.CAMERA, distance_m=WALL_M), worn.SENSOR)  # fmt: skip
    hangs: Motion = lambda _t: (np.zeros(3), np.array([0.0, 0.93, 0.0]))  # noqa: E731
    said, _ = read(drawn([(flat, hangs)], pictures), poses)
    assert said == [None] * COUNT


@pytest.mark.parametrize("ids", [(7, 8), (0, 249), (132, 107)])
def test_other_tags_of_the_dictionary_at_her_waist_are_not_ours(
    bare: tuple[list[Pixels], list[Pose]], ids: tuple[int, int]
) -> None:
    """Somebody else's clip of the same make; and our own small one glued with its halves exchanged."""
    pictures, poses = bare
    said, tags = read(drawn([(shot(replace(LARGE, ids=ids)), worn.motion_of(worn.truth()))], pictures), poses)
    assert said == [None] * COUNT
    assert tags.foreign >= ({*ids} if ids != (132, 107) else set())


def test_an_apriltag_at_her_waist_is_not_ours(
    bare: tuple[list[Pixels], list[Pose]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same layout of bits and borders, the same numbers, another dictionary."""
    pictures, poses = bare
    april = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)

    def other(tag_id: int) -> np.ndarray:
        rows = cv2.aruco.Dictionary.getBitsFromByteList(april.bytesList[tag_id : tag_id + 1], 6).reshape(6, 6)
        return np.pad(np.pad(rows, 1, constant_values=0), 1, constant_values=1)

    with monkeypatch.context() as patch:
        patch.setattr("station.lab.tagshots.modules", other)
        pictures = drawn([(shot(LARGE), worn.motion_of(worn.truth()))], pictures)
    said, _ = read(pictures, poses)
    assert said == [None] * COUNT
