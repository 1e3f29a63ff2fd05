"""The printed references: codes that cannot be mistaken, places in space, sheets of true size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pypdfium2
import pytest

from station.__main__ import main
from station.tag.plates import BELT, LARGE, PLATES, SMALL, Plate, bits, place, tag_corners
from station.tag.search import search

OWN = [tag_id for plate in PLATES.values() for tag_id in plate.ids]
SHEETS: dict[str, list[tuple[int, ...]]] = {
    "small": [(107, 132)],
    "large": [(159, 199)],
    "belt": [(173, 110, 101), (194, 196)],
}


def test_no_tag_is_like_another_in_any_orientation() -> None:
    for i, one in enumerate(OWN):
        for other in OWN[i:]:
            for turns in range(4):
                if one == other and turns == 0:
                    continue
                assert (bits(one) != np.rot90(bits(other), turns)).sum() >= 14


@pytest.mark.parametrize(("plate", "height_mm", "width_mm"), [(SMALL, 40.2, 114.7), (LARGE, 57.4, 163.8)])
def test_a_clip_is_a_roof_whose_ridge_points_backward(plate: Plate, height_mm: float, width_mm: float) -> None:
    placed = place(plate, np.array(plate.shape))
    ends = placed.centre_m + np.array([-1.0, 1.0])[:, None] * plate.side_m / 2 * placed.right
    ridge = placed.centre_m + np.array([1.0, -1.0])[:, None] * plate.side_m / 2 * placed.right
    assert ridge[0] == pytest.approx(ridge[1], abs=1e-12)
    assert 1000 * (ridge[0, 2] - ends[0, 2]) == pytest.approx(height_mm, abs=0.05)
    assert 1000 * (ends[1, 0] - ends[0, 0]) == pytest.approx(width_mm, abs=0.05)
    assert placed.outward[0, 0] < 0 < placed.outward[1, 0]
    assert (placed.outward[:, 2] > 0.8).all()


def test_a_belt_of_one_radius_lies_on_a_circle() -> None:
    radius_m = 0.16
    placed = place(BELT, np.array([1 / radius_m, 0.0]))
    centre = placed.centre_m[2] - [0, 0, radius_m]
    assert np.linalg.norm(placed.centre_m - centre, axis=1) == pytest.approx(radius_m, abs=1e-4)
    assert placed.outward[4] == pytest.approx((placed.centre_m[4] - centre) / radius_m, abs=2e-3)


def test_corners_go_round_from_the_upper_left() -> None:
    corners = tag_corners(LARGE, place(LARGE, np.array([0.0])))
    assert corners[0, 0] == pytest.approx([-0.09, 0.04, 0.0], abs=1e-9)
    assert corners[0, 1] == pytest.approx([-0.01, 0.04, 0.0], abs=1e-9)
    assert corners[0, 3] == pytest.approx([-0.09, -0.04, 0.0], abs=1e-9)


@pytest.mark.parametrize("size", list(PLATES))
def test_the_sheet_prints_the_tags_in_their_order_at_true_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: str
) -> None:
    path = tmp_path / "tag.pdf"
    assert main(["tag", "--print", str(path), "--size", size]) == 0
    assert "print at 100 %" in capsys.readouterr().out
    plate, px_per_mm = PLATES[size], 4.0
    pdf = pypdfium2.PdfDocument(path)
    try:
        for number, ids in enumerate(SHEETS[size]):
            page = np.ascontiguousarray(
                pdf[number].render(scale=px_per_mm * 25.4 / 72, grayscale=True).to_numpy().squeeze()
            )
            found = {tag.tag_id: tag.corners_px for tag in search(page, tuple(OWN))[0]}
            assert set(found) == set(ids)
            middles = [found[tag_id].mean(axis=0) for tag_id in ids]
            assert np.diff([m[0] for m in middles]) / px_per_mm == pytest.approx(1000 * plate.side_m, abs=0.4)
            for corners in found.values():
                sides = np.linalg.norm(np.diff(corners, axis=0), axis=1) / px_per_mm
                assert sides == pytest.approx(1000 * plate.tag_m, abs=0.4)
    finally:
        pdf.close()


@pytest.mark.parametrize("name", ["tag.png", "no/tag.pdf"])
def test_a_sheet_that_cannot_be_written_names_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["tag", "--print", str(tmp_path / name)]) == 2
    assert name in capsys.readouterr().err


def test_foreign_tags_are_named_and_not_taken() -> None:
    every = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_ARUCO_MIP_36h12)
    april = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    page = np.full((300, 900), 255, np.uint8)
    page[60:240, 60:240] = cv2.aruco.generateImageMarker(every, 7, 180)
    page[60:240, 360:540] = cv2.aruco.generateImageMarker(april, 107, 180)
    page[60:240, 660:840] = cv2.aruco.generateImageMarker(every, 107, 180)
    found, foreign = search(page, tuple(OWN))
    assert [tag.tag_id for tag in found if tag.look > 0.9] == [107]
    assert found[0].corners_px[0] == pytest.approx([660, 60], abs=1.0)
    assert foreign == [7]
