"""By what share model and gyroscope disagree about the size of the swing, and who is believed how far."""

from __future__ import annotations

import math

#: Both witnesses pass the same high-pass, that offsets and drifts fall out [s]; the comparison forgets slowly [s].
HIGH_PASS_TAU_S, MEMORY_S = 0.5, 8.0
#: Errors of the model last about so long: one such time is one independent comparison [s].
LASTING_S = 0.35
#: Swings smaller than this tell nothing of shares [deg].
LEAST_SWING_DEG = 0.7


class Agreement:
    """Regression of the level's swing on the integrated rate, both high-passed alike.

    ``ratio``: the model's swing over the gyroscope's; ``ratio_var``: variance of it; infinite as long as nobody knows.
    """

    def __init__(self) -> None:
        self._level = self._turned = 0.0  # high-passed
        self._before: float | None = None
        self._noise = 0.0
        self._age_s = self._dt = 0.0
        self._ll = self._lt = self._tt = self._nn = 0.0

    @property
    def ratio(self) -> float:
        """The model's swing over that of the gyroscope; 1 as long as nobody knows."""
        swing = self._swing
        return self._lt / swing if swing > LEAST_SWING_DEG**2 else 1.0

    @property
    def ratio_var(self) -> float:
        """Variance of :attr:`ratio`."""
        swing = self._swing
        if swing <= LEAST_SWING_DEG**2:
            return math.inf
        rest = max(self._ll - self._lt**2 / swing, 0.05 * swing)
        return rest / (swing * max(min(self._age_s, MEMORY_S) / LASTING_S - 1.0, 0.1))

    @property
    def _swing(self) -> float:
        """Mean square of the true swing in the gyroscope's eyes, its noise taken out."""
        return self._tt - self._nn

    def miss(self) -> None:
        """One of the witnesses was lost: do not compare across the gap."""
        self._before = None

    def hear(self, dt: float, level_deg: float, rate_dps: float, rate_sd_dps: float) -> None:
        """Level and rate of a frame ``dt`` after the one before."""
        if self._before is None:
            self._before, self._level, self._turned, self._noise = level_deg, 0.0, 0.0, 0.0
            return
        keep = math.exp(-dt / HIGH_PASS_TAU_S)
        self._level = keep * (self._level + level_deg - self._before)
        self._turned = keep * (self._turned + rate_dps * dt)
        self._noise = keep**2 * (self._noise + (rate_sd_dps * dt) ** 2)
        self._before = level_deg
        self._age_s += dt
        share = dt / min(self._age_s, MEMORY_S)
        self._ll += share * (self._level**2 - self._ll)
        self._lt += share * (self._level * self._turned - self._lt)
        self._tt += share * (self._turned**2 - self._tt)
        self._nn += share * (self._noise - self._nn)


def split(ratio: float, ratio_var: float, span_sd: float, stretch_sd: float) -> tuple[float, float, float, float]:
    """Span and stretch (shares by which the model draws the swing, and the true rate is, larger), their sd together.

    Each is believed as its prior sd allows. Returned: span, stretch, sd of the size of the fused swing [share], and the
    doubt: by how much more they disagree than both sd and the comparison's own allow (1 = not at all).
    """
    together = span_sd**2 + stretch_sd**2
    common = span_sd * stretch_sd / math.sqrt(together)
    if not math.isfinite(ratio_var):
        return 0.0, 0.0, common, 1.0
    spread = together + ratio_var
    apart = ratio - 1.0
    doubt = max(1.0, abs(apart) / math.sqrt(spread))
    return apart * span_sd**2 / spread, -apart * stretch_sd**2 / spread, common * doubt, doubt
