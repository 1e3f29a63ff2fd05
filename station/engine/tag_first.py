"""What a reference tag does for the pelvis: worn, it speaks first; what it found of others earlier, widens their sd."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from station.tag.record import Trust
from station.types import Frame, PelvisReading, Pose, View

if TYPE_CHECKING:
    from station.engine.pelvis import PelvisEstimator

#: A tag that was seen so recently is still worn: while it is hidden nothing is said, for its level is not that of
#: the markerless estimator [s].
WORN_S = 2.0
#: A runner who is new is looked at for a tag this long; a tag put on later is found within so much [s].
CLOSELY_S, LATER_EVERY_S = 2.0, 5.0


class Verified:
    """An estimator whose sd of obliquity holds what ``station verify`` found of it on people who wore the tag.

    Where that is an error that stays over a run, the kernel sees an sd that does not show as scatter, and widens
    every ``ci95`` that rests on it.
    """

    def __init__(self, estimator: PelvisEstimator, found: Trust) -> None:
        self._estimator = estimator
        self.source, self.model = estimator.source, estimator.model
        self._lasting_deg = found.drop_error_deg or 0.0
        #: What the records say, for ``health``.
        self.verified: Mapping[str, object] = asdict(found)

    @property
    def sees(self) -> bool:
        """Whether the estimator looks at the picture."""
        return self._estimator.sees

    def read(self, frame: Frame, pose: Pose) -> PelvisReading:
        """The estimator's word, less sure of itself."""
        reading = self._estimator.read(frame, pose)
        return replace(reading, sd_obliquity_deg=math.hypot(reading.sd_obliquity_deg, self._lasting_deg))


class TagFirst:
    """Reads the tag when one is worn, else ``markerless``. Every reading carries the name of who said it.

    Nobody puts a tag on while running, and a search costs as much as all the rest of a frame: so whoever came without
    one is looked at only now and then.
    """

    def __init__(self, view: View, markerless: PelvisEstimator) -> None:
        from station.tag import TagEstimator  # noqa: PLC0415 (OpenCV's detector loads for those who look for tags)

        self.markerless = markerless
        self.source, self.model = markerless.source, markerless.model
        self._tag = TagEstimator(view)
        self._came_s = self._next_s = -math.inf
        self._someone = False

    @property
    def sees(self) -> bool:
        """Whether anything is looked for in the picture but a tag, which needs a pose of its own."""
        return self.markerless.sees

    @property
    def verified(self) -> Mapping[str, object] | None:
        """What the records say of the markerless estimator."""
        found: Mapping[str, object] | None = getattr(self.markerless, "verified", None)
        return found

    def read(self, frame: Frame, pose: Pose) -> PelvisReading:
        """The tag's word, NaN while it is hidden for a moment; the markerless one's where no tag is worn."""
        reading = self._tag.read(frame, pose) if self._looks(frame.t_s, pose.someone) else None
        if reading is not None:
            return reading
        if frame.t_s - self._tag.seen_s < WORN_S:
            return PelvisReading(source="tag")
        return self.markerless.read(frame, pose)

    def _looks(self, t_s: float, someone: bool) -> bool:
        """Whether this frame is searched: a tag is worn, the runner is new, or it is time again."""
        if someone and not self._someone:
            self._came_s = t_s
        self._someone = someone
        if t_s - self._tag.seen_s < WORN_S or t_s - self._came_s < CLOSELY_S:
            return True
        if t_s < self._next_s:
            return False
        self._next_s = t_s + LATER_EVERY_S
        return True
