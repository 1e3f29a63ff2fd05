"""Which leg swings: the zero crossings of the feet's height difference, one a step, as anchors of the gait phase.

Seen from behind, the feet move against each other by 0.2–0.5 m in height, so the sign of (left − right) is the
sturdiest thing in the picture. It changes near each contact. The anchors cut the run into cycles; where in a cycle
the foot meets and leaves the belt is told by :mod:`station.gait.events`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from station.gait.recent import FEET, KNEES, NOMINAL_LEG_M
from station.types import Floats

#: A swing must lift one foot above the other by this much [m] to count.
MIN_LIFT_M = 0.05
#: and stay there for this long [s]; shorter flickers are mislabelled feet.
MIN_HOLD_S = 0.09
#: Low pass on the height difference [s].
TAU_S = 0.02
#: Travel of the ankles across the picture, in leg lengths (sd), that only a camera beside the runner sees.
SIDE_TRAVEL = 0.2
#: From the side the feet pass each other this long before they are level in height [s].
SIDE_LEAD_S = 0.25
#: Time constant with which the view is judged [s].
VIEW_TAU_S = 1.0
_FEET = [*FEET["left"], *FEET["right"]]
#: Without feet for this long, the knees take their place [s].
FEET_LOST_S = 1.0
#: No step lasts longer [s]: the runner stands, or left.
MAX_STEP_S = 1.1


@dataclass(frozen=True, slots=True)
class Anchor:
    """``side`` = the foot that has just become the higher one; ``t_s`` = when the feet were level."""

    t_s: float
    side: Literal["left", "right"]


class SwingSignal:
    """The signal whose sign tells which leg swings: height of the left foot above the right one [nominal m].

    From the side the feet pass each other far more clearly than they rise: where they travel sideways by more than
    ``SIDE_TRAVEL`` leg lengths (sd), how far the left foot is *behind* the right one takes its place. That sign changes
    earlier; :attr:`lead_s` says how much later the anchor lies.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Another runner."""
        self._sums = [0.0, 0.0, 0.0]  # ankle difference across [legs], its square, toe − heel across
        self._weight = 0.0
        self._last_s = 0.0
        self._feet_s = -math.inf

    @property
    def from_side(self) -> bool:
        """Whether the camera stands beside the runner."""
        mean, square, _ = self._view
        return self._weight > 0.3 and square - mean**2 > SIDE_TRAVEL**2

    @property
    def _view(self) -> tuple[float, float, float]:
        """The means, free of the zero they started from."""
        weight = max(self._weight, 1e-9)
        mean, square, pointing = self._sums
        return mean / weight, square / weight, pointing / weight

    @property
    def lead_s(self) -> float:
        """How much later than the change of sign the feet are level [s]."""
        return SIDE_LEAD_S if self.from_side else 0.0

    def read(self, t_s: float, rays: Floats, leg_ray: float) -> float:
        """The signal of one frame; NaN where a foot is not seen."""
        heel_l, ankle_l, toe_l, heel_r, ankle_r, toe_r = rays[_FEET].tolist()
        across = (ankle_l[0] - ankle_r[0]) / leg_ray
        toes = _mean_known(toe_l[0] - heel_l[0], toe_r[0] - heel_r[0]) / leg_ray
        if math.isfinite(across):
            share = min(max(t_s - self._last_s, 0.0) / VIEW_TAU_S, 0.1)
            seen = (across, across**2, toes if math.isfinite(toes) else 0.0)
            self._sums = [was + share * (now - was) for was, now in zip(self._sums, seen, strict=True)]
            self._weight += share * (1.0 - self._weight)
            self._last_s = t_s
        if self.from_side:
            mean, _, pointing = self._view
            return float((mean - across) * math.copysign(NOMINAL_LEG_M, pointing))
        lift = _mean_known(heel_l[1], ankle_l[1]) - _mean_known(heel_r[1], ankle_r[1])
        if math.isfinite(lift):
            self._feet_s = t_s
        elif t_s - self._feet_s > FEET_LOST_S:
            # Feet outside the picture: the knees tell that somebody runs, though not when he lands.
            lift = float(rays[KNEES["left"], 1] - rays[KNEES["right"], 1])
        return float(lift * NOMINAL_LEG_M / leg_ray)


def _mean_known(a: float, b: float) -> float:
    """Mean of those of two numbers that are not NaN."""
    if math.isnan(a):
        return b
    return a if math.isnan(b) else (a + b) / 2


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
        if not math.isfinite(lift_m):
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
