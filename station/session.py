"""The pure core behind one door: observations in, strides, events, states and cues out."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from station.coach import Coach, CoachSettings
from station.gait.cycles import LOOK_AHEAD, Cycle, CycleReader
from station.gait.pacer import Pacer
from station.gait.recent import Recent
from station.geometry import RayCaster
from station.metrics.measure import StrideMeter
from station.metrics.table import Band, bands
from station.pelvis import sample
from station.standing import BASELINE_S, StandingLevel
from station.summary import Summary, stride_curves
from station.types import KEYPOINTS, GaitEvent, Live, Observation, Output, PelvisSample, Pose, Side, StrideMetrics, View
from station.visit import Change, Seen, Visit

#: A gap longer than this makes another runner possible: everything pooled is forgotten [s].
FORGET_AFTER_S = 2.0
#: Slices of work a second; a stride has about 27.
SLICES_PER_S = 58.0
#: What is seen of the keypoints where the pose was not run.
NO_RAYS = np.full((len(KEYPOINTS), 2), np.nan)
#: Keypoints below this score count as not seen.
MIN_SCORE = 0.2


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What the kernel may be told beforehand."""

    auto_start: bool = True
    profile: str | None = None
    coach: CoachSettings | None = None


class Session:
    """Feed it every frame in time order; it answers with what became known.

    Work on a stride is cut into slices, one per frame, so that no frame waits for it: a stride comes out ``LOOK_AHEAD``
    cycles and about half a second after its last contact, whatever the length of the run.
    """

    def __init__(self, view: View, settings: SessionSettings | None = None) -> None:
        self.view = view
        self.settings = settings or SessionSettings()
        self.caster = RayCaster(view)
        self.visit = Visit(self.settings.auto_start)
        self._recent = Recent(self.caster)
        self._standing = StandingLevel(self._recent)
        self._pacer = Pacer(self._recent)
        self._reader = CycleReader(self._recent)
        self._meter = StrideMeter(self._recent, self.caster, self.settings.profile)
        self._down_s: float | None = None
        self._up_s: float | None = None
        self._due: deque[Cycle] = deque()
        self._job: Iterator[tuple[GaitEvent, ...] | StrideMetrics | None] | None = None
        self._measuring = False  # the job has come to the meter
        self._person_s: float | None = None
        self._now_s = -math.inf
        self._interval_s = 1.0 / view.fps
        self._stability: float | None = None
        self._unjudged: StrideMetrics | None = None
        self._end: GaitEvent | None = None  # contact that closes the newest stride
        self._profile = self.settings.profile
        self._open_books()

    def adopt(self, settings: SessionSettings) -> None:
        """Go by other settings: a session that is on keeps the profile and the coach it began with."""
        self.settings = settings
        self.visit.auto = settings.auto_start
        if not self.visit.running:
            self._profile = settings.profile

    @property
    def bands(self) -> Mapping[str, Band]:
        """The zones of the session that is on, was on last (while its summary stands), or would begin now."""
        return bands(self._profile)

    def _open_books(self) -> None:
        """What is kept of one session, empty."""
        borders = bands(self._profile)
        self._coach = Coach(self.settings.coach, borders)
        self._summary = Summary(borders)
        self._began_s: float | None = None
        self._frames = 0

    # -- commands ----------------------------------------------------------------------------------------------------

    def start(self, t_s: float, profile: str | None = None) -> tuple[Output, ...]:
        """A runner starts a session; ``profile`` chooses the zones (``women``, ``men``, or none)."""
        out: list[Output] = []
        self._follow(self.visit.start(t_s), out, profile or self.settings.profile)
        return tuple(out)

    def stop(self, t_s: float) -> tuple[Output, ...]:
        """The session ends now."""
        out: list[Output] = []
        self._follow(self.visit.stop(t_s), out)
        return tuple(out)

    def baseline(self, t_s: float) -> tuple[Output, ...]:
        """The runner stands still: take the standing level anew."""
        del t_s
        self._standing.clear()
        self._meter.forget_levels()
        return ()

    # -- frames ------------------------------------------------------------------------------------------------------

    def feed(self, observation: Observation) -> tuple[Output, ...]:
        """What this frame made known."""
        t_s, pose = observation.t_s, observation.pose
        self._interval_s += 0.05 * (min(t_s - self._now_s, 0.1) - self._interval_s)
        self._now_s = t_s
        self._pacer.looked = False
        out: list[Output] = []
        seen = Seen.NOBODY
        if pose is not None and pose.someone:
            seen = self._see(observation, pose, out)
        elif pose is None and observation.pelvis is not None and self._person_s is not None:
            self._recent.append_pelvis(t_s, sample(t_s, NO_RAYS, observation.pelvis))
        if pose is not None:
            self._follow(self.visit.see(t_s, seen), out)
        self._frames += 1
        if not self._pacer.looked:  # one larger piece of work a frame
            self._work(t_s, out)
        if self.visit.running:
            out.extend(self._coach.tick(t_s))
        return tuple(out)

    def finish(self) -> tuple[Output, ...]:
        """What was still pending when the recording ended."""
        out: list[Output] = []
        while self._job is not None or self._due or self._unjudged is not None:
            self._work(np.inf, out)
        if self._end is not None and self.visit.running:
            out.append(self._end)  # no stride follows that would begin with it
        self._end = None
        self._follow(self.visit.stop(self._now_s), out)
        return tuple(out)

    def _see(self, observation: Observation, pose: Pose, out: list[Output]) -> Seen:
        t_s = observation.t_s
        if self._person_s is not None and t_s - self._person_s > FORGET_AFTER_S:
            self._forget()
        self._person_s = t_s
        rays = self.caster.rays(pose.xy_px)
        rays[pose.score < MIN_SCORE] = np.nan
        pelvis = sample(t_s, rays, observation.pelvis)
        self._recent.append(t_s, rays, pelvis)
        anchor = self._pacer.feed(t_s, rays)
        if anchor is not None:
            if anchor.side == "left":
                self._up_s = anchor.t_s
            else:
                self._close(anchor.t_s, out)
        seen = self._stands(t_s, anchor is not None, out)
        out.append(self._live(t_s, pelvis))
        return seen

    def _stands(self, t_s: float, stepped: bool, out: list[Output]) -> Seen:
        level = self._standing.feed(t_s, stepped)
        if level is not None:
            self._meter.set_level(*level)
            self._follow(self.visit.baseline_taken(t_s), out)
        return Seen.STANDING if self._standing.since_s + BASELINE_S / 2 < t_s else Seen.MOVING

    def _live(self, t_s: float, pelvis: PelvisSample) -> Live:
        phase: float | None = None
        side: Side | None = None
        rhythm = self._reader.rhythm
        if rhythm is not None and t_s - rhythm.start_s < 2 * rhythm.period_s:
            phase = (t_s - rhythm.start_s) / rhythm.period_s % 1.0
            side = "left" if phase < rhythm.right_contact else "right"
        return Live(t_s, pelvis, phase, side, self._stability)

    def _close(self, down_s: float, out: list[Output]) -> None:
        if self._down_s is not None and self._up_s is not None and self._up_s > self._down_s:
            self._due.append(Cycle(self._down_s, self._up_s, down_s, by_pelvis=self._pacer.by_pelvis))
            self._follow(self.visit.step_shown(down_s), out)
        self._down_s = down_s

    def _forget(self) -> None:
        self._pacer.reset()
        self._reader.reset()
        self._meter.reset()
        self._recent.clear_scale()
        self._due.clear()
        self._job, self._measuring = None, False
        self._end = None
        self._stability = None
        self._down_s = self._up_s = None

    def _follow(self, change: Change, out: list[Output], profile: str | None = None) -> None:
        """Carry out what a change of state asks for."""
        if change.ends:
            out.extend(self._close_books())
        if change.begins:
            self._profile = profile or self.settings.profile
            if self._measuring:  # a stride from before the session, of which the meter knows nothing any more
                self._job, self._measuring = None, False
            self._meter.begin(self._profile)
            self._open_books()
            self._began_s = None if change.state is None else change.state.since_s
        if change.state is not None:
            if change.state.session is None:  # the next runner has not chosen yet
                self._profile = self.settings.profile
            out.append(change.state)

    def _close_books(self) -> tuple[Output, ...]:
        """The end of a session: the cue that stands is withdrawn, the run summed up; nothing of it is kept."""
        cues = self._coach.finish()
        summary = self._summary.result(
            profile=self._profile,
            cues=self._coach.log,
            advice=self._coach.advice(),
            frames_seen=self._frames,
            start_s=self._began_s,
            end_s=self._now_s,
        )
        self._stability = None
        self._meter.forget_levels()
        self._open_books()
        return (*cues, summary)

    # -- work in slices ----------------------------------------------------------------------------------------------

    def _work(self, t_s: float, out: list[Output]) -> None:
        if self._unjudged is not None:
            self._judge(self._unjudged, out)
            self._unjudged = None
            return
        if self._job is None and self._due:
            cycle = self._due[0]
            if t_s >= cycle.end_anchor_s + LOOK_AHEAD * cycle.period_s:
                self._due.popleft()
                self._job = self._process(cycle)
        for _ in range(self._slices):
            if self._job is None:
                return
            try:
                said = next(self._job)
            except StopIteration:
                self._job = None
                return
            if said is not None and self.visit.running:
                self._say(said, out)

    @property
    def _slices(self) -> int:
        """Slices of work on this frame: a stride's are done before the next stride ends, whatever the frame rate."""
        return 1 + int(SLICES_PER_S * self._interval_s)

    def _say(self, said: tuple[GaitEvent, ...] | StrideMetrics, out: list[Output]) -> None:
        if isinstance(said, StrideMetrics):
            out.append(said)
            self._unjudged = said
        else:
            out.extend(said)

    def _judge(self, stride: StrideMetrics, out: list[Output]) -> None:
        curves = None if stride.status != "ok" else stride_curves(self._meter.own_coef, self._meter.hip_width_m)
        self._summary.add(stride, curves)
        out.extend(self._coach.feed(stride, self._now_s))
        hidden = stride.metrics["pelvic_drop_peak_left_deg"].reason == "waist_hidden"
        self._stability = stride.metrics["stability"].value
        self._follow(self.visit.stride(stride.stride.end_s, stride.status == "ok", hidden), out)

    def _process(self, cycle: Cycle) -> Iterator[tuple[GaitEvent, ...] | StrideMetrics | None]:
        yield from self._reader.read(cycle)
        if cycle.keep is not None:
            self._meter.forget_all_but(cycle.keep)
        self._end = None if cycle.reasons else cycle.events["end"]
        if cycle.reasons:
            yield self._meter.rejected(cycle)
            return
        yield tuple(cycle.events[name] for name in ("left_contact", "left_off", "right_contact", "right_off"))
        self._measuring = True
        yield from self._meter.measure(cycle)
        self._measuring = False
