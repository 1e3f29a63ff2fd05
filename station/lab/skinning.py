"""The posed runner: every bone's place from the run, and meshes that follow the bones (linear blend skinning)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from station.lab.bodies import BONE, BONES, Body
from station.lab.gaitplan import Plan
from station.lab.legs import LegPose, Legs
from station.lab.rotations import arc, blend, pelvis_rotation, rot_x, rot_y, rot_z
from station.types import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """Bones at one instant: world attitude (bones, 3, 3) relative to the rest body and joint positions (bones, 3)."""

    attitude: Floats
    joint_m: Floats
    pelvis: Floats
    hips_m: dict[str, Floats]
    legs: dict[str, LegPose]


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Triangles in the rest pose with bone weights; per vertex colour (0..1), material number and cut.

    ``cut`` > 0 marks what lies beyond the edge of a garment: the renderer discards it, so that hems are crisp lines
    instead of triangle borders.
    """

    vertices_m: Floats
    faces: NDArray[np.int32]
    weights: NDArray[np.float32]
    colour: NDArray[np.float32]
    material: NDArray[np.float32]
    cut: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Loose:
    """A pelvis moved on its own: the angles it takes, and how far the legs turn with it.

    ``follow`` 0 leaves the legs as the run has them (only carried along by the hips), 1 turns them by the whole change
    of obliquity. Real legs do neither exactly; a model that must not read the pelvis off the legs has to see both.
    ``trunk_deg`` (forward lean, lean to the right, turn of the right side forward) and ``thighs_deg`` (flexion and
    abduction of the left and of the right leg about its hip) come on top of the run: whoever balances, stretches or
    bends down.
    """

    angles_deg: tuple[float, float, float]
    follow: float = 0.0
    trunk_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    thighs_deg: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.0), (0.0, 0.0))


class Rig:
    """A body on a run: gives the skeleton at any time."""

    def __init__(self, body: Body, plan: Plan) -> None:
        self.body, self.plan, self.legs = body, plan, Legs(body, plan)
        down = np.array([0.0, -1.0, 0.0])
        self._arm = {
            f"{upper}.{side}": arc(body.joint(f"{lower}.{side}") - body.joint(f"{upper}.{side}"), down)
            for side in "LR" for upper, lower in (("upperarm", "lowerarm"), ("lowerarm", "hand"))
        }  # fmt: skip

    def skeleton(self, t_s: float, loose: Loose | None = None) -> Skeleton:
        """All bones at a time; with ``loose`` the pelvis leaves the run and takes other angles."""
        centre, pelvis = self.legs.pelvis(t_s)
        legs = {side: self.legs.pose(side, t_s) for side in "LR"}
        if loose is not None:
            pelvis = pelvis_rotation(*loose.angles_deg)
            follow = rot_z(loose.follow * (loose.angles_deg[0] - self.plan.angles_deg(t_s)[0]))
            for side, (flexion, abduction) in zip("LR", loose.thighs_deg, strict=True):
                turn = follow @ rot_z(abduction if side == "R" else -abduction) @ rot_x(flexion)
                legs[side] = self._carried(side, legs[side], centre, pelvis, turn)
        attitude, joint = np.tile(np.eye(3), (len(BONES), 1, 1)), np.zeros((len(BONES), 3))
        middle = (self.body.joint("thigh.L") + self.body.joint("thigh.R")) / 2
        attitude[0], joint[0] = pelvis, centre + pelvis @ (self.body.joint("pelvis") - middle)
        self._put_trunk(t_s, attitude, joint, (0.0, 0.0, 0.0) if loose is None else loose.trunk_deg)
        for side in "LR":
            self._put_arm(side, t_s, attitude, joint)
            self._put_leg(side, legs[side], attitude, joint)
        return Skeleton(attitude, joint, pelvis, {side: legs[side].hip for side in "LR"}, legs)

    def _carried(self, side: str, leg: LegPose, centre: Floats, pelvis: Floats, turn: Floats) -> LegPose:
        half = self.body.hip_distance_m / 2
        hip = centre + pelvis[:, 0] * (half if side == "R" else -half)
        knee, ankle, ball = (hip + turn @ (point - leg.hip) for point in (leg.knee, leg.ankle, leg.ball))
        return replace(
            leg,
            hip=hip,
            knee=knee,
            ankle=ankle,
            ball=ball,
            thigh=turn @ leg.thigh,
            shank=turn @ leg.shank,
            foot=turn @ leg.foot,
            toes=turn @ leg.toes,
        )

    def _put_trunk(self, t_s: float, attitude: Floats, joint: Floats, more_deg: tuple[float, float, float]) -> None:
        style, phase = self.plan.style, self.plan.phase(t_s)
        turn = style.trunk_turn_deg * np.cos(2 * np.pi * (phase - 0.06)) * self.plan.arm_share(t_s)
        side = -style.trunk_side_deg * np.cos(2 * np.pi * (phase - 0.16))
        lean = style.trunk_lean_deg + 1.2 * np.cos(4 * np.pi * (phase - 0.2))
        chest = rot_y(turn + more_deg[2]) @ rot_z(-side - more_deg[1]) @ rot_x(-lean - more_deg[0])
        head = rot_y(0.12 * turn) @ rot_x(-0.45 * lean)
        parent = "pelvis"
        steps = [("spine05", 0.12), ("spine04", 0.35), ("spine03", 0.6), ("spine02", 0.85), ("spine01", 1.0)]
        for bone, share in steps:
            self._hang(bone, parent, blend(attitude[0], chest, share), attitude, joint)
            parent = bone
        self._hang("neck", "spine01", blend(chest, head, 0.5), attitude, joint)
        self._hang("head", "neck", head, attitude, joint)

    def _put_arm(self, side: str, t_s: float, attitude: Floats, joint: Floats) -> None:
        style, out = self.plan.style, 1.0 if side == "R" else -1.0
        own = self.plan.phase(t_s) + (0.5 if side == "R" else 0.0)
        swing = np.cos(2 * np.pi * (own - 0.04)) * self.plan.arm_share(t_s)
        flex, elbow = -10.0 - style.arm_swing_deg * swing, 96.0 - 8.0 * swing
        chest = attitude[BONE["spine01"]]
        upper = chest @ rot_z(out * 15.0) @ rot_x(flex)
        lower = upper @ rot_y(out * 24.0) @ rot_x(elbow)
        self._hang(f"upperarm.{side}", "spine01", upper @ self._arm[f"upperarm.{side}"], attitude, joint)
        self._hang(f"lowerarm.{side}", f"upperarm.{side}", lower @ self._arm[f"lowerarm.{side}"], attitude, joint)
        self._hang(f"hand.{side}", f"lowerarm.{side}", attitude[BONE[f"lowerarm.{side}"]], attitude, joint)

    def _hang(self, bone: str, parent: str, turn: Floats, attitude: Floats, joint: Floats) -> None:
        row, above = BONE[bone], BONE[parent]
        attitude[row] = turn
        joint[row] = joint[above] + attitude[above] @ (self.body.joint(bone) - self.body.joint(parent))

    def _put_leg(self, side: str, leg: LegPose, attitude: Floats, joint: Floats) -> None:
        neutral = self.legs.neutral
        bones = (("thigh", leg.hip, leg.thigh), ("shank", leg.knee, leg.shank), ("foot", leg.ankle, leg.foot))
        for bone, at, turn in bones:
            row = BONE[f"{bone}.{side}"]
            attitude[row], joint[row] = turn @ neutral[f"{bone}.{side}"], at
        row = BONE[f"toes.{side}"]
        attitude[row], joint[row] = leg.toes @ neutral[f"foot.{side}"], leg.ball


def skin(rig: Rig, skeleton: Skeleton, mesh: Mesh) -> NDArray[np.float32]:
    """The mesh's vertices in the world at the skeleton's instant."""
    rest = rig.body.joints_m.copy()
    for side in "LR":  # toes bend about the sole's ball, which is a point of the shoe, not of the skeleton
        turn, foot = rig.legs.neutral[f"foot.{side}"], rig.legs.feet[side]
        rest[BONE[f"toes.{side}"]] = rest[BONE[f"foot.{side}"]] + turn.T @ foot.ball
    place = np.empty((len(BONES), 12), dtype=np.float32)
    place[:, :9] = skeleton.attitude.reshape(-1, 9)
    place[:, 9:] = skeleton.joint_m - np.einsum("bij,bj->bi", skeleton.attitude, rest)
    blended = mesh.weights @ place
    turned = np.einsum("vij,vj->vi", blended[:, :9].reshape(-1, 3, 3), mesh.vertices_m.astype(np.float32))
    return np.asarray(turned + blended[:, 9:], dtype=np.float32)


class Normals:
    """Vertex normals of a mesh whose triangles stay the same: area-weighted, quick to repeat."""

    def __init__(self, faces: NDArray[np.int32], count: int) -> None:
        self._faces, self._count = faces, count
        corner = faces.T.ravel()
        self._order = np.argsort(corner, kind="stable")
        self._face = np.tile(np.arange(len(faces)), 3)[self._order]
        ordered = corner[self._order]
        self._start = np.flatnonzero(np.diff(ordered, prepend=-1))
        self._owner = ordered[self._start]

    def __call__(self, vertices: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit normals (n, 3); vertices of no triangle keep a zero normal."""
        a, b, c = (vertices[self._faces[:, i]] for i in range(3))
        across = np.cross(b - a, c - a)
        normals = np.zeros((self._count, 3), dtype=np.float32)
        normals[self._owner] = np.add.reduceat(across[self._face], self._start, axis=0)
        return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12), dtype=np.float32)
