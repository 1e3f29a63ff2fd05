"""Frame → Pose: finds the runner with the detector, then follows with the landmark model alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from station.errors import ModelError
from station.inference import Model
from station.models import built_model
from station.pose.crop import Cropper, on_one_thread
from station.pose.detector import Detector
from station.pose.heatmap import Heatmaps
from station.pose.region import Region
from station.pose.sides import SideKeeper
from station.types import KEYPOINTS, Floats, Frame, Pixels, Pose

SIZE_PX = 256
_CELL_PX = 4  # of a heatmap
_POINTS = 39  # 33 of the body, 2 that place the next crop, 4 unused
_HIP_CENTRE, _CIRCLE_EDGE = 33, 34

#: BlazePose's numbers of the station's keypoints.
BLAZEPOSE = {
    "left_shoulder": 11, "right_shoulder": 12, "left_hip": 23, "right_hip": 24, "left_knee": 25, "right_knee": 26,
    "left_ankle": 27, "right_ankle": 28, "left_heel": 29, "right_heel": 30, "left_toe": 31, "right_toe": 32,
}  # fmt: skip
_ROWS = [BLAZEPOSE[name] for name in KEYPOINTS]

_MIN_PRESENCE = 0.5  # of the body as a whole: below, nobody is there
_MIN_SCORE = 0.05  # of one keypoint: below, it is left out
#: From one frame to the next a body neither jumps by more of its region nor changes size by more than this.
_MAX_JUMP, _MAX_GROWTH = 0.25, 1.35
#: Where the runner can be: hips this near the middle of the picture, in shares of the region (0.45 is about 1 m, the
#: next treadmill is 1.3 m away) or of the picture's width, whichever is more; region at least this share of its height.
_NEAR_IN_REGIONS, _NEAR_IN_WIDTHS, _MIN_SIDE = 0.45, 0.28, 0.3
#: Somebody who is far from filling the middle of the picture is compared with whoever else is there, this often.
_PLAIN_MERIT, _RIVAL_FRAMES, _RIVAL_GAIN = 0.6, 30, 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """What the landmark model says of one region: points in raw pixels (39, 2), scores (39,), presence of a body."""

    xy_px: Floats
    score: Floats
    presence: float

    @property
    def next_region(self) -> Region:
        """Where to look for this body in the next frame."""
        return Region.of_body(self.xy_px[_HIP_CENTRE], self.xy_px[_CIRCLE_EDGE])


class LandmarkModel:
    """BlazePose's landmark model (256 px input; 39 times x, y, z, visibility, presence; 39 heatmaps of 64 cells).

    The station's own look at the middle columns of the crop only; their points are still those of the whole crop.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        width_px = model.inputs[0].shape[2]
        self._cropper = Cropper(SIZE_PX, replicate=True, width_px=width_px)
        cells = (width_px // _CELL_PX, SIZE_PX // _CELL_PX)
        self._aside_px = np.array([(SIZE_PX - width_px) / 2, 0.0])
        heatmaps = next((info for info in model.outputs if info.shape[1:3] == cells[::-1]), None)
        if heatmaps is None:
            raise ModelError(f"{model.path}: has no heatmaps; run `station model build`")
        self._heatmaps = heatmaps.name
        # The station's models have heatmaps for its own keypoints only, the shipped ones for all points.
        own = _ROWS if heatmaps.shape[3] == _POINTS else range(len(_ROWS))
        self._near = Heatmaps(cells, _CELL_PX, own, heatmaps.shape[3])

    def read(self, frame: Frame, region: Region) -> Landmarks:
        """Where the body in ``region`` is."""
        self.infer(self.crop(frame, region))
        return self.landmarks(region)

    def crop(self, frame: Frame, region: Region) -> Pixels:
        """What the model looks at, RGB; overwritten by the next call."""
        return self._cropper.crop(frame, region)

    def infer(self, crop: Pixels) -> None:
        """Run the model on a crop."""
        self._model.run(crop[np.newaxis], 1 / 255)

    def landmarks(self, region: Region) -> Landmarks:
        """What the last run found, the crop having been that of ``region``."""
        values = self._model.output(5 * _POINTS).reshape(_POINTS, 5).astype(np.float64)
        crop_xy = values[:, :2]
        ours = crop_xy[_ROWS] - self._aside_px
        logits = self._model.take(self._heatmaps, self._near.windows(ours))
        crop_xy[_ROWS] = self._near.refine(ours, logits) + self._aside_px
        seen, there = 1 / (1 + np.exp(-np.minimum(np.maximum(values[:, 3:].T, -60), 60)))
        # The model counts from the edge of the first pixel, the picture from its centre.
        xy_px = region.to_picture(crop_xy - 0.5, SIZE_PX)
        return Landmarks(xy_px, seen * there, float(self._model.output(1).item()))


class PoseEstimator:
    """Follows the runner on the belt through the frames of one camera; call :meth:`estimate` on every frame in turn.

    The runner is whoever is largest and most central. A person who leaves the middle of the picture, shrinks away or
    is taken for another from one frame to the next is let go, and the detector looks for the runner again.
    """

    def __init__(self, landmarks: Model, detector: Model) -> None:
        on_one_thread()
        self._landmarks, self._detector = LandmarkModel(landmarks), Detector(detector)
        self._sides = SideKeeper()
        self._region: Region | None = None
        self._since_check = 0

    @classmethod
    def load(cls, model: str = "lite", threads: int = 1, folder: Path | None = None) -> PoseEstimator:
        """An estimator with a built landmark model (one of :data:`station.models.LANDMARK_MODELS`).

        ``folder`` is where ``station model build`` put it (default: :func:`station.models.models_folder`). Raises
        :class:`ModelError` when a file is missing or damaged.
        """
        landmarks, detector = (Model(*built_model(name, folder), threads=threads) for name in (model, "detector"))
        return cls(landmarks, detector)

    def estimate(self, frame: Frame) -> Pose:
        """The runner's keypoints in raw pixels of ``frame``; :meth:`Pose.nobody` when the belt is empty."""
        found = self._follow(frame) or self._acquire(frame)
        if found is None:
            self._region = None
            return Pose.nobody()
        self._region = found.next_region
        return self._pose(found, frame.size_px)

    def _follow(self, frame: Frame) -> Landmarks | None:
        if self._region is None:
            return None
        before, size = self._region, frame.size_px
        found = self._landmarks.read(frame, before)
        after = found.next_region
        jump = math.hypot(after.x_px - before.x_px, after.y_px - before.y_px) / before.side_px
        growth = max(after.side_px / before.side_px, before.side_px / after.side_px)
        if found.presence < _MIN_PRESENCE or jump > _MAX_JUMP or growth > _MAX_GROWTH or merit(after, size) <= 0:
            return None
        self._since_check += 1
        if merit(after, size) < _PLAIN_MERIT and self._since_check >= _RIVAL_FRAMES:
            self._since_check = 0
            rivals = [merit(candidate.region, size) for candidate in self._detector.find(frame)]
            if max(rivals, default=0.0) > _RIVAL_GAIN * merit(after, size):
                return None
        return found

    def _acquire(self, frame: Frame) -> Landmarks | None:
        self._sides.forget()
        self._since_check = 0
        people = [(merit(person.region, frame.size_px), person.region) for person in self._detector.find(frame)]
        for value, region in sorted(people, key=lambda pair: -pair[0]):
            if value <= 0:
                break
            found = self._landmarks.read(frame, region)
            if found.presence >= _MIN_PRESENCE and merit(found.next_region, frame.size_px) > 0:
                return found
        return None

    def _pose(self, found: Landmarks, size_px: tuple[int, int]) -> Pose:
        rows = [_ROWS[i] for i in self._sides.order(found.xy_px[_ROWS])]
        xy_px, score = found.xy_px[rows], found.score[rows]
        keep = (score >= _MIN_SCORE) & ((xy_px >= -0.5) & (xy_px <= np.array(size_px) - 0.5)).all(axis=1)
        if not keep.all():
            xy_px[~keep] = np.nan
            score[~keep] = 0.0
        return Pose(xy_px, score)


def merit(region: Region, size_px: tuple[int, int]) -> float:
    """How much this looks like the runner on the belt: 1 = fills the middle of the picture, 0 = is not on it."""
    width, height = size_px
    near_px = max(_NEAR_IN_REGIONS * region.side_px, _NEAR_IN_WIDTHS * width)
    aside = abs(region.x_px - (width - 1) / 2) / near_px
    tall = region.side_px / height
    if aside >= 1 or tall < _MIN_SIDE or not 0 <= region.y_px < height:
        return 0.0
    return min(tall, 1.0) * (1 - aside**2)
