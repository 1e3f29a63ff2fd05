"""Who keeps time: the feet, or the pelvis where the feet are seen too badly.

Seen from behind, feet hide each other, and pose models draw a lifted sole where it is not: late, or on the other leg.
The hips are seen. They bounce once a step, and a step after the other they fall through the middle of that bounce a
fixed time after initial contact (three recorded runners: 25 to 34 ms). So a sinusoid through the last second and a half
of their height tells when steps were taken, and the swing of knees and feet at half that rate which leg it was.

The feet are asked first: where they are seen they tell more. They are taken for badly seen when their own steps come at
no fixed place of the bounce, and from beside the runner, where one leg hides the other.
"""

from __future__ import annotations

import cmath
import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from station.gait.anchors import Anchor, AnchorDetector, SwingSignal
from station.gait.events import FALL_AFTER_CONTACT_S
from station.gait.feet import ANKLE, COLUMNS, HEEL, KNEE, PELVIS, heights_m, mean_seen
from station.gait.recent import LEFT_HIP, RIGHT_HIP, Recent
from station.types import Floats

#: The bounce is read from this much of the run, so often, and the feet are judged over this long [s].
WINDOW_S, LOOK_EVERY_S, JUDGED_S = 1.6, 0.2, 2.5
#: For so long a bounce goes on as it was [s].
STALE_S = 1.2
#: Steps a second that there are.
STEPS_HZ = (1.6, 4.3)
#: A bounce is one of running if a sinusoid explains this share of the hips' motion and is bent down by this much [m/s²]
#: (walking: 2 to 4; recorded and rendered runners: 6 and more). Walkers' feet come at another place of it.
LEAST_EXPLAINED, LEAST_FALL_MPS2 = 0.6, 5.0
#: Legs swing in turn if knees or feet move against each other by this much at half the rate of the steps [m], and that
#: explains this share of what they do. Without it somebody bobs up and down.
LEAST_SWING_M, LEAST_SWING_EXPLAINED = 0.015, 0.2
#: Knees swing a third as far as feet.
KNEE_TIMES = 3.0
#: The feet keep time if they show about as many steps as the bounce [share missed or too many], all at one place of it
#: (resultant of their phases), which is the right one (recorded runners at 2 px: feet are level 20 ± 10 ms before the
#: fall; resultant .95 and more) [s]. The second numbers: once they were put aside.
STEPS_MISSED = 0.3
ONE_PLACE, RIGHT_PLACE_S = (0.85, 0.93), (0.060, 0.045)
#: Feet that did so over this many steps are put aside only when they have failed for a while, and asked again only when
#: they have done so for a while [s]: one stumble is no reason.
FIRST_STEPS, LOST_S, FOUND_S = 4, 1.2, 5.0
LEVEL_BEFORE_FALL_S = 0.020
_TWO_PI = 2.0 * math.pi


@dataclass(frozen=True, slots=True)
class Bounce:
    """The hips' bounce: steps a second, and when they last fell through its middle. ``turn``: which leg.

    ``turn`` is the swing of left over right leg that a left contact at ``fall_s`` would have brought [m, of feet]: its
    sign says which foot met the belt there, its size how clearly.
    """

    hz: float
    fall_s: float
    turn: float

    def phase(self, t_s: float) -> float:
        """Steps since the fall."""
        return (t_s - self.fall_s) * self.hz


class Pacer:
    """One anchor a step, by the feet or by the pelvis. Feed it every frame after it was appended to ``recent``.

    ``by_pelvis``: who keeps time now. ``looked``: set when a frame had the bounce read again,
    which is most of the work here; whoever goes by it clears it.
    """

    def __init__(self, recent: Recent) -> None:
        self._recent = recent
        self._signal = SwingSignal()
        self._detector = AnchorDetector()
        self.reset()

    def reset(self) -> None:
        """Another runner."""
        self._signal.reset()
        self._detector.reset()
        self._fresh: list[float] = []
        self._steps: deque[tuple[float, complex]] = deque(maxlen=16)
        self._since_s: float | None = None
        self._looked_s = -math.inf
        self._bounce: Bounce | None = None
        self._told: Anchor | None = None
        self._contradicted = False
        self._so_since_s = math.inf
        self._proven = False
        self.by_pelvis = self.looked = False

    def feed(self, t_s: float, rays: Floats) -> Anchor | None:
        """The step that this frame made known. Its time is when the feet were level, or an initial contact."""
        step = self._detector.feed(t_s, self._signal.read(t_s, rays, self._recent.leg_now))
        if step is not None:
            step = Anchor(step.t_s + self._signal.lead_s, step.side)
            self._fresh.append(step.t_s)
        if self._since_s is None:
            self._since_s = t_s
        if t_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s, self.looked = t_s, True
            bounce = self._look(t_s)
            stale = self._bounce is None or t_s - self._bounce.fall_s > STALE_S
            if bounce is not None or stale or not self.by_pelvis:
                self._bounce = bounce
            self._choose(t_s)
        return self._by_bounce(t_s) if self.by_pelvis else step

    def _choose(self, t_s: float) -> None:
        """Whether the feet keep time: as many steps as the bounce has, at one place of it."""
        if self._bounce is None:
            self.by_pelvis, self._told, self._so_since_s = False, None, math.inf
            del self._fresh[:-8]
            return
        assert self._since_s is not None
        # each step against the bounce of its own time: runners change their speed
        self._steps.extend((at, cmath.exp(1j * _TWO_PI * self._bounce.phase(at))) for at in self._fresh)
        self._fresh.clear()
        span_s = min(JUDGED_S, t_s - self._since_s)
        steps = [place for at, place in self._steps if at > t_s - span_s]
        wanted = span_s * self._bounce.hz
        place = sum(steps) / max(len(steps), 1)
        off_s = cmath.phase(place) / (_TWO_PI * self._bounce.hz) + LEVEL_BEFORE_FALL_S
        again = int(self.by_pelvis)
        kept = (
            not self._signal.from_side
            and abs(len(steps) / wanted - 1.0) <= STEPS_MISSED
            and abs(place) >= ONE_PLACE[again]
            and abs(off_s) <= RIGHT_PLACE_S[again]
        )
        if kept != self.by_pelvis:
            self._so_since_s, self._proven = math.inf, self._proven or (kept and len(steps) >= FIRST_STEPS)
            return
        self._so_since_s = min(self._so_since_s, t_s)
        patience_s = FOUND_S if kept else LOST_S if self._proven and not self._signal.from_side else 0.0
        if t_s - self._so_since_s >= patience_s:
            self.by_pelvis, self._told, self._so_since_s = not kept, None, math.inf

    def _by_bounce(self, t_s: float) -> Anchor | None:
        bounce = self._bounce
        assert bounce is not None
        number = math.floor((t_s + FALL_AFTER_CONTACT_S - bounce.fall_s) * bounce.hz)
        contact_s = bounce.fall_s + number / bounce.hz - FALL_AFTER_CONTACT_S
        told = self._told
        if told is not None and contact_s - told.t_s < 0.6 / bounce.hz:
            return None
        left = (bounce.turn > 0) == (number % 2 == 0)
        if told is not None:
            odd = round((contact_s - told.t_s) * bounce.hz) % 2 == 1
            in_turn = (told.side == "right") != odd
            # legs take turns: one contradiction may be the picture's, two in a row are the runner's
            self._contradicted = left != in_turn and not self._contradicted
            left = in_turn if self._contradicted else left
        # a left contact: the right foot has just become the higher one
        self._told = Anchor(contact_s, "right" if left else "left")
        return self._told

    # -- the bounce ------------------------------------------------------------------------------------------------

    def _look(self, t_s: float) -> Bounce | None:
        rows = self._recent.between(t_s - WINDOW_S, t_s + 1e-6)
        rays = self._recent.rays(rows)
        heights = heights_m(rays, self._recent.leg_ray(rows))
        heights[rays[:, RIGHT_HIP, 0] < rays[:, LEFT_HIP, 0], :PELVIS] = np.nan  # sides mistaken for each other
        seen = np.isfinite(heights[:, PELVIS])
        at, heights = self._recent.t_s(rows)[seen] - t_s, heights[seen]
        if len(at) < 20 or at[-1] - at[0] < 0.75 * WINDOW_S:
            return None
        y = _detrended(at, heights[:, PELVIS])
        hz = self._bounce.hz if self._bounce is not None else _strongest(at, y)
        hz, wave, explained = _sinusoid(at, y, hz)
        running = abs(wave) * (_TWO_PI * hz) ** 2 >= LEAST_FALL_MPS2
        if explained < LEAST_EXPLAINED or not running or not STEPS_HZ[0] <= hz <= STEPS_HZ[1]:
            return None
        # y = |wave| cos(2π hz t − arg wave) falls through zero a quarter of a cycle after its top
        late = (math.atan2(wave.imag, wave.real) + math.pi / 2) / (_TWO_PI * hz)
        fall = late - math.ceil(late * hz) / hz
        turn = _turn(at - fall, heights, hz / 2)
        return None if turn is None else Bounce(hz, t_s + fall, turn)


def _turn(at: Floats, heights: Floats, hz: float) -> float | None:
    """Swing of left over right leg behind a left contact at zero [m]; ``None``: legs do not swing in turn."""
    left, right = (COLUMNS[side] for side in ("left", "right"))
    left_foot, right_foot = (mean_seen(heights[:, side[HEEL]], heights[:, side[ANKLE]]) for side in (left, right))
    feet = left_foot - right_foot
    knees = heights[:, left[KNEE]] - heights[:, right[KNEE]]
    turn, swings = 0.0, False
    for difference, times in ((feet, 1.0), (knees, KNEE_TIMES)):
        known = np.isfinite(difference)
        if known.sum() < 12:
            continue
        y = _detrended(at[known], difference[known])
        angle = _TWO_PI * hz * at[known]
        columns = np.column_stack([np.cos(angle), np.sin(angle)])
        wave = np.linalg.solve(columns.T @ columns, columns.T @ y)
        explained = 1.0 - float(((y - columns @ wave) ** 2).sum()) / max(float((y**2).sum()), 1e-12)
        swings |= explained > LEAST_SWING_EXPLAINED and times * math.hypot(*wave) > LEAST_SWING_M
        turn -= times * float(wave[1])
    return turn if swings else None


def _detrended(at: Floats, y: Floats) -> Floats:
    """Without its mean and steady drift."""
    line = np.column_stack([np.ones_like(at), at])
    return np.asarray(y - line @ np.linalg.solve(line.T @ line, line.T @ y))


def _strongest(at: Floats, y: Floats) -> float:
    """The frequency that the periodogram shows most of [Hz]."""
    hz = np.arange(STEPS_HZ[0], STEPS_HZ[1] + 0.05, 0.1)
    return float(hz[int(np.argmax(np.abs(y @ np.exp(-1j * _TWO_PI * at[:, None] * hz))))])


def _sinusoid(at: Floats, y: Floats, hz: float) -> tuple[float, complex, float]:
    """Frequency refined by Gauss-Newton, ``a + ib`` of a·cos + b·sin, and the share of ``y`` that it explains."""
    line = np.column_stack([np.ones_like(at), at])
    wave: Floats = np.zeros(4)
    columns: Floats = np.empty((len(at), 5))
    for step in range(3):
        angle = _TWO_PI * hz * at
        columns[:, :4] = np.column_stack([line, np.cos(angle), np.sin(angle)])
        wave = np.asarray(np.linalg.solve(columns[:, :4].T @ columns[:, :4], columns[:, :4].T @ y), float)
        if step < 2:
            columns[:, 4] = _TWO_PI * at * (wave[3] * columns[:, 2] - wave[2] * columns[:, 3])
            gram = columns.T @ columns
            gram[4, 4] += 1e-9
            hz += min(max(float(np.linalg.solve(gram, columns.T @ y)[4]), -0.3), 0.3)
    rest = y - columns[:, :4] @ wave
    explained = 1.0 - float((rest**2).sum()) / max(float((y**2).sum()), 1e-12)
    return hz, complex(wave[2], wave[3]), explained
