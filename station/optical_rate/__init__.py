"""The optical gyroscope: how fast the pelvis patch turns in the picture, from frame to frame, without any training.

Points on the belt of the pelvis that is bone under skin (waistband, sacrum, iliac crests) are followed from the last
frame into this one at native resolution; the slope of their vertical motion across the belt is the rotation. It has
the pelvis' whole gain and no level: summed up it drifts, which is what the inclinometer and the periodicity of gait
are for. ``docs/pelvis.md`` has the choices and what they measured.
"""

from __future__ import annotations

import math

from station.optical_rate.consensus import agree
from station.optical_rate.patch import Patch, Place
from station.types import Frame, PelvisRate, Pose, View

__all__ = ["LOST", "OpticalRate"]

#: What is said where nothing can be said.
LOST = PelvisRate(math.nan, math.inf, 0)
#: A longer pause between frames [s] starts over: the patch has moved on, and a mean rate over it would say little.
_LONGEST_S = 0.15
#: Faster than any pelvis turns [deg/s].
_FASTEST_DPS = 300.0


class OpticalRate:
    """The gyroscope of one view: feed it every frame with its pose, in order of time."""

    def __init__(self, view: View) -> None:
        self._place = Place((view.width_px, view.height_px))
        self._patch: Patch | None = None
        self._t_s = -math.inf

    def read(self, frame: Frame, pose: Pose) -> PelvisRate:
        """Rate of rotation since the frame read before (degrees per second, + = right side rises) with its sd.

        NaN with an infinite sd: nobody in the picture, the first frame, a gap, too little texture, no consensus.
        """
        rate, dt_s = LOST, frame.t_s - self._t_s
        if self._patch is not None and 0.0 < dt_s <= _LONGEST_S and pose.someone:
            rate = self._measure(self._patch, frame, dt_s)
        elif not pose.someone or not 0.0 < dt_s <= _LONGEST_S:
            self._place.forget()
        self._place.see(pose)
        self._patch = self._place.cut(frame)
        self._t_s = frame.t_s
        return rate

    def _measure(self, patch: Patch, frame: Frame, dt_s: float) -> PelvisRate:
        flow = patch.follow(frame)
        if flow is None:
            return LOST
        turn = agree(flow)
        if turn is None:
            return LOST
        self._place.move(turn.shift_px)
        rate_dps = math.degrees(turn.angle_rad) / dt_s
        if not abs(rate_dps) < _FASTEST_DPS:
            return LOST
        return PelvisRate(rate_dps, math.degrees(turn.sd_rad) / dt_s, turn.points)
