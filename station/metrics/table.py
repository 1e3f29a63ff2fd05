"""The names of the metrics, which zone each value lies in, and what each needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Zone = Literal["green", "amber", "red"]

TIMING = ("stride_time_s", "cadence_spm", "stride_time_cv_pct")
PER_SIDE_TIMING = (
    "step_time_left_s", "step_time_right_s",
    "contact_time_left_ms", "contact_time_right_ms",
    "flight_time_left_ms", "flight_time_right_ms",
    "duty_factor", "push_back_left", "push_back_right", "symmetry_time_pct",
)  # fmt: skip
PELVIC = (
    "pelvic_drop_peak_left_deg", "pelvic_drop_peak_right_deg",
    "pelvic_drop_left_deg", "pelvic_drop_right_deg",
    "pelvic_drop_difference_deg", "obliquity_range_deg",
)  # fmt: skip
ANGLES_3D = ("rotation_range_deg", "tilt_mean_deg", "tilt_range_deg")
LENGTHS = ("sway", "vertical_oscillation", "step_width")
FRONTAL = (
    "hip_adduction_left_deg", "hip_adduction_right_deg", "knee_gap_left_hw", "knee_gap_right_hw",
    "trunk_lean_left_deg", "trunk_lean_right_deg", "heel_whip_left_deg", "heel_whip_right_deg",
)  # fmt: skip

#: What an estimator of the pelvis has a part in: these name it as their ``source``.
OF_THE_PELVIS = frozenset((*PELVIC, *ANGLES_3D, "hip_adduction_left_deg", "hip_adduction_right_deg"))

#: Every key of a stride, in the order of ``docs/metrics.md``.
METRICS: tuple[str, ...] = (
    "stride_time_s", "cadence_spm", "stride_time_cv_pct", *PER_SIDE_TIMING[:7],
    *PELVIC, *ANGLES_3D,
    *(f"{name}_{unit}" for name in LENGTHS for unit in ("hw", "mm")),
    *FRONTAL, "push_back_left", "push_back_right", "stability", "symmetry_time_pct",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Band:
    """Borders of the zones of one metric. ``rising``: larger is worse; otherwise smaller is worse."""

    green: float
    red: float
    rising: bool = True
    absolute: bool = False

    def zone(self, value: float, ci95: float, before: Zone) -> Zone:
        """Zone of ``value``, leaving ``before`` only where the confidence interval clears the border."""
        if self.absolute:
            value = abs(value)
        sign = 1.0 if self.rising else -1.0
        levels: tuple[Zone, ...] = ("green", "amber", "red")
        borders = (sign * self.green, sign * self.red)
        at_least = sum(sign * value - ci95 > border for border in borders)
        at_most = sum(sign * value + ci95 > border for border in borders)
        return levels[min(max(levels.index(before), at_least), at_most)]

    def score(self, value: float) -> float:
        """100 at the green border or better, 0 at the red one or worse, linear between."""
        if self.absolute:
            value = abs(value)
        share = (self.red - value) / (self.red - self.green)
        return 100.0 * min(max(share, 0.0), 1.0)


_DROP, _HIP = Band(6.0, 9.0), Band(15.0, 18.0)
_KNEE, _TRUNK = Band(0.15, 0.0, rising=False), Band(5.0, 8.0)

#: Defaults of ``docs/metrics.md``: engineering heuristics for training feedback, no diagnosis.
BANDS: Mapping[str, Band] = {
    "pelvic_drop_peak_left_deg": _DROP,
    "pelvic_drop_peak_right_deg": _DROP,
    "pelvic_drop_difference_deg": Band(2.0, 3.0, absolute=True),
    "sway_hw": Band(0.20, 0.30),
    "obliquity_range_deg": Band(11.0, 14.0),
    "hip_adduction_left_deg": _HIP,
    "hip_adduction_right_deg": _HIP,
    "step_width_mm": Band(30.0, 0.0, rising=False),
    "knee_gap_left_hw": _KNEE,
    "knee_gap_right_hw": _KNEE,
    "trunk_lean_left_deg": _TRUNK,
    "trunk_lean_right_deg": _TRUNK,
    "stride_time_cv_pct": Band(3.0, 5.0),
    "symmetry_time_pct": Band(5.0, 10.0, absolute=True),
    "rotation_range_deg": Band(16.0, 20.0),
}


def bands(profile: str | None) -> Mapping[str, Band]:
    """Zone borders of a profile (``women``, ``men``); without one the plain bounds."""
    changed: dict[str, Band] = dict(BANDS)
    if profile == "women":
        changed |= {f"pelvic_drop_peak_{side}_deg": Band(7.0, 9.0) for side in ("left", "right")}
    if profile == "men":
        changed |= {f"hip_adduction_{side}_deg": Band(12.0, 15.0) for side in ("left", "right")}
    return changed
