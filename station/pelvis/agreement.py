"""By what share model and gyroscope disagree about the size of the swing, and who is believed how far."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Both witnesses pass the same high-pass, that offsets and drifts fall out [s]; the comparison forgets slowly [s].
HIGH_PASS_TAU_S, MEMORY_S = 0.5, 8.0
#: Errors of the model last about so long: one such time is one independent comparison [s].
LASTING_S = 0.35
#: Swings smaller than this tell nothing of shares [deg].
LEAST_SWING_DEG = 0.7
#: How unsure the gyroscope's noise is, which has to be taken out of its swing [share of its square].
NOISE_UNSURE = 0.5
#: Swings whose sizes differ by more than this factor are not two views of one thing; more is not made good.
MOST_APART = 4.0


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
        comparison = rest / (swing * max(min(self._age_s, MEMORY_S) / LASTING_S - 1.0, 0.1))
        return comparison + (NOISE_UNSURE * self.ratio * self._nn / swing) ** 2

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


@dataclass(frozen=True, slots=True)
class Sizes:
    """What level and rate are to be divided and multiplied by (1 = nothing), and how sure the size of the swing is.

    ``sd``: share by which the swing may still be off. ``doubt``: by how much more the witnesses disagree than their own
    errors and that of the comparison allow; 1 = not at all.
    """

    level: float
    rate: float
    sd: float
    doubt: float


@dataclass(frozen=True, slots=True)
class Fault:
    """Shares by which a witness may draw the swing too small, and too large."""

    small: float
    large: float


def split(said: Agreement, level: Fault, rate: Fault) -> Sizes:
    """Whose fault it is that level and rate show swings of different size.

    Both err toward too small: a net that meets clothes it does not know falls back to the mean, and skin and cloth turn
    less than the bone under them. So the one that shows less is believed less. Shares are taken as logarithms: half
    and double are equally far.
    """
    common = level.large * rate.large / math.hypot(level.large, rate.large)
    if not math.isfinite(said.ratio_var):
        return Sizes(1.0, 1.0, common, 1.0)
    ratio = min(max(said.ratio, 1 / MOST_APART), MOST_APART)
    apart = math.log(ratio)
    level_sd, rate_sd = (level.large, rate.small) if apart > 0 else (level.small, rate.large)
    spread = level_sd**2 + rate_sd**2 + said.ratio_var / ratio**2
    doubt = max(1.0, abs(apart) / math.sqrt(spread))
    shares = (math.exp(apart * level_sd**2 / spread), math.exp(apart * rate_sd**2 / spread))
    return Sizes(*shares, common * doubt, doubt)
