"""Strides in, cues out: one at a time, read, answered or withdrawn, then silence."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from station.coach.evidence import Steadiness, Watch
from station.coach.faults import CADENCE, FAULTS, METRONOME, Fault
from station.coach.settings import CoachSettings
from station.metrics.table import BANDS, Band, Zone
from station.types import Cue, Metric, Side, StrideMetrics

#: Cues kept in the log: more than a day of running has.
LOG = 500


@dataclass(frozen=True, slots=True)
class _Spoken:
    """The cue that was raised last: what was said, about which fault and metric."""

    cue: Cue
    fault: Fault
    metric: str
    source: str | None


class Coach:
    """Feed it every stride of one runner in time order; it answers with what to show.

    ``bands`` are the zone borders of the session's profile (:func:`station.metrics.table.bands`); the zones themselves
    come with the strides. Time is that of the frames: nothing here knows another clock. The same strides give the same
    cues. At most one cue stands: every ``raise`` is followed by its ``clear`` or ``praise`` before the next ``raise``.
    A ``praise`` may also come after the silence, when the metric returned meanwhile. Hands on the rails are not seen.

    :attr:`log` has an entry for each cue that was raised: ``t_s`` (seconds since the first stride), ``cue``, ``side``,
    ``action``, ``metric`` (the one at fault, for a metronome too), ``because``, ``before``/``before_ci95`` and, read
    ``answer_s`` later, ``after``/``after_ci95`` with ``answer``: ``better``, ``worse``, ``unchanged`` (the intervals of
    both taken together not cleared), ``interrupted`` (a break, another speed) or ``None`` (the session ended before);
    ``cadence_before`` and ``cadence_after`` [steps/min]; ``praised``.
    """

    def __init__(self, settings: CoachSettings | None = None, bands: Mapping[str, Band] = BANDS) -> None:
        self.settings = settings or CoachSettings()
        self._steady = Steadiness(self.settings)
        watched = {metric for fault in FAULTS for metric, _ in fault.metrics} - {CADENCE}
        self._watches = {name: Watch(bands[name], self.settings) for name in bands if name in watched}
        self._log: deque[dict[str, object]] = deque(maxlen=LOG)
        self._now_s = -math.inf
        self._first_s: float | None = None
        self._running_since_s: float | None = None
        self._cadence: float | None = None
        self._usual_cadence: float | None = None
        self._shown: _Spoken | None = None
        self._owed: _Spoken | None = None
        self._unread: tuple[float, _Spoken] | None = None
        self._silent_until_s = -math.inf
        self._raised = 0
        self._last_words: dict[str, str] = {}
        self._unanswered: dict[str, int] = {}

    # -- what comes in -----------------------------------------------------------------------------------------------

    def feed(self, stride: StrideMetrics, now_s: float | None = None) -> tuple[Cue, ...]:
        """What to show after this stride, known with the frame at ``now_s`` (default: its own end)."""
        if not self._advance(stride.stride.end_s if now_s is None else now_s):
            return ()
        if self._first_s is None:
            self._first_s = self._now_s
        if self._steady.feed(stride, self._now_s):
            self._begin_anew()
        if stride.status == "ok":
            self._learn(stride)
        if self._shown:
            return self._ended()
        return self._spoken() if stride.status == "ok" else ()

    def tick(self, now_s: float) -> tuple[Cue, ...]:
        """Time without a stride: a cue that stood long enough is withdrawn."""
        if not self._advance(now_s) or self._shown is None:
            return ()
        return self._withdrawn() if self._stood_s() >= self.settings.show_s else ()

    def finish(self) -> tuple[Cue, ...]:
        """The session ends: withdraws what still stands."""
        return self._withdrawn() if self._shown else ()

    @property
    def log(self) -> tuple[Mapping[str, object], ...]:
        """What was shown, when, and how the metric answered; see the class."""
        return tuple(dict(entry) for entry in self._log)

    def advice(self) -> tuple[str, ...]:
        """Exercises for afterwards: those of the faults that lasted, the more important fault first, each once."""
        settings = self.settings
        chosen: dict[str, None] = {}
        for fault in FAULTS:
            for name, _ in fault.metrics:
                watch = self._watches.get(name)
                if watch is None or watch.judged < settings.advice_strides:
                    continue
                if watch.not_green >= settings.advice_share * watch.judged:
                    chosen.update(dict.fromkeys(fault.exercises))
        return tuple(chosen)[: settings.advice_max]

    # -- what is learnt from a stride --------------------------------------------------------------------------------

    def _advance(self, now_s: float) -> bool:
        if not math.isfinite(now_s):
            return False
        self._now_s = max(self._now_s, now_s)
        return True

    def _begin_anew(self) -> None:
        """A break or another speed: what the last strides said no longer counts."""
        for watch in self._watches.values():
            watch.forget()
        self._watches.pop(CADENCE, None)
        self._usual_cadence = None
        self._owed = None
        if self._unread is not None:
            self._log[-1]["answer"] = "interrupted"
            self._unread = None

    def _learn(self, stride: StrideMetrics) -> None:
        if self._running_since_s is None:
            self._running_since_s = stride.stride.start_s
        seq = stride.stride.seq
        for name, watch in self._watches.items():
            if name != CADENCE:
                watch.feed(seq, stride.metrics.get(name, Metric()), stride.zones.get(name))
        self._learn_cadence(seq, stride.metrics.get(CADENCE, Metric()))
        if self._unread is not None and self._now_s - self._unread[0] >= self.settings.answer_s:
            self._read_answer(self._unread[1])

    def _learn_cadence(self, seq: int, cadence: Metric) -> None:
        """Cadence has no zone for everyone: its band hangs below the runner's own level at this speed."""
        self._cadence = cadence.value
        if cadence.value is None or cadence.ci95 is None or cadence.value <= 0.0:
            return
        if self._usual_cadence is None:
            if not (self._warm() and self._steady.trusted(self._now_s)):
                return
            self._usual_cadence = cadence.value
            fall = self.settings.cadence_fall_pct / 100.0
            band = Band(cadence.value * (1 - fall), cadence.value * (1 - 2 * fall), rising=False)
            self._watches[CADENCE] = Watch(band, self.settings)
        watch = self._watches[CADENCE]
        zone: Zone = watch.band.zone(cadence.value, cadence.ci95, watch.zone)
        watch.feed(seq, cadence, zone)

    def _read_answer(self, spoken: _Spoken) -> None:
        watch = self._watches.get(spoken.metric)
        if watch is None or watch.value is None or watch.ci95 is None:
            return
        entry = self._log[-1]
        if watch.source != spoken.source:  # two estimators differ by more than a runner can answer
            entry["answer"], self._unread = "interrupted", None
            return
        entry.update(after=watch.value, after_ci95=watch.ci95, cadence_after=self._cadence)
        before, before_ci95 = entry["before"], entry["before_ci95"]
        assert isinstance(before, float)
        assert isinstance(before_ci95, float)
        moved = watch.badness(watch.value) - watch.badness(before)
        unsure = math.hypot(watch.ci95, before_ci95)
        entry["answer"] = "better" if moved < -unsure else "worse" if moved > unsure else "unchanged"
        self._unread = None

    # -- what is said ------------------------------------------------------------------------------------------------

    def _warm(self) -> bool:
        since_s = self._running_since_s
        return since_s is not None and self._now_s - since_s >= self.settings.warm_up_s

    def _trusted(self) -> bool:
        return self._warm() and self._steady.trusted(self._now_s)

    def _stood_s(self) -> float:
        assert self._shown is not None
        return self._now_s - self._shown.cue.t_s

    def _ended(self) -> tuple[Cue, ...]:
        """A cue stands: praise its answer, or withdraw it."""
        assert self._shown is not None
        if self._stood_s() < self.settings.hold_s:
            return ()
        if self._trusted() and self._came_back(self._shown):
            return self._praised(self._shown)
        return self._withdrawn() if self._stood_s() >= self.settings.show_s else ()

    def _spoken(self) -> tuple[Cue, ...]:
        """Nothing stands: praise what came back in the silence, or raise the most important fault."""
        if self._now_s < self._silent_until_s or not self._trusted():
            return ()
        if self._owed is not None and self._came_back(self._owed):
            return self._praised(self._owed)
        for fault in FAULTS:
            out = [(name, side) for name, side in fault.metrics if name in self._watches and self._watches[name].out]
            if out and self._unanswered.get(fault.name, 0) < self.settings.give_up_after:
                name, side = max(out, key=lambda item: self._watches[item[0]].excess)
                return self._raise(fault, name, side)
        return ()

    def _raise(self, fault: Fault, metric: str, side: Side | None) -> tuple[Cue, ...]:
        watch = self._watches[metric]
        words = self._words(fault)
        # The page takes the beat of its metronome from the cadence: the metric of such a cue is the cadence.
        cue = Cue(self._now_s, words, side, "raise", CADENCE if words == METRONOME else metric, watch.because)
        self._shown = _Spoken(cue, fault, metric, watch.source)
        self._owed = None
        self._unread = (self._now_s, self._shown)
        self._raised += 1
        self._last_words[fault.name] = words
        self._unanswered[fault.name] = self._unanswered.get(fault.name, 0) + 1
        self._log.append(
            {
                "t_s": self._now_s - (self._first_s or 0.0),
                "cue": words,
                "side": side,
                "action": "raise",
                "metric": metric,
                "because": list(watch.because),
                "before": watch.value,
                "before_ci95": watch.ci95,
                "after": None,
                "after_ci95": None,
                "answer": None,
                "cadence_before": self._cadence,
                "cadence_after": None,
                "praised": False,
            }
        )
        return (cue,)

    def _words(self, fault: Fault) -> str:
        """What was answered is said again; else the next of the row, and at its end the two plain ones take turns."""
        row = [cue for cue in fault.cues if cue != METRONOME or self._metronome_fits(fault)]
        last = self._last_words.get(fault.name)
        if last is None:
            return row[0]
        if last in row and self._unanswered.get(fault.name, 0) == 0:
            return last
        later = [cue for cue in row if fault.cues.index(cue) > fault.cues.index(last)]
        return later[0] if later else row[-2:][0]

    def _metronome_fits(self, fault: Fault) -> bool:
        if METRONOME not in fault.cues or self._cadence is None or self._usual_cadence is None:
            return False
        if fault.name != "low cadence" and not self.settings.cadence_first:
            return False
        risen_pct = 100.0 * (self._cadence / self._usual_cadence - 1.0)
        return risen_pct < self.settings.cadence_risen_pct and self._cadence < self.settings.metronome_below_spm

    def _came_back(self, spoken: _Spoken) -> bool:
        watch = self._watches.get(spoken.metric)
        return watch is not None and watch.back and watch.source == spoken.source

    def _praised(self, spoken: _Spoken) -> tuple[Cue, ...]:
        because = tuple(seq for seq, out in self._watches[spoken.metric].last if not out)
        self._unanswered[spoken.fault.name] = 0
        if self._log:
            self._log[-1]["praised"] = True
        self._quiet(None)
        said = spoken.cue
        return (Cue(self._now_s, said.cue, said.side, "praise", said.metric, because),)

    def _withdrawn(self) -> tuple[Cue, ...]:
        assert self._shown is not None
        said = self._shown.cue
        self._quiet(self._shown)
        return (Cue(self._now_s, said.cue, said.side, "clear", said.metric, said.because),)

    def _quiet(self, owed: _Spoken | None) -> None:
        self._shown, self._owed = None, owed
        self._silent_until_s = self._now_s + self.settings.silence_s(self._raised)
