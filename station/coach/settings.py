"""Every number the coach acts by, with the evidence beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any


def _within(low: float, high: float, default: float) -> Any:
    """A number from ``low`` to ``high``; the configuration reads the range from here."""
    return field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True, slots=True)
class CoachSettings:
    """When a cue may be given, how long it stands and how long it is quiet afterwards.

    Three lines of evidence stand behind the defaults. Feedback on every step helps while it lasts and is lost after
    it; given on a part of the trials, and ever less, it is kept (guidance hypothesis: Salmoni 1984, Winstein & Schmidt
    1990). Gait retraining that faded its feedback kept the change for months (Noehren 2011; Willy 2012: mirror and the
    words "run with your knees apart", "squeeze your buttocks"; hip adduction and pelvic drop fell). Attention to an
    effect outside the body is learnt better than attention to a muscle (Wulf 2013), hence the order of the words.
    What has no study behind it is called a choice.

    Raises :class:`ValueError` that names the key for a value outside its range (``docs/metrics.md`` promises: shown for
    at least 10 s, then silent for at least 30 s) or at odds with another.
    """

    #: No cue before this much running [s]: a runner new to a belt settles over the first minutes (6–8 until nothing
    #: changes any more: Lavcanska 2005, Schieb 1986), most of them are not new to it.
    warm_up_s: float = _within(0, 3600, 120.0)
    #: A cue stands at least this long [s]: read at a glance, then some 14 strides to try it. Choice.
    hold_s: float = _within(10, 60, 10.0)
    #: and is withdrawn after this long [s]: until then an answer can have reached ``value``, a mean over ~20 strides.
    show_s: float = _within(10, 120, 20.0)
    #: Silence after a cue or a praise [s]: about half of the time without feedback (Winstein & Schmidt 1990: 50 % of
    #: the trials were learnt better than 100 %).
    refractory_s: float = _within(30, 600, 45.0)
    #: Each further cue of a session is followed by a silence longer by this factor (fading: Noehren 2011, Willy 2012) …
    fading: float = _within(1, 10, 1.15)
    #: … up to this [s]. Choice.
    refractory_max_s: float = _within(30, 3600, 180.0)
    #: So many of the last ``window`` strides of that side must be out of band before anything is said: with one
    #: stride in three out by chance, 7 of 10 happen in 2 % of the windows. Dingenen 2018 asks for ≥ 7 steps.
    out_of_band: int = _within(1, 50, 7)
    #: See ``out_of_band``.
    window: int = _within(1, 50, 10)
    #: So many at most may be out when the return is praised (hysteresis). Choice.
    back_in_band: int = _within(0, 49, 3)
    #: So many of the last ``window`` strides must have been measured (status ``ok``). Choice.
    measured: int = _within(0, 50, 8)
    #: ``ci95`` of ``value`` at most this share of the width of the amber zone, else nothing is said of that metric:
    #: a zone must be told from the next but one. Choice.
    max_interval_share: float = _within(0, 10, 0.5)
    #: The median of three stride times that differs by more than this from those before is a change of speed [%]: twice
    #: the stride-to-stride variation of runners (1–2 %).
    speed_change_pct: float = _within(0.5, 50, 3.0)
    #: Nothing is said for this long after a change of speed [s]: ``value`` and the last ten strides must be new.
    settle_s: float = _within(0, 120, 15.0)
    #: A break in the strides longer than this begins the count of strides anew [s]. Choice.
    break_s: float = _within(1, 60, 5.0)
    #: Whether a metronome at cadence +5 % is tried first when a side drops. +5 % lowers the load on the hip, +10 %
    #: adduction and drop (Heiderscheit 2011; Bramah 2019 with +10 %: drop −3° in injured runners).
    cadence_first: bool = True
    #: The metronome is not offered to a runner whose cadence already rose by this much over the own level [%]: the
    #: page asks for 5 % more than now, and +10 % is the most that is ever asked for.
    cadence_risen_pct: float = _within(0, 10, 5.0)
    #: nor to one who already steps so fast [steps/min]. Choice; there is no universal target.
    metronome_below_spm: float = _within(0, 300, 185.0)
    #: Cadence that has sunk this far below the own level at the same speed is called low [%]. Choice: more than the
    #: day-to-day variation of about 3 %.
    cadence_fall_pct: float = _within(1, 50, 5.0)
    #: How the metric answered is read this long after the cue [s]: by then ``value`` holds strides after it only.
    answer_s: float = _within(1, 300, 25.0)
    #: A fault that was cued so often in a row without an answer is left to the exercises. Choice.
    give_up_after: int = _within(1, 1000, 4)
    #: Exercises are advised for a fault that was out of the green in at least this share of the strides …
    advice_share: float = _within(0, 1, 0.25)
    #: … of at least so many. Choices.
    advice_strides: int = _within(1, 10000, 20)
    #: At most so many exercises: three are done, ten are not. Choice.
    advice_max: int = _within(0, 20, 4)

    def __post_init__(self) -> None:
        for item in fields(self):
            if "range" in item.metadata:
                low, high = item.metadata["range"]
                value = getattr(self, item.name)
                self._must(low <= value <= high, item.name, f"from {low:g} to {high:g}")  # NaN is in no range
        self._must(self.show_s >= self.hold_s, "show_s", "at least hold_s")
        self._must(self.refractory_max_s >= self.refractory_s, "refractory_max_s", "at least refractory_s")
        self._must(self.out_of_band <= self.window, "out_of_band", "at most window")
        self._must(self.back_in_band < self.out_of_band, "back_in_band", "below out_of_band")
        self._must(self.measured <= self.window, "measured", "at most window")

    def _must(self, holds: bool, name: str, what: str) -> None:
        if not holds:
            raise ValueError(f"coach.{name} = {getattr(self, name)}: must be {what}")

    def silence_s(self, cues: int) -> float:
        """Silence after the ``cues``-th cue of a session [s]."""
        before, longest = max(cues - 1, 0), self.refractory_max_s / self.refractory_s
        if before * math.log(self.fading) >= math.log(longest):
            return self.refractory_max_s if self.fading > 1.0 else self.refractory_s
        return self.refractory_s * self.fading**before
