"""The pure core behind one door: observations in, strides, events, states and cues out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from station.gait.anchors import AnchorDetector, lift_difference_m
from station.gait.cycles import LOOK_AHEAD, Cycle, CycleReader
from station.gait.recent import Recent
from station.geometry import RayCaster
from station.metrics.measure import StrideMeter
from station.pelvis import sample
from station.types import Live, Observation, Output, Pose, View

#: A gap longer than this makes another runner possible: everything pooled is forgotten [s].
FORGET_AFTER_S = 2.0


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What the kernel may be told beforehand."""

    auto_start: bool = True
    profile: str | None = None


class Session:
    """Feed it every frame in time order; it answers with what became known.

    Work on a stride is cut into slices, one per frame, so that no frame waits for it. A stride comes out at most
    ``LOOK_AHEAD`` cycles and some 18 frames after its last contact.
    """

    def __init__(self, view: View, settings: SessionSettings | None = None) -> None:
        self.view = view
        self.settings = settings or SessionSettings()
        self.caster = RayCaster(view)
        self._recent = Recent(self.caster)
        self._detector = AnchorDetector()
        self._reader = CycleReader(self._recent)
        self._meter = StrideMeter(self._recent, self.caster, self.settings.profile)
        self._down_s: float | None = None
        self._up_s: float | None = None
        self._due: deque[Cycle] = deque()
        self._job: Iterator[Output | None] | None = None
        self._person_s: float | None = None
        self._source: str | None = None

    def feed(self, observation: Observation) -> tuple[Output, ...]:
        """What this frame made known."""
        pose = observation.pose
        out: list[Output] = []
        if pose is not None and pose.someone:
            self._see(observation, pose, out)
        self._work(observation.t_s, out)
        return tuple(out)

    def finish(self) -> tuple[Output, ...]:
        """What was still pending when the recording ended or the runner left."""
        out: list[Output] = []
        while self._job is not None or self._due:
            self._work(np.inf, out)
        return tuple(out)

    # -- one frame ---------------------------------------------------------------------------------------------------

    def _see(self, observation: Observation, pose: Pose, out: list[Output]) -> None:
        t_s = observation.t_s
        if self._person_s is not None and t_s - self._person_s > FORGET_AFTER_S:
            self._forget()
        self._person_s = t_s
        pelvis = sample(t_s, pose, observation.pelvis, self.caster)
        self._source = pelvis.source
        self._recent.append(t_s, pose, pelvis)
        rays, scale = self._recent.newest()
        anchor = self._detector.feed(t_s, lift_difference_m(rays, scale[1]))
        if anchor is not None:
            if anchor.side == "left":
                self._up_s = anchor.t_s
            else:
                self._close(anchor.t_s)
        out.append(Live(t_s, pelvis, self._phase(t_s), None, None))

    def _phase(self, t_s: float) -> float | None:
        del t_s
        return None

    def _close(self, down_s: float) -> None:
        if self._down_s is not None and self._up_s is not None and self._up_s > self._down_s:
            self._due.append(Cycle(self._down_s, self._up_s, down_s))
        self._down_s = down_s

    def _forget(self) -> None:
        self._detector.reset()
        self._reader.reset()
        self._meter.reset()
        self._recent.clear_scale()
        self._due.clear()
        self._job = None
        self._down_s = self._up_s = None

    # -- work in slices ----------------------------------------------------------------------------------------------

    def _work(self, t_s: float, out: list[Output]) -> None:
        if self._job is None and self._due:
            cycle = self._due[0]
            if t_s >= cycle.end_anchor_s + LOOK_AHEAD * cycle.period_s:
                self._due.popleft()
                self._job = self._process(cycle)
        if self._job is not None:
            try:
                said = next(self._job)
            except StopIteration:
                self._job = None
            else:
                if said is not None:
                    out.append(said)

    def _process(self, cycle: Cycle) -> Iterator[Output | None]:
        yield from self._reader.read(cycle)
        if cycle.new_speed:
            self._meter.forget_all_but(1)
        if cycle.reasons:
            yield self._meter.rejected(cycle)
            return
        for name in ("left_contact", "left_off", "right_contact", "right_off"):
            yield cycle.events[name]
        yield from self._meter.measure(cycle, self._source)
