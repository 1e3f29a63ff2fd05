"""Legs: planted by inverse kinematics in stance, by joint-angle curves in swing.

In stance the shoe stands on the moving belt: on the heel's edge just after contact, flat, then on the ball of the foot
while the heel rises. Nothing slides: the pivot travels exactly with the belt. In swing the joint angles run along
splines that begin with the angles and rates of toe-off and end in those of the next landing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from station.lab.bodies import BONE, Body
from station.lab.gaitplan import Plan, Step
from station.lab.rotations import Spline, arc, pelvis_rotation, rot_x, rot_y, rot_z
from station.types import Floats

#: Joint angles of one leg, degrees: thigh flexion and lean (world), knee flexion, plantarflexion against the shank,
#: foot roll (world), bend of the toes.
FLEX, LEAN, KNEE, PLANTAR, ROLL, TOES = range(6)

REACH = 0.988  # a running leg never straightens fully
SOLE_M = 0.024
_EDGE_S = 0.003  # step of the rates at toe-off and landing


@dataclass(frozen=True, slots=True, eq=False)
class FootShape:
    """The shoe in its own frame (origin at the ankle joint, toes along -Z, sole in the plane Y = -``ankle_m``)."""

    ankle_m: float
    heel_m: float
    length_m: float
    ball_m: float
    width_m: float

    @property
    def ball(self) -> Floats:
        """Where the sole bends, on the belt."""
        return np.array([0.0, -self.ankle_m, self.heel_m - self.ball_m])

    @property
    def heel(self) -> Floats:
        """The rear edge of the sole, on the belt."""
        return np.array([0.0, -self.ankle_m, self.heel_m - 0.012])

    @property
    def heel_mark(self) -> Floats:
        """The back of the heel, 4 cm above the sole: what a keypoint called heel means."""
        return np.array([0.0, -self.ankle_m + 0.04, self.heel_m])

    @property
    def toe_mark(self) -> Floats:
        """The tip of the shoe, 2 cm above the sole."""
        return np.array([0.0, -self.ankle_m + 0.02, self.heel_m - self.length_m])


@dataclass(frozen=True, slots=True, eq=False)
class LegPose:
    """One leg in the world: joint positions and bone attitudes (columns right, up, backward; neutral = standing)."""

    hip: Floats
    knee: Floats
    ankle: Floats
    ball: Floats
    thigh: Floats
    shank: Floats
    foot: Floats
    toes: Floats
    planted: bool


@dataclass(slots=True)
class Legs:
    """Both legs of ``body`` on the run ``plan``; fixes the height of the pelvis so that every stance is in reach."""

    body: Body
    plan: Plan
    feet: dict[str, FootShape] = field(init=False)
    neutral: dict[str, Floats] = field(init=False)
    height_m: float = field(init=False)
    _swings: dict[tuple[str, int], Spline] = field(init=False)

    def __post_init__(self) -> None:
        self.feet, self.neutral, self._swings = {}, {}, {}
        for side in "LR":
            self.feet[side], turn = _foot_shape(self.body, side)
            down = np.array([0.0, -1.0, 0.0])
            hip, knee, ankle = (self.body.joint(f"{b}.{side}") for b in ("thigh", "shank", "foot"))
            self.neutral[f"thigh.{side}"] = arc(knee - hip, down)
            self.neutral[f"shank.{side}"] = arc(ankle - knee, down)
            self.neutral[f"foot.{side}"] = turn
        self.height_m = 0.0
        self.height_m = min(self._room_m(side, step) for side in "LR" for step in self.plan.steps[side])

    def lengths_m(self, side: str) -> tuple[float, float]:
        """Thigh and shank length."""
        hip, knee, ankle = (self.body.joint(f"{b}.{side}") for b in ("thigh", "shank", "foot"))
        return float(np.linalg.norm(knee - hip)), float(np.linalg.norm(ankle - knee))

    def pelvis(self, t_s: float) -> tuple[Floats, Floats]:
        """Mid-hip position and attitude of the pelvis."""
        return self.plan.centre_m(t_s) + np.array([0, self.height_m, 0]), pelvis_rotation(*self.plan.angles_deg(t_s))

    def hip(self, side: str, t_s: float) -> Floats:
        """Position of a hip joint centre."""
        centre, attitude = self.pelvis(t_s)
        half = self.body.hip_distance_m / 2
        return np.asarray(centre + attitude[:, 0] * (half if side == "R" else -half))

    def pose(self, side: str, t_s: float) -> LegPose:
        """The leg at a time; stance from the belt upward, swing from the hip downward."""
        now, after, down = self.plan.step_at(side, t_s)
        if down:
            angles = self._stance_angles(side, now, t_s)
        else:
            angles = self._swing(side, now, after)((t_s - now.off_s) / (after.contact_s - now.off_s))
        return self._forward(side, t_s, angles, down)

    def _forward(self, side: str, t_s: float, angles: Floats, down: bool) -> LegPose:
        hip = self.hip(side, t_s)
        thigh_m, shank_m = self.lengths_m(side)
        lean = rot_z(angles[LEAN])
        thigh = lean @ rot_x(angles[FLEX])
        shank = lean @ rot_x(angles[FLEX] - angles[KNEE])
        knee = hip - thigh[:, 1] * thigh_m
        ankle = knee - shank[:, 1] * shank_m
        pitch = angles[FLEX] - angles[KNEE] - angles[PLANTAR]
        foot = rot_z(angles[ROLL]) @ self._yaw(side) @ rot_x(pitch)
        ball = ankle + foot @ self.feet[side].ball
        return LegPose(hip, knee, ankle, ball, thigh, shank, foot, foot @ rot_x(angles[TOES]), down)

    def _yaw(self, side: str) -> Floats:
        out = self.plan.style.toe_out_deg
        return rot_y(out if side == "L" else -out)

    def _stance_angles(self, side: str, step: Step, t_s: float) -> Floats:
        ankle, pitch = self._stance_ankle(side, step, t_s)
        return self._inverse(side, self.hip(side, t_s), ankle, pitch)

    def _stance_ankle(self, side: str, step: Step, t_s: float) -> tuple[Floats, float]:
        style, foot = self.plan.style, self.feet[side]
        share = (t_s - step.contact_s) / (step.off_s - step.contact_s)
        strike = style.strike_deg * max(0.0, 1.0 - share / 0.16) ** 2
        rise = style.heel_rise_deg * max(0.0, (share - 0.42) / 0.58) ** 1.7
        pitch = strike - rise
        pivot = foot.heel if pitch > 0 else foot.ball
        flat = self._yaw(side)
        ball = np.array([step.land_x_m, 0.0, step.land_z_m + style.speed_mps * (t_s - step.contact_s)])
        on_belt = ball + flat @ (pivot - foot.ball)
        return on_belt - flat @ rot_x(pitch) @ pivot, pitch

    def _inverse(self, side: str, hip: Floats, ankle: Floats, pitch: float) -> Floats:
        thigh_m, shank_m = self.lengths_m(side)
        to = ankle - hip
        lean = float(np.degrees(np.arctan2(to[0], -to[1])))
        down, ahead = float(np.hypot(to[0], to[1])), -float(to[2])
        reach = min(float(np.hypot(down, ahead)), 0.9995 * (thigh_m + shank_m))
        at_hip = np.degrees(np.arccos((thigh_m**2 + reach**2 - shank_m**2) / (2 * thigh_m * reach)))
        at_knee = np.degrees(np.arccos((thigh_m**2 + shank_m**2 - reach**2) / (2 * thigh_m * shank_m)))
        flex = float(np.degrees(np.arctan2(ahead, down))) + float(at_hip)
        knee = 180.0 - float(at_knee)
        return np.array([flex, lean, knee, flex - knee - pitch, 0.0, max(0.0, -pitch)])

    def _room_m(self, side: str, step: Step) -> float:
        """How high mid-hip may ride in this stance (with ``height_m`` still 0) before the leg runs out of length."""
        reach = REACH * sum(self.lengths_m(side))
        room = np.inf
        for t in np.linspace(step.contact_s, step.off_s, 12):
            to = self._stance_ankle(side, step, float(t))[0] - self.hip(side, float(t))
            room = min(room, float(to[1] + np.sqrt(reach**2 - to[0] ** 2 - to[2] ** 2)))
        return room

    def _swing(self, side: str, now: Step, after: Step) -> Spline:
        key = (side, round(now.contact_s % self.plan.style.period_s * 1e6))
        if key not in self._swings:
            self._swings[key] = self._swing_curve(side, now, after)
        return self._swings[key]

    def _swing_curve(self, side: str, now: Step, after: Step) -> Spline:
        style, span, d = self.plan.style, after.contact_s - now.off_s, _EDGE_S
        leave, land = self._stance_angles(side, now, now.off_s), self._stance_angles(side, after, after.contact_s)
        before = self._stance_angles(side, now, now.off_s - d)
        # Just before it lands the foot drops at about 0.6 m/s and is nearly as fast backward as the belt.
        ankle, pitch = self._stance_ankle(side, after, after.contact_s)
        earlier = ankle - d * np.array([0.0, -0.6, 0.8 * style.speed_mps])
        almost = self._inverse(side, self.hip(side, after.contact_s - d), earlier, pitch + 40.0 * d)
        peak, high = style.knee_swing_deg, style.thigh_swing_deg
        lean = (leave[LEAN] + land[LEAN]) / 2
        way = np.array(
            [
                # share of swing, thigh, lean, knee, plantar, roll, toes
                [0.20, leave[FLEX] + 11, lean, 0.68 * peak, 20.0, lean * 0.8, 20.0],
                [0.42, 0.36 * high, lean, peak, 6.0, lean * 1.2, 4.0],
                [0.62, 0.80 * high, lean, 0.92 * peak, -8.0, lean, 0.0],
                [0.80, high, lean, 0.64 * peak, -9.0, lean * 0.6, 0.0],
                [
                    0.92,
                    0.5 * (high + land[FLEX]) + 1.0,
                    land[LEAN],
                    0.55 * land[KNEE] + 0.17 * peak,
                    land[PLANTAR],
                    0,
                    0,
                ],
            ]
        )
        knots = np.concatenate([[0.0], way[:, 0], [1.0]])
        values = np.vstack([leave, way[:, 1:], land])
        return Spline(knots, values, ((leave - before) * span / d, (land - almost) * span / d))


def _foot_shape(body: Body, side: str) -> tuple[FootShape, Floats]:
    """The shoe that fits a body's foot, and the turn that takes the rest foot to toes-ahead."""
    ankle = body.joint(f"foot.{side}")
    near = (body.weights[:, _columns(side)].sum(axis=1) > 0.6) & (body.vertices_m[:, 1] < 0.09)
    flesh = body.vertices_m[near] - ankle
    ahead = body.joint(f"toes.{side}") - ankle
    turn = rot_y(float(np.degrees(np.arctan2(-ahead[0], -ahead[2])))).T
    flesh = flesh @ turn.T
    heel = float(flesh[:, 2].max()) + 0.008
    length = float(np.ptp(flesh[:, 2])) + 0.022
    width = float(np.ptp(flesh[:, 0]))
    return FootShape(float(ankle[1]) + SOLE_M, heel, length, 0.70 * length, width), turn


def _columns(side: str) -> list[int]:
    return [BONE[f"foot.{side}"], BONE[f"toes.{side}"]]
