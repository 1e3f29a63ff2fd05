"""From anchors to strides: the cycle between two anchors, its phase, its events, and whether it may be trusted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from station.gait.events import FootEvents, bounced, deepest_fall, locate, velocities
from station.gait.feet import (
    COLUMNS,
    EVENT_JITTER_S,
    EVENT_WINDOW_S,
    FOOT_LEADS_KNEE,
    PELVIS,
    FeetModel,
    heights_m,
    mean_seen,
)
from station.gait.recent import FEET, KNEES, LEFT_HIP, RIGHT_HIP, Recent
from station.harmonics import Fit
from station.types import Floats, GaitEvent, Reason, Side

#: A stride outside these bounds is not one of running or walking [s].
STRIDE_S = (0.4, 1.5)
#: A stride that differs by more than this from the runner's present rhythm is a stumble [share].
RHYTHM_TOLERANCE = 0.18
#: Two strides in a row off the rhythm by this much, to the same side, are a new speed [share].
SPEED_CHANGE = 0.035
#: Frames may be missing for this long [s]; a longer gap rejects the stride.
BRIDGED_GAP_S = 0.15
#: Both feet must be in the picture for this share of a cycle; around toe-off they may leave it.
FEET_SEEN_SHARE = 0.5
#: Cycles the feet model needs before it can tell events.
WARM_UP_CYCLES = 2
#: How fast the phase of the model is pulled back to the mean of the crossings, a cycle.
GAUGE_GAIN = 0.2
#: A contact phase that moved by more than this between cycles makes the stride's start be timed anew [s].
CONTACT_MOVED_S = 0.005
#: By more than this: the strides pooled so far would blur the curves [s].
CONTACT_LEAPT_S = 0.020
#: Feet that miss their own curves by more than this [m] are drawn, not seen; what each metre of it adds to the sd of
#: contact and off [s/m]. Recorded runners at 2 px of noise miss them by 8 to 13 mm.
ROUGH_FROM_M, ROUGH_S_PER_M = 0.014, 2.0
#: How far beyond the closing anchor the frames of a cycle must reach, in cycles.
LOOK_AHEAD = 0.2
#: A foot that misses its curve by more than this around an event did not do what the model says [m].
MAX_EVENT_MISFIT_M = 0.04
#: A pelvis that never falls faster than this has no flight under it [m/s²]; runners reach g, walkers a third of it.
FLIGHT_MPS2 = 5.5
#: Contact to contact and level to level time the same stride: they may differ by no more than this [share].
STRIDE_AGAINST_CYCLE = 0.06
#: Ankle travel sideways, in leg lengths, beyond which the camera does not stand behind the runner.
REAR_VIEW_TRAVEL = 0.45


@dataclass(slots=True)
class Cycle:
    """One cycle between anchors and what was found out about it; the stride runs from ``start_s`` to ``end_s``.

    ``by_pelvis``: the feet are seen too badly to keep time, and the pelvis does (:mod:`station.gait.pacer`).
    ``doubt_s``: sd added to its events where feet and pelvis contradict each other. ``keep``: strides before this one
    that still count, where the speed or the place of contact changed. ``fall``: greatest downward acceleration of the
    pelvis [m/s²]. ``lift``: height of the left foot above the right one over the stride, 100 points of the pooled
    curve [m].
    """

    start_anchor_s: float
    middle_anchor_s: float
    end_anchor_s: float
    by_pelvis: bool = False
    reasons: list[Reason] = field(default_factory=list)
    rows: slice = field(default_factory=lambda: slice(0, 0))
    events: dict[str, GaitEvent] = field(default_factory=dict)
    start_s: float = np.nan
    end_s: float = np.nan
    rear_view: bool = True
    keep: int | None = None
    lift: Floats | None = None
    fall: float = np.nan
    doubt_s: float = 0.0

    @property
    def period_s(self) -> float:
        """Time between the closing anchors."""
        return self.end_anchor_s - self.start_anchor_s


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The newest stride's clock, to tell the phase of a frame at once: left contact, period, phase of right contact."""

    start_s: float
    period_s: float
    right_contact: float


class CycleReader:
    """Turns the frames of one cycle into events, one slice of work per call of the iterator it returns."""

    def __init__(self, recent: Recent) -> None:
        self._recent = recent
        self.feet = FeetModel()
        self._periods: list[float] = []
        self._last_anchor_s = np.nan
        self._gauge_s = 0.0
        self._contact_phase = 0.0
        self._last_contact: GaitEvent | None = None
        self._by_pelvis = False
        self.footing: dict[Side, FootEvents] = {}
        self.rhythm: Rhythm | None = None

    def reset(self) -> None:
        """Forget the runner."""
        self.feet.reset()
        self._periods.clear()
        self._gauge_s = 0.0
        self.rhythm = None
        self.break_off()

    def break_off(self) -> None:
        """The chain of strides is broken; the runner's curves are kept."""
        self._last_anchor_s = np.nan
        self._last_contact = None

    # -- the work on one cycle, in slices --------------------------------------------------------------------------

    def read(self, cycle: Cycle) -> Iterator[None]:
        """Fill in ``cycle``. Each ``next`` does a bounded slice of the work."""
        if self._last_anchor_s != self._last_anchor_s or abs(self._last_anchor_s - cycle.start_anchor_s) > 0.1:
            self.break_off()
        else:
            cycle.start_anchor_s = self._last_anchor_s
        if cycle.by_pelvis != self._by_pelvis:
            self._by_pelvis = cycle.by_pelvis
            self._change_pacemaker(cycle)
        self._judge_rhythm(cycle)
        if not cycle.reasons:
            self._judge_gaps(cycle)
        yield
        if not cycle.reasons:
            self._judge_view(cycle)
        yield
        if cycle.reasons:
            self.break_off()
            return
        self._refine_end(cycle)
        yield
        self._learn(cycle)
        yield
        self.feet.solve()
        yield
        if self.feet.cycles < WARM_UP_CYCLES:
            cycle.reasons.append(Reason.WARMING_UP)
            return
        speeds = velocities(self._fit(), cycle.period_s)
        cycle.fall = deepest_fall(speeds, cycle.period_s)
        self.footing = {
            side: bounced(self._fit(), side, cycle.period_s)
            if cycle.by_pelvis and self._fit().known(PELVIS)
            else locate(self._fit(), side, cycle.period_s, speeds, self._recent.steepness)
            for side in ("left", "right")
        }
        yield
        yield from self._time_events(cycle)

    def _fit(self) -> Fit:
        assert self.feet.fit is not None
        return self.feet.fit

    def _change_pacemaker(self, cycle: Cycle) -> None:
        """Anchors lie elsewhere in the cycle from now on: what was pooled counts from another place."""
        cycle.keep = 0
        self.feet.forget_all_but(0)
        self._periods.clear()
        self._gauge_s = 0.0
        self.break_off()

    def _judge_rhythm(self, cycle: Cycle) -> None:
        period = cycle.period_s
        first_half = (cycle.middle_anchor_s - cycle.start_anchor_s) / period
        if not STRIDE_S[0] <= period <= STRIDE_S[1] or not 0.3 <= first_half <= 0.7:
            cycle.reasons.append(Reason.IMPLAUSIBLE_DURATION)
            return
        if self._periods:
            rhythm = float(np.median(self._periods))
            off = period / rhythm - 1.0
            last_off = self._periods[-1] / rhythm - 1.0
            if abs(off) > RHYTHM_TOLERANCE:
                cycle.reasons.append(Reason.IMPLAUSIBLE_DURATION)
                if abs(period / self._periods[-1] - 1.0) < RHYTHM_TOLERANCE / 2:
                    cycle.keep = 0  # the second of its kind: another gait, of which nothing is known yet
            elif min(abs(off), abs(last_off)) > SPEED_CHANGE and off * last_off > 0 and len(self._periods) > 2:
                cycle.keep = 1
        self._periods.append(period)
        del self._periods[:-20]
        if cycle.keep is not None:
            self._periods = self._periods[-2:]
            self.feet.forget_all_but(cycle.keep)

    def _judge_gaps(self, cycle: Cycle) -> None:
        recent = self._recent
        cycle.rows = rows = recent.between(cycle.start_anchor_s, cycle.end_anchor_s)
        t_s, rays = recent.poses(rows)
        feet = np.isfinite(rays[:, FEET["left"][:2] + FEET["right"][:2], 1])
        if not (feet[:, :2].any(axis=1) & feet[:, 2:].any(axis=1)).sum() >= max(FEET_SEEN_SHARE * len(feet), 1):
            cycle.reasons.append(Reason.OFF_FRAME)
        seen = np.isfinite(rays[:, [LEFT_HIP, RIGHT_HIP], 1]).all(axis=1) | feet.any(axis=1)
        times = np.concatenate(([cycle.start_anchor_s], t_s[seen], [cycle.end_anchor_s]))
        if np.diff(times).max() > BRIDGED_GAP_S:
            cycle.reasons.append(Reason.GAP)

    def _judge_view(self, cycle: Cycle) -> None:
        _, rays = self._recent.poses(cycle.rows)
        hips = rays[:, RIGHT_HIP, 0] - rays[:, LEFT_HIP, 0]
        middle = (rays[:, RIGHT_HIP, 0] + rays[:, LEFT_HIP, 0]) / 2
        travel = max(_travel(rays[:, FEET[side][1], 0] - middle) for side in ("left", "right"))
        cycle.rear_view = not travel / self._recent.leg_now > REAR_VIEW_TRAVEL
        crossed = not cycle.by_pelvis and _feet_belong_to_other_knees(rays)
        if (cycle.rear_view and np.nanmean(hips < 0) > 0.3) or crossed:
            cycle.reasons.append(Reason.SWAPPED_SIDES)

    def _heights(self, rows: slice) -> Floats:
        return heights_m(self._recent.rays(rows), self._recent.leg_ray(rows))

    def _refine_end(self, cycle: Cycle) -> None:
        """Lock the closing anchor to the model: the crossing itself carries the noise of few frames."""
        if self.feet.fit is None:
            return
        period = cycle.period_s
        rows = self._recent.between(cycle.end_anchor_s - 0.2 * period, cycle.end_anchor_s + 0.2 * period)
        phase = (self._recent.t_s(rows) - cycle.end_anchor_s) / period
        columns = [PELVIS] if cycle.by_pelvis else COLUMNS["left"] + COLUMNS["right"]
        late, _, _ = self.feet.shift(phase, self._heights(rows), period, columns, 0.02)
        late = float(np.clip(late, -0.05, 0.05))
        # The model was learnt from the anchors: without a hold on the crossings themselves both would drift together.
        self._gauge_s += GAUGE_GAIN * (late - self._gauge_s)
        cycle.end_anchor_s += late - self._gauge_s

    def _learn(self, cycle: Cycle) -> None:
        rows = self._recent.between(cycle.start_anchor_s, cycle.end_anchor_s)
        phase = (self._recent.t_s(rows) - cycle.start_anchor_s) / cycle.period_s
        self.feet.add(phase, self._heights(rows))
        self._last_anchor_s = cycle.end_anchor_s

    # -- events ----------------------------------------------------------------------------------------------------

    def _time_events(self, cycle: Cycle) -> Iterator[None]:
        left, right = self.footing["left"], self.footing["right"]
        rough_m = float(np.fmax.reduce(self._fit().sigma[COLUMNS["left"][:3] + COLUMNS["right"][:3]], initial=0.0))
        rough_s = 0.0 if cycle.by_pelvis else ROUGH_S_PER_M * max(rough_m - ROUGH_FROM_M, 0.0)
        cycle.doubt_s = float(np.hypot(max(left.doubt_s, right.doubt_s), rough_s))
        moved_s = abs(left.contact - self._contact_phase) * cycle.period_s
        if moved_s > CONTACT_MOVED_S:
            self._last_contact = None  # the model has learnt better where contact lies: time both ends by it
        if moved_s > CONTACT_LEAPT_S:
            cycle.keep = 0  # the pooled strides lie at phases that count from elsewhere
        self._contact_phase = left.contact
        first = self._last_contact or self._event(cycle, "contact", "left", left.contact)
        wanted: tuple[tuple[str, Literal["contact", "off"], Side, float], ...] = (
            ("left_off", "off", "left", left.off),
            ("right_contact", "contact", "right", right.contact),
            ("right_off", "off", "right", right.off),
            ("end", "contact", "left", left.contact + 1.0),
        )
        if first is not None:
            cycle.events["left_contact"] = first
        yield
        for name, kind, side, phase in wanted:
            event = self._event(cycle, kind, side, phase)
            if event is not None:
                cycle.events[name] = event
            yield
        self._last_contact = cycle.events.get("end")
        if len(cycle.events) < 5:
            cycle.reasons.append(Reason.IMPLAUSIBLE_DURATION)
            self._last_contact = None
            return
        cycle.start_s, cycle.end_s = cycle.events["left_contact"].t_s, cycle.events["end"].t_s
        self._judge_gait(cycle)
        period = cycle.end_s - cycle.start_s
        cycle.lift = self.feet.lift(left.contact, by_knees=cycle.by_pelvis)
        self.rhythm = Rhythm(cycle.end_s, period, (cycle.events["right_contact"].t_s - cycle.start_s) / period)

    def _event(self, cycle: Cycle, kind: Literal["contact", "off"], side: Side, phase: float) -> GaitEvent | None:
        period = cycle.period_s
        t_s = cycle.start_anchor_s + phase * period
        rows = self._recent.between(t_s - EVENT_WINDOW_S, t_s + EVENT_WINDOW_S)
        if rows.stop - rows.start < 2:
            return None
        heights = self._heights(rows)
        phases = (self._recent.t_s(rows) - cycle.start_anchor_s) / period
        columns = [PELVIS] if cycle.by_pelvis else [*COLUMNS[side], PELVIS]
        late, sd, misfit = self.feet.shift(phases, heights, period, columns, EVENT_JITTER_S)
        if misfit > MAX_EVENT_MISFIT_M:
            return None
        return GaitEvent(kind, side, t_s + float(np.clip(late, -0.04, 0.04)), sd)

    def _judge_gait(self, cycle: Cycle) -> None:
        at = {name: event.t_s for name, event in cycle.events.items()}
        order = [at["left_contact"], at["left_off"], at["right_contact"], at["right_off"], at["end"]]
        contact_s = (order[1] - order[0] + order[3] - order[2]) / 2
        grounded = cycle.rear_view and contact_s > 0.5 * (order[4] - order[0])
        if grounded or cycle.fall < FLIGHT_MPS2:
            cycle.reasons.append(Reason.WALKING)
        elif abs((order[4] - order[0]) / cycle.period_s - 1.0) > STRIDE_AGAINST_CYCLE or (
            cycle.rear_view and any(b <= a for a, b in pairwise(order))
        ):
            cycle.reasons.append(Reason.IMPLAUSIBLE_DURATION)


def _feet_belong_to_other_knees(rays: Floats) -> bool:
    """Whether the left foot rises when the right knee does: a foot leads its knee (``FOOT_LEADS_KNEE``).

    Over one cycle the correlation of the two height differences at that lag is 0.8 and more in real runners; below
    zero the labels of feet and knees disagree.
    """
    left, right = (mean_seen(*(rays[:, row, 1] for row in FEET[side][:2])) for side in ("left", "right"))
    feet = left - right
    knees = rays[:, KNEES["left"], 1] - rays[:, KNEES["right"], 1]
    knees = np.roll(knees, -round(FOOT_LEADS_KNEE * len(knees)))
    both = np.isfinite(feet) & np.isfinite(knees)
    if both.sum() < 8 or not np.ptp(feet[both]) > 0:
        return False
    return bool(np.corrcoef(feet[both], knees[both])[0, 1] < 0)


def _travel(x: Floats) -> float:
    """Range of a coordinate without its outermost tenths; 0 where it was hardly seen."""
    x = np.sort(x[np.isfinite(x)])
    cut = len(x) // 20
    return float(x[len(x) - 1 - cut] - x[cut]) if len(x) > 4 else 0.0
