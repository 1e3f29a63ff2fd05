"""Regions and crops: which point of the picture each pixel of a crop shows."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.pose.crop import Cropper
from station.pose.region import Region
from station.types import Floats, Frame, Pixels

REGIONS = [
    Region(100.0, 80.0, 64.0),
    Region(90.3, 70.7, 100.0, 0.3),
    Region(120.0, 80.0, 130.0, -0.5),
]


def ramp(width: int, height: int) -> Pixels:
    """A grey picture whose value is 20 + x/2 + y/4."""
    y, x = np.mgrid[:height, :width]
    grey = np.rint(20 + x / 2 + y / 4).astype(np.uint8)
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


def expected(region: Region, size: int) -> Floats:
    """The ramp's value at the middle of each crop pixel."""
    y, x = np.mgrid[:size, :size]
    at = region.to_picture(np.stack([x, y], axis=-1).astype(float), size)
    return 20 + at[..., 0] / 2 + at[..., 1] / 4


def yuv(image: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420), np.uint8)


@given(
    st.floats(-500, 4000), st.floats(-500, 4000), st.floats(1, 5000), st.floats(-math.pi, math.pi),
    st.floats(-100, 400), st.floats(-100, 400),
)  # fmt: skip
def test_to_picture_undoes_to_crop(x: float, y: float, side: float, angle: float, u: float, v: float) -> None:
    region = Region(x, y, side, angle)
    point = region.to_picture(np.array([u, v]), 256)
    back = region.to_crop(256) @ np.append(point, 1)
    np.testing.assert_allclose(back, (u, v), atol=1e-6 * (1 + 256 / side) * (1 + abs(x) + abs(y)))


def test_a_body_region_has_the_circle_and_its_margin() -> None:
    region = Region.of_body(np.array([320.0, 240.0]), np.array([320.0, 140.0]))
    assert region == Region(320.0, 240.0, 250.0, 0.0)
    leaning = Region.of_body(np.array([320.0, 240.0]), np.array([420.0, 140.0]))
    assert leaning.angle_rad == pytest.approx(math.pi / 4)
    # The circle's top comes to lie straight above the hips in the crop.
    top = leaning.to_crop(256) @ (420.0, 140.0, 1.0)
    assert top == pytest.approx((127.5, 127.5 - 128 / 1.25))


def test_the_letterbox_touches_the_longer_edges() -> None:
    region = Region.whole(1280, 720)
    corners = region.to_picture(np.array([[-0.5, -0.5], [223.5, 223.5]]), 224)
    np.testing.assert_allclose(corners, [[-0.5, -280.5], [1279.5, 999.5]])


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("layout", ["rgb", "bgr", "yuv420"])
def test_every_pixel_shows_its_own_place(region: Region, layout: str) -> None:
    image = ramp(240, 160)
    frame = Frame(0.0, 0, yuv(image) if layout == "yuv420" else image, layout)  # type: ignore[arg-type]  # parametrised
    crop = Cropper(64, replicate=True).crop(frame, region)
    want = expected(region, 64)
    inside = (want > 25) & (want < 170)
    y, x = np.mgrid[:64, :64]
    at = region.to_picture(np.stack([x, y], axis=-1).astype(float), 64)
    inside &= ((at > 2) & (at < (237, 157))).all(axis=-1)
    assert inside.sum() > 500
    off = crop.mean(axis=-1)[inside] - want[inside]
    assert np.abs(off).max() < 2.5
    assert abs(off.mean()) < 0.25


@pytest.mark.parametrize("layout", ["rgb", "bgr", "yuv420"])
def test_a_picture_much_larger_than_the_crop_is_averaged_and_stays_in_place(layout: str) -> None:
    image = ramp(240, 160).repeat(12, axis=0).repeat(12, axis=1)
    noise = np.random.default_rng(0).normal(0, 40, image.shape[:2])
    image = (image + noise[:, :, np.newaxis]).clip(0, 255).astype(np.uint8)
    frame = Frame(0.0, 0, yuv(image) if layout == "yuv420" else image, layout)  # type: ignore[arg-type]  # parametrised
    crop = Cropper(64, replicate=True).crop(frame, Region(1250.0, 950.0, 1400.0))
    y, x = np.mgrid[:64, :64]
    at = Region(1250.0, 950.0, 1400.0).to_picture(np.stack([x, y], axis=-1).astype(float), 64)
    # Twelve picture pixels show one of the ramp's; its pixel i covers 12 i to 12 i + 11.
    want = 20 + ((at[..., 0] - 5.5) / 12) / 2 + ((at[..., 1] - 5.5) / 12) / 4
    off = crop.mean(axis=-1) - want
    assert abs(off.mean()) < 0.5
    assert off.std() < 6  # a single pixel's noise is 40


def test_colours_arrive_as_rgb_from_every_layout() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    image[:, :80] = (200, 60, 20)
    image[:, 80:] = (30, 90, 220)
    frames = (
        Frame(0.0, 0, image, "rgb"),
        Frame(0.0, 0, np.ascontiguousarray(image[..., ::-1]), "bgr"),
        Frame(0.0, 0, yuv(image), "yuv420"),
    )
    for frame in frames:
        assert frame.size_px == (160, 120)
        crop = Cropper(64, replicate=True).crop(frame, Region(79.5, 59.5, 100.0)).astype(int)
        assert np.abs(crop[:, :28] - (200, 60, 20)).max() <= 4
        assert np.abs(crop[:, 36:] - (30, 90, 220)).max() <= 4


@pytest.mark.parametrize("layout", ["rgb", "bgr", "yuv420"])
def test_outside_the_picture_is_black_or_its_edge(layout: str) -> None:
    image = np.full((100, 200, 3), 180, np.uint8)
    frame = Frame(0.0, 0, yuv(image) if layout == "yuv420" else image, layout)  # type: ignore[arg-type]  # parametrised
    black = Cropper(64, replicate=False).crop(frame, Region.whole(200, 100))
    assert black[:12].max() <= 2
    assert black[-12:].max() <= 2
    assert black[30:34].min() > 170
    edge = Cropper(64, replicate=True).crop(frame, Region.whole(200, 100))
    assert edge.min() > 170


def test_a_region_outside_the_picture_is_no_crash() -> None:
    frame = Frame(0.0, 0, ramp(240, 160), "rgb")
    for side in (50.0, 5000.0):
        crop = Cropper(64, replicate=True).crop(frame, Region(-900.0, 2000.0, side))
        assert crop.shape == (64, 64, 3)
