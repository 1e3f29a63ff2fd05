"""What the camera's picture is like: light, blur, framing, dirt; judged now and then, cheaply, while frames go by.

Numbers only: nothing here keeps a picture. Everything is judged from the luma of a frame and the runner's keypoints,
and every judgement is the median of the last few looks, so that one swing of an arm changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from station.types import KEYPOINT_INDEX, Frame, Pixels, Pose

#: A look this often [s of sensor time], the whole picture searched for dirt every so many looks.
EVERY_S, DIRT_EVERY = 1.0, 5
#: A judgement is the median of so many looks.
KEPT = 9

#: Luma (upper quartile on the runner) that counts as no light at all, and as enough.
_BLACK, _LIT = 24.0, 110.0
#: Analogue gain up to which nothing is lost; each doubling beyond costs so much of the light.
_PLAIN_GAIN, _GAIN_COST = 4.0, 0.35
#: Blur effect (Crete et al. 2007) of a sharp and of a useless picture of a back.
_SHARP, _SOFT = 0.35, 0.75
#: The picture in tiles; a tile says something when its luma varies this much [sd].
_TILES, _TELLING_SD = (8, 12), 3.0
#: Dirt: this share of the telling tiles is softer than the typical one by this much; or nothing is darker than this.
_SMEARED_SHARE, _SOFTER, _VEIL = 0.12, 0.22, 75.0
_MIN_TELLING = 12

_LIMITS = {"dark": 0.3, "blurred": 0.5}
_ENDS = [KEYPOINT_INDEX[f"{side}_{name}"] for side in ("left", "right") for name in ("heel", "toe")]
_SHOULDERS = [KEYPOINT_INDEX["left_shoulder"], KEYPOINT_INDEX["right_shoulder"]]
_HIPS = [KEYPOINT_INDEX["left_hip"], KEYPOINT_INDEX["right_hip"]]
_ANKLES = [KEYPOINT_INDEX["left_ankle"], KEYPOINT_INDEX["right_ankle"]]

Grey = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Judgement:
    """How the picture is; ``None`` = not known (nobody on the belt, too little to see).

    ``light`` 0..1 (below 0.3: too dark), ``blur`` 0 sharp … 1 useless, ``framing`` 0..1 (1: the whole runner in the
    middle), ``dirty``: whether something lies on the lens. ``luma``: upper quartile on the runner, 0..255. ``flicker``:
    how much brightness changes from frame to frame, as a share. ``hints``: what to do, the most urgent first, out of
    ``dark``, ``bright``, ``flicker``, ``blurred``, ``dirty``, ``too_near``, ``too_far``, ``runner_left``,
    ``runner_right``, ``feet_cut``, ``shoulders_cut``.
    """

    light: float | None = None
    blur: float | None = None
    framing: float | None = None
    dirty: bool | None = None
    luma: float | None = None
    flicker: float | None = None
    hints: tuple[str, ...] = ()


class Look:
    """Gathers looks; call :meth:`note` on every frame that was processed, :attr:`judgement` when asked.

    A look costs about a millisecond at 720p and every fifth some three (``tests/engine/test_look.py`` holds it).
    """

    def __init__(self) -> None:
        self._next_s: float | None = None  # not at the first frame: starting is busy enough
        self._looks = 0
        self._light: deque[float] = deque(maxlen=KEPT)
        self._luma: deque[float] = deque(maxlen=KEPT)
        self._blur: deque[float] = deque(maxlen=KEPT)
        self._framing: deque[tuple[float, tuple[str, ...]]] = deque(maxlen=KEPT)
        self._dirty: deque[bool] = deque(maxlen=KEPT)
        self._bright: deque[bool] = deque(maxlen=KEPT)
        self._means: deque[float] = deque(maxlen=32)
        self._last_t_s = float("-inf")

    def note(self, frame: Frame, pose: Pose | None, gain: float | None = None) -> None:
        """Take one frame and what the pose model found in it; looks closer once a second.

        ``gain`` is the sensor's analogue gain where it is known: a picture that is bright by gain alone is not lit.
        """
        if self._next_s is None or frame.t_s < self._last_t_s:
            self._next_s = frame.t_s + EVERY_S  # the second: another clock, of a source that began anew
        self._last_t_s = frame.t_s
        grey = luma(frame, step=16)
        self._means.append(float(grey.mean()))
        if frame.t_s < self._next_s:
            return
        self._next_s = frame.t_s + EVERY_S
        whole = luma(frame)
        box = _body_box(pose, frame.size_px)
        self._note_light(whole, box, gain)
        if pose is not None and pose.someone:
            self._framing.append(framing(pose, frame.size_px))
        torso = _torso(whole, pose)
        if torso is not None:
            self._blur.append(_share(blur_effect(torso), _SHARP, _SOFT))
        if self._looks % DIRT_EVERY == 0 and (dirty := looks_dirty(whole)) is not None:
            self._dirty.append(dirty)
        self._looks += 1

    @property
    def judgement(self) -> Judgement:
        """The medians of the last looks, and what to do about them."""
        light, blur, flicker = _median(self._light), _median(self._blur), self._flicker()
        score = _median(value for value, _ in self._framing)
        dirty = None if not self._dirty else sum(self._dirty) * 2 > len(self._dirty)
        hints = [
            *(["dark"] if light is not None and light < _LIMITS["dark"] else []),
            *(["bright"] if sum(self._bright) * 2 > len(self._bright) else []),
            *(["flicker"] if flicker is not None and flicker > 0.04 else []),
            *(["dirty"] if dirty else []),
            *(["blurred"] if blur is not None and blur > _LIMITS["blurred"] else []),
            *self._framing_hints(),
        ]
        return Judgement(light, blur, score, dirty, _median(self._luma), flicker, tuple(hints))

    def _note_light(self, whole: Grey, box: tuple[slice, slice], gain: float | None) -> None:
        part = whole[box][::2, ::2]
        bright = float(np.percentile(part, 75))
        self._luma.append(bright)
        lit = _share(bright, _BLACK, _LIT)
        if gain is not None and gain > _PLAIN_GAIN:
            lit *= max(0.0, 1 - _GAIN_COST * float(np.log2(gain / _PLAIN_GAIN)))
        self._light.append(lit)
        self._bright.append(bool(np.mean(part >= 250) > 0.25))

    def _framing_hints(self) -> list[str]:
        said = [hint for _, hints in self._framing for hint in hints]
        return [hint for hint in dict.fromkeys(said) if said.count(hint) * 2 > len(self._framing)]

    def _flicker(self) -> float | None:
        """Change of the mean from frame to frame, its slow part taken out (the runner moves slowly beside it)."""
        if len(self._means) < self._means.maxlen:  # type: ignore[operator]  # it has a length
            return None
        means = np.fromiter(self._means, float)
        if means.mean() < 1:
            return None
        fast = means[1:-1] / 2 - (means[:-2] + means[2:]) / 4
        return round(float(np.sqrt(np.mean(fast**2)) / means.mean()), 4)


def luma(frame: Frame, step: int = 1) -> Grey:
    """Brightness of every ``step``-th pixel, (rows, columns); without copying where the frame holds it."""
    height = frame.size_px[1]
    if frame.layout == "yuv420":
        return frame.image[:height:step, ::step]
    colours: Pixels = frame.image[::step, ::step]
    if step > 1:
        return np.asarray(colours[..., 1], np.uint8)  # green is most of the brightness, and enough for a mean
    code = cv2.COLOR_RGB2GRAY if frame.layout == "rgb" else cv2.COLOR_BGR2GRAY
    return np.asarray(cv2.cvtColor(colours, code), np.uint8)


def blur_effect(grey: Grey, size: int = 11) -> float:
    """How little a picture loses when it is blurred again: 0 = all edges are sharp, 1 = it has no edges to lose.

    The no-reference metric of Crete, Dolmiere, Ladret, Nicolas (2007), worst of the two directions; 1 without texture.
    """
    worst = 0.0
    for axis in (0, 1):
        sharp, lost = _edges(grey, axis, size)
        total = float(cv2.sumElems(sharp)[0])
        worst = max(worst, 1.0 if total <= 0 else 1.0 - float(cv2.sumElems(lost)[0]) / total)
    return worst


def _edges(grey: Grey, axis: int, size: int) -> tuple[Grey, Grey]:
    """Steps between neighbours along ``axis``, and how much of each a blur over ``size`` pixels takes away."""
    again = cv2.blur(grey, (size, 1) if axis else (1, size), borderType=cv2.BORDER_REFLECT)
    near, far = (slice(None), slice(1, None)), (slice(None), slice(None, -1))
    if axis == 0:
        near, far = near[::-1], far[::-1]
    sharp = cv2.absdiff(grey[near], grey[far])
    return np.asarray(sharp, np.uint8), np.asarray(cv2.subtract(sharp, cv2.absdiff(again[near], again[far])), np.uint8)


def looks_dirty(grey: Grey) -> bool | None:
    """Whether something lies on the lens: parts softer than the rest, or a veil over all; ``None`` = too little to see.

    A picture that is soft *everywhere* is out of focus, not dirty. A background far out of focus passes for dirt.
    """
    height = 2 * round(320 * grey.shape[0] / grey.shape[1])
    small = np.asarray(cv2.resize(grey, (640, height), interpolation=cv2.INTER_AREA), np.uint8)
    softness = _softness(small)
    if softness.size < _MIN_TELLING:
        return None
    shares = np.cumsum(np.bincount(small.ravel(), minlength=256)) / small.size
    darkest, brightest = np.searchsorted(shares, (0.02, 0.98))
    if darkest > _VEIL and brightest < 245:
        return True
    return bool(np.mean(softness > np.percentile(softness, 30) + _SOFTER) > _SMEARED_SHARE)


def _softness(small: Grey) -> NDArray[np.float64]:
    """The blur effect of every tile that has something to show."""
    image = small.astype(np.float32)
    mean, square = _tiled(image), _tiled(image * image)
    worst = np.zeros(_TILES)
    for axis in (0, 1):
        sharp, lost = (_tiled(part.astype(np.float32)) for part in _edges(small, axis, 5))
        worst = np.maximum(worst, 1.0 - lost / np.maximum(sharp, 1e-6))
    found: NDArray[np.float64] = worst[square - mean**2 >= _TELLING_SD**2]
    return found


def _tiled(image: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(cv2.resize(image, _TILES[::-1], interpolation=cv2.INTER_AREA), float)


def framing(pose: Pose, size_px: tuple[int, int]) -> tuple[float, tuple[str, ...]]:
    """How well the runner stands in the picture, 0..1, and what is wrong (words of :class:`Judgement`)."""
    width, height = size_px
    xy = pose.xy_px / (width, height)
    faults: list[tuple[float, str]] = []
    hips_x = float(np.nanmean(xy[_HIPS, 0])) if np.isfinite(xy[_HIPS, 0]).any() else float("nan")
    if np.isfinite(hips_x):
        aside = _share(abs(hips_x - 0.5), 0.28, 0.05)
        faults.append((aside, "runner_left" if hips_x < 0.5 else "runner_right"))
    faults.append((_inside(xy[_ENDS, 1], 0.99, 0.95), "feet_cut"))
    faults.append((_inside(1 - xy[_SHOULDERS, 1], 0.99, 0.97), "shoulders_cut"))
    tall = float(np.nanmax(xy[_ANKLES, 1]) - np.nanmin(xy[_SHOULDERS, 1])) if _known(xy, _ANKLES, _SHOULDERS) else None
    if tall is not None:
        faults.append((_share(tall, 0.95, 0.82), "too_near"))
        faults.append((_share(tall, 0.25, 0.42), "too_far"))
    return round(min(value for value, _ in faults), 3), tuple(word for value, word in sorted(faults) if value < 0.6)


def _known(xy: NDArray[np.float64], *groups: list[int]) -> bool:
    return all(np.isfinite(xy[group, 1]).any() for group in groups)


def _inside(share: NDArray[np.float64], edge: float, safe: float) -> float:
    """1 when every known point lies before ``safe``, 0 at ``edge``; a point that is missing was probably cut off."""
    missing = float(np.mean(~np.isfinite(share)))
    known = share[np.isfinite(share)]
    return min(1 - missing, _share(float(known.max()), edge, safe)) if known.size else 0.0


def _share(value: float, none: float, full: float) -> float:
    """0 at ``none``, 1 at ``full``, straight between and level beyond."""
    return round(float(np.clip((value - none) / (full - none), 0.0, 1.0)), 3)


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return round(float(np.median(found)), 3) if found else None


def _body_box(pose: Pose | None, size_px: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the runner, or of the middle of the picture when nobody is there."""
    width, height = size_px
    if pose is None or not pose.someone:
        return slice(height // 5, height * 4 // 5), slice(width // 3, width * 2 // 3)
    low, high = np.nanmin(pose.xy_px, axis=0), np.nanmax(pose.xy_px, axis=0)
    left, top = np.maximum(low.astype(int), 0)
    right, bottom = np.minimum(high.astype(int) + 1, (width, height))
    return slice(int(top), max(int(bottom), int(top) + 8)), slice(int(left), max(int(right), int(left) + 8))


def _torso(grey: Grey, pose: Pose | None) -> Grey | None:
    """The back and its outline, where little moves within one exposure; ``None`` without shoulders and hips."""
    if pose is None or not np.isfinite(pose.xy_px[[*_SHOULDERS, *_HIPS]]).all():
        return None
    points = pose.xy_px[[*_SHOULDERS, *_HIPS]]
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.35 * (high[0] - low[0])
    left, right = int(max(low[0] - margin, 0)), int(min(high[0] + margin, grey.shape[1]))
    top, bottom = int(max(low[1] - margin, 0)), int(min(high[1] + margin, grey.shape[0]))
    return grey[top:bottom, left:right] if right - left >= 24 and bottom - top >= 24 else None
