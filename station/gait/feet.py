"""The phase model of the feet: what heel, ankle and toe do over a cycle, learnt from the last strides of this runner.

Two things come from it. The *shape* says where in the cycle each foot meets and leaves the belt
(:mod:`station.gait.events`). Shifting the shape against the frames of one cycle says *when* it happened there: every
frame around the event speaks, so the time is known to a few milliseconds however few frames there are in a second.
"""

from __future__ import annotations

import numpy as np

from station.gait.recent import FEET, KNEES, LEFT_HIP, NOMINAL_LEG_M, RIGHT_HIP
from station.harmonics import Fit, HarmonicPool, basis, huber_weights, slope_basis
from station.types import Floats, Side

HARMONICS = 10
WINDOW = 20
#: Columns of the model: heel, ankle, toe, knee of each side, then the middle of the hips.
HEEL, ANKLE, TOE, KNEE = range(4)
COLUMNS: dict[Side, list[int]] = {"left": [0, 1, 2, 3], "right": [4, 5, 6, 7]}
PELVIS = 8
#: A foot rises this much before its knee [cycles].
FOOT_LEADS_KNEE = 0.15
#: Prior size of the curves [m] and of the jitter of one event against the whole cycle [s].
AMPLITUDE_M = 0.15
EVENT_JITTER_S = 0.008
#: Frames this far before and after an event vote for its time [s].
EVENT_WINDOW_S = 0.12


def heights_m(rays: Floats, leg_ray: Floats) -> Floats:
    """Heights (n, 9) of the columns of the model against the camera axis, in nominal metres; NaN = not seen."""
    up = rays[:, :, 1] * (NOMINAL_LEG_M / leg_ray)[:, None]
    out = np.empty((len(up), 9))
    out[:, :8] = up[:, [*FEET["left"], KNEES["left"], *FEET["right"], KNEES["right"]]]
    out[:, PELVIS] = (up[:, LEFT_HIP] + up[:, RIGHT_HIP]) / 2
    return out


def mean_seen(a: Floats, b: Floats) -> Floats:
    """Mean of two coordinates, or of the one that was seen."""
    return np.where(np.isnan(a), b, np.where(np.isnan(b), a, (a + b) / 2))


class FeetModel:
    """Pooled height curves of feet, knees and pelvis over the phase between anchors."""

    def __init__(self) -> None:
        self._pool = HarmonicPool(np.full(9, AMPLITUDE_M), HARMONICS, WINDOW)
        self.fit: Fit | None = None

    @property
    def cycles(self) -> int:
        """How many cycles the model stands on."""
        return self._pool.strides

    def reset(self) -> None:
        """Forget the runner."""
        self._pool.reset()
        self.fit = None

    def forget_all_but(self, newest: int) -> None:
        """The runner changed speed: the older cycles no longer speak."""
        self._pool.forget_all_but(newest)
        if newest == 0:
            self.fit = None

    def add(self, phase: Floats, heights: Floats) -> None:
        """One cycle of frames: ``phase`` (n,), ``heights`` (n, 9) [m]."""
        regressors = basis(phase, HARMONICS)
        weights = np.ones_like(heights)
        if self.fit is not None:
            weights = huber_weights(heights - regressors @ self.fit.coef.T, np.fmax(self.fit.sigma, 1e-3))
        self._pool.add(regressors, heights, weights)

    def solve(self) -> None:
        """Renew the curves."""
        self.fit = self._pool.solve()

    def lift(self, contact: float, *, by_knees: bool = False) -> Floats:
        """Height of the left foot above the right one [m] at 100 phases from ``contact`` (a phase of the model) on.

        ``by_knees``: of the knees instead, as much later as feet lead them; for feet that are not seen well enough.
        """
        assert self.fit is not None
        phase = contact + np.arange(100) / 100
        if by_knees:
            left, right = (self.fit.coef[COLUMNS[side][KNEE]] for side in ("left", "right"))
            return np.asarray(basis(phase + FOOT_LEADS_KNEE, HARMONICS) @ (left - right))
        left, right = (self._sole(side) for side in ("left", "right"))
        return np.asarray(basis(phase, HARMONICS) @ (left - right))

    def _sole(self, side: Side) -> Floats:
        """Coefficients of heel and ankle together, or of the one that is known."""
        assert self.fit is not None
        heel, ankle = self.fit.coef[COLUMNS[side][:2]]
        return mean_seen(heel, ankle)

    def shift(
        self, phase: Floats, heights: Floats, period_s: float, columns: list[int], jitter_s: float
    ) -> tuple[float, float, float]:
        """How much later than the model these frames run.

        A Gauss–Newton step on the time shift, with a free height offset for each column (the runner rises, nears,
        leans) and shrunk by the prior ``jitter_s``. Returns the shift [s], its sd [s], and the median misfit that
        remains [m].
        """
        assert self.fit is not None
        coef = self.fit.coef[columns]
        residual = heights[:, columns] - basis(phase, HARMONICS) @ coef.T
        slope = slope_basis(phase, HARMONICS) @ coef.T / period_s
        sigma = np.fmax(self.fit.sigma[columns], 1e-3)
        usable = np.isfinite(residual)
        weight = np.where(usable, 1.0, 0.0)
        late = 0.0
        for _ in range(2):
            total = np.maximum(weight.sum(axis=0), 1e-9)
            level = np.where(usable, residual, 0.0)
            level = level - (weight * level).sum(axis=0) / total
            trend = np.where(usable, slope, 0.0)
            trend = trend - (weight * trend).sum(axis=0) / total
            voice = weight / sigma**2
            information = float((voice * trend * trend).sum()) + jitter_s**-2
            late = -float((voice * trend * level).sum()) / information
            rest = level + trend * late
            weight = np.where(usable, huber_weights(rest, sigma * 1.3), 0.0)
        misfit = float(np.median(np.abs(rest[usable]))) if usable.any() else np.inf
        return late, information**-0.5, misfit
