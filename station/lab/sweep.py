"""A pelvis that is moved on purpose while the legs do something else: what tells the pelvis from the legs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from station.lab.skinning import Loose, Rig, Skeleton

#: ``locked``: obliquity sweeps over legs that stand still; ``running``: over legs that run on as before;
#: ``following``: the legs turn with it; ``level``: the legs run under a level hip line; ``turning``: the pelvis turns
#: about the vertical and nothing else, legs still.
SweepKind = Literal["locked", "running", "following", "level", "turning"]
#: Sines of a sweep: degrees and hertz. The slow one shows the level, the fast one is as quick as running.
OBLIQUITY_SINES = ((5.0, 0.5), (3.5, 1.5))
ROTATION_SINES = ((10.0, 0.75),)


@dataclass(frozen=True, slots=True)
class Sweep:
    """What the pelvis does instead of running; ``still_s`` is when the legs that stand still were caught."""

    kind: SweepKind
    still_s: float = 0.3

    def skeleton(self, rig: Rig, t_s: float) -> Skeleton:
        """The bones at ``t_s``."""
        at = self.still_s if self.kind in ("locked", "turning") else t_s
        _, rotation, tilt = rig.plan.angles_deg(at)
        if self.kind == "turning":
            return rig.skeleton(at, Loose((0.0, _sines(ROTATION_SINES, t_s), tilt)))
        obliquity = 0.0 if self.kind == "level" else _sines(OBLIQUITY_SINES, t_s)
        return rig.skeleton(at, Loose((obliquity, rotation, tilt), float(self.kind == "following")))


def _sines(parts: tuple[tuple[float, float], ...], t_s: float) -> float:
    return float(sum(size * np.sin(2 * np.pi * hertz * t_s) for size, hertz in parts))
