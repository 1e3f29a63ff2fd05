"""One runner's visit to the belt: who is there, standing or running, since when, and when it is over."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum

from station.types import State, StateName

#: Nobody in the picture for this long ends the session [s].
LEFT_AFTER_S = 4.0
#: The summary stays up for this long, or until the next runner [s].
SUMMARY_S = 60.0
#: Strides until the pooled values stand on enough.
WARM_STRIDES = 8
#: A runner who is there without a good stride for this long is not being measured [s].
SILENT_AFTER_S = 6.0
#: Of the last strides, so many rejected mean low confidence.
DOUBT_WINDOW, DOUBT_LIMIT = 6, 3
#: How long a started session waits for a standing baseline [s].
BASELINE_WAIT_S = 8.0


class Seen(Enum):
    """What a frame shows of the runner."""

    NOBODY = 0
    STANDING = 1
    MOVING = 2


@dataclass(frozen=True, slots=True)
class Change:
    """What follows from a frame: a new state, and whether a session begins or ends with it."""

    state: State | None = None
    begins: bool = False
    ends: bool = False


class Visit:
    """The state machine of the session; times are sensor time."""

    def __init__(self, auto_start: bool) -> None:
        #: Whether a session begins when someone runs, or on command only.
        self.auto = auto_start
        self._number = 0
        self._last_seen_s: float | None = None
        self._last_good_s = 0.0
        self._since_s = 0.0
        self._good = 0
        self._stopped = False
        self._verdicts: deque[bool] = deque(maxlen=DOUBT_WINDOW)
        self.name: StateName = "idle"
        self.prompt: str | None = None

    @property
    def running(self) -> bool:
        """Whether a session is open."""
        return self.name in ("baseline", "warming_up", "running", "low_confidence")

    @property
    def session(self) -> int | None:
        """Number of the open or just ended session."""
        return self._number if self.name != "idle" else None

    def _enter(self, name: StateName, t_s: float) -> State | None:
        if name == self.name:
            return None
        self.name, self._since_s = name, t_s
        return State(name, t_s, self.session, self.prompt)

    def start(self, t_s: float) -> Change:
        """A tap, a key, a command, or a runner who simply runs."""
        ends = self.running
        self._number += 1
        self._good = 0
        self._verdicts.clear()
        self._last_good_s = self._last_seen_s = t_s
        self.prompt = None
        self._stopped = False
        self.name = "idle"
        return Change(self._enter("baseline", t_s), begins=True, ends=ends)

    def stop(self, t_s: float) -> Change:
        """The session is over; whoever runs on after a stop does so unmeasured until he has left or starts again."""
        if not self.running:
            return Change()
        self.prompt = None
        self._stopped = True
        return Change(self._enter("summary", t_s), ends=True)

    def baseline_taken(self, t_s: float) -> Change:
        """The standing level is known: go on."""
        return Change(self._enter("warming_up", t_s)) if self.name == "baseline" else Change()

    def see(self, t_s: float, seen: Seen) -> Change:
        """One frame."""
        if seen is not Seen.NOBODY:
            self._last_seen_s = t_s
        elif self._last_seen_s is not None and t_s - self._last_seen_s > LEFT_AFTER_S:
            change = self.stop(t_s)
            self._stopped = False
            if change.ends:
                return change
        if self.name == "summary" and t_s - self._since_s > SUMMARY_S:
            return Change(self._enter("idle", t_s))
        if self.name == "baseline" and (seen is Seen.MOVING or t_s - self._since_s > BASELINE_WAIT_S):
            return Change(self._enter("warming_up", t_s))
        if self.name == "running" and t_s - self._last_good_s > SILENT_AFTER_S:
            return Change(self._enter("low_confidence", t_s))
        return Change()

    def step_shown(self, t_s: float) -> Change:
        """A cycle of gait was seen: without a session, an automatic one begins."""
        if self.auto and not self.running and not self._stopped:
            return self.start(t_s)
        return Change()

    def stride(self, t_s: float, good: bool, waist_hidden: bool) -> Change:
        """A stride was judged."""
        self._verdicts.append(good)
        prompt = "tuck_shirt" if waist_hidden else None
        prompted = prompt != self.prompt
        self.prompt = prompt
        if good:
            self._good += 1
            self._last_good_s = t_s
        name = self._after_stride()
        state = self._enter(name, t_s)
        if state is None and prompted and self.running:
            state = State(self.name, t_s, self.session, prompt)
        return Change(state)

    def _after_stride(self) -> StateName:
        doubts = self._verdicts.count(False)
        if self.name in ("baseline", "warming_up") and self._good >= WARM_STRIDES:
            return "running"
        if self.name == "running" and doubts >= DOUBT_LIMIT:
            return "low_confidence"
        if self.name == "low_confidence" and doubts < DOUBT_LIMIT and self._verdicts[-1]:
            return "running" if self._good >= WARM_STRIDES else "warming_up"
        return self.name
