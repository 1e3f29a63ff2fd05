"""Clothes: shells grown from the body, cut along crisp lines; everything under them is taken away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from station.lab.bodies import BONE, Body
from station.lab.shoes import shoe
from station.lab.skinning import Mesh, Normals, Rig
from station.types import Floats

SKIN, BOTTOMS, SHIRT, HAIR = 0, 1, 2, 3

Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Outfit:
    """What a runner wears; colours are linear RGB 0..1, lengths metres.

    ``leg`` is where the bottoms end: 0 = hip, 1 = knee, 2 = ankle. ``hem_m`` is the shirt's hem below the upper edge of
    the waistband: negative leaves skin above it, ``None`` tucks the shirt in. ``hem_follow`` (0..1) is how much a long
    shirt's hem goes with the thighs instead of the pelvis. ``sleeve`` is a share of the upper arm.
    """

    skin: Colour = (0.62, 0.40, 0.29)
    hair: Colour = (0.07, 0.045, 0.03)
    shirt: Colour = (0.10, 0.23, 0.42)
    bottoms: Colour = (0.045, 0.05, 0.065)
    band: Colour = (0.75, 0.74, 0.70)
    stripe: Colour = (0.75, 0.74, 0.70)
    shoe: Colour = (0.85, 0.25, 0.07)
    sock: Colour = (0.75, 0.75, 0.75)
    leg: float = 0.62
    loose_m: float = 0.004
    hem_m: float | None = None
    shirt_loose_m: float = 0.006
    sleeve: float = 0.42
    waist_m: float = 0.105
    band_m: float = 0.040
    stripe_m: float = 0.016
    sock_m: float = 0.155
    hem_follow: float = 0.0
    bun: bool = False
    folds: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Dressed:
    """A dressed runner: one mesh, and the heights in the rest pose the shader needs to draw bands and socks."""

    mesh: Mesh
    outfit: Outfit
    waist_y_m: float
    sock_y_m: float


def dress(rig: Rig, outfit: Outfit) -> Dressed:
    """The runner of ``rig`` in ``outfit``."""
    body = rig.body
    shape = _Measures(body)
    waist = float(body.joint("thigh.L")[1]) + outfit.waist_m
    below = shape.leg - outfit.leg
    waistline = waist + 0.010 * np.clip(shape.z / 0.1, -1, 1)  # a little higher at the back
    bottoms_cut = np.maximum(shape.y - waistline, 0.42 * below)
    bottoms_cut = np.where((shape.arm_weight > 0.3) | (shape.foot_weight > 0.3), 1.0, bottoms_cut)
    hem = waistline - (0.006 if outfit.hem_m is None else outfit.hem_m)
    shirt_cut = np.max([hem - shape.y, shape.y - shape.neck_y, 0.30 * (shape.arm - outfit.sleeve)], axis=0)
    bare = (shape.hand_weight > 0.6) | (shape.leg_weight > 0.98) | (shape.head_weight > 0.5)
    shirt_cut = np.where(bare, 1.0, shirt_cut)
    flare = np.clip(shape.leg / max(outfit.leg, 0.2), 0, 1)
    grow = 0.0035 + outfit.loose_m * flare
    bottoms = _shell(body, bottoms_cut, grow + 0.003, outfit.bottoms, BOTTOMS, 6 + int(400 * outfit.loose_m))
    low = np.clip((waist + 0.10 - shape.y) / 0.2, 0, 1)
    over = 0.0 if outfit.hem_m is None else 0.009
    room = 0.0025 + outfit.shirt_loose_m * (0.4 + 0.6 * low) * np.where(outfit.hem_m is None, 1 - low, 1.0) + over * low
    tucked = (shape.y < waist + 0.006) & (outfit.hem_m is None)
    shirt = _shell(body, shirt_cut, room, outfit.shirt, SHIRT, 8, np.where(tucked, 0.0025, np.inf))
    if outfit.hem_m is not None and outfit.hem_follow > 0:
        _hang_hem(shirt, waist, outfit.hem_follow)
    parts = [_flesh(rig, shape, outfit, (bottoms_cut, shirt_cut)), bottoms, shirt]
    parts += [_shoe_of(rig, side, outfit) for side in "LR"]
    if outfit.bun:
        parts.append(_bun(body, outfit))
    return Dressed(join(parts), outfit, waist, float(body.joint("foot.L")[1]) - 0.075 + outfit.sock_m)


def _hang_hem(shirt: Mesh, waist_y: float, follow: float) -> None:
    """Let the lower shirt move with the thigh on its side: cloth is not pelvis."""
    share = follow * np.clip((waist_y + 0.04 - shirt.vertices_m[:, 1]) / 0.14, 0.0, 1.0)
    right = np.clip(0.5 + shirt.vertices_m[:, 0] / 0.16, 0.0, 1.0)
    shirt.weights[:] *= (1.0 - share)[:, None]
    shirt.weights[:, BONE["thigh.R"]] += share * right
    shirt.weights[:, BONE["thigh.L"]] += share * (1.0 - right)


class _Measures:
    """Where each vertex of a body is, in terms a tailor would use."""

    def __init__(self, body: Body) -> None:
        v, w = body.vertices_m, body.weights
        self.y, self.z = v[:, 1], v[:, 2]
        left = v[:, 0] < 0

        def along(start: str, end: str) -> Floats:
            out = np.zeros(len(v))
            for side, rows in (("L", left), ("R", ~left)):
                a, b = body.joint(f"{start}.{side}"), body.joint(f"{end}.{side}")
                out[rows] = (v[rows] - a) @ (b - a) / ((b - a) @ (b - a))
            return out

        def share(*bones: str) -> Floats:
            return np.asarray(w[:, [row for name, row in BONE.items() if name.partition(".")[0] in bones]].sum(axis=1))

        thigh, shank = along("thigh", "shank"), along("shank", "foot")
        self.leg = np.where(shank > 0, 1 + shank, np.minimum(thigh, 1.0))
        self.leg_weight, self.foot_weight = share("thigh", "shank"), share("foot", "toes")
        self.arm_weight, self.hand_weight = share("upperarm", "lowerarm", "hand"), share("lowerarm", "hand")
        self.head_weight = share("head", "neck")
        sure = np.clip((self.arm_weight - 0.25) / 0.3, 0, 1)
        self.arm = along("upperarm", "lowerarm") * sure * sure * (3 - 2 * sure)
        self.neck_y = float(body.joint("neck")[1]) + 0.018
        self.head_only = share("head")


def _shell(
    body: Body, cut: Floats, grow_m: Floats, colour: Colour, material: int, rounds: int, most_m: Floats | None = None
) -> Mesh:
    faces = body.faces[(cut < 0.0)[body.faces].any(axis=1)]
    used = np.unique(faces)
    renumber = np.full(len(body.vertices_m), -1)
    renumber[used] = np.arange(len(used))
    faces = renumber[faces].astype(np.int32)
    skin = body.vertices_m[used]
    normal = Normals(body.faces, len(body.vertices_m))(body.vertices_m.astype(np.float32))[used].astype(float)
    cloth = skin + normal * grow_m[used][:, None]
    weights, average = body.weights[used].copy(), _Average(faces, len(used))
    for _ in range(rounds):
        # Along the normal only: smoothing sideways would pull hems in and tear sleeves.
        cloth += normal * (0.5 * ((average(cloth) - cloth) * normal).sum(axis=1))[:, None]
        away = ((cloth - skin) * normal).sum(axis=1)
        cloth += normal * np.maximum(0.6 * grow_m[used] - away, 0.0)[:, None]
    if most_m is not None:
        away = ((cloth - skin) * normal).sum(axis=1)
        cloth -= normal * np.maximum(away - most_m[used], 0.0)[:, None]
    for _ in range(3):
        weights = 0.5 * weights + 0.5 * average(weights)
    paint = np.tile(np.asarray(colour, dtype=np.float32), (len(used), 1))
    return Mesh(
        cloth,
        faces,
        weights.astype(np.float32),
        paint,
        np.full(len(used), material, dtype=np.float32),
        cut[used].astype(np.float32),
    )


class _Average:
    """Mean of the neighbours of every vertex of a triangle mesh."""

    def __init__(self, faces: NDArray[np.int32], count: int) -> None:
        pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        self._a = np.concatenate([pairs[:, 0], pairs[:, 1]])
        self._b = np.concatenate([pairs[:, 1], pairs[:, 0]])
        self._count = count
        self._degree = np.maximum(np.bincount(self._a, minlength=count), 1)[:, None]

    def __call__(self, values: Floats) -> Floats:
        columns = [np.bincount(self._a, values[self._b, i], self._count) for i in range(values.shape[1])]
        return np.asarray(np.stack(columns, axis=1) / self._degree)


def _flesh(rig: Rig, shape: _Measures, outfit: Outfit, cuts: tuple[Floats, Floats]) -> Mesh:
    body = rig.body
    vertices = body.vertices_m.copy()
    hidden = (cuts[0] < -0.022) | (cuts[1] < -0.022)
    ankle_y = float(body.joint("foot.L")[1])
    ankle_z = np.where(vertices[:, 0] < 0, body.joint("foot.L")[2], body.joint("foot.R")[2])
    shod = (shape.foot_weight > 0.35) & ((shape.y < ankle_y - 0.030) | (shape.z < ankle_z - 0.045))
    colour = np.tile(np.asarray(outfit.skin, dtype=np.float32), (len(vertices), 1))
    material = np.full(len(vertices), SKIN, dtype=np.float32)
    hair = _hairy(body, shape)
    normal = Normals(body.faces, len(vertices))(vertices.astype(np.float32))
    vertices[hair] += normal[hair] * (0.010 if outfit.bun else 0.014)
    colour[hair], material[hair] = outfit.hair, HAIR
    near = (cuts[0] < 0.0) | (cuts[1] < 0.0)
    vertices[near] -= normal[near] * 0.006
    keep = ~(hidden | shod)
    faces = body.faces[keep[body.faces].all(axis=1)]
    cut = np.full(len(vertices), -1.0, dtype=np.float32)
    return Mesh(vertices, faces, body.weights.astype(np.float32), colour, material, cut)


def _hairy(body: Body, shape: _Measures) -> NDArray[np.bool_]:
    head = body.joint("head")
    up, back = shape.y - head[1], shape.z - head[2]
    crown = (shape.head_only > 0.6) & ((up > 0.135) | ((back > -0.075) & (up > 0.0)))
    face = (back < -0.03) & (up < 0.10)
    return np.asarray(crown & ~face)


def _shoe_of(rig: Rig, side: str, outfit: Outfit) -> Mesh:
    upper, white, rubber = np.asarray(outfit.shoe), np.array([0.72, 0.72, 0.70]), np.array([0.09, 0.09, 0.10])
    return shoe(
        rig.legs.feet[side],
        rig.body.joint(f"foot.{side}"),
        rig.legs.neutral[f"foot.{side}"],
        side,
        (upper, white, rubber),
    )


def _bun(body: Body, outfit: Outfit) -> Mesh:
    """A knot of hair at the back of the head."""
    across, around = 10, 14
    polar, turn = np.meshgrid(np.linspace(0, np.pi, across), np.linspace(0, 2 * np.pi, around, endpoint=False))
    ball = np.stack([np.sin(polar) * np.cos(turn), np.cos(polar), np.sin(polar) * np.sin(turn)], axis=-1)
    skull = body.vertices_m[_hairy(body, _Measures(body))]
    middle = np.array([0.0, body.joint("head")[1] + 0.135, float(skull[:, 2].max()) + 0.006])
    points = ball.reshape(-1, 3) * [0.040, 0.040, 0.036] + middle
    faces = []
    for i in range(around):
        for j in range(across - 1):
            a, b = i * across + j, (i + 1) % around * across + j
            faces += [[a, b, a + 1], [b, b + 1, a + 1]]
    weights = np.zeros((len(points), body.weights.shape[1]), dtype=np.float32)
    weights[:, BONE["head"]] = 1.0
    return Mesh(
        points,
        np.asarray(faces, dtype=np.int32),
        weights,
        np.tile(np.asarray(outfit.hair, dtype=np.float32), (len(points), 1)),
        np.full(len(points), HAIR, dtype=np.float32),
        np.full(len(points), -1.0, dtype=np.float32),
    )


def join(parts: list[Mesh]) -> Mesh:
    """Several meshes as one."""
    starts = np.cumsum([0] + [len(p.vertices_m) for p in parts[:-1]])
    return Mesh(
        np.concatenate([p.vertices_m for p in parts]),
        np.concatenate([p.faces + start for p, start in zip(parts, starts, strict=True)]).astype(np.int32),
        np.concatenate([p.weights for p in parts]),
        np.concatenate([p.colour for p in parts]),
        np.concatenate([p.material for p in parts]),
        np.concatenate([p.cut for p in parts]),
    )
