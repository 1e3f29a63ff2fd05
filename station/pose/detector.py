"""Finds people in the whole picture: BlazePose's detector, run only while nobody is tracked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from station.inference import Model
from station.pose.crop import Cropper
from station.pose.region import Region
from station.types import Floats, Frame

SIZE_PX = 224
_STRIDES = (8, 16, 32, 32, 32)
_ANCHORS_PER_STRIDE = 2
_MIN_SCORE = 0.5
_MIN_OVERLAP = 0.3
_BOX, _HIP, _EDGE = slice(0, 4), slice(4, 6), slice(6, 8)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A person that the detector saw: its region in the picture and how sure it is (0..1)."""

    region: Region
    score: float


class Detector:
    """BlazePose's person detector (``model``: 224 px input, 2254 anchors with box, hip centre and circle)."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._cropper = Cropper(SIZE_PX, replicate=False)
        self._anchors = _anchors()

    def find(self, frame: Frame) -> list[Candidate]:
        """Everybody in the picture, the surest first."""
        whole = Region.whole(*frame.size_px)
        # a camera that reduces pictures itself does it better and for nothing
        seen = frame if frame.small is None else Frame(frame.t_s, frame.index, frame.small, frame.layout)
        self._model.run(self._cropper.crop(seen, Region.whole(*seen.size_px))[np.newaxis], 1 / 127.5, -1)
        logits = self._model.output(len(self._anchors)).ravel()
        likely = logits > np.log(_MIN_SCORE / (1 - _MIN_SCORE))
        scores = 1 / (1 + np.exp(-logits[likely].astype(np.float64)))
        values = self._model.output(12 * len(self._anchors)).reshape(-1, 12)[likely].astype(np.float64)
        anchors = self._anchors[likely]
        values[:, :2] += anchors
        values[:, 4:] += np.tile(anchors, 4)
        found = []
        for members, weights in _clusters(values[:, _BOX], scores):
            hip, edge = (weights @ values[members, part] / weights.sum() for part in (_HIP, _EDGE))
            # Crop coordinates count from the edge of the first pixel, the picture's from its centre.
            hip, edge = whole.to_picture(np.stack([hip, edge]) - 0.5, SIZE_PX)
            found.append(Candidate(Region.of_body(hip, edge), float(weights.max())))
        return found


def _anchors() -> Floats:
    """Anchor centres in crop pixels, (2254, 2): grids of the strides, layers of one stride interleaved."""
    out = []
    for stride in dict.fromkeys(_STRIDES):
        cells = -(-SIZE_PX // stride)
        y, x = np.mgrid[:cells, :cells].reshape(2, -1)
        centres = (np.stack([x, y], axis=1) + 0.5) * (SIZE_PX / cells)
        out.append(np.repeat(centres, _STRIDES.count(stride) * _ANCHORS_PER_STRIDE, axis=0))
    return np.concatenate(out)


def _clusters(boxes: Floats, scores: Floats) -> list[tuple[Floats, Floats]]:
    """Groups of boxes (centre, size) that overlap the best of their group, with their scores, best group first."""
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    area = (high - low).prod(axis=1)
    left, out = np.argsort(-scores, kind="stable"), []
    while left.size:
        best = left[0]
        shared = (np.minimum(high[left], high[best]) - np.maximum(low[left], low[best])).clip(0).prod(axis=1)
        same = shared > _MIN_OVERLAP * (area[left] + area[best] - shared)
        same[0] = True
        out.append((left[same], scores[left[same]]))
        left = left[~same]
    return out
