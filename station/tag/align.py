"""The pose that explains every pixel of a plate: the print drawn as the camera would see it, laid over the picture.

Corners use a few edge points of a tag; here every edge of every module counts, blurred by lens and motion as it is,
and what is covered drops out pixel by pixel. Gauss-Newton over turn, place, the plate's shape and the blur; brightness
and contrast of each facet are fitted along.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from station.tag.attitude import PlatePose, pixel_slopes, small_turn
from station.tag.lens import Lens
from station.tag.plates import BITS, FACET_MODULES, TEXELS, Placement, Plate, place, texture
from station.types import Floats, Pixels

#: Facets seen flatter than this (cosine against the line of sight) are left out.
FLATTEST = 0.28
#: A facet that looks less like its print is left out: covered, or not ours.
LOOK = 0.55
#: Modules are seen by about so many pixels: larger pictures are shrunk first, which loses nothing and saves time.
MODULE_PX = 3.0
ROUNDS, ENOUGH_PX = 8, 0.004
_FINE = 3
_HUBER = 2.0
_LEAST_PIXELS = 60
#: Blur of lens and pixels to begin with [px²], and its sd.
_BLUR_PX2, _BLUR_SD_PX2 = 0.4, 1.0
_BLUR_RANGE_PX2 = (0.08, 12.0)
#: Light that comes back from the print is a power of the grey level.
_GAMMA = 2.2


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """A pose with the covariance (6, 6) of turn (camera axes, rad) and place [m], and how well the plate is seen.

    ``look`` is the correlation of the bits of what was used with their print, ``facets`` the ids that were used,
    ``shape`` and its covariance what this picture and the knowledge before it say together.
    """

    pose: PlatePose
    covariance: Floats
    shape: Floats
    shape_covariance: Floats
    look: float
    facets: tuple[int, ...]
    blur_px2: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Knowledge:
    """What is known of a plate's shape: mean and covariance."""

    shape: Floats
    covariance: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Patch:
    """Pixels of one facet: the drawn print, its changes with the unknowns (n, k), and what the camera saw."""

    drawn: Floats
    slopes: Floats
    seen: Floats
    look: float


def align(
    image: Pixels,
    corner_px: tuple[int, int],
    lens: Lens,
    plate: Plate,
    start: PlatePose,
    known: Knowledge,
    blur_px2: Floats | None = None,
) -> Aligned | None:
    """The plate in ``image`` (grey, a window whose upper left corner is ``corner_px``), near ``start``.

    ``None`` where too little of it is seen or nothing looks like it.
    """
    canvas = _Canvas.around(image, corner_px, lens, plate, start, known.shape)
    if canvas is None:
        return None
    pose, shape = start, known.shape.copy()
    blur = np.array([_BLUR_PX2, _BLUR_PX2, 0.0]) if blur_px2 is None else blur_px2 / canvas.shrink**2
    shape_weight = np.linalg.inv(known.covariance)
    step_count = len(shape) + 9
    for _ in range(ROUNDS):
        patches, ids, looks = canvas.draw(pose, shape, blur)
        if not patches:
            return None
        normal, pull = _normal(patches, step_count)
        prior = np.zeros((step_count, step_count))
        prior[6:-3, 6:-3] = shape_weight
        prior[-3:, -3:] = np.eye(3) / _BLUR_SD_PX2**2
        pull = pull.copy()
        pull[6:-3] += shape_weight @ (known.shape - shape)
        pull[-3:] += (np.array([_BLUR_PX2, _BLUR_PX2, 0.0]) - blur) / _BLUR_SD_PX2**2
        try:
            covariance: Floats = np.linalg.inv(normal + prior).astype(float)
        except np.linalg.LinAlgError:
            return None
        step = covariance @ pull
        if not np.isfinite(step).all() or np.linalg.norm(step[:3]) > 0.6:
            return None
        pose = replace(pose, turn=small_turn(step[:3]) @ pose.turn, at_m=pose.at_m + step[3:6])
        shape = shape + step[6:-3]
        blur = _held(blur + step[-3:])
        if canvas.moved_px(step) < ENOUGH_PX:
            break
    return Aligned(
        pose,
        covariance[:6, :6],
        shape,
        covariance[6:-3, 6:-3],
        float(np.mean(looks)),
        tuple(ids),
        blur * canvas.shrink**2,
    )


def _held(blur_px2: Floats) -> Floats:
    low, high = _BLUR_RANGE_PX2
    xx, yy = np.clip(blur_px2[:2], low, high)
    most = 0.9 * math.sqrt(xx * yy)
    return np.array([xx, yy, float(np.clip(blur_px2[2], -most, most))])


def _normal(patches: Sequence[_Patch], count: int) -> tuple[Floats, Floats]:
    """Normal matrix and pull of the unknowns, brightness and contrast of each facet eliminated, noise divided out."""
    parts = [_explained(patch) for patch in patches]
    normal, pull = np.zeros((count, count)), np.zeros(count)
    total, share = 0.0, 0.0
    for patch, (gain, weight) in zip(patches, parts, strict=True):
        ones = np.ones_like(patch.drawn)
        basis = np.stack([patch.drawn, ones], axis=1)
        root = np.sqrt(weight)
        column, seen = patch.slopes * gain * root[:, None], patch.seen * root
        frame, _ = np.linalg.qr(basis * root[:, None])
        column = column - frame @ (frame.T @ column)
        rest = seen - frame @ (frame.T @ seen)
        normal += column.T @ column
        pull += column.T @ rest
        total += float(rest @ rest)
        share += float(weight.sum()) - 2
    variance = max(total / max(share, 1.0), 1e-8)
    return normal / variance, pull / variance


def _explained(patch: _Patch) -> tuple[float, Floats]:
    """The contrast of a facet, and the weight of every pixel: what the print does not explain counts less."""
    weight = np.ones_like(patch.drawn)
    for _ in range(3):
        total = float(weight.sum())
        drawn = patch.drawn - float(weight @ patch.drawn) / total
        seen = patch.seen - float(weight @ patch.seen) / total
        weighed = weight * drawn
        gain = max(float(weighed @ seen) / max(float(weighed @ drawn), 1e-9), 1e-3)
        miss = seen - gain * drawn
        noise = 1.4826 * float(np.median(np.abs(miss))) + 1e-4
        weight = np.minimum(1.0, _HUBER * noise / np.maximum(np.abs(miss), 1e-9))
    return gain, weight


class _Canvas:
    """A window of the picture, shrunk to what the print needs, and the drawing of a plate in it."""

    def __init__(
        self, seen: NDArray[np.float32], corner_px: tuple[float, float], shrink: int, lens: Lens, plate: Plate
    ) -> None:
        self.seen, self.shrink, self.lens, self.plate = seen, shrink, lens, plate
        self._corner = np.array(corner_px)
        self._reach_px = 0.0
        self._depth_m = 1.0

    @classmethod
    def around(
        cls,
        image: Pixels,
        corner_px: tuple[int, int],
        lens: Lens,
        plate: Plate,
        pose: PlatePose,
        shape: Floats,
    ) -> _Canvas | None:
        """The part of ``image`` where the plate is, linear light."""
        corners = lens.project(_facet_corners(plate, place(plate, shape)) @ pose.turn.T + pose.at_m).reshape(-1, 2)
        module_px = lens.focal_px * plate.module_m / -float(pose.at_m[2])
        if not np.isfinite(corners).all() or not 1.0 < module_px < 80.0:
            return None
        shrink = max(1, round(module_px / MODULE_PX))
        margin = 3 * shrink
        rows, columns = image.shape
        left = max(0, int(corners[:, 0].min()) - corner_px[0] - margin)
        top = max(0, int(corners[:, 1].min()) - corner_px[1] - margin)
        right = min(columns, int(corners[:, 0].max()) - corner_px[0] + margin)
        bottom = min(rows, int(corners[:, 1].max()) - corner_px[1] + margin)
        width, height = (right - left) // shrink * shrink, (bottom - top) // shrink * shrink
        if width < 8 * shrink or height < 8 * shrink:
            return None
        light = _LIGHT[image[top : top + height, left : left + width]]
        if shrink > 1:
            light = np.asarray(
                cv2.resize(light, (width // shrink, height // shrink), interpolation=cv2.INTER_AREA), np.float32
            )
        canvas = cls(light, (left + corner_px[0], top + corner_px[1]), shrink, lens, plate)
        canvas._depth_m = -float(pose.at_m[2])
        canvas._reach_px = float(np.ptp(corners[:, 0])) / 2 / shrink
        return canvas

    def moved_px(self, step: Floats) -> float:
        """About how far a step of the unknowns moves the farthest point in the picture."""
        shift = float(np.linalg.norm(step[3:5])) * self.lens.focal_px / self._depth_m / self.shrink
        return shift + float(np.linalg.norm(step[:3])) * self._reach_px

    def draw(self, pose: PlatePose, shape: Floats, blur: Floats) -> tuple[list[_Patch], list[int], list[float]]:
        """The facets that can be seen and look like ours."""
        placement = place(self.plate, shape)
        bent = [_changed(self.plate, shape, i) for i in range(len(shape))]
        kernels = _kernels(blur)
        patches, ids, looks = [], [], []
        for k, tag_id in enumerate(self.plate.ids):
            middle = placement.centre_m[k] @ pose.turn.T + pose.at_m
            outward = pose.turn @ placement.outward[k]
            if -float(outward @ middle) < FLATTEST * float(np.linalg.norm(middle)):
                continue
            patch = self._facet(k, tag_id, placement, bent, pose, kernels)
            if patch is None:
                continue
            if patch.look > LOOK:
                patches.append(patch)
                ids.append(tag_id)
                looks.append(patch.look)
        return patches, ids, looks

    def _facet(
        self,
        k: int,
        tag_id: int,
        placement: Placement,
        bent: list[tuple[Floats, Floats]],
        pose: PlatePose,
        kernels: list[NDArray[np.float32]],
    ) -> _Patch | None:
        right, up = pose.turn @ placement.right[k], pose.turn @ placement.up[k]
        middle = pose.turn @ placement.centre_m[k] + pose.at_m
        half = self.plate.side_m / 2
        signs = half * np.array([[-1.0, 1.0], [1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
        corners = (self.lens.project(middle + signs[:, :1] * right + signs[:, 1:] * up) - self._corner) / self.shrink
        rows, columns = self.seen.shape
        low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2, 0, [columns, rows])
        high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2, 0, [columns, rows])
        if (high - low < 6).any():
            return None
        left, top = int(low[0]), int(low[1])
        size = (int(high[0] - left), int(high[1] - top))
        flat, inside = _warped(tag_id, corners - [left, top], size)
        inside_y, inside_x = np.nonzero(cv2.filter2D(inside, -1, kernels[0], borderType=cv2.BORDER_CONSTANT) > 0.97)
        if len(inside_x) < _LEAST_PIXELS:
            return None
        drawn, by_x, by_y, *by_blur = (
            cv2.filter2D(flat, -1, kernel, borderType=cv2.BORDER_REPLICATE)[inside_y, inside_x].astype(float)
            for kernel in kernels
        )
        at_px = np.stack([inside_x + left + 0.5, inside_y + top + 0.5], axis=1) * self.shrink + self._corner
        rays = self.lens.rays(at_px)
        outward = np.cross(right, up)
        points = rays * ((middle @ outward) / (rays @ outward))[:, None]
        moves = pixel_slopes(self.lens, points - pose.at_m, points) / self.shrink
        across = (points - middle) @ right
        for d_centre, d_right in bent:
            change = d_centre[k] + across[:, None] * d_right[k]
            moves = np.concatenate([moves, (moves[:, :, 3:6] @ (change @ pose.turn.T)[:, :, None])], axis=2)
        # moving the plate carries the print along: at a fixed pixel it changes by minus slope times movement
        slopes = -(by_x[:, None] * moves[:, 0] + by_y[:, None] * moves[:, 1])
        slopes = np.concatenate([slopes, np.stack(by_blur, axis=1)], axis=1)
        seen = self.seen[inside_y + top, inside_x + left].astype(float)
        reach = BITS / 2 * self.plate.module_m
        bits = (np.abs(across) < reach) & (np.abs((points - middle) @ up) < reach)
        return _Patch(drawn, slopes, seen, _look(drawn[bits], seen[bits]))


def _look(drawn: Floats, seen: Floats) -> float:
    """Correlation of what was seen with the print, over the bits alone: borders and margins all tags have."""
    if len(drawn) < _LEAST_PIXELS // 2:
        return 0.0
    drawn, seen = drawn - drawn.mean(), seen - seen.mean()
    size = float(np.linalg.norm(drawn) * np.linalg.norm(seen))
    return float(drawn @ seen) / size if size > 1e-9 else 0.0


_LIGHT = ((np.arange(256) / 255.0) ** _GAMMA).astype(np.float32)


def _facet_corners(plate: Plate, placement: Placement) -> Floats:
    half = plate.side_m / 2
    signs = half * np.array([[-1.0, 1.0], [1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    across, high = signs[None, :, :1] * placement.right[:, None], signs[None, :, 1:] * placement.up[:, None]
    return np.asarray(placement.centre_m[:, None] + across + high)


def _changed(plate: Plate, shape: Floats, index: int) -> tuple[Floats, Floats]:
    """Change of the facets' centres and right axes per unit of one number of the shape."""
    step = 1e-3 * np.eye(len(shape))[index]
    after, before = place(plate, shape + step), place(plate, shape - step)
    return (after.centre_m - before.centre_m) / 2e-3, (after.right - before.right) / 2e-3


def _warped(tag_id: int, corners: Floats, size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A facet's print and where it is (0..1), drawn finely and averaged over each pixel."""
    side = FACET_MODULES * TEXELS
    square = np.array([[0, 0], [side, 0], [side, side], [0, side]], dtype=np.float32) - 0.5
    warp = cv2.getPerspectiveTransform(square, (corners * _FINE - 0.5).astype(np.float32))
    fine = (size[0] * _FINE, size[1] * _FINE)
    flat = cv2.warpPerspective(
        texture(tag_id), warp, fine, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=1.0
    )
    inside = cv2.warpPerspective(_ones(side), warp, fine, flags=cv2.INTER_LINEAR)
    return (
        np.asarray(cv2.resize(flat, size, interpolation=cv2.INTER_AREA), np.float32),
        np.asarray(cv2.resize(inside, size, interpolation=cv2.INTER_AREA), np.float32),
    )


@functools.cache
def _ones(side: int) -> NDArray[np.float32]:
    return np.ones((side, side), np.float32)


def _kernels(blur_px2: Floats) -> list[NDArray[np.float32]]:
    """A Gaussian of covariance (xx, yy, xy) [px²]; its slopes along x and y; and its change with xx, yy and xy.

    Averaged over pixels on a finer grid, so that a narrow one keeps its weight. For ``filter2D``, which correlates.
    """
    xx, yy, xy = blur_px2
    reach = int(np.ceil(3.0 * math.sqrt(max(xx, yy)))) + 1
    fine = 5
    at = (np.arange((2 * reach + 1) * fine) + 0.5) / fine - reach - 0.5
    x, y = np.meshgrid(at, at)
    det = xx * yy - xy * xy
    px, py = (yy * x - xy * y) / det, (xx * y - xy * x) / det
    bell = np.exp(-0.5 * (x * px + y * py))
    bell /= bell.sum()
    wanted = (
        bell, bell * px, bell * py,
        0.5 * bell * (px * px - yy / det), 0.5 * bell * (py * py - xx / det), bell * (px * py + xy / det),
    )  # fmt: skip
    count = 2 * reach + 1
    return [part.reshape(count, fine, count, fine).sum(axis=(1, 3)).astype(np.float32) for part in wanted]
