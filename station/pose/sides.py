"""Left and right of a body that is known to be seen from behind.

The landmark model guesses which way a person faces, and from behind it sometimes guesses wrong: then it names the whole
body the wrong way round. The station knows better: its camera stands behind the runner, so the runner's left is on the
left of the picture. Only the body as a whole is renamed: ankles may cross, hips may not.
"""

from __future__ import annotations

import math

from station.types import KEYPOINT_INDEX, KEYPOINTS, Floats

_HIPS_AND_SHOULDERS = [KEYPOINT_INDEX[name] for name in ("left_hip", "right_hip", "left_shoulder", "right_shoulder")]
_OTHER_SIDE = [
    KEYPOINT_INDEX[name.replace("left", "right") if name.startswith("left") else name.replace("right", "left")]
    for name in KEYPOINTS
]

#: All in widths of hips plus shoulders over the length of the trunk (from behind about 0.8 to 1.2; from the side it
#: swings around 0.2 with the arms). Seen from behind = its mean size over the last frames is above the first mark; then
#: a frame above the second mark speaks for itself. Everywhere else what the body was called before stays.
_BEHIND, _CLEAR = 0.5, 0.3
_MEMORY_FRAMES = 15


def rightward(xy_px: Floats) -> float:
    """How far right hip and shoulder lie right of the left ones, together, in trunk lengths; NaN if unknown."""
    (a_x, a_y), (b_x, b_y), (c_x, c_y), (d_x, d_y) = xy_px[_HIPS_AND_SHOULDERS].tolist()
    trunk = math.hypot((a_x + b_x - c_x - d_x) / 2, (a_y + b_y - c_y - d_y) / 2)
    across = b_x - a_x + d_x - c_x
    return across / trunk if trunk > 0 else math.nan


class SideKeeper:
    """Remembers whether the model has this person the wrong way round."""

    def __init__(self) -> None:
        self._swapped = False
        self._behind: float | None = None

    def forget(self) -> None:
        """Start anew with another person."""
        self._swapped, self._behind = False, None

    def order(self, xy_px: Floats) -> list[int]:
        """Rows of the model's keypoints (order of ``KEYPOINTS``) under which left and right are the runner's own."""
        evidence = rightward(xy_px)
        if math.isfinite(evidence):
            before = abs(evidence) if self._behind is None else self._behind
            self._behind = before + (abs(evidence) - before) / _MEMORY_FRAMES
            if self._behind > _BEHIND and abs(evidence) > _CLEAR:
                self._swapped = evidence < 0
        return _OTHER_SIDE if self._swapped else list(range(len(KEYPOINTS)))
