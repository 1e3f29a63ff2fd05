"""Runners out of a folder of pictures or a video, as the landmark model sees them: for calibrating and comparing.

The crop is placed with the shipped detector and landmark model, then once more from its own landmarks, as the tracker
does on the next frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from station.errors import SourceError
from station.pose.detector import Detector
from station.pose.estimator import LandmarkModel
from station.pose.region import Region
from station.types import Frame

_PICTURES = (".png", ".jpg", ".jpeg")
_MIN_PRESENCE = 0.5


def frames(source: Path, every: int = 1) -> Iterator[Frame]:
    """Each ``every``-th picture of a folder (by name, folders within it too) or frame of a video.

    Raises :class:`SourceError` when there is none.
    """
    count = 0
    if source.is_dir():
        paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in _PICTURES)
        for count, path in enumerate(paths[::every], 1):
            image = cv2.imread(str(path))
            if image is None:
                raise SourceError(f"{path}: not a picture; remove it")
            yield Frame(float(count), count - 1, np.asarray(image, np.uint8), "bgr")
    else:
        video = cv2.VideoCapture(str(source))
        while video.grab():
            if count % every == 0:
                image = video.retrieve()[1]
                yield Frame(count / 30, count, np.asarray(image, np.uint8), "bgr")
            count += 1
    if count == 0:
        raise SourceError(f"{source}: no pictures and no video in it; give a folder of PNG or JPEG files or a video")


def runners(
    source: Path, detector: Detector, landmarks: LandmarkModel, every: int = 1
) -> Iterator[tuple[Frame, Region]]:
    """The frames in which somebody is seen, each with the region that the tracker would look at."""
    for frame in frames(source, every):
        people = detector.find(frame)
        if people:
            found = landmarks.read(frame, max((person.region for person in people), key=lambda region: region.side_px))
            if found.presence >= _MIN_PRESENCE:
                yield frame, found.next_region
