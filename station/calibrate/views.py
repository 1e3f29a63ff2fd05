"""From the source to pictures of the target: pictures as they are, of a film the moments when it lies still."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from station.calibrate.find import Found, find_sheets
from station.camera import Camera, frames
from station.camera.video import VideoFile
from station.errors import CameraError, SourceError
from station.types import Floats, Frame, Pixels

#: How often a film is looked at [s], and for how long a sheet must lie still.
_LOOK_EVERY_S, _STILL_S = 0.25, 1.0
#: Corners as they are found, before they are registered, move this much by themselves [px].
_STILL_PX = 2.5
#: A sheet lies in a new place when its middle moved by this share of its size in the picture.
_NEW_PLACE = 0.35


@dataclass(frozen=True, slots=True, eq=False)
class Still:
    """A grey picture (noise averaged away where it came from a film), its name for people, and the sheets in it."""

    name: str
    grey: Floats
    found: tuple[Found, ...]


def stills_of(paths: Sequence[Path]) -> Iterator[Still]:
    """All pictures, and of films every place in which a sheet lay still.

    Raises :class:`SourceError` for a file that is neither; for a picture without a sheet it names the picture.
    """
    for path in paths:
        picture = _picture(path)
        if picture is None:
            video = VideoFile(path)
            try:
                yield from stills_in(video, path.name)
            finally:
                video.close()
            continue
        found = find_sheets(picture)
        if not found:
            raise SourceError(
                f"{path}: no sheet of the target is seen in it: all corners of its markers must be in the picture, "
                "sharp, lit evenly and not too flat; lay it nearer or in the middle, or take a larger picture"
            )
        yield Still(path.name, picture.astype(float), tuple(found))


def stills_in(camera: Camera, name: str) -> Iterator[Still]:
    """Every place in which a sheet lies still in what the camera shows."""
    watch = Watch(name)
    for frame in frames(camera):
        still = watch.see(frame)
        if still is not None:
            yield still


class Watch:
    """Looks at a film four times a second and notices when sheets lie still in a place that is new."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._next_s = -np.inf
        self._since_s = 0.0
        self._last: list[Found] = []
        self._sum: Floats | None = None
        self._count = 0
        self._taken: list[Found] = []

    def see(self, frame: Frame) -> Still | None:
        """The still that this frame completes, if any."""
        if frame.t_s < self._next_s:
            return None
        self._next_s = frame.t_s + _LOOK_EVERY_S
        grey = grey_of(frame)
        found = find_sheets(grey)
        if not found or not _same_places(found, self._last, _STILL_PX):
            self._since_s, self._sum, self._count = frame.t_s, None, 0
        self._last = found
        if not found:
            return None
        self._sum = grey.astype(float) if self._sum is None else self._sum + grey
        self._count += 1
        new = [one for one in found if not any(_in_place(one, old) for old in self._taken)]
        if not new or frame.t_s - self._since_s < _STILL_S:
            return None
        self._taken += new
        return Still(f"{self._name} at {frame.t_s:.1f} s", self._sum / self._count, tuple(new))


def grey_of(frame: Frame) -> Pixels:
    """The picture in grey."""
    if frame.layout == "yuv420":
        return frame.image[: frame.size_px[1]]
    code = cv2.COLOR_RGB2GRAY if frame.layout == "rgb" else cv2.COLOR_BGR2GRAY
    return np.asarray(cv2.cvtColor(frame.image, code), dtype=np.uint8)


def _picture(path: Path) -> Pixels | None:
    """A still picture in grey, or nothing when the file is none."""
    if not path.exists():
        raise CameraError(f"{path}: no such file; check the path")
    if path.suffix.lower() not in {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".webp"}:
        return None
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise CameraError(f"{path}: not a picture, or damaged; take it again")
    return np.asarray(picture, dtype=np.uint8)


def _same_places(now: Sequence[Found], before: Sequence[Found], within_px: float) -> bool:
    """Whether the same sheets are seen, each where it was."""
    if [one.sheet for one in now] != [one.sheet for one in before]:
        return False
    return all(np.abs(a.corners_px - b.corners_px).max() < within_px for a, b in zip(now, before, strict=True))


def _in_place(now: Found, before: Found) -> bool:
    size = before.corners_px.max(axis=0) - before.corners_px.min(axis=0)
    moved = now.corners_px.mean(axis=0) - before.corners_px.mean(axis=0)
    return now.sheet == before.sheet and bool((np.abs(moved) < _NEW_PLACE * size).all())
