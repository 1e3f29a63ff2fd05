"""The plan of a run: when each foot lands and leaves, and how the pelvis moves, repeating exactly after ``period_s``.

Everything that varies from stride to stride varies along a curve that is itself periodic over the whole clip, so that a
rendered clip loops without a seam. Gait phase counts strides: whole numbers are left contacts, halves right contacts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from station.lab.rotations import Spline
from station.types import Floats

GRAVITY_MPS2 = 9.81


@dataclass(frozen=True, slots=True)
class Style:
    """How one runner runs. Angles in degrees (signs of ``docs/metrics.md``), lengths in metres, shares of a stride."""

    strides: int = 34
    period_s: float = 24.0
    speed_mps: float = 2.75
    contact_share: float = 0.345
    lead_share: float = 0.32
    drop_left_deg: float = 6.5
    drop_right_deg: float = 3.5
    obliquity_mean_deg: float = 0.0
    rotation_deg: float = 6.0
    tilt_deg: float = 9.0
    tilt_swing_deg: float = 2.5
    sway_m: float = 0.030
    bounce_m: float = 0.066
    step_width_m: float = 0.085
    toe_out_deg: float = 7.0
    strike_deg: float = 7.0
    heel_rise_deg: float = 51.0
    knee_swing_deg: float = 93.0
    thigh_swing_deg: float = 37.0
    trunk_lean_deg: float = 7.0
    trunk_turn_deg: float = 9.0
    trunk_side_deg: float = 1.2
    arm_swing_deg: float = 26.0
    variability: float = 0.07
    timing_cv: float = 0.010
    wander_m: float = 0.006
    drop_shape: tuple[float, ...] = (0.18, 0.62, 1.0, 0.72, 0.10, -0.10, -0.06, 0.0, 0.02, 0.06)
    seed: int = 5


#: Phases of the knots of ``Style.drop_shape``, counted from the contact of the stance foot.
DROP_KNOTS = (0.0, 0.06, 0.14, 0.22, 0.31, 0.39, 0.48, 0.62, 0.78, 0.92)


@dataclass(frozen=True, slots=True)
class Step:
    """One stance of one foot: seconds of contact and off, and where the ball of the foot lands (x, z; metres)."""

    contact_s: float
    off_s: float
    land_x_m: float
    land_z_m: float


@dataclass(slots=True)
class Plan:
    """The run laid out in time; ``steps["L"|"R"]`` hold one entry a stride, times within one period (may overhang)."""

    style: Style
    steps: dict[str, list[Step]] = field(init=False)
    _curves: dict[str, Spline] = field(init=False)
    _phase: Spline = field(init=False)
    _contacts: dict[str, Floats] = field(init=False)

    def __post_init__(self) -> None:
        style, rng = self.style, np.random.default_rng(self.style.seed)
        n = style.strides
        mean = style.period_s / n
        late = {side: _loop_noise(rng, n, style.timing_cv) for side in "LR"}
        late["L"] = late["L"] - late["L"][0]  # the loop begins with a left contact, so no step straddles the seam
        events, wobble = [], []
        for k in range(n):
            for side, half in (("L", 0.0), ("R", 0.5)):
                jitter = float(late[side][k])
                events.append((k + half + jitter) * mean)
                wobble.append(-jitter)
        times = np.array(events)
        self._phase = Spline(times, wobble, period=style.period_s)
        self._curves = self._pelvis_curves(rng, n)
        self.steps = {
            side: [self._step(rng, side, float(t)) for t in times[offset::2]] for side, offset in (("L", 0), ("R", 1))
        }
        self._contacts = {side: times[offset::2] for side, offset in (("L", 0), ("R", 1))}

    def _pelvis_curves(self, rng: np.random.Generator, n: int) -> dict[str, Spline]:
        v, grid = self.style.variability, np.arange(n, dtype=float)
        curves = {
            name: Spline(grid, 1.0 + _loop_noise(rng, n, v), period=float(n))
            for name in ("left", "right", "rotation", "tilt", "sway", "bounce", "arms")
        }
        slow = np.arange(6, dtype=float) * n / 6
        for name, size in (("wander_x", self.style.wander_m), ("wander_z", 1.6 * self.style.wander_m)):
            curves[name] = Spline(slow, rng.normal(0.0, size, 6), period=float(n))
        curves["drop"] = Spline(DROP_KNOTS, self.style.drop_shape, period=1.0)
        return curves

    def _step(self, rng: np.random.Generator, side: str, contact_s: float) -> Step:
        style = self.style
        stance = style.contact_share * style.period_s / style.strides * (1.0 + rng.normal(0.0, 0.012))
        sign = 1.0 if side == "R" else -1.0
        middle = self.centre_m(contact_s + 0.45 * stance)
        drift = self._curves["wander_x"](self.phase(contact_s))
        x = float(drift) + sign * style.step_width_m / 2 + rng.normal(0.0, 0.005)
        # The ball of the foot lies some 13 cm ahead of the ankle, and it is the ankle that lands ``lead_share`` ahead.
        z = float(middle[2]) - 0.13 - style.lead_share * style.speed_mps * stance + rng.normal(0.0, 0.006)
        return Step(contact_s, contact_s + stance, x, z)

    def phase(self, t_s: float) -> float:
        """Strides since the first left contact of the loop (whole = left contact, half = right contact)."""
        style = self.style
        return t_s / style.period_s * style.strides + float(self._phase(t_s))

    def angles_deg(self, t_s: float) -> tuple[float, float, float]:
        """Obliquity, axial rotation and tilt of the pelvis: projected angles in the world frame."""
        style, c, p = self.style, self._curves, self.phase(t_s)
        left = style.drop_left_deg * float(c["left"](p - 0.14)) * float(c["drop"](p))
        right = style.drop_right_deg * float(c["right"](p - 0.64)) * float(c["drop"](p - 0.5))
        turn = style.rotation_deg * float(c["rotation"](p))
        rotation = turn * (np.cos(2 * np.pi * (p - 0.98)) + 0.12 * np.cos(4 * np.pi * (p - 0.2)))
        nod = style.tilt_swing_deg * float(c["tilt"](p)) * np.cos(4 * np.pi * (p - 0.42))
        return style.obliquity_mean_deg - left + right, float(rotation), float(style.tilt_deg + nod)

    def centre_m(self, t_s: float) -> Floats:
        """Mid-hip sideways, up (around zero) and backward; lowest at mid-stance, over the stance foot sideways."""
        style, c, p = self.style, self._curves, self.phase(t_s)
        low = 0.43 * style.contact_share
        sway = -style.sway_m / 2 * float(c["sway"](p)) * np.cos(2 * np.pi * (p - low - 0.02))
        bounce = -style.bounce_m / 2 * float(c["bounce"](p)) * np.cos(4 * np.pi * (p - low))
        surge = 0.006 * np.cos(4 * np.pi * (p - 0.1))
        return np.array([float(c["wander_x"](p)) + sway, bounce, float(c["wander_z"](p)) + surge])

    def arm_share(self, t_s: float) -> float:
        """Slowly varying size of the arm swing, about 1."""
        return float(self._curves["arms"](self.phase(t_s)))

    def step_at(self, side: str, t_s: float) -> tuple[Step, Step, bool]:
        """The latest step of a foot that began by ``t_s``, the next one, and whether the foot is down at ``t_s``."""
        period, steps = self.style.period_s, self.steps[side]
        lap, inside = divmod(t_s, period)
        index = int(np.searchsorted(self._contacts[side], inside, side="right")) - 1
        now = _shifted(steps[index % len(steps)], lap * period - (period if index < 0 else 0.0))
        later = (index + 1) % len(steps)
        after = _shifted(steps[later], lap * period + (period if index + 1 >= len(steps) else 0.0))
        return now, after, now.contact_s <= t_s < now.off_s


def _shifted(step: Step, by_s: float) -> Step:
    return Step(step.contact_s + by_s, step.off_s + by_s, step.land_x_m, step.land_z_m)


def _loop_noise(rng: np.random.Generator, n: int, sd: float) -> Floats:
    """Noise with zero mean and the given spread whose neighbours are alike, the last one included with the first."""
    raw = rng.standard_normal(n)
    smooth = 0.6 * raw + 0.25 * np.roll(raw, 1) + 0.15 * np.roll(raw, -1)
    smooth -= smooth.mean()
    return np.asarray(sd * smooth / max(float(smooth.std()), 1e-9))
