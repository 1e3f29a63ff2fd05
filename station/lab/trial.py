"""A runner recorded in 3-D: markers, events, and how both are read, written and resampled.

Markers live in the rear-camera world frame (X = runner's right, Y = up, belt at 0, Z = backward, metres).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
