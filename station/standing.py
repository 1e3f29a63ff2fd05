"""The standing level: obliquity and tilt of a runner who stands still before running."""

from __future__ import annotations

import numpy as np

from station.gait.recent import FEET, NOMINAL_LEG_M, Recent

#: Standing still for this long gives the level [s].
BASELINE_S = 3.0
#: Ankles that move less than this stand still: sd of their height [m], pixel noise included.
STILL_M = 0.02
#: How often stillness is looked at [s].
LOOK_EVERY_S = 0.25


class StandingLevel:
    """Watches for three still seconds; ``since_s`` is the time since which the feet have not moved (inf: they move)."""

    def __init__(self, recent: Recent) -> None:
        self._recent = recent
        self.clear()

    def clear(self) -> None:
        """Start watching anew."""
        self.since_s = np.inf
        self._next_s = -np.inf
        self._taken = False

    def feed(self, t_s: float, stepped: bool) -> tuple[float, float, str] | None:
        """Obliquity, tilt [deg] and who says so once three still seconds are over, NaN where unknown; else ``None``.

        It is the level of the estimator that spoke last: a tag hangs otherwise than a markerless estimator is off.
        """
        if stepped:
            self.since_s, self._taken = np.inf, False
            return None
        if t_s < self._next_s:
            return None
        self._next_s = t_s + LOOK_EVERY_S
        rows = self._recent.between(t_s - 2 * LOOK_EVERY_S, t_s + 1e-9)
        if rows.stop - rows.start < 6 or not self._still(rows):
            self.since_s, self._taken = np.inf, False
            return None
        self.since_s = min(self.since_s, t_s - LOOK_EVERY_S)
        if self._taken or t_s - self.since_s < BASELINE_S:
            return None
        self._taken = True
        rows = self._recent.between(t_s - BASELINE_S, t_s + 1e-9)
        sources = self._recent.sources(rows)
        pelvis = np.where((sources == sources[-1])[:, None], self._recent.pelvis(rows)[:, (0, 2)], np.nan)
        known = np.isfinite(pelvis).mean(axis=0) > 0.5
        level = [float(np.nanmean(pelvis[:, i])) if known[i] else np.nan for i in range(2)]
        return level[0], level[1], self._recent.source(int(sources[-1]))

    def _still(self, rows: slice) -> bool:
        ankles = self._recent.rays(rows)[:, [FEET["left"][1], FEET["right"][1]]]
        scale = NOMINAL_LEG_M / self._recent.leg_ray(rows)[-1]
        ankles = ankles[np.isfinite(ankles).all(axis=(1, 2))]
        return len(ankles) > 5 and bool((ankles.std(axis=0) * scale < STILL_M).all())
