"""The printed references: which tags they carry, where those sit in space, and what their print looks like.

Plate frame: metres, x = runner's right, y = up, z = backward, toward the camera. A plate is a row of square *facets*
of ten by ten modules: a tag (six by six bits inside a black border of one module) inside a white margin of one module.

A flat plate seen from straight behind says next to nothing of rotation and tilt: turning it changes its picture to
second order only (``docs/tag.md`` has the floor). So both clips are a roof whose ridge points at the camera, and the
belt follows the back: turning moves near points against far ones, to first order.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from station.types import Floats

#: Tags of 36 bits, any two of them at least 12 bits apart in every orientation; the ones used here at least 14.
DICTIONARY = cv2.aruco.DICT_ARUCO_MIP_36h12
BITS = 6
#: Modules along the side of a facet: bits, black border, white margin.
FACET_MODULES = BITS + 4
#: Texels along a module of the stored print.
TEXELS = 8
_BELT_STEPS = 24


@dataclass(frozen=True, slots=True)
class Plate:
    """One printable reference. ``ids`` run from the runner's left to the right.

    ``shape`` is what a person's scissors and back decide, with the sd of what is known beforehand: for a roof the angle
    of each panel against the plate [deg]; for a belt the curvature at its middle [1/m] and its change outward [1/m³].
    """

    name: str
    title: str
    ids: tuple[int, ...]
    side_m: float
    shape: tuple[float, ...]
    shape_sd: tuple[float, ...]

    @property
    def module_m(self) -> float:
        """Side of a module [m]."""
        return self.side_m / FACET_MODULES

    @property
    def tag_m(self) -> float:
        """Side of a tag with its black border [m]."""
        return self.module_m * (BITS + 2)


SMALL = Plate("small", "clip, small", (107, 132), 0.070, (35.0,), (1.5,))
LARGE = Plate("large", "clip, large", (159, 199), 0.100, (35.0,), (1.5,))
BELT = Plate("belt", "belt", (173, 110, 101, 194, 196), 0.070, (4.5, 0.0), (3.0, 80.0))
PLATES = {plate.name: plate for plate in (SMALL, LARGE, BELT)}


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where the facets of a plate are: centres (n, 3), unit vectors to the right and up (n, 3), in the plate frame."""

    centre_m: Floats
    right: Floats
    up: Floats

    @property
    def outward(self) -> Floats:
        """Unit normals (n, 3); those of facets that can be seen point at the camera."""
        return np.cross(self.right, self.up)


def place(plate: Plate, shape: Floats) -> Placement:
    """The facets of a plate of that shape; the middle of the plate is the origin."""
    across, depth, turn = _roof(plate, float(shape[0])) if len(plate.ids) == 2 else _belt(plate, shape)
    zero = np.zeros_like(across)
    centre = np.stack([across, zero, depth - depth.mean()], axis=1)
    right = np.stack([np.cos(turn), zero, -np.sin(turn)], axis=1)
    return Placement(centre, right, np.tile([0.0, 1.0, 0.0], (len(across), 1)))


def _roof(plate: Plate, angle_deg: float) -> tuple[Floats, Floats, Floats]:
    angle, half = math.radians(angle_deg), plate.side_m / 2
    side = np.array([-1.0, 1.0])
    return side * half * math.cos(angle), np.full(2, -half * math.sin(angle)), side * angle


def _belt(plate: Plate, shape: Floats) -> tuple[Floats, Floats, Floats]:
    """Middles of the facets along a strip that bends by ``k s + c s³`` up to arc length s from its middle."""
    count = len(plate.ids)
    at = (np.arange(count) - (count - 1) / 2) * plate.side_m
    share = (np.arange(_BELT_STEPS) + 0.5) / _BELT_STEPS
    arc = at[:, None] * share
    bend = shape[0] * arc + shape[1] * arc**3
    return (
        at * np.cos(bend).mean(axis=1),
        -at * np.sin(bend).mean(axis=1),
        shape[0] * at + shape[1] * at**3,
    )


@functools.cache
def bits(tag_id: int) -> NDArray[np.uint8]:
    """The six by six bits of a tag, 1 = white, row 0 at the top."""
    every = cv2.aruco.getPredefinedDictionary(DICTIONARY)
    rows = cv2.aruco.Dictionary.getBitsFromByteList(every.bytesList[tag_id : tag_id + 1], BITS)
    return np.asarray(rows, dtype=np.uint8).reshape(BITS, BITS)


def modules(tag_id: int) -> NDArray[np.uint8]:
    """A facet's ten by ten modules, 1 = white."""
    return np.pad(np.pad(bits(tag_id), 1, constant_values=0), 1, constant_values=1)


@functools.cache
def texture(tag_id: int) -> NDArray[np.float32]:
    """A facet's print, 0 = black, 1 = white, :data:`TEXELS` texels a module; row 0 at the top."""
    return np.kron(modules(tag_id), np.ones((TEXELS, TEXELS))).astype(np.float32)


def tag_corners(plate: Plate, placement: Placement) -> Floats:
    """Corners of the tags' black borders (n, 4, 3) in the plate frame, in OpenCV's order: clockwise from upper left."""
    half = plate.tag_m / 2
    signs = np.array([[-1.0, 1.0], [1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]) * half
    return np.asarray(
        placement.centre_m[:, None]
        + signs[None, :, :1] * placement.right[:, None]
        + signs[None, :, 1:] * placement.up[:, None]
    )
