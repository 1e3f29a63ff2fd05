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
from pathlib import Path
from typing import Any

import numpy as np

from station.types import Floats

SIDES = {"left": "L", "right": "R"}
#: keypoint of the track -> marker names by preference (S = side letter); a marker that copies another is a stand-in.
MARKERS = {
    "shoulder": ("SSHO", "SACR"),
    "hip": ("SHJC",),
    "knee": ("SKNEE",),
    "ankle": ("SANKLE",),
    "heel": ("SHEEL",),
    "toe": ("STOE", "SMT", "SMTP"),
}
COPIES = {"ankle": "HEEL", "toe": "HEEL"}
WINDOW = 20
GRID = 400
_STRIDE_S = (0.4, 1.8)
_EVENTS = (("contact", "FS"), ("off", "TO"))


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Markers (n, 3) [m] on the clock ``t_s`` and events ``left_contact_s`` … ``right_off_s`` [s], sorted.

    ``events_are_truth``: from a force plate (or exact by construction), so contact times may be judged by them.
    """

    name: str
    t_s: Floats
    marks: Mapping[str, Floats]
    events: Mapping[str, Floats]
    source: str
    speed_mps: float

    @property
    def events_are_truth(self) -> bool:
        """Whether contact times may be judged by these events."""
        return "force" in self.source or "exact" in self.source


def load_trial(path: str | Path, loop: int = 1) -> Trial:
    """A canonical npz on a treadmill: the mean velocity of a trial that travels more than 1 m is removed.

    ``loop`` > 1 repeats the strides from first to last left contact, closed by a linear ramp, with their events.
    """
    with np.load(path, allow_pickle=False) as z:
        t_s = z["t"].astype(float)
        marks = {k: z[k].astype(float) for k in z.files if z[k].ndim == 2 and z[k].shape[1] == 3}
        events = {
            f"{side}_{kind}_s": np.sort(z[f"EV_{letter}{code}"].astype(float))
            for side, letter in SIDES.items()
            for kind, code in _EVENTS
        }
        source = str(z["events_src"])
        speed = float(z["speed"]) if "speed" in z.files else float("nan")
    middle = (marks["LHJC"] + marks["RHJC"]) / 2
    if np.ptp(middle[:, 2]) > 1.0 and "exact" not in source:
        travel = np.outer(t_s - t_s.mean(), np.polyfit(t_s, middle, 1)[0] * [1, 0, 1])
        marks = {k: v - travel for k, v in marks.items()}
    if loop > 1:
        t_s, marks, events = _looped(t_s, marks, events, loop)
    return Trial(Path(path).stem, t_s, marks, events, source, speed)


def save_trial(trial: Trial, path: str | Path) -> None:
    """Write a trial in the format :func:`load_trial` reads."""
    codes = {f"{s}_{kind}_s": f"EV_{letter}{code}" for s, letter in SIDES.items() for kind, code in _EVENTS}
    arrays: dict[str, Any] = {k: v.astype(np.float32) for k, v in trial.marks.items()}
    arrays |= {codes[k]: v for k, v in trial.events.items()}
    fs = 1 / float(np.median(np.diff(trial.t_s)))
    arrays |= {"t": trial.t_s, "fs": fs, "speed": trial.speed_mps, "events_src": np.array(trial.source)}
    np.savez_compressed(path, **arrays)


def _looped(
    t_s: Floats, marks: Mapping[str, Floats], events: Mapping[str, Floats], loop: int
) -> tuple[Floats, dict[str, Floats], dict[str, Floats]]:
    a, b = events["left_contact_s"][[0, -1]]
    n = round((b - a) / float(np.median(np.diff(t_s))))
    u = np.arange(n + 1) / n
    out = {}
    for name, xyz in marks.items():
        cut = resample(t_s, xyz, a + u * (b - a))
        out[name] = np.tile((cut - np.outer(u, cut[-1] - cut[0]))[:-1], (loop, 1))
    again = {k: np.concatenate([v[(v >= a) & (v < b)] + i * (b - a) for i in range(loop)]) for k, v in events.items()}
    return a + np.arange(n * loop) * (b - a) / n, out, again


def resample(t_s: Floats, x: Floats, at_s: Floats) -> Floats:
    """Cubic Hermite interpolation of ``x(t_s)`` along its first axis; ``at_s`` lies inside ``t_s``."""
    i = np.clip(np.searchsorted(t_s, at_s, side="right") - 1, 0, len(t_s) - 2)
    shape = (-1,) + (1,) * (x.ndim - 1)
    h = (t_s[i + 1] - t_s[i]).reshape(shape)
    u = ((at_s - t_s[i]) / (t_s[i + 1] - t_s[i])).reshape(shape)
    m = np.gradient(x, t_s, axis=0)
    out: Floats = (
        (1 + 2 * u) * (1 - u) ** 2 * x[i]
        + u * (1 - u) ** 2 * h * m[i]
        + u * u * (3 - 2 * u) * x[i + 1]
        - u * u * (1 - u) * h * m[i + 1]
    )
    return out


def keypoint_marks(marks: Mapping[str, Floats]) -> dict[str, Floats]:
    """Keypoint name of the track -> (n, 3) [m]; what the marker set lacks is left out."""
    out: dict[str, Floats] = {}
    for side, letter in SIDES.items():
        for joint, names in MARKERS.items():
            copied = marks.get(letter + COPIES.get(joint, ""))
            for name in (n.replace("S", letter, 1) for n in names):
                if name in marks and (copied is None or not np.allclose(marks[name], copied)):
                    out[f"{side}_{joint}"] = marks[name]
                    break
    return out


def pelvis_angles(marks: Mapping[str, Floats]) -> dict[str, Floats | None]:
    """World angles [deg] of the hip line; tilt from ASIS and PSIS (the rigidly fitted ones if present) or ``None``."""
    d = marks["RHJC"] - marks["LHJC"]
    out: dict[str, Floats | None] = {
        "obliquity_deg": np.degrees(np.arctan2(d[:, 1], d[:, 0])),
        "rotation_deg": np.degrees(np.arctan2(-d[:, 2], d[:, 0])),
        "tilt_deg": None,
    }
    end = "_rigid" if "RASIS_rigid" in marks else ""
    if "RASIS" + end in marks:
        a = np.sum([marks[s + "ASIS" + end] - marks[s + "PSIS" + end] for s in "RL"], axis=0)
        out["tilt_deg"] = np.degrees(np.arctan2(-a[:, 1], -a[:, 2]))
    return out


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
