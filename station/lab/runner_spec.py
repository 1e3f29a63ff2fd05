"""Who runs, and how: the numbers that make an analytic runner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

Harmonics = tuple[tuple[float, float], ...]
"""(amplitude, phase [rad]) of the 1st, 2nd … harmonic of the stride."""


@dataclass(frozen=True, slots=True)
class RunnerSpec:
    """One runner at one speed: lengths in metres, angles in degrees, times in seconds unless named otherwise.

    ``strike_deg``: foot pitch at contact, > 0 heel first, < 0 forefoot first. ``flat_s``: until the foot is flat.
    ``asymmetry``: (right - left)/mean of contact times. ``heel_off``: share of contact at which the heel rises.
    ``heel_peak_s``: instant of its greatest upward speed after off. ``reach``: share of the stance path ahead of the
    hip. ``sway_m``: the stride's amplitude of the pelvis sideways. ``give_m``: how far shoe and skin give way under
    load. ``surge_m``, ``surge_lead_deg``: amplitude of the pelvis fore and aft in each step, and its lead on the
    height. ``vault_m``: rise of a walker's pelvis.
    ``bounce_m``: harmonics (per step) of the pelvis' height against the centre of mass. ``jitter_s``: SD of an event
    about its phase; ``stride_sd``: of stride time, relative.
    """

    speed_mps: float = 2.8
    cadence_spm: float = 165.0
    duty: float = 0.35
    asymmetry: float = 0.0
    strike_deg: float = 12.0
    flat_s: float = 0.045
    heel_off: float = 0.5
    heel_peak_s: float = -0.004
    heel_lift_deg: float = 105.0
    toe_lift_m: float = 0.13
    thigh_m: float = 0.43
    shank_m: float = 0.42
    foot_m: float = 0.18
    hip_width_m: float = 0.16
    step_width_m: float = 0.05
    reach: float = 0.36
    valgus_m: float = 0.01
    obliquity_deg: Harmonics = ((3.0, 3.1), (0.3, 0.5), (1.5, 1.0))
    rotation_deg: Harmonics = ((4.0, 0.5), (0.8, 2.0))
    tilt_deg: Harmonics = ((0.5, 0.0), (3.0, 1.0))
    level_deg: float = 0.0
    tilt_mean_deg: float = 10.0
    sway_m: float = 0.005
    bounce_m: Harmonics = ((0.006, -5.3), (0.001, 0.0))
    impact: float = 0.5
    give_m: float = 0.010
    surge_m: float = 0.013
    surge_lead_deg: float = 118.0
    vault_m: float = 0.035
    trunk_lean_deg: float = 1.0
    jitter_s: float = 0.003
    stride_sd: float = 0.008
    drift_m: float = 0.02

    @property
    def stride_s(self) -> float:
        """Mean stride time."""
        return 120.0 / self.cadence_spm

    @staticmethod
    def random(seed: int) -> RunnerSpec:
        """A plausible runner: what goes together in people (speed, cadence, duty, build) goes together here."""
        rng = np.random.default_rng(seed)
        speed = float(rng.uniform(2.0, 4.5))
        cadence = float(np.clip(159 + 8 * (speed - 2.5) + rng.normal(0, 7), 150, 200))
        duty = float(np.clip(0.37 - 0.04 * (speed - 2.5) + rng.normal(0, 0.018), 0.25, 0.42))
        size = float(rng.normal(1.0, 0.05))
        rear = rng.uniform() < 0.75
        even = float(rng.uniform(0.1, 0.9))
        strike = float(rng.uniform(4, 18) if rear else rng.uniform(-10, 1))
        return RunnerSpec(
            speed_mps=speed,
            cadence_spm=cadence,
            duty=duty,
            asymmetry=float(rng.normal(0, 0.03)),
            strike_deg=strike,
            flat_s=float(rng.uniform(0.03, 0.06)),
            heel_off=float(rng.uniform(0.45, 0.6) if rear else rng.uniform(0.4, 0.5)),
            heel_peak_s=float(rng.normal(-0.004, 0.006)),
            heel_lift_deg=float(np.clip(95 + 10 * (speed - 2.5) + rng.normal(0, 8), 80, 125)),
            toe_lift_m=float(np.clip(rng.normal(0.13 + 0.03 * (speed - 2.8), 0.02), 0.07, 0.25)),
            thigh_m=0.43 * size,
            shank_m=0.42 * size,
            foot_m=0.18 * size,
            hip_width_m=float(rng.uniform(0.14, 0.19)),
            step_width_m=float(rng.normal(0.04, 0.035)),
            reach=float(rng.uniform(0.33, 0.40)),
            valgus_m=float(rng.normal(0.008, 0.01)),
            # left and right nearly mirror each other: odd harmonics carry obliquity and rotation, even ones tilt
            obliquity_deg=_harmonics(
                rng, (3.0, even, 1.9, 0.3 * even, 0.35, 0.12, 0.18, 0.07), {1: (2.3, 0.7), 3: (0, 0.5)}
            ),
            rotation_deg=_harmonics(rng, (4.5, 0.4, 0.9, 0.25, 0.5, 0.08, 0.2, 0.1), {1: (-0.6, 0.8)}),
            tilt_deg=_harmonics(rng, (0.6, 3.5, 0.2, 0.5, 0.12, 0.2, 0.06, 0.1), {2: (1.4, 0.5)}),
            level_deg=float(rng.normal(0, 1)),
            tilt_mean_deg=float(rng.uniform(5, 18)),
            sway_m=float(rng.uniform(0.003, 0.009)),
            bounce_m=(
                (float(rng.uniform(0.0, 0.011)), float(-2 * np.pi * (0.5 + duty) + rng.normal(0, 0.3))),
                (float(rng.uniform(0.0, 0.002)), float(rng.uniform(0, 2 * np.pi))),
            ),
            impact=float(rng.uniform(0.2, 0.9) if rear else rng.uniform(0, 0.25)),
            give_m=float(rng.uniform(0.003, 0.016)),
            surge_m=float(rng.uniform(0.010, 0.016)),
            surge_lead_deg=float(rng.uniform(100, 135)),
            trunk_lean_deg=float(rng.normal(0, 2)),
            jitter_s=float(rng.uniform(0.002, 0.005)),
            stride_sd=float(rng.uniform(0.005, 0.012)),
            drift_m=float(rng.uniform(0.005, 0.04)),
        )

    @staticmethod
    def walker(seed: int = 0) -> RunnerSpec:
        """A walker on the belt: both feet down for a fifth of the time."""
        rng = np.random.default_rng(seed)
        return replace(
            RunnerSpec.random(seed),
            speed_mps=float(rng.uniform(1.1, 1.7)),
            cadence_spm=float(rng.uniform(105, 125)),
            duty=float(rng.uniform(0.58, 0.63)),
            asymmetry=float(rng.normal(0, 0.01)),
            strike_deg=float(rng.uniform(15, 22)),
            flat_s=0.08,
            heel_off=0.6,
            heel_lift_deg=70.0,
            toe_lift_m=0.05,
            step_width_m=0.09,
            impact=0.0,
            vault_m=float(rng.uniform(0.025, 0.045)),
        )


def _harmonics(
    rng: np.random.Generator, sizes: tuple[float, ...], phases: Mapping[int, tuple[float, float]] | None = None
) -> Harmonics:
    """Random harmonics of about these sizes; ``phases``: harmonic -> mean and SD of its phase, where people agree."""
    out = []
    for k, size in enumerate(sizes, 1):
        at = rng.normal(*phases[k]) if phases and k in phases else rng.uniform(0, 2 * np.pi)
        out.append((float(size * rng.uniform(0.4, 1.4)), float(at)))
    return tuple(out)
