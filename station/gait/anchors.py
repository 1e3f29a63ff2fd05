"""Which leg swings: the zero crossings of the height difference of the feet, one per step, as anchors of the gait phase.

Seen from behind, the feet move against each other by 0.2–0.5 m in height, so the sign of (left − right) is the sturdiest
thing in the picture. It changes near each toe-off. The anchors cut the run into cycles; where in a cycle the foot meets
and leaves the belt is told by :mod:`station.gait.events`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from station.gait.recent import FEET, NOMINAL_LEG_M
from station.types import Floats

#: A swing must lift one foot above the other by this much [m] to count.
MIN_LIFT_M = 0.05
#: and stay there for this long [s]; shorter flickers are mislabelled feet.
MIN_HOLD_S = 0.09
#: Low pass on the height difference [s].
TAU_S = 0.02
#: No step lasts longer [s]: the runner stands, or left.
MAX_STEP_S = 1.1


@dataclass(frozen=True, slots=True)
class Anchor:
    """``side`` = the foot that has just become the higher one; ``t_s`` = when the feet were level."""

    t_s: float
    side: Literal["left", "right"]


def lift_difference_m(rays: Floats, leg_ray: float) -> float:
    """Height of the left foot above the right one [nominal m] on one frame; NaN where a foot is not seen."""
    heights = [np.nanmean(rays[FEET[side][:2], 1]) if np.isfinite(rays[FEET[side][:2], 1]).any() else np.nan
               for side in ("left", "right")]  # fmt: skip
    return float((heights[0] - heights[1]) * NOMINAL_LEG_M / leg_ray)


class AnchorDetector:
    """Feed it the height difference frame by frame; it answers with an anchor when a step has shown itself."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Nothing known of before."""
        self._t: float | None = None
        self._y = 0.0
        self._side: Literal["left", "right"] | None = None
        self._candidate: float | None = None
        self._peak = 0.0

    def feed(self, t_s: float, lift_m: float) -> Anchor | None:
        """``lift_m`` = left foot above right foot [m], NaN = not seen."""
        if not np.isfinite(lift_m):
            return None
        if self._t is None or t_s - self._t > MAX_STEP_S:
            self.reset()
            self._t, self._y = t_s, lift_m
            return None
        dt = t_s - self._t
        before = self._y
        self._y += (lift_m - before) * dt / (dt + TAU_S)
        self._t = t_s
        now = self._y
        if (now > 0) != (before > 0):
            self._cross(t_s - dt * now / (now - before))
        if self._candidate is not None:
            self._peak = max(self._peak, abs(now))
            if self._peak > MIN_LIFT_M and t_s - self._candidate > MIN_HOLD_S:
                return self._confirm(now)
        return None

    def _cross(self, t_s: float) -> None:
        # A crossing back before the first was confirmed cancels it: the foot never really rose.
        self._candidate = t_s if self._candidate is None else None
        self._peak = 0.0

    def _confirm(self, now: float) -> Anchor | None:
        assert self._candidate is not None
        t_s, side = self._candidate, "left" if now > 0 else "right"
        self._candidate = None
        if side == self._side:
            return None
        self._side = "left" if now > 0 else "right"
        return Anchor(t_s, self._side)
