"""What no kernel can beat: the pelvis read with the true events, by least squares over the same strides.

:class:`Perfect` has the door of a session but is told when every foot touched and left the belt. What error is left is
that of the noise (and, from hips alone, of a camera that is not at hip height). Its score stands beside the kernel's.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from station.lab.truth import GRID, WINDOW, TrueStride, Truth
from station.types import (
    KEYPOINT_INDEX,
    Floats,
    GaitEvent,
    Metric,
    Observation,
    Output,
    Side,
    Stride,
    StrideMetrics,
    View,
)

HARMONICS = 8
_HIPS = [KEYPOINT_INDEX["left_hip"], KEYPOINT_INDEX["right_hip"]]
_ANGLES = ("obliquity_deg", "rotation_deg", "tilt_deg")


def _design(phase: Floats) -> Floats:
    k = 2 * np.pi * np.outer(phase, np.arange(1, HARMONICS + 1))
    return np.hstack([np.ones((len(phase), 1)), np.cos(k), np.sin(k)])


class Perfect:
    """A kernel that knows the events; it speaks when the recording ends."""

    def __init__(self, truth: Truth, view: View) -> None:
        self._truth, self._roll_deg = truth, view.mount.roll_deg or 0.0
        self._t_s: list[float] = []
        self._angles: list[tuple[float, float, float]] = []

    def feed(self, observation: Observation) -> tuple[Output, ...]:
        """Keep the frame."""
        pose, said = observation.pose, observation.pelvis
        if said is not None:
            row = (said.obliquity_deg, said.rotation_deg, said.tilt_deg)
        elif pose is not None:
            across_px, down_px = pose.xy_px[_HIPS[1]] - pose.xy_px[_HIPS[0]]
            row = (float(np.degrees(np.arctan2(-down_px, across_px))) - self._roll_deg, np.nan, np.nan)
        else:
            return ()
        self._t_s.append(observation.t_s)
        self._angles.append(row)
        return ()

    def finish(self) -> tuple[Output, ...]:
        """Every stride of the truth, measured."""
        t_s, angles = np.array(self._t_s), np.array(self._angles)
        phase, number = np.full(len(t_s), np.nan), np.full(len(t_s), -1)
        for i, s in enumerate(self._truth.strides):
            inside = (t_s >= s.start_s) & (t_s < s.end_s)
            phase[inside] = (t_s[inside] - s.start_s) / (s.end_s - s.start_s)
            number[inside] = i
        strides = [self._stride(i, s, phase, number, angles) for i, s in enumerate(self._truth.strides)]
        return (*self._events(), *strides)

    def _events(self) -> list[GaitEvent]:
        times = self._truth.trial.events
        sides: tuple[Side, ...] = ("left", "right")
        kinds: tuple[Literal["contact", "off"], ...] = ("contact", "off")
        return [GaitEvent(k, s, float(t), 0.0) for s in sides for k in kinds for t in times[f"{s}_{k}_s"]]

    def _stride(self, i: int, s: TrueStride, phase: Floats, number: Floats, angles: Floats) -> StrideMetrics:
        window = (number >= 0) & (number > i - WINDOW) & (number <= i)
        grid = _design(np.linspace(0, 1, GRID + 1))
        curves, sd_deg = {}, np.nan
        for name, x in zip(_ANGLES, angles.T, strict=True):
            ok = window & np.isfinite(x)
            if ok.sum() < 4 * HARMONICS:
                continue
            a = _design(phase[ok])
            c = np.linalg.lstsq(a, x[ok], rcond=None)[0]
            curves[name] = grid @ c
            if name == "obliquity_deg":
                left = x[ok] - a @ c
                sd_deg = float(left.std() * np.sqrt(a.shape[1] / ok.sum()))
        read = self._truth.read_angles(curves, i) if "obliquity_deg" in curves else {}
        metrics = {k: Metric(v, 1.96 * sd_deg * (1.41 if "peak" not in k else 1.0), v) for k, v in read.items()}
        stride = Stride(i, s.start_s, s.end_s, s.start_s, s.left_off_s, s.right_contact_s, s.right_off_s)
        return StrideMetrics(stride, "ok", (), metrics)
