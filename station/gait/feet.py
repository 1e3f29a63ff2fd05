"""The phase model of the feet: what heel, ankle and toe do over a cycle, learnt from the last strides of this runner.

Two things come from it. The *shape* says where in the cycle each foot meets and leaves the belt
(:mod:`station.gait.events`). Shifting the shape against the frames of one cycle says *when* it happened there: every frame
around the event speaks, so the time is known to a few milliseconds however few frames there are in a second.
"""

from __future__ import annotations

import numpy as np

from station.gait.recent import FEET, NOMINAL_LEG_M
from station.harmonics import Fit, HarmonicPool, basis, huber_weights, slope_basis
from station.types import Floats, Side

HARMONICS = 18
WINDOW = 20
#: Columns of the model by side: heel, ankle, toe heights.
COLUMNS: dict[Side, list[int]] = {"left": [0, 1, 2], "right": [3, 4, 5]}
#: Prior size of the curves [m] and of the jitter of one event against the whole cycle [s].
AMPLITUDE_M = 0.15
EVENT_JITTER_S = 0.008
#: Frames this far around an event vote for its time, in seconds before and after.
EVENT_WINDOW_S = (0.07, 0.06)


def foot_heights_m(rays: Floats, leg_ray: Floats) -> Floats:
    """Heights (n, 6) of left heel, ankle, toe, right heel, ankle, toe against the camera axis, in nominal metres."""
    up = rays[:, FEET["left"] + FEET["right"], 1]
    return np.asarray(up * (NOMINAL_LEG_M / leg_ray)[:, None])


class FeetModel:
    """Pooled curves of the six foot heights over the phase between anchors."""

    def __init__(self) -> None:
        self._pool = HarmonicPool(np.full(6, AMPLITUDE_M), HARMONICS, WINDOW)
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

    def add(self, phase: Floats, heights_m: Floats) -> None:
        """One cycle of frames: ``phase`` (n,), ``heights_m`` (n, 6)."""
        regressors = basis(phase, HARMONICS)
        weights = np.ones_like(heights_m)
        if self.fit is not None:
            weights = huber_weights(heights_m - regressors @ self.fit.coef.T, np.maximum(self.fit.sigma, 1e-3))
        self._pool.add(regressors, heights_m, weights)

    def solve(self) -> None:
        """Renew the curves."""
        self.fit = self._pool.solve()

    def misfit_m(self, phase: Floats, heights_m: Floats) -> Floats:
        """Residuals (n, 6) of frames against the curves [m]."""
        assert self.fit is not None
        return np.asarray(heights_m - basis(phase, HARMONICS) @ self.fit.coef.T)

    def shift(
        self, phase: Floats, heights_m: Floats, period_s: float, columns: list[int], jitter_s: float
    ) -> tuple[float, float]:
        """How much later than the model these frames run [s], and its sd: one Gauss–Newton step, shrunk by ``jitter_s``."""
        assert self.fit is not None
        coef = self.fit.coef[columns]
        known = np.isfinite(coef[:, 0])
        residual = heights_m[:, columns] - basis(phase, HARMONICS) @ coef.T
        slope = slope_basis(phase, HARMONICS) @ coef.T / period_s
        sigma = np.maximum(self.fit.sigma[columns], 1e-3)
        weight = huber_weights(residual, sigma * 1.5) / sigma**2
        usable = np.isfinite(residual) & known
        residual = np.where(usable, residual, 0.0)
        slope = np.where(usable, slope, 0.0)
        information = float((weight * slope * slope).sum()) + jitter_s**-2
        return -float((weight * slope * residual).sum()) / information, information**-0.5
