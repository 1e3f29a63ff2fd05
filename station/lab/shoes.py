"""Running shoes: a lofted shell around the foot with a flat sole, bending at the ball of the foot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from station.lab.bodies import BONE, BONES
from station.lab.legs import FootShape
from station.lab.skinning import Mesh
from station.types import Floats

UPPER, SOLE = 4, 5

#: Along the shoe, heel (0) to tip (1): share of length, half width of the sole (of the shoe's width), height in metres.
_STATIONS = np.array([
    [0.000, 0.16, 0.066], [0.012, 0.27, 0.086], [0.045, 0.345, 0.098], [0.11, 0.385, 0.100], [0.22, 0.40, 0.094],
    [0.34, 0.395, 0.084], [0.45, 0.42, 0.080], [0.56, 0.465, 0.071], [0.66, 0.50, 0.062], [0.76, 0.50, 0.055],
    [0.86, 0.43, 0.049], [0.94, 0.30, 0.043], [0.985, 0.17, 0.036], [1.0, 0.06, 0.030],
])  # fmt: skip

#: Half a cross-section, from the middle of the sole outward and up: x (of the half width), y fixed (m), y (of height).
_RING = np.array([
    [0.00, 0.000, 0.0], [0.45, 0.000, 0.0], [0.90, 0.000, 0.0], [1.04, 0.006, 0.0], [1.06, 0.016, 0.0],
    [1.02, 0.028, 0.0], [0.94, 0.030, 0.0], [0.95, 0.010, 0.40], [0.84, 0.004, 0.66], [0.60, 0.0, 0.88],
    [0.34, 0.0, 0.98], [0.00, 0.000, 1.0],
])  # fmt: skip


def shoe(foot: FootShape, ankle: Floats, neutral: Floats, side: str, colours: tuple[Floats, Floats, Floats]) -> Mesh:
    """The shoe of one foot in the rest pose; ``colours`` are upper, midsole and outsole."""
    ring = np.vstack([_RING, _RING[-2:0:-1] * [-1.0, 1.0, 1.0]])
    count, rows = len(ring), len(_STATIONS)
    shell = np.zeros((rows, count, 3))
    for i, (share, half, height) in enumerate(_STATIONS):
        tip = max(0.0, share - 0.86) / 0.14
        spring = 0.010 * tip**2 + (0.004 if share < 0.02 else 0.0)
        y = ring[:, 1] + ring[:, 2] * height
        shell[i, :, 0] = ring[:, 0] * half * foot.width_m
        shell[i, :, 1] = np.maximum(y, spring) - foot.ankle_m
        shell[i, :, 2] = foot.heel_m - share * foot.length_m
    points = shell.reshape(-1, 3)
    inner = 1.0 if side == "L" else -1.0  # shoes curve inward toward the tip
    bend = np.clip((points[:, 2] - foot.ball[2]) / -0.1, 0.0, 1.0)
    points = points + np.stack([inner * 0.008 * bend, 0 * bend, 0 * bend], axis=1)
    faces = _tube_faces(rows, count)
    weights = np.zeros((len(points), len(BONES)), dtype=np.float32)
    ahead = np.clip(0.5 - (points[:, 2] - foot.ball[2]) / 0.030, 0.0, 1.0)
    ahead = ahead * ahead * (3 - 2 * ahead)
    weights[:, BONE[f"toes.{side}"]], weights[:, BONE[f"foot.{side}"]] = ahead, 1.0 - ahead
    colour, material = _paint(rows, count, colours)
    rest = points @ neutral + ankle
    return Mesh(rest, faces, weights, colour, material, np.full(len(points), -1.0, dtype=np.float32))


def _paint(
    rows: int, count: int, colours: tuple[Floats, Floats, Floats]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    upper, midsole, outsole = colours
    place = np.minimum(np.arange(count), count - np.arange(count))
    place = np.tile(place, rows)
    colour = np.where((place <= 2)[:, None], outsole, np.where((place <= 5)[:, None], midsole, upper))
    share = np.repeat(_STATIONS[:, 0], count)
    colour = np.where(((share < 0.05) & (place >= 6))[:, None], 0.75 * upper, colour)
    material = np.where(place <= 5, SOLE, UPPER)
    return colour.astype(np.float32), material.astype(np.float32)


def _tube_faces(rows: int, count: int) -> NDArray[np.int32]:
    faces = []
    for i in range(rows - 1):
        for j in range(count):
            a, b = i * count + j, i * count + (j + 1) % count
            faces += [[a, b, a + count], [b, b + count, a + count]]
    for base, flip in ((0, True), ((rows - 1) * count, False)):
        for j in range(count // 2):  # in level strips, so that the sole's colour stays below the upper's
            a, b, c, d = base + j, base + j + 1, base + count - j - 1, base + (count - j) % count
            for flat in ([a, b, c], [a, c, d]):
                faces.append(flat[::-1] if flip else flat)
    return np.asarray(faces, dtype=np.int32)
