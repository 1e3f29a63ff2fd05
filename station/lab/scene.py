"""The gym: treadmills, floor, walls, windows, mirrors, weights: boxes and rods with procedural surfaces."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from station.types import Floats

BELT, FLOOR, WALL, GEAR, GLOW, MIRROR, PICTURE, CEILING = 11, 12, 13, 14, 15, 16, 17, 18
FLOOR_Y_M = -0.20


@dataclass(frozen=True, slots=True, eq=False)
class Solid:
    """Static triangles: positions and normals (n, 3), colours (n, 3), material (n,), faces (m, 3)."""

    vertices_m: NDArray[np.float32]
    normals: NDArray[np.float32]
    colour: NDArray[np.float32]
    material: NDArray[np.float32]
    faces: NDArray[np.int32]


@dataclass(slots=True)
class Builder:
    """Collects boxes and rods into one :class:`Solid`."""

    _parts: list[Solid] = field(default_factory=list)

    def box(
        self,
        centre: tuple[float, float, float],
        size: tuple[float, float, float],
        colour: Floats | float,
        material: int = GEAR,
    ) -> None:
        """An axis-parallel box."""
        mid, half = np.asarray(centre, float), np.asarray(size, float) / 2
        corners: list[Floats] = []
        normals: list[Floats] = []
        faces: list[list[int]] = []
        for axis in range(3):
            for sign in (-1.0, 1.0):
                n, u = np.zeros(3), np.zeros(3)
                n[axis], u[(axis + 1) % 3] = sign, 1.0
                v = np.cross(n, u)
                base = len(corners)
                corners += [mid + half * (n + u * x + v * y) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
                normals += [n] * 4
                faces += [[base, base + 1, base + 2], [base, base + 2, base + 3]]
        self._add(corners, normals, faces, colour, material)

    def rod(
        self,
        start: tuple[float, float, float],
        end: tuple[float, float, float],
        radius: float,
        colour: Floats | float,
        material: int = GEAR,
        sides: int = 12,
    ) -> None:
        """A cylinder, open unless thick (discs get their flat ends)."""
        a, b = np.asarray(start, float), np.asarray(end, float)
        d = (b - a) / np.linalg.norm(b - a)
        u = np.cross(d, [0, 1.0, 0] if abs(d[1]) < 0.9 else [1.0, 0, 0])
        u /= np.linalg.norm(u)
        v = np.cross(d, u)
        corners: list[Floats] = []
        normals: list[Floats] = []
        faces: list[list[int]] = []
        for i in range(sides):
            n = u * np.cos(2 * np.pi * i / sides) + v * np.sin(2 * np.pi * i / sides)
            corners += [a + radius * n, b + radius * n]
            normals += [n, n]
            j = (i + 1) % sides
            faces += [[2 * i, 2 * j, 2 * i + 1], [2 * j, 2 * j + 1, 2 * i + 1]]
        for end_point, n, flip in ((a, -d, 1), (b, d, 0)):
            base = len(corners)
            round_it = np.arange(sides) * 2 * np.pi / sides
            corners += [end_point + radius * (u * np.cos(w) + v * np.sin(w)) for w in round_it]
            normals += [n] * sides
            fans = [[base, base + i, base + i + 1] for i in range(1, sides - 1)]
            faces += [f[::-1] for f in fans] if flip else fans
        self._add(corners, normals, faces, colour, material)

    def _add(
        self,
        corners: list[Floats],
        normals: list[Floats],
        faces: list[list[int]],
        colour: Floats | float,
        material: int,
    ) -> None:
        paint = np.broadcast_to(np.asarray(colour, dtype=np.float32), (len(corners), 3))
        self._parts.append(Solid(
            np.asarray(corners, "f4"), np.asarray(normals, "f4"), np.array(paint),
            np.full(len(corners), material, "f4"), np.asarray(faces, "i4")))  # fmt: skip

    def solid(self) -> Solid:
        """Everything added so far."""
        starts = np.cumsum([0] + [len(p.vertices_m) for p in self._parts[:-1]])
        return Solid(
            np.concatenate([p.vertices_m for p in self._parts]), np.concatenate([p.normals for p in self._parts]),
            np.concatenate([p.colour for p in self._parts]), np.concatenate([p.material for p in self._parts]),
            np.concatenate([p.faces + s for p, s in zip(self._parts, starts, strict=True)]).astype(np.int32),
        )  # fmt: skip


def _grey(level: float, tint: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Floats:
    return np.asarray(tint) * level


def treadmill(b: Builder, x: float, rng: np.random.Generator, own: bool) -> None:
    """A treadmill with the middle of its belt at (x, 0, 0); the runner's own belt moves, the others stand."""
    frame, dark = _grey(float(rng.uniform(0.16, 0.34))), _grey(0.03)
    b.box((x, -0.012, -0.05), (0.54, 0.024, 2.0), _grey(0.035), BELT if own else GEAR)
    b.box((x, -0.10, -0.1), (0.60, 0.15, 2.2), dark)
    for s in (-1.0, 1.0):
        b.box((x + s * 0.335, 0.012, -0.05), (0.13, 0.05, 2.05), frame)
        b.box((x + s * 0.335, 0.0385, -0.05), (0.09, 0.004, 1.9), dark)
        b.rod((x + s * 0.37, 0.0, -0.92), (x + s * 0.34, 1.12, -1.16), 0.032, frame * 0.8)
        b.rod((x + s * 0.345, 0.93, -1.13), (x + s * 0.36, 0.90, -0.62), 0.019, dark * 1.4)
    b.box((x, 0.08, -1.12), (0.66, 0.20, 0.46), dark * 1.6)
    b.box((x, 0.183, -1.12), (0.5, 0.006, 0.30), frame * 0.7)
    b.box((x, 1.13, -1.2), (0.80, 0.30, 0.10), dark * 1.5)
    b.box((x, 1.16, -1.147), (0.34, 0.19, 0.006), np.array([0.05, 0.14, 0.22]) * float(rng.uniform(0.7, 1.6)), GLOW)
    for s in (-1.0, 1.0):
        b.box((x + s * 0.27, 1.15, -1.147), (0.10, 0.12, 0.006), _grey(0.12))
    b.rod((x - 0.33, 0.98, -1.12), (x + 0.33, 0.98, -1.12), 0.020, dark * 1.2)


def gym(rng: np.random.Generator) -> tuple[Solid, Solid]:
    """A gym hall; every draw of ``rng`` gives another one.

    First what the runner's shadow and the belt change (her treadmill, the floor), then the rest, which stays as it is.
    """
    near, b = Builder(), Builder()
    treadmill(near, 0.0, rng, own=True)
    gap = float(rng.uniform(1.25, 1.6))
    for k in (-2, -1, 1, 2):
        if rng.uniform() < 0.8:
            treadmill(b, k * gap, rng, own=False)
    back = -float(rng.uniform(3.2, 5.0))
    near.box((0, FLOOR_Y_M - 0.05, -1.0), (16, 0.1, 16), _grey(float(rng.uniform(0.05, 0.2)), (1, 1, 1.05)), FLOOR)
    tint = np.asarray(rng.uniform(0.85, 1.0, 3))
    b.box((0, 1.2, back - 0.1), (16, 3.4, 0.2), tint * float(rng.uniform(0.35, 0.7)), WALL)
    for s in (-1.0, 1.0):
        b.box((s * 5.2, 1.2, -1.0), (0.2, 3.4, 14), tint * float(rng.uniform(0.3, 0.6)), WALL)
    b.box((0, 2.85, -1.0), (16, 0.1, 16), _grey(0.55), CEILING)
    for row in range(3):
        b.box((-1.6 + 1.6 * row, 2.79, back / 2), (0.24, 0.02, -back * 0.7), _grey(1.6), GLOW)
    _wall(b, rng, back)
    _weights(b, rng, back)
    return near.solid(), b.solid()


def _wall(b: Builder, rng: np.random.Generator, back: float) -> None:
    accent = np.asarray(rng.uniform(0.05, 0.75, 3))
    b.box((0, 0.25, back + 0.012), (10.4, 0.16, 0.02), accent)
    b.box((0, -0.13, back + 0.015), (10.4, 0.14, 0.03), _grey(0.06))
    x = -4.6
    while x < 4.2:
        width = float(rng.uniform(0.7, 1.6))
        kind = rng.uniform()
        at = (x + width / 2, 1.35, back + 0.02)
        if kind < 0.35:
            b.box(at, (width + 0.08, 1.58, 0.03), _grey(0.08))
            sky = np.array([0.75, 0.85, 0.95]) * float(rng.uniform(0.6, 1.2))
            b.box((at[0], 1.35, back + 0.036), (width, 1.5, 0.01), sky, GLOW)
            b.box((at[0], 1.35, back + 0.045), (0.03, 1.5, 0.02), _grey(0.08))
        elif kind < 0.6:
            b.box(at, (width, 1.7, 0.02), np.asarray(rng.uniform(0.35, 0.5, 3)) * 0.8, MIRROR)
        elif kind < 0.85:
            b.box(at, (0.7 * width, 0.9, 0.02), np.asarray(rng.uniform(0.05, 0.8, 3)), PICTURE)
        x += width + float(rng.uniform(0.15, 0.7))


def _weights(b: Builder, rng: np.random.Generator, back: float) -> None:
    for s in (-1.0, 1.0):
        x, z = s * float(rng.uniform(2.0, 3.2)), back + float(rng.uniform(0.5, 0.9))
        steel = _grey(float(rng.uniform(0.15, 0.4)))
        if rng.uniform() < 0.5:
            for y in (0.15, 0.5, 0.85):
                b.box((x, y, z), (1.7, 0.03, 0.35), steel)
                for k in range(6):
                    at, r = x - 0.7 + 0.28 * k, 0.05 + 0.008 * k
                    b.rod((at, y + 0.02 + r, z - 0.14), (at, y + 0.02 + r, z - 0.04), r, _grey(0.04))
                    b.rod((at, y + 0.02 + r, z + 0.04), (at, y + 0.02 + r, z + 0.14), r, _grey(0.04))
            for side in (-0.85, 0.85):
                b.box((x + side, 0.35, z), (0.05, 1.1, 0.4), steel * 0.6)
        else:
            for side in (-0.55, 0.55):
                b.box((x + side, 0.95, z), (0.07, 2.3, 0.07), steel)
                b.box((x + side, 0.95, z + 0.9), (0.07, 2.3, 0.07), steel)
            b.rod((x - 0.95, 1.15, z + 0.9), (x + 0.95, 1.15, z + 0.9), 0.014, _grey(0.5))
            for side in (-0.85, -0.78, 0.78, 0.85):
                b.rod((x + side - 0.02, 1.15, z + 0.9), (x + side + 0.02, 1.15, z + 0.9), 0.22, _grey(0.04), sides=20)
            b.box((x, 0.22, z + 0.5), (0.3, 0.08, 1.1), _grey(0.05))
    for _ in range(int(rng.integers(2, 6))):
        x, z, r = float(rng.choice([-1, 1]) * rng.uniform(1.0, 4.0)), float(rng.uniform(back + 0.3, -1.8)), 0.06
        colour = np.asarray(rng.uniform(0.03, 0.6, 3))
        b.rod((x - 0.09, FLOOR_Y_M + r, z), (x + 0.09, FLOOR_Y_M + r, z), r, colour)
