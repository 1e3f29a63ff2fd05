"""How sure a reading is: pooled values with their intervals, or the reason why there is none; and ``stability``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from station.harmonics import Fit, slope_basis, variance
from station.metrics.channels import HARMONICS, Channel
from station.metrics.curves import Reading
from station.metrics.readings import UNSEEN_ROTATION_DEG, UNSEEN_SURGE_M, Context
from station.metrics.table import (
    ANGLES_3D,
    BANDS,
    FRONTAL,
    LENGTHS,
    METRICS,
    OF_THE_PELVIS,
    PELVIC,
    PER_SIDE_TIMING,
)
from station.metrics.timing import EVENT_SCATTER_S, Timing, variation_pct
from station.types import Metric, Reason

#: Error of the contact and off instants that pooling does not mend: it differs from runner to runner [s].
CONTACT_BIAS_S = 0.0055
OFF_BIAS_S = 0.0075
#: Systematic error that remains in each reading whatever the number of frames: perspective, landmarks, truncation.
FLOOR: Mapping[str, float] = {
    "pelvic_drop_peak_left_deg": 0.10, "pelvic_drop_peak_right_deg": 0.10,
    "pelvic_drop_left_deg": 0.12, "pelvic_drop_right_deg": 0.12,
    "pelvic_drop_difference_deg": 0.10, "obliquity_range_deg": 0.15,
    "rotation_range_deg": 0.2, "tilt_mean_deg": 0.3, "tilt_range_deg": 0.2,
    "sway_hw": 0.005, "sway_mm": 0.7, "vertical_oscillation_hw": 0.007, "vertical_oscillation_mm": 1.2,
    "step_width_hw": 0.015, "step_width_mm": 1.6,
    "hip_adduction_left_deg": 0.25, "hip_adduction_right_deg": 0.25,
    "knee_gap_left_hw": 0.025, "knee_gap_right_hw": 0.025,
    "trunk_lean_left_deg": 0.20, "trunk_lean_right_deg": 0.20,
    "heel_whip_left_deg": 3.0, "heel_whip_right_deg": 3.0,
}  # fmt: skip
#: Channel whose noise governs a metric, and so its statistical error where the gradient is not of one channel.
CHANNELS: Mapping[str, tuple[Channel, ...]] = {
    **dict.fromkeys(PELVIC, (Channel.OBLIQUITY,)),
    "rotation_range_deg": (Channel.ROTATION,),
    "tilt_mean_deg": (Channel.TILT,),
    "tilt_range_deg": (Channel.TILT,),
    "sway": (Channel.PELVIS_SIDE,),
    "vertical_oscillation": (Channel.PELVIS_UP,),
    "step_width": (Channel.HEEL_LEFT, Channel.HEEL_RIGHT),
    "hip_adduction_left_deg": (Channel.THIGH_LEFT, Channel.OBLIQUITY),
    "hip_adduction_right_deg": (Channel.THIGH_RIGHT, Channel.OBLIQUITY),
    "knee_gap_left_hw": (Channel.KNEE_GAP,),
    "knee_gap_right_hw": (Channel.KNEE_GAP,),
    "trunk_lean_left_deg": (Channel.TRUNK,),
    "trunk_lean_right_deg": (Channel.TRUNK,),
    "heel_whip_left_deg": (Channel.FOOT_LEFT,),
    "heel_whip_right_deg": (Channel.FOOT_RIGHT,),
}
#: Why a channel can be empty.
MISSING: Mapping[Channel, Reason] = {
    Channel.OBLIQUITY: Reason.WAIST_HIDDEN,
    Channel.ROTATION: Reason.NOT_ESTIMATED,
    Channel.TILT: Reason.NOT_ESTIMATED,
    Channel.PELVIS_UP: Reason.HIPS_NOT_SEEN,
    Channel.PELVIS_SIDE: Reason.HIPS_NOT_SEEN,
    Channel.THIGH_LEFT: Reason.KNEES_NOT_SEEN,
    Channel.THIGH_RIGHT: Reason.KNEES_NOT_SEEN,
    Channel.KNEE_GAP: Reason.KNEES_NOT_SEEN,
    Channel.HEEL_LEFT: Reason.FEET_NOT_SEEN,
    Channel.HEEL_RIGHT: Reason.FEET_NOT_SEEN,
    Channel.TRUNK: Reason.SHOULDERS_NOT_SEEN,
    Channel.FOOT_LEFT: Reason.FEET_NOT_SEEN,
    Channel.FOOT_RIGHT: Reason.FEET_NOT_SEEN,
}
#: Hips in place of a pelvis estimator: their noise is the pixels', their meaning less sure.
HIPS_WIDENING = 1.02
#: Residuals hold what strides differ in, too, and those strides are what the value speaks of: the pixels' share of
#: them.
PIXEL_SHARE = 0.8
#: Metrics put together in one slice of work.
METRICS_A_SLICE = 14
#: The residual of the heel's place is that of the swinging foot; planted it has this share of the variance.
PLANTED_SHARE = 0.3
#: A camera whose roll nobody measured hangs askew by about this much [deg].
UNTOLD_ROLL_DEG = 1.5


def combine(
    value: Mapping[str, Reading],
    now: Mapping[str, Reading],
    fit: Fit,
    context: Context,
    strides: Sequence[Timing],
    waist_hidden: bool = False,
) -> Iterator[dict[str, Metric]]:
    """Pooled readings with their intervals beside this stride's own; every step yields what there is so far.

    ``waist_hidden``: nothing of the pelvis is told.
    """
    frontal_reason = None if context.cycle.rear_view else Reason.NOT_REAR_VIEW
    metrics: dict[str, Metric] = {}
    spread = _timing_sd(strides)
    for number, name in enumerate(METRICS):
        if number % METRICS_A_SLICE == METRICS_A_SLICE - 1:
            yield metrics
        if name in ("stability", "stride_time_cv_pct"):
            continue
        reason = _reason(name, value, fit, context, frontal_reason)
        if waist_hidden and reason is None and name in OF_THE_PELVIS:
            # Of the hips that a pose model drew nothing else was to be expected: no shirt is to blame.
            drawn = context.source == "hips" and context.trust_deg[0] > 0
            reason = Reason.LOW_CONFIDENCE if drawn else Reason.WAIST_HIDDEN
        if reason is not None:
            metrics[name] = Metric(reason=str(reason))
            continue
        sd = _sd(name, value[name], fit, context, strides, spread)
        own = now.get(name)
        metrics[name] = Metric(
            value=value[name].value,
            ci95=1.96 * sd,
            stride=None if own is None else own.value,
            source=context.source if name in OF_THE_PELVIS else None,
        )
    variation = variation_pct(strides)
    metrics["stride_time_cv_pct"] = (
        Metric(reason=str(Reason.TOO_FEW_STRIDES))
        if variation is None
        else Metric(value=variation[0], ci95=1.96 * variation[1], stride=None)
    )
    metrics["stability"] = _stability(metrics)
    yield {name: metrics[name] for name in METRICS}


def _channels(name: str) -> tuple[Channel, ...]:
    for length in LENGTHS:
        if name.startswith(length):
            return CHANNELS[length]
    return CHANNELS.get(name, ())


def _reason(
    name: str, value: Mapping[str, Reading], fit: Fit, context: Context, frontal: Reason | None
) -> Reason | None:
    if frontal is not None and name in _NEEDS_REAR_VIEW:
        return frontal
    if context.cycle.by_pelvis and name.startswith(_OF_THE_FEET):
        return Reason.FEET_NOT_SEEN
    if name.endswith("_mm") and not context.caster.metric:
        return Reason.NOT_CALIBRATED
    if name in value and np.isfinite(value[name].value):
        return None
    for channel in _channels(name):
        if not fit.known(channel):
            return MISSING[channel]
    return Reason.LOW_CONFIDENCE


_NEEDS_REAR_VIEW = frozenset(
    (*PELVIC, *ANGLES_3D, *FRONTAL, *PER_SIDE_TIMING, *(f"{name}_{unit}" for name in LENGTHS for unit in ("hw", "mm")))
)


#: What a pelvis that keeps the time in place of the feet cannot tell.
_OF_THE_FEET = (
    "step_time", "contact_time", "flight_time", "duty_factor", "symmetry_time", "step_width", "heel_whip", "push_back",
)  # fmt: skip


def _timing_sd(strides: Sequence[Timing]) -> dict[str, float]:
    """Statistical sd of pooled times [s]: of a mean over n strides, and of the span of n strides."""
    n = len(strides)
    event = float(np.hypot(EVENT_SCATTER_S, np.mean([s.event_sd_s for s in strides])))
    return {"mean": event / n**0.5, "span": 1.41 * event / n}


def _sd(
    name: str, reading: Reading, fit: Fit, context: Context, strides: Sequence[Timing], spread: Mapping[str, float]
) -> float:
    timing = _timed_sd(name, strides, spread)
    if timing is not None:
        return timing
    total = FLOOR.get(name, 0.0) ** 2
    wanted = _channels(name)
    if reading.gradient is not None:
        share = PLANTED_SHARE if name.startswith("step_width") else PIXEL_SHARE
        for channel in wanted:
            total += share * variance(fit.cov[channel], reading.gradient)
        if context.source == "hips" and Channel.OBLIQUITY in wanted:
            false_deg = UNSEEN_ROTATION_DEG * context.elevation
            total += false_deg**2 * float((reading.gradient[1:3] ** 2).sum())
    if name.startswith("vertical_oscillation"):
        surge = UNSEEN_SURGE_M * context.elevation
        total += (surge * (1e3 if name.endswith("_mm") else 1 / context.hip_width_m)) ** 2
    for channel in (Channel.OBLIQUITY, Channel.ROTATION, Channel.TILT):
        if channel in wanted:
            total += context.trust_deg[channel] ** 2
    if name.startswith("trunk_lean") and context.caster.mount.roll_deg is None:
        total += UNTOLD_ROLL_DEG**2
    if name in ("pelvic_drop_left_deg", "pelvic_drop_right_deg"):
        total += (_contact_slope(name, fit, strides) * np.hypot(CONTACT_BIAS_S, spread["mean"])) ** 2
    sd = float(np.sqrt(total))
    if context.source == "hips" and Channel.OBLIQUITY in wanted:
        sd *= HIPS_WIDENING
    return sd


def _contact_slope(name: str, fit: Fit, strides: Sequence[Timing]) -> float:
    """Slope of obliquity at the contact of that side [deg/s]."""
    last = strides[-1]
    phase = 0.0 if "left" in name else last.step_left / last.stride
    row = slope_basis(np.array([phase]), HARMONICS)[0] / last.stride
    return float(abs(row @ fit.coef[Channel.OBLIQUITY]))


def _timed_sd(name: str, strides: Sequence[Timing], spread: Mapping[str, float]) -> float | None:
    """Sd of the metrics that are times, in their units; ``None`` for the others."""
    stride = float(np.mean([s.stride for s in strides]))
    doubt = float(np.mean([s.doubt_s for s in strides]))
    both = math.hypot(CONTACT_BIAS_S, OFF_BIAS_S, doubt)
    interval = float(np.hypot(spread["mean"] * 1.41, both))
    if name == "stride_time_s":
        return spread["span"] + 2e-4
    if name == "cadence_spm":
        return 120.0 / stride**2 * (spread["span"] + 2e-4)
    if name.startswith("step_time"):
        return math.hypot(spread["mean"] * 1.41, 0.5 * CONTACT_BIAS_S, 0.5 * doubt)
    if name.startswith(("contact_time", "flight_time")):
        return 1e3 * interval
    if name == "duty_factor":
        return interval / stride
    if name == "symmetry_time_pct":
        contact = float(np.mean([(s.contact_left + s.contact_right) / 2 for s in strides]))
        return 100.0 * 0.7 * interval / contact
    if name.startswith("push_back"):
        return 0.03
    return None


def _stability(metrics: Mapping[str, Metric]) -> Metric:
    """The mean of the sub-scores that exist; at least ``level`` must."""

    def score(name: str) -> float | None:
        value = metrics[name].value
        return None if value is None else BANDS[name].score(value)

    drops = [score(f"pelvic_drop_peak_{side}_deg") for side in ("left", "right")]
    if drops[0] is None or drops[1] is None:
        return Metric(reason=metrics["pelvic_drop_peak_left_deg"].reason)
    band = BANDS["pelvic_drop_peak_left_deg"]
    widest = max(metrics[f"pelvic_drop_peak_{side}_deg"].ci95 or 0.0 for side in ("left", "right"))
    if widest > band.red - band.green:
        return Metric(reason=str(Reason.LOW_CONFIDENCE))  # the interval of a drop is wider than the scale it is put on
    groups: dict[str, list[float | None]] = {
        "level": [min(drops[0], drops[1])],
        "still": [score("sway_hw"), score("rotation_range_deg")],
        "even": [score("pelvic_drop_difference_deg"), score("stride_time_cv_pct")],
    }
    parts = {}
    for name, scores in groups.items():
        known = [s for s in scores if s is not None]
        if known:
            parts[name] = sum(known) / len(known)
    # A degree of drop moves ``level`` by its slope, and the whole by the share of ``level`` in it.
    ci95 = widest * 100.0 / (band.red - band.green) / len(parts)
    return Metric(value=sum(parts.values()) / len(parts), ci95=ci95, parts=parts)
