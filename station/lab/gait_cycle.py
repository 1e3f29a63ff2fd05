"""One gait cycle of an analytic runner: the feet on the belt and in the air, and the body they carry.

The feet obey the belt while they are on it and are exact in contact and off; the pelvis' height is the double integral
of a ground reaction force, so that it falls freely in flight; pelvis angles are sums of harmonics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from station.lab.runner_spec import Harmonics, RunnerSpec
from station.types import Floats

GRAVITY = 9.81
_N = 1200
"""Points of a cycle."""


def _sum(harmonics: Harmonics, phase: Floats) -> Floats:
    out = np.zeros_like(phase)
    for k, (amplitude, at) in enumerate(harmonics, 1):
        out = out + amplitude * np.cos(2 * np.pi * k * phase + at)
    return out


def _spline(x: Floats, y: Floats, ends: tuple[float, float], at: Floats) -> Floats:
    """Cubic spline through (x, y) with the given slopes at both ends."""
    n, h = len(x), np.diff(x)
    a, b = np.zeros((n, n)), np.zeros(n)
    a[0, 0] = a[-1, -1] = 1
    b[0], b[-1] = ends
    for j in range(1, n - 1):
        a[j, j - 1], a[j, j], a[j, j + 1] = 1 / h[j - 1], 2 / h[j - 1] + 2 / h[j], 1 / h[j]
        b[j] = 3 * ((y[j] - y[j - 1]) / h[j - 1] ** 2 + (y[j + 1] - y[j]) / h[j] ** 2)
    m = np.linalg.solve(a, b)
    i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, n - 2)
    u = (at - x[i]) / h[i]
    out: Floats = (
        (1 + 2 * u) * (1 - u) ** 2 * y[i]
        + u * (1 - u) ** 2 * h[i] * m[i]
        + u * u * (3 - 2 * u) * y[i + 1]
        - u * u * (1 - u) * h[i] * m[i + 1]
    )
    return out


def _smooth(x: Floats, sd: float) -> Floats:
    """Circular Gaussian smoothing of a cycle; ``sd`` in cycles. Shoe and skin give way, nothing stops at once."""
    k = np.arange(len(x) // 2 + 1)
    gain = np.exp(-0.5 * (2 * np.pi * k * sd) ** 2)
    out: Floats = np.fft.irfft(np.fft.rfft(x, axis=0) * (gain if x.ndim == 1 else gain[:, None]), len(x), axis=0)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Cycle:
    """One mean gait cycle: marker -> (n, 3) over the phase from left contact, and the phases of the other events."""

    spec: RunnerSpec
    marks: dict[str, Floats]
    left_off: float
    right_contact: float
    right_off: float

    def at(self, phase: Floats) -> dict[str, Floats]:
        """Markers at any phase (whole cycles count as the same)."""
        x = (phase % 1.0) * _N
        i = x.astype(int) % _N
        u = (x - np.floor(x))[:, None]
        return {k: (1 - u) * v[i] + u * v[(i + 1) % _N] for k, v in self.marks.items()}


def cycle(spec: RunnerSpec) -> Cycle:
    """The mean cycle of a runner."""
    phase = np.arange(_N) / _N
    left, right = spec.duty * (1 - spec.asymmetry / 2), spec.duty * (1 + spec.asymmetry / 2)
    height = _pelvis_height(spec, phase, left, right)
    feet = {"L": _foot(spec, phase, left), "R": _foot(spec, (phase - 0.5) % 1.0, right)}
    marks: dict[str, Floats] = {}
    # the hip is as high as the straighter leg allows at its longest reach
    hip_m = 0.995 * (spec.thigh_m + spec.shank_m)
    lowest = min(_room(feet[s]["ANKLE"], height, hip_m) for s in "LR")
    sway = spec.sway_m * (np.cos(2 * np.pi * (phase - 0.15)) - 0.6 * np.cos(6 * np.pi * (phase - 0.01)))
    # fore-aft, the pelvis runs a third of a step ahead of its height
    ahead = float(np.angle(np.fft.rfft(height)[2])) + np.radians(spec.surge_lead_deg)
    centre = np.stack([-sway, height + lowest, spec.surge_m * np.cos(4 * np.pi * phase + ahead)], 1)
    marks |= _pelvis(spec, phase, centre)
    for s, sign in (("L", -1.0), ("R", 1.0)):
        for name, xyz in feet[s].items():
            across = sign * (spec.step_width_m / 2 + 0.25 * (spec.hip_width_m - spec.step_width_m) * xyz[:, 0])
            marks[s + name] = np.stack([across + (0.012 * sign if name == "ANKLE" else 0.0), xyz[:, 1], xyz[:, 2]], 1)
        marks[s + "KNEE"] = _knee(spec, marks[s + "HJC"], marks[s + "ANKLE"], sign)
    marks |= _shoulders(spec, phase, centre)
    sd = 0.004 / spec.stride_s
    return Cycle(spec, {k: _smooth(v, sd) for k, v in marks.items()}, left, 0.5, 0.5 + right)


def _room(ankle: Floats, height: Floats, leg_m: float) -> float:
    """Height of the pelvis at which the leg never has to be longer than ``leg_m`` while its foot is low."""
    low = ankle[:, 1] < 0.2
    reach = np.sqrt(np.maximum(leg_m**2 - ankle[low, 2] ** 2, 0.3))
    return float(np.min(reach + ankle[low, 1] - height[low]))


def _pelvis_height(spec: RunnerSpec, phase: Floats, left: float, right: float) -> Floats:
    """Double integral of the ground reaction force of both feet [m], around zero, plus ``bounce_m`` against it."""
    if spec.duty > 0.5:  # walking: the body vaults over the standing leg, highest where one foot stands alone
        vault: Floats = 0.5 * spec.vault_m * np.cos(4 * np.pi * (phase - spec.duty / 2))
        return vault
    force = np.zeros(_N)
    for start, duty in ((0.0, left), (0.5, right)):
        u = ((phase - start) % 1.0) / duty
        on = u < 1
        hump = np.sin(np.pi * np.minimum(u, 1.0))
        t_s = u * duty * spec.stride_s
        knock = spec.impact * np.exp(-0.5 * ((t_s - 0.022) / 0.009) ** 2)
        force += np.where(on, hump**1.1 + knock, 0.0) / duty
    acceleration = GRAVITY * (force / force.mean() - 1)
    k = np.fft.rfftfreq(_N, 1 / _N)
    k[0] = np.inf
    y = np.fft.irfft(-np.fft.rfft(acceleration) / (2 * np.pi * k / spec.stride_s) ** 2, _N)
    out: Floats = y + _sum(spec.bounce_m, 2 * phase)
    return out


def _foot(spec: RunnerSpec, phase: Floats, duty: float) -> dict[str, Floats]:
    """HEEL, ANKLE and TOE (ball) of a foot over its own cycle: (share of swing, height, backward) in metres."""
    t_s, contact_s = phase * spec.stride_s, duty * spec.stride_s
    pitch = _pitch(spec, t_s, contact_s)
    ball = _ball(spec, t_s, contact_s, pitch)
    aside = np.where(t_s > contact_s, np.sin(np.pi * np.clip((t_s - contact_s) / (spec.stride_s - contact_s), 0, 1)), 0)
    out = {"TOE": np.stack([aside, ball[:, 0], ball[:, 1]], 1)}
    for name, along, above in (("HEEL", spec.foot_m, -0.01), ("ANKLE", 0.72 * spec.foot_m, 0.055)):
        # pitch > 0: toes up; the heel lies behind the ball and, toes down, above it
        up = -along * np.sin(pitch) + above * np.cos(pitch)
        back = along * np.cos(pitch) + above * np.sin(pitch)
        out[name] = np.stack([aside, ball[:, 0] + up, ball[:, 1] + back], 1)
    return out


def _pitch(spec: RunnerSpec, t_s: Floats, contact_s: float) -> Floats:
    """Pitch of the foot [rad], > 0 toes up."""
    strike, swing_s = np.radians(spec.strike_deg), spec.stride_s - contact_s
    flat_s, rise_s = spec.flat_s, spec.heel_off * contact_s
    stance = np.where(t_s < flat_s, strike * 0.5 * (1 + np.cos(np.pi * np.minimum(t_s / flat_s, 1))), 0.0)
    # heel rise: the angular speed grows to its peak near off
    off_rad, span = np.radians(-52.0 if spec.duty < 0.5 else -48.0), contact_s - rise_s
    v = np.clip((t_s - rise_s) / span, 0, 1)
    stance = stance + off_rad * v**1.8
    w = (t_s - contact_s) / swing_s
    peak = min(max(spec.heel_peak_s / swing_s, -0.05), 0.05)
    rear = spec.strike_deg > 2
    # just before a heel strikes, the toes rise and then begin to slap down
    knots = np.array([0.0, 0.10 + peak, 0.36, 0.62, 1 - 0.065 / swing_s, 1 - 0.025 / swing_s, 1.0])
    lift = np.radians(-spec.heel_lift_deg)
    go = off_rad * 1.8 / span * swing_s
    slap = np.radians(-190.0 if rear else -20.0) * swing_s
    late = (-0.10, 0.04) if rear else (-0.02, 0.005)
    start = off_rad + go * (0.088 + 0.9 * peak)
    values = np.array([off_rad, start, lift, 0.5 * lift, strike + late[0], strike + late[1], strike])
    swing = _spline(knots, values, (go, slap), np.clip(w, 0, 1))
    out: Floats = np.where(t_s <= contact_s, stance, swing)
    return out


def _ball(spec: RunnerSpec, t_s: Floats, contact_s: float, pitch: Floats) -> Floats:
    """Height and backward place (n, 2) of the ball marker: on the belt in stance, free in swing."""
    swing_s, tip_m, rest_m = spec.stride_s - contact_s, 0.07, 0.035
    start = -spec.reach * spec.speed_mps * contact_s - 0.10
    # in stance the lower end rests on the belt; at the very end the ball rolls over the tip
    heel_down = np.maximum(np.sin(pitch), 0) * spec.foot_m
    roll = np.clip((t_s - 0.75 * contact_s) / (0.25 * contact_s), 0, 1) ** 2
    give = spec.give_m * np.clip(np.minimum(t_s / 0.035, (contact_s - t_s) / (0.35 * contact_s)), 0, 1)
    y = rest_m + heel_down + tip_m * np.sin(np.radians(16)) * roll - give
    z = start + spec.speed_mps * t_s - 0.012 * roll
    y_off, vy_off = rest_m + tip_m * np.sin(np.radians(16)), 2 * tip_m * np.sin(np.radians(16)) / (0.25 * contact_s)
    z_off, vz_off = start + spec.speed_mps * contact_s - 0.012, spec.speed_mps - 0.024 / (0.25 * contact_s)
    w = np.clip((t_s - contact_s) / swing_s, 0, 1)
    end = rest_m + max(np.sin(np.radians(spec.strike_deg)), 0.0) * spec.foot_m
    fall = -0.9
    lift = spec.toe_lift_m
    up = _spline(
        np.array([0, 0.34, 0.64, 1 - 0.065 / swing_s, 1 - 0.042 / swing_s, 1.0]),
        np.array([y_off, y_off + lift, rest_m + 0.45 * lift, end + 0.018, end + 0.020, end]),
        (vy_off * swing_s, fall * swing_s),
        w,
    )
    # fore-aft: quintic from off to contact; the foot still trails the belt by half its speed when it lands
    back = _quintic(
        w, (z_off, vz_off * swing_s, -13.0 * swing_s**2), (start, 0.5 * spec.speed_mps * swing_s, 18.0 * swing_s**2)
    )
    on = t_s <= contact_s
    return np.stack([np.where(on, y, up), np.where(on, z, back)], 1)


def _quintic(w: Floats, a: tuple[float, float, float], b: tuple[float, float, float]) -> Floats:
    """From place, speed and acceleration ``a`` at w = 0 to ``b`` at w = 1."""
    c0, c1, c2 = a[0], a[1], a[2] / 2
    p, v, q = b[0] - c0 - c1 - c2, b[1] - c1 - 2 * c2, b[2] - 2 * c2
    c3, c4, c5 = 10 * p - 4 * v + q / 2, -15 * p + 7 * v - q, 6 * p - 3 * v + q / 2
    out: Floats = c0 + w * (c1 + w * (c2 + w * (c3 + w * (c4 + w * c5))))
    return out


def _pelvis(spec: RunnerSpec, phase: Floats, centre: Floats) -> dict[str, Floats]:
    obliquity = np.radians(spec.level_deg + _sum(spec.obliquity_deg, phase))
    rotation, tilt = np.radians(_sum(spec.rotation_deg, phase)), np.radians(_sum(spec.tilt_deg, phase))
    line = np.stack([np.ones(_N), np.tan(obliquity), -np.tan(rotation)], 1)
    line /= np.linalg.norm(line, axis=1)[:, None]
    half = line * spec.hip_width_m / 2
    tilt = tilt + np.radians(spec.tilt_mean_deg)
    front = np.stack([-np.sin(rotation), -np.sin(tilt), -np.cos(tilt) * np.cos(rotation)], 1) * 0.085
    up = np.array([0, 0.08, 0])
    out = {"LHJC": centre - half, "RHJC": centre + half}
    for s, sign in (("L", -1), ("R", 1)):
        out[s + "ASIS"] = centre + sign * half * 1.4 + up + front
        out[s + "PSIS"] = centre + sign * half * 0.6 + up - front
    return out


def _shoulders(spec: RunnerSpec, phase: Floats, centre: Floats) -> dict[str, Floats]:
    lean = np.radians(spec.trunk_lean_deg) + np.radians(1.5) * np.cos(2 * np.pi * (phase - 0.2))
    twist = -np.radians(8) * np.cos(2 * np.pi * phase + spec.rotation_deg[0][1])
    up_m = 1.15 * spec.thigh_m
    top = centre + np.stack([up_m * np.sin(lean), up_m * np.cos(lean), np.full(_N, -0.06)], 1)
    half = 0.18 * np.stack([np.cos(twist), np.zeros(_N), -np.sin(twist)], 1)
    return {"LSHO": top - half, "RSHO": top + half}


def _knee(spec: RunnerSpec, hip: Floats, ankle: Floats, sign: float) -> Floats:
    """The knee in front of the line from hip to ankle, where both bones meet; a little inward by ``valgus_m``."""
    d = ankle - hip
    long = np.clip(np.linalg.norm(d, axis=1), 0.2, None)
    a, b = spec.thigh_m, spec.shank_m
    along = np.maximum((a * a - b * b + long**2) / (2 * long), 0.3 * a)
    bent = a * a - along**2
    out_m = np.sqrt(0.5 * (bent + np.sqrt(bent**2 + 0.004**2)))  # no kink as the leg becomes straight
    ahead = np.stack([np.zeros(_N), -d[:, 2], d[:, 1]], 1)
    ahead /= np.linalg.norm(ahead, axis=1)[:, None]
    knee: Floats = hip + d / long[:, None] * along[:, None] + ahead * out_m[:, None]
    knee[:, 0] -= sign * spec.valgus_m
    return knee
