"""What is true of a runner recorded in 3-D: every metric of ``docs/metrics.md`` straight from the markers.

A :class:`Trial` holds markers in the rear-camera world frame (X = runner's right, Y = up, belt at 0, Z = backward,
metres) and the times of contact and off. :class:`Truth` cuts it into strides and reads each metric twice: from
each stride alone, and pooled over a window of strides, which is what a kernel's ``value`` has to meet.

Choices where the definitions leave room:

* Angles and lengths are orthographic projections on the frontal plane of the world.
* ``hw`` is the mean 3-D distance of the hip joint centres. A rear camera sees its frontal projection, shorter by the
  cosine of the rotation: 0.5 to 1.5 % in real runners, far below every bound on a metric in ``hw``.
* Angles, sway and vertical oscillation are pooled as curves: averaged at equal phase from left contact to left contact,
  then read. ``*_mean`` keys hold the mean of the per-stride readings beside them. Instants are averaged as phases.
* Readings at mid-stance are read stride by stride and averaged.
* Drift of the pelvis below 0.5 Hz is removed with the squared response of a fourth-order Butterworth filter, no phase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from station.lab.trial import Trial, keypoint_marks, load_trial, pelvis_angles, resample, save_trial
from station.types import Floats

__all__ = [
    "Trial",
    "TrueStride",
    "Truth",
    "keypoint_marks",
    "load_trial",
    "pelvis_angles",
    "resample",
    "save_trial",
    "strides_of",
    "without_drift",
]

WINDOW = 20
GRID = 400
_STRIDE_S = (0.4, 1.8)


def without_drift(t_s: Floats, x: Floats, below_hz: float = 0.5) -> Floats:
    """``x`` less its part below ``below_hz``; evenly sampled, ends continued by odd reflection."""
    n = len(x)
    padded = np.concatenate([2 * x[0] - x[:0:-1], x, 2 * x[-1] - x[-2::-1]])
    f_hz = np.fft.rfftfreq(len(padded), float(np.median(np.diff(t_s))))
    slow = np.fft.irfft(np.fft.rfft(padded) / (1 + (f_hz / below_hz) ** 8), len(padded))
    out: Floats = x - slow[n - 1 : 2 * n - 1]
    return out


@dataclass(frozen=True, slots=True)
class TrueStride:
    """The four events of a stride and its end, seconds; in walking ``right_off_s`` may lie after ``end_s``."""

    start_s: float
    left_off_s: float
    right_contact_s: float
    right_off_s: float
    end_s: float

    def phase(self, t_s: float) -> float:
        """0 at the left contact, 1 at the next."""
        return (t_s - self.start_s) / (self.end_s - self.start_s)


def strides_of(events: Mapping[str, Floats]) -> tuple[TrueStride, ...]:
    """Strides between neighbouring left contacts that hold one right contact and both offs."""
    out = []
    contacts = events["left_contact_s"]
    for a, b in pairwise(contacts):
        rc = events["right_contact_s"]
        rc = rc[(rc > a) & (rc < b)]
        if not _STRIDE_S[0] < b - a < _STRIDE_S[1] or len(rc) != 1:
            continue
        lo, ro = events["left_off_s"], events["right_off_s"]
        lo, ro = lo[(lo > a) & (lo < b)], ro[(ro > rc[0]) & (ro < rc[0] + b - a)]
        if len(lo) and len(ro):
            out.append(TrueStride(float(a), float(lo[0]), float(rc[0]), float(ro[0]), float(b)))
    return tuple(out)


class Truth:
    """Metrics of a trial for the strides of its own events, or for given ``strides``: same instants, true angles."""

    def __init__(self, trial: Trial, strides: Sequence[TrueStride] | None = None) -> None:
        self.trial = trial
        inside = [s for s in (strides_of(trial.events) if strides is None else strides) if self._holds(s)]
        self.strides = tuple(inside)
        self._kp = keypoint_marks(trial.marks)
        self._mid = (self._kp["left_hip"] + self._kp["right_hip"]) / 2
        span = self._kp["right_hip"] - self._kp["left_hip"]
        self.hip_width_m = float(np.linalg.norm(span, axis=1).mean())
        self._signals = {k: v for k, v in pelvis_angles(trial.marks).items() if v is not None}
        self._signals["sway_m"] = without_drift(trial.t_s, self._mid[:, 0])
        self._signals["height_m"] = self._mid[:, 1]
        grid = np.linspace(0.0, 1.0, GRID + 1)
        self._curves = {
            name: np.array([self._read(x, s.start_s + grid * (s.end_s - s.start_s)) for s in self.strides])
            for name, x in self._signals.items()
        }
        self._phases = np.array(
            [[0.0, *(s.phase(t) for t in (s.left_off_s, s.right_contact_s, s.right_off_s))] for s in self.strides]
        )

    @cached_property
    def per_stride(self) -> tuple[dict[str, float], ...]:
        """Every metric of each stride alone."""
        return tuple(self._alone(i) for i in range(len(self.strides)))

    def angles(self, last: int, window: int = WINDOW) -> dict[str, float]:
        """The metrics that are read from curves (drop, ranges, sway, oscillation), pooled over a window of strides."""
        first = max(0, last + 1 - window)
        curves = {k: v[first : last + 1].mean(axis=0) for k, v in self._curves.items()}
        return self._angles(curves, self._phases[first : last + 1].mean(axis=0))

    def read_angles(self, curves: Mapping[str, Floats], last: int, window: int = WINDOW) -> dict[str, float]:
        """Drop and ranges read from somebody else's pooled curves at the true phases of the events."""
        return self._angles(curves, self._phases[max(0, last + 1 - window) : last + 1].mean(axis=0))

    def _holds(self, s: TrueStride) -> bool:
        t_s = self.trial.t_s
        return bool(t_s[0] <= s.start_s and max(s.end_s, s.right_off_s) <= t_s[-1])

    def _read(self, x: Floats, at_s: Floats) -> Floats:
        return resample(self.trial.t_s, x, at_s)

    def curve(self, name: str, last: int, window: int = WINDOW) -> Floats:
        """Mean curve over the ``window`` strides up to number ``last``: ``GRID`` + 1 points from left contact on."""
        mean: Floats = self._curves[name][max(0, last + 1 - window) : last + 1].mean(axis=0)
        return mean

    def pooled(self, last: int, window: int = WINDOW) -> dict[str, float]:
        """Every metric pooled over the ``window`` strides up to number ``last``."""
        first = max(0, last + 1 - window)
        rows = self.per_stride[first : last + 1]
        out = {k: float(np.mean([r[k] for r in rows])) for k in rows[0]}
        from_curves = self.angles(last, window)
        out |= {f"{k}_mean": out[k] for k in from_curves if k in out}
        out |= from_curves
        times = np.array([s.end_s - s.start_s for s in self.strides[first : last + 1]])
        out["cadence_spm"] = 120 / float(times.mean())
        if len(times) > 2:
            out["stride_time_cv_pct"] = 100 * float(times.std(ddof=1) / times.mean())
        left, right = out["contact_time_left_ms"], out["contact_time_right_ms"]
        out["symmetry_time_pct"] = 200 * (right - left) / (right + left)
        return out

    def _alone(self, i: int) -> dict[str, float]:
        s = self.strides[i]
        out = self._times(s) | self._angles({k: v[i] for k, v in self._curves.items()}, self._phases[i])
        return out | self._at_mid_stance(s)

    @staticmethod
    def _times(s: TrueStride) -> dict[str, float]:
        stride = s.end_s - s.start_s
        left, right = s.left_off_s - s.start_s, s.right_off_s - s.right_contact_s
        return {
            "stride_time_s": stride,
            "cadence_spm": 120 / stride,
            "step_time_left_s": s.right_contact_s - s.start_s,
            "step_time_right_s": s.end_s - s.right_contact_s,
            "contact_time_left_ms": 1e3 * left,
            "contact_time_right_ms": 1e3 * right,
            "flight_time_left_ms": 1e3 * (s.right_contact_s - s.left_off_s),
            "flight_time_right_ms": 1e3 * (s.end_s - s.right_off_s),
            "duty_factor": (left + right) / 2 / stride,
            "symmetry_time_pct": 200 * (right - left) / (right + left),
        }

    def _angles(self, curves: Mapping[str, Floats], phases: Floats) -> dict[str, float]:
        """Drop, ranges, sway and oscillation of one cycle (of a stride alone, or of the mean one)."""
        lc, lo, rc, ro = (float(p) for p in phases)
        obliquity = curves["obliquity_deg"]
        level = float(obliquity[:-1].mean())
        out: dict[str, float] = {}
        for side, sign, contact, off in (("left", -1.0, lc, lo), ("right", 1.0, rc, ro)):
            drop = sign * _part(obliquity, contact, off)
            out[f"pelvic_drop_peak_{side}_deg"] = float(drop.max() - sign * level)
            out[f"pelvic_drop_{side}_deg"] = float(drop.max() - drop[0])
        out["pelvic_drop_difference_deg"] = out["pelvic_drop_peak_left_deg"] - out["pelvic_drop_peak_right_deg"]
        out["obliquity_range_deg"] = float(np.ptp(obliquity))
        for name in ("rotation", "tilt"):
            if f"{name}_deg" in curves:
                out[f"{name}_range_deg"] = float(np.ptp(curves[f"{name}_deg"]))
        if "sway_m" not in curves:
            return out
        sway_m = float(np.ptp(curves["sway_m"]))
        rise_m = float(np.mean([np.ptp(_part(curves["height_m"], *p)) for p in ((lc, rc), (rc, lc + 1))]))
        for name, metres in (("sway", sway_m), ("vertical_oscillation", rise_m)):
            out[f"{name}_mm"], out[f"{name}_hw"] = 1e3 * metres, metres / self.hip_width_m
        return out

    def mid_stance_s(self, contact_s: float, off_s: float) -> float:
        """The instant between contact and off at which the pelvis is lowest."""
        at_s = np.linspace(contact_s, off_s, 201)
        return float(at_s[np.argmin(self._read(self._mid[:, 1], at_s))])

    def _at_mid_stance(self, s: TrueStride) -> dict[str, float]:
        left_s = self.mid_stance_s(s.start_s, s.left_off_s)
        right_s = self.mid_stance_s(s.right_contact_s, s.right_off_s)
        out: dict[str, float] = {}
        feet: dict[str, float] = {}
        for side, sign, at_s, off_s, contact_s in (
            ("left", -1.0, left_s, s.left_off_s, s.start_s),
            ("right", 1.0, right_s, s.right_off_s, s.right_contact_s),
        ):
            p = {k: self._read(v, np.array([at_s]))[0] for k, v in self._kp.items()}
            out[f"push_back_{side}"] = (off_s - at_s) / (off_s - contact_s)
            hip, knee = p[f"{side}_hip"], p[f"{side}_knee"]
            lean = np.degrees(np.arctan2(-sign * (knee[0] - hip[0]), hip[1] - knee[1]))
            line = p["right_hip"] - p["left_hip"]
            drop = sign * np.degrees(np.arctan2(line[1], line[0]))
            out[f"hip_adduction_{side}_deg"] = float(lean + drop)
            out[f"knee_gap_{side}_hw"] = float(p["right_knee"][0] - p["left_knee"][0]) / self.hip_width_m
            if "left_shoulder" in p and "right_shoulder" in p:
                up = (p["left_shoulder"] + p["right_shoulder"] - p["left_hip"] - p["right_hip"]) / 2
                out[f"trunk_lean_{side}_deg"] = float(sign * np.degrees(np.arctan2(up[0], up[1])))
            feet[side] = float(p.get(f"{side}_heel", p[f"{side}_ankle"])[0])
        width_m = feet["right"] - feet["left"]
        return out | {"step_width_mm": 1e3 * width_m, "step_width_hw": width_m / self.hip_width_m}


def _part(curve: Floats, start: float, end: float) -> Floats:
    """The periodic ``curve`` from phase ``start`` to ``end`` (≤ start + 1), both included."""
    n = max(2, round((end - start) * GRID) + 1)
    at = np.linspace(start, end, n) % 1.0
    part: Floats = np.interp(at, np.linspace(0.0, 1.0, len(curve)), curve)
    return part
