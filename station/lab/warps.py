"""Known motion put into real pictures: the pelvis alone turned, the whole picture turned, one leg lifted.

A warp takes a picture, where the runner is in it (:class:`Body`) and how far to go, and gives a new picture. Lengths
are in hip widths, the distance of the hip joints. Angles + = right side rises.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from station.types import KEYPOINT_INDEX, Floats, Pixels, Pose

_ROWS = {name: [KEYPOINT_INDEX[f"left_{name}"], KEYPOINT_INDEX[f"right_{name}"]] for name in ("shoulder", "hip")}
_LEG = [KEYPOINT_INDEX[name] for name in ("right_hip", "right_knee", "right_ankle")]
#: Hip joints are about a third of the trunk's length apart; seen obliquely less, so the trunk is the steadier measure.
HIPS_OF_TRUNK = 0.34
#: Half the width of the pelvis, outside to outside.
HALF_PELVIS_HW = 0.9
#: The middle of the pelvis above the line of the hip joints.
_MIDDLE_UP_HW = 0.25
#: The pelvis turns as one within this much of its middle, and what is that far away not at all.
_FULL_UP_HW, _NONE_UP_HW = 0.68, 1.55
_FULL_ASIDE_HW, _NONE_ASIDE_HW = 1.0, 1.9
#: The lifted leg: where along the thigh it begins, over what length, and how far to the sides it reaches.
_LEG_FROM, _LEG_RAMP_HW = 0.5, 0.6
_LEG_FULL_HW, _LEG_NONE_HW = 0.45, 0.9

Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """Where the runner is in one frame: middle of the hips, hip width and the three joints of the right leg, pixels."""

    hips_px: Floats
    width_px: float
    leg_px: Floats

    @property
    def middle_px(self) -> Floats:
        """The middle of the pelvis."""
        return np.asarray(self.hips_px - np.array([0.0, _MIDDLE_UP_HW * self.width_px]))


def bodies_of(poses: list[Pose], smooth_frames: float = 2.0) -> list[Body | None]:
    """Where the runner is, smoothly, in each frame; ``None`` where the pose knows no hips."""
    hips = np.array([p.xy_px[_ROWS["hip"]].mean(axis=0) for p in poses])
    trunk = np.array(
        [np.hypot(*(p.xy_px[_ROWS["shoulder"]].mean(axis=0) - h)) for p, h in zip(poses, hips, strict=True)]
    )
    legs = np.array([p.xy_px[_LEG] for p in poses])
    known = np.isfinite(hips).all(axis=1)
    if not np.isfinite(trunk).any():
        return [None] * len(poses)
    width = HIPS_OF_TRUNK * float(np.nanmedian(trunk))
    hips = _smooth(hips, smooth_frames)
    legs = _smooth(legs.reshape(len(poses), -1), smooth_frames / 2).reshape(legs.shape)
    return [Body(h, width, leg) if ok else None for h, leg, ok in zip(hips, legs, known, strict=True)]


def turn_pelvis(image: Pixels, body: Body, angle_deg: float) -> Pixels:
    """The pelvis turned about its middle; back, thighs and background go along less and less."""
    reach = np.array([_NONE_ASIDE_HW, _NONE_UP_HW]) * body.width_px
    box = _box(image, body.middle_px - reach, body.middle_px + reach)
    if box is None:
        return image
    x, y = _grid(box)
    dx, dy = x - np.float32(body.middle_px[0]), y - np.float32(body.middle_px[1])
    share = _fall(np.abs(dy) / body.width_px, _FULL_UP_HW, _NONE_UP_HW)
    share *= _fall(np.abs(dx) / body.width_px, _FULL_ASIDE_HW, _NONE_ASIDE_HW)
    # Each pixel looks up what was there before the turn; y is down, so a rising right side turns counter-clockwise.
    angle_rad = np.float32(math.radians(angle_deg)) * share
    cos, sin = np.cos(angle_rad) - 1, np.sin(angle_rad)
    return _redrawn(image, box, x + cos * dx - sin * dy, y + sin * dx + cos * dy)


def turn_picture(image: Pixels, body: Body, angle_deg: float) -> Pixels:
    """The whole picture turned about the middle of the pelvis."""
    turn = cv2.getRotationMatrix2D((float(body.middle_px[0]), float(body.middle_px[1])), angle_deg, 1.0)
    size = (image.shape[1], image.shape[0])
    turned = cv2.warpAffine(image, turn, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(turned, dtype=np.uint8)


def lift_leg(image: Pixels, body: Body, lift_px: float) -> Pixels:
    """The right leg below the middle of the thigh moved up; nothing above changes by a single pixel."""
    joints = body.leg_px[np.isfinite(body.leg_px).all(axis=1)]
    if len(joints) < 3 or lift_px <= 0:
        return image
    hip, knee, _ = joints
    begin = float(hip[1] + _LEG_FROM * (knee[1] - hip[1]))
    aside = _LEG_NONE_HW * body.width_px
    box = _box(image, np.array([joints[:, 0].min() - aside, begin]), np.array([joints[:, 0].max() + aside, math.inf]))
    if box is None:
        return image
    x, y = _grid(box)
    below = np.clip((y - begin) / (_LEG_RAMP_HW * body.width_px + lift_px), 0.0, 1.0)
    by_height = sorted(joints.tolist(), key=lambda joint: float(joint[1]))
    axis = np.interp(y, [joint[1] for joint in by_height], [joint[0] for joint in by_height])
    share = below * below * (3 - 2 * below) * _fall(np.abs(x - axis) / body.width_px, _LEG_FULL_HW, _LEG_NONE_HW)
    return _redrawn(image, box, x, y + lift_px * share)


_Box = tuple[int, int, int, int]


def _box(image: Pixels, low_px: Floats, high_px: Floats) -> _Box | None:
    """What lies between the corners and in the picture: left, top, right, bottom."""
    size = np.array([image.shape[1], image.shape[0]])
    left, top = np.clip(np.floor(low_px), 0, size).astype(int).tolist()
    right, bottom = np.ceil(np.clip(high_px, 0, size)).astype(int).tolist()
    return (left, top, right, bottom) if right - left > 1 and bottom - top > 1 else None


def _redrawn(image: Pixels, box: _Box, from_x: Floats | Map, from_y: Floats | Map) -> Pixels:
    """A copy whose pixels within the box come from other places of the picture."""
    left, top, right, bottom = box
    maps = np.asarray(from_x, np.float32), np.asarray(from_y, np.float32)
    out = image.copy()
    out[top:bottom, left:right] = cv2.remap(image, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return out


def _grid(box: _Box) -> tuple[Map, Map]:
    left, top, right, bottom = box
    x, y = np.meshgrid(np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32))
    return x, y


def _fall(distance: Floats | Map, full: float, none: float) -> Map:
    """1 up to ``full``, 0 from ``none`` on, smooth between."""
    t = np.clip((none - distance) / (none - full), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def _smooth(values: Floats, sd: float) -> Floats:
    """Gaussian over frames without lag; gaps are bridged."""
    frames = np.arange(len(values))
    out = np.full_like(values, np.nan)
    reach = np.arange(-int(3 * sd) - 1, int(3 * sd) + 2)
    kernel = np.exp(-0.5 * (reach / max(sd, 1e-6)) ** 2)
    for column in range(values.shape[1]):
        known = np.isfinite(values[:, column])
        if known.any():
            whole = np.interp(frames, frames[known], values[known, column])
            padded = np.pad(whole, len(reach) // 2, mode="edge")
            out[:, column] = np.convolve(padded, kernel / kernel.sum(), mode="valid")
    return out
