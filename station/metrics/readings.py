"""Which number of the curves is which metric: the definitions of ``docs/metrics.md``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from station.gait.cycles import Cycle
from station.geometry import RayCaster
from station.metrics.channels import HARMONICS, Channel
from station.metrics.curves import Curves, Reading, difference
from station.metrics.timing import Timing
from station.types import Floats

#: Axial rotation that nobody measured [deg]: cosine and sine of its fundamental from left contact on, as runners have
#: it (right side forward about left contact, since the pelvis trails on the landing side), and how much they differ
#: in it.
USUAL_ROTATION_DEG, UNSEEN_ROTATION_DEG = (3.9, 2.2), 3.2
#: The pelvis also swings to and fro along the line of sight; seen from above that adds to its rise [m per unit of
#: elevation]: what runners have in common, and how much they differ.
USUAL_SURGE_M, UNSEEN_SURGE_M = 0.011, 0.007


@dataclass(frozen=True, slots=True)
class Context:
    """What the definitions need beside the curves.

    ``elevation``: vertical ray of the hips, negative = camera above them. ``trust_deg``: sd of the errors of the pelvis
    estimator that pooling does not mend, in obliquity, rotation and tilt.
    """

    caster: RayCaster
    hip_width_m: float
    elevation: float
    cycle: Cycle
    level_deg: float | None
    tilt_level_deg: float | None
    source: str | None
    trust_deg: tuple[float, float, float]


def level_view(coef: Floats, context: Context) -> Floats:
    """Coefficients with the obliquity that a camera above or below the hips would see.

    Only for obliquity that was read off the hips in the picture, and only where the pitch is known: a pelvis block is
    in the world frame already. Rotation ψ seen from elevation e adds −e·ψ; ψ was not measured, so the usual one is
    taken.
    """
    if context.source != "hips" or context.trust_deg[0] > 0 or context.caster.mount.pitch_deg is None:
        return coef
    out = coef.copy()
    out[Channel.OBLIQUITY, 1:3] += context.elevation * np.array(USUAL_ROTATION_DEG)
    return out


class Reader:
    """Reads every metric of one set of curves; names without a number are left out."""

    def __init__(self, curves: Curves, context: Context, timing: Timing) -> None:
        self.curves = curves
        self.context = context
        self.timing = timing
        period = timing.stride
        self.contact = {"left": 0.0, "right": timing.step_left / period}
        self.off = {
            "left": timing.contact_left / period,
            "right": (timing.step_left + timing.contact_right) / period,
        }
        self.out: dict[str, Reading] = {}

    def known(self, *wanted: Channel) -> bool:
        """Whether all these channels have curves."""
        return all(np.isfinite(self.curves.coef[channel, 0]) for channel in wanted)

    def read(self) -> Iterator[None]:
        """Fill :attr:`out` with all metrics, a slice of work a step."""
        self._times()
        if self.known(Channel.OBLIQUITY):
            self._pelvic_drop()
        yield
        if self.known(Channel.ROTATION):
            self.out["rotation_range_deg"] = self.curves.range(Channel.ROTATION)
        if self.known(Channel.TILT):
            self._tilt()
        if self.known(Channel.PELVIS_UP):
            self._travel()
            yield
            middle = {side: self._mid_stance(side) for side in ("left", "right")}
            self._at_mid_stance(middle)

    def _times(self) -> None:
        t = self.timing
        contact = (t.contact_left + t.contact_right) / 2
        times = {
            "stride_time_s": t.stride,
            "cadence_spm": 120.0 / t.stride,
            "step_time_left_s": t.step_left,
            "step_time_right_s": t.step_right,
            "contact_time_left_ms": 1e3 * t.contact_left,
            "contact_time_right_ms": 1e3 * t.contact_right,
            "flight_time_left_ms": 1e3 * t.flight_left,
            "flight_time_right_ms": 1e3 * t.flight_right,
            "duty_factor": contact / t.stride,
            "symmetry_time_pct": 100 * (t.contact_right - t.contact_left) / contact,
        }
        self.out.update({name: Reading(value) for name, value in times.items()})

    def _pelvic_drop(self) -> None:
        curves, level = self.curves, self.context.level_deg
        constant = np.zeros(1 + 2 * HARMONICS)
        if level is None:
            constant[0] = 1.0
            level = float(curves.coef[Channel.OBLIQUITY, 0])
        peaks = {}
        for side, sign in (("left", -1.0), ("right", 1.0)):
            extreme = curves.extreme(Channel.OBLIQUITY, self.contact[side], self.off[side], sign)
            assert extreme.gradient is not None
            peaks[side] = Reading(sign * (extreme.value - level), sign * (extreme.gradient - constant), extreme.phase)
            self.out[f"pelvic_drop_peak_{side}_deg"] = peaks[side]
            start = curves.at(Channel.OBLIQUITY, self.contact[side])
            excursion = difference(extreme, start, sign)
            self.out[f"pelvic_drop_{side}_deg"] = excursion
        self.out["pelvic_drop_difference_deg"] = difference(peaks["left"], peaks["right"])
        self.out["obliquity_range_deg"] = curves.range(Channel.OBLIQUITY)

    def _tilt(self) -> None:
        mean = float(self.curves.coef[Channel.TILT, 0]) - (self.context.tilt_level_deg or 0.0)
        gradient = np.zeros(1 + 2 * HARMONICS)
        gradient[0] = 1.0
        self.out["tilt_mean_deg"] = Reading(mean, gradient)
        self.out["tilt_range_deg"] = self.curves.range(Channel.TILT)

    def _length(self, name: str, reading: Reading) -> None:
        """A length in metres, given in hip widths and millimetres."""
        for unit, scale in (("hw", 1 / self.context.hip_width_m), ("mm", 1e3)):
            gradient = None if reading.gradient is None else reading.gradient * scale
            self.out[f"{name}_{unit}"] = Reading(reading.value * scale, gradient)

    def _travel(self) -> None:
        curves = self.curves
        self._length("sway", curves.range(Channel.PELVIS_SIDE))
        first = curves.range(Channel.PELVIS_UP, self.contact["left"], self.contact["right"])
        second = curves.range(Channel.PELVIS_UP, self.contact["right"], 1.0)
        assert first.gradient is not None
        assert second.gradient is not None
        surge = USUAL_SURGE_M * self.context.elevation if self.context.caster.mount.pitch_deg is not None else 0.0
        mean = Reading((first.value + second.value) / 2 + surge, (first.gradient + second.gradient) / 2)
        self._length("vertical_oscillation", mean)

    def _mid_stance(self, side: str) -> float:
        lowest = self.curves.extreme(Channel.PELVIS_UP, self.contact[side], self.off[side], -1.0)
        self.out[f"push_back_{side}"] = Reading((self.off[side] - lowest.phase) / (self.off[side] - self.contact[side]))
        return lowest.phase

    def _at_mid_stance(self, middle: Mapping[str, float]) -> None:
        width = self.context.hip_width_m
        curves = self.curves
        for side, sign in (("left", -1.0), ("right", 1.0)):
            phase = middle[side]
            thigh = Channel.THIGH_LEFT if side == "left" else Channel.THIGH_RIGHT
            if self.known(thigh, Channel.OBLIQUITY):
                lean, drop = curves.at(thigh, phase), curves.at(Channel.OBLIQUITY, phase)
                self.out[f"hip_adduction_{side}_deg"] = Reading(lean.value + sign * drop.value, lean.gradient)
            if self.known(Channel.KNEE_GAP):
                gap = curves.at(Channel.KNEE_GAP, phase)
                assert gap.gradient is not None
                self.out[f"knee_gap_{side}_hw"] = Reading(gap.value / width, gap.gradient / width)
            if self.known(Channel.TRUNK):
                lean = curves.at(Channel.TRUNK, phase)
                self.out[f"trunk_lean_{side}_deg"] = Reading(sign * lean.value, lean.gradient)
            foot = Channel.FOOT_LEFT if side == "left" else Channel.FOOT_RIGHT
            if self.known(foot):
                swing = curves.at(foot, self.off[side] + 0.1)
                self.out[f"heel_whip_{side}_deg"] = difference(swing, curves.at(foot, phase))
        if self.known(Channel.HEEL_LEFT, Channel.HEEL_RIGHT):
            left = curves.at(Channel.HEEL_LEFT, middle["left"])
            right = curves.at(Channel.HEEL_RIGHT, middle["right"])
            self._length("step_width", Reading(right.value - left.value, left.gradient))
