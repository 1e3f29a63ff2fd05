"""Degradation that is chosen: a station that is hot or slow does less of what costs most and matters least.

First the page is drawn less often, then the pose model runs on every second frame while the pelvis is still read from
each (of a fast camera that is so from the start, of a slow one the feet need every frame: ``station.engine.observer``).
Decisions only: no clock and no sensor is read here. Nothing is ever queued; what there is no time for is dropped by the
mailbox, newest wins, and that is what makes a station count as slow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Name = Literal["none", "page", "pose"]
Cause = Literal["hot", "throttled", "slow"]


@dataclass(frozen=True, slots=True)
class Step:
    """What is done at one step: pictures a second for the page, and on every how many frames the pose model runs."""

    name: Name
    live_hz: float
    pose_every: int


#: From everything to least; each step keeps what the one before gave up.
STEPS = (Step("none", 30.0, 1), Step("page", 10.0, 1), Step("pose", 10.0, 2))

#: Hot from here [°C], cool again from there: a Pi slows itself at 80 to 85.
HOT_C, COOL_C = 78.0, 72.0
#: Slow when more of the captured frames are dropped than the first, well again below the second.
SLOW_SHARE, WELL_SHARE = 0.10, 0.02
#: A cause must last this long before the next step is taken; all must be well for this long before one is taken back.
DOWN_S, UP_S = 10.0, 60.0
#: A step back that failed within its time is tried again only after twice as long, up to this.
UP_MAX_S = 1800.0


class Degrader:
    """Call :meth:`update` every few seconds; :attr:`step` is what to do now, :attr:`cause` why."""

    def __init__(self) -> None:
        self._at = 0
        self._bad_since_s: float | None = None
        self._well_since_s: float | None = None
        self._up_s = UP_S
        self._eased_s = float("-inf")
        self.cause: Cause | None = None

    @property
    def step(self) -> Step:
        """The step in force."""
        return STEPS[self._at]

    def update(
        self, now_s: float, *, temp_c: float | None, throttled: bool | None, dropped_share: float | None
    ) -> Step:
        """The step to take, given how things stand at ``now_s`` (any clock that only goes forward).

        ``dropped_share``: of the frames captured since the last call, how many nobody had time for (0..1). ``None``
        anywhere means that this machine does not say, and counts neither as bad nor as well.
        """
        cause = _cause(temp_c, throttled, dropped_share)
        if cause is not None:
            self._well_since_s = None
            self._worse(now_s, cause)
        elif _well(temp_c, throttled, dropped_share):
            self._bad_since_s = None
            self._better(now_s)
        else:  # between the two: as it is
            self._bad_since_s = self._well_since_s = None
        return self.step

    def _worse(self, now_s: float, cause: Cause) -> None:
        if self._bad_since_s is None:
            self._bad_since_s = now_s
        if now_s - self._bad_since_s < DOWN_S or self._at + 1 >= len(STEPS):
            return
        if now_s - self._eased_s < self._up_s:
            self._up_s = min(2 * self._up_s, UP_MAX_S)
        self._at += 1
        self.cause = cause
        self._bad_since_s = now_s

    def _better(self, now_s: float) -> None:
        if self._well_since_s is None:
            self._well_since_s = now_s
        if not self._at or now_s - self._well_since_s < self._up_s:
            return
        self._at -= 1
        self._eased_s = self._well_since_s = now_s
        if not self._at:
            self.cause = None


def _cause(temp_c: float | None, throttled: bool | None, dropped_share: float | None) -> Cause | None:
    if throttled:
        return "throttled"
    if temp_c is not None and temp_c >= HOT_C:
        return "hot"
    if dropped_share is not None and dropped_share > SLOW_SHARE:
        return "slow"
    return None


def _well(temp_c: float | None, throttled: bool | None, dropped_share: float | None) -> bool:
    cool = temp_c is None or temp_c < COOL_C
    return cool and not throttled and (dropped_share is None or dropped_share < WELL_SHARE)
