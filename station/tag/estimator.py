"""The pelvis from a printed tag at the waistband: one reading a frame, or none where no tag of ours is seen.

The angles are those of the worn plate in the world frame. How it hangs on the pelvis is a constant offset: the standing
level takes it out of obliquity and tilt, ranges do not know it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from station.tag.align import Aligned, Knowledge, align
from station.tag.attitude import PlatePose, first_pose, projected_deg, projected_slopes, small_turn
from station.tag.lens import Lens
from station.tag.plates import PLATES, Plate, place
from station.tag.search import Found, search
from station.types import KEYPOINT_INDEX, Floats, Frame, PelvisReading, Pixels, Pose, View

#: Until a tag was seen one is looked for this often, and again after none was seen for so long [s].
LOOK_EVERY_S, GIVE_UP_S = 0.4, 2.0
#: A plate that looks less like its print is none of ours, or too covered [correlation].
LOOK = 0.70
#: The runner's window: this far to each side of mid-hip, above and below it [m].
BESIDE_M, ABOVE_M, BELOW_M = 0.34, 0.42, 0.16
#: A plate sits about so high above mid-hip [m]: of two with the same tags the nearer one is meant.
WAIST_M = 0.10
#: The middle of a plate is within so much of mid-hip sideways [m], its distance within these shares of the runner's.
ASIDE_M, NEARER, FARTHER = 0.22, 0.62, 1.55
#: From one frame to the next a plate is looked for this far about [m]; less alike than this it is searched anew.
REACH_M, ALIKE = 0.10, 0.5
#: Shoulders to hips, and hip to hip, of the pose model on a usual adult [m].
TORSO_M, HIPS_M = 0.50, 0.18
#: A pelvis turns no faster than this [deg/s], with so much slack [deg]; so many frames in a row against it win.
FASTEST_DPS, SLACK_DEG, OVERRULED = 400.0, 6.0, 3
#: What the plates are when they are worn [deg]: further out it is not a pelvis (obliquity, rotation, tilt).
WIDEST_DEG = (30.0, 45.0, 55.0)
#: What hand-made plates, lens and light add to the sd that the pixels' noise alone leaves [deg]: obliquity, rotation,
#: tilt. Set on four rendered runners, checked on two others: ``docs/tag.md``.
SD_FLOOR_DEG = (0.055, 0.12, 0.18)
#: A plate in plain view looks so much like its print; what is added below that [deg per lost correlation].
PLAIN_LOOK, SD_LOOK_DEG = 0.96, (4.0, 8.0, 8.0)
#: How the plate hangs is learnt over so long [s].
HANG_S = 15.0
#: The shape is never known better than this share of what was known of it before the first picture.
SHAPE_FLOOR = 0.04
_SHOULDERS = [KEYPOINT_INDEX["left_shoulder"], KEYPOINT_INDEX["right_shoulder"]]
_HIPS = [KEYPOINT_INDEX["left_hip"], KEYPOINT_INDEX["right_hip"]]


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What was seen of a plate on one frame, for those who want more than angles."""

    t_s: float
    plate: Plate
    aligned: Aligned
    angles_deg: Floats
    sd_deg: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Runner:
    """Where to look: mid-hip, pixels per metre at the runner, and the window (left, top, width, height)."""

    hips_px: Floats
    px_per_m: float
    box_px: tuple[int, int, int, int]


class TagEstimator:
    """Feed it every frame with its pose, in time order. ``plates``: the ones to look for."""

    def __init__(self, view: View, plates: Sequence[Plate] = tuple(PLATES.values())) -> None:
        self._view, self._lens = view, Lens(view)
        self._plates = tuple(plates)
        self._ids = tuple(tag_id for plate in self._plates for tag_id in plate.ids)
        self._known = {plate.name: _beforehand(plate) for plate in self._plates}
        self._last: Sight | None = None
        self._template: tuple[Pixels, Floats] | None = None
        self._hang = _Hang()
        self._looked_s = -math.inf
        self._against = 0
        self.foreign: set[int] = set()

    @property
    def seen_s(self) -> float:
        """When a tag was last seen; -inf: never."""
        return -math.inf if self._last is None else self._last.t_s

    @property
    def plate(self) -> str | None:
        """Name of the plate that was seen last."""
        return None if self._last is None else self._last.plate.name

    def read(self, frame: Frame, pose: Pose) -> PelvisReading | None:
        """The pelvis in the world frame, source "tag"; ``None`` when no tag of ours is seen."""
        sight = self.look(frame, pose)
        if sight is None:
            return None
        obliquity, rotation, tilt = sight.angles_deg.tolist()
        sd_obliquity, sd_rotation, sd_tilt = sight.sd_deg.tolist()
        return PelvisReading(obliquity, rotation, tilt, sd_obliquity, sd_rotation, sd_tilt, source="tag")

    def look(self, frame: Frame, pose: Pose) -> Sight | None:
        """:meth:`read` with all that is behind it."""
        runner = self._runner(pose)
        if runner is None:
            return None
        recent = frame.t_s - self.seen_s < GIVE_UP_S
        if not recent and frame.t_s - self._looked_s < LOOK_EVERY_S:
            return None
        self._looked_s = frame.t_s
        image = np.ascontiguousarray(self._lens.window(_grey(frame), runner.box_px))
        for plate, start in self._starts(image, runner, recent):
            aligned = self._align(image, runner, plate, start)
            sight = None if aligned is None else self._judged(frame.t_s, plate, aligned)
            if sight is not None and self._plausible(sight, runner):
                self._keep(sight, image, runner)
                return sight
        return None

    # -- where to look ---------------------------------------------------------------------------------------------

    def _runner(self, pose: Pose) -> _Runner | None:
        hips, shoulders = pose.xy_px[_HIPS], pose.xy_px[_SHOULDERS]
        if not np.isfinite(hips).all():
            return None
        middle = hips.mean(axis=0)
        sizes = [float(np.linalg.norm(hips[1] - hips[0])) / HIPS_M]
        if np.isfinite(shoulders).all():
            sizes.append(float(np.linalg.norm(shoulders.mean(axis=0) - middle)) / TORSO_M)
        scale = max(sizes)
        low = np.floor(middle - scale * np.array([BESIDE_M, ABOVE_M])).astype(int)
        high = np.ceil(middle + scale * np.array([BESIDE_M, BELOW_M])).astype(int)
        low, high = np.maximum(low, 0), np.minimum(high, [self._view.width_px, self._view.height_px])
        if (high - low < 24).any():
            return None
        box = (int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]))
        return _Runner(middle, scale, box)

    def _starts(self, image: Pixels, runner: _Runner, recent: bool) -> Iterator[tuple[Plate, PlatePose]]:
        """Poses to start from: the one before, moved to where it is now; then whatever a search finds."""
        last = self._last
        if recent and last is not None:
            moved = self._followed(image, runner, last)
            if moved is not None:
                yield last.plate, moved
        module_px = runner.px_per_m * min(plate.module_m for plate in self._plates)
        scale = float(min(4, max(1, math.ceil(5.0 / max(module_px, 0.1)))))
        tags, foreign = search(image, self._ids, scale)
        self.foreign.update(foreign)
        corner = np.array(runner.box_px[:2])
        usual = runner.hips_px - corner - [0.0, WAIST_M * runner.px_per_m]
        nearest: dict[int, Found] = {}
        for tag in sorted(tags, key=lambda tag: -float(np.linalg.norm(tag.corners_px.mean(axis=0) - usual))):
            nearest[tag.tag_id] = Found(tag.tag_id, tag.corners_px + corner, tag.look)
        tags = list(nearest.values())
        for plate in sorted(self._plates, key=lambda plate: -sum(tag.tag_id in plate.ids for tag in tags)):
            own = [tag for tag in tags if tag.tag_id in plate.ids]
            near = last.aligned.pose if recent and last is not None and last.plate is plate else None
            shaped = place(plate, self._known[plate.name].shape)
            first = first_pose(self._lens, plate, shaped, own, near) if own else None
            if first is not None:
                yield plate, first[0]

    def _followed(self, image: Pixels, runner: _Runner, last: Sight) -> PlatePose | None:
        """The pose before, shifted to where its patch of the picture is now."""
        if self._template is None:
            return None
        patch, before = self._template
        corner, size = np.array(runner.box_px[:2]), np.array(runner.box_px[2:])
        patch_size = np.array(patch.shape[::-1])
        reach = round(REACH_M * runner.px_per_m)
        low = np.clip(before - corner - reach, 0, size)
        high = np.clip(before - corner + patch_size + reach, 0, size)
        if (high - low < patch_size).any():
            return None
        found = cv2.matchTemplate(image[low[1] : high[1], low[0] : high[0]], patch, cv2.TM_CCOEFF_NORMED)
        _, best, _, where = cv2.minMaxLoc(found)
        if best < ALIKE:
            return None
        shift = np.array(where) + low + corner - before
        at, depth = last.aligned.pose.at_m, -float(last.aligned.pose.at_m[2])
        moved = at + np.array([shift[0], -shift[1], 0.0]) * depth / self._lens.focal_px
        return replace(last.aligned.pose, at_m=moved)

    # -- what is seen ----------------------------------------------------------------------------------------------

    def _align(self, image: Pixels, runner: _Runner, plate: Plate, start: PlatePose) -> Aligned | None:
        left, top, _, _ = runner.box_px
        last = self._last
        blur = last.aligned.blur_px2 if last is not None and last.plate is plate else None
        return align(image, (left, top), self._lens, plate, start, self._known[plate.name], blur)

    def _judged(self, t_s: float, plate: Plate, aligned: Aligned) -> Sight | None:
        if aligned.look < LOOK:
            return None
        world = self._lens.attitude @ aligned.pose.turn
        if (np.abs(projected_deg(world)) > WIDEST_DEG).any():
            return None
        last = self._last
        if last is None or last.plate is not plate or t_s - last.t_s > GIVE_UP_S:
            self._hang = _Hang()  # somebody else, or worn anew
        angles = self._hang.pelvis_deg(t_s, world)
        slopes = projected_slopes(world) @ self._lens.attitude
        variance = np.diag(slopes @ aligned.covariance[:3, :3] @ slopes.T)
        aside = np.degrees(np.arctan(aligned.pose.at_m[:2] / aligned.pose.at_m[2])) * self._lens.focal_sd
        bent = np.array([0.0, aside[0], aside[1]])
        unlike = max(PLAIN_LOOK - aligned.look, 0.0) * np.array(SD_LOOK_DEG)
        return Sight(t_s, plate, aligned, angles, np.sqrt(variance + np.square(SD_FLOOR_DEG) + unlike**2 + bent**2))

    def _plausible(self, sight: Sight, runner: _Runner) -> bool:
        """Whether it is worn by this runner, and moves as a pelvis can."""
        at = sight.aligned.pose.at_m
        runner_m = self._lens.focal_px / runner.px_per_m
        if not NEARER < -float(at[2]) / runner_m < FARTHER:
            return False
        aside_px = abs(float(self._lens.project(at)[0] - runner.hips_px[0]))
        if aside_px > ASIDE_M * runner.px_per_m:
            return False
        last = self._last
        gone_s = math.inf if last is None else sight.t_s - last.t_s
        if last is None or gone_s > GIVE_UP_S or last.plate is not sight.plate:
            return True
        jump = float(np.abs(sight.angles_deg - last.angles_deg).max())
        if jump <= FASTEST_DPS * gone_s + SLACK_DEG:
            self._against = 0
            return True
        self._against += 1
        return self._against >= OVERRULED

    def _keep(self, sight: Sight, image: Pixels, runner: _Runner) -> None:
        self._last, self._against = sight, 0
        beforehand = _beforehand(sight.plate)
        aligned = sight.aligned
        floor = SHAPE_FLOOR**2 * beforehand.covariance
        self._known[sight.plate.name] = Knowledge(aligned.shape, aligned.shape_covariance + floor)
        corner, size = np.array(runner.box_px[:2]), np.array(runner.box_px[2:])
        middle = self._lens.project(aligned.pose.at_m) - corner
        half = 0.5 * sight.plate.side_m * self._lens.focal_px / -float(aligned.pose.at_m[2])
        wide = half * (1.6 if len(sight.plate.ids) == 2 else 3.0)
        reach = np.array([wide, half])
        low, high = np.maximum(middle - reach, 0).astype(int), np.minimum(middle + reach, size).astype(int)
        patch = image[low[1] : high[1], low[0] : high[0]]
        self._template = (patch.copy(), low + corner) if min(patch.shape) > 8 else None


class _Hang:
    """How a plate hangs askew, so that a nod is not read as a turn.

    A plate that hangs turned by some degrees shows a share of every nod as obliquity. Over seconds a runner's pelvis
    points straight ahead and is level within a degree or two, so the mean direction of the plate's right side is how
    askew it hangs. What an angle differs from its mean is read with that taken out; the mean stays what it is.
    """

    def __init__(self) -> None:
        self._mean = np.zeros((3, 3))
        self._weight_s = 0.0
        self._t_s = -math.inf

    def pelvis_deg(self, t_s: float, world: Floats) -> Floats:
        """Obliquity, rotation and tilt [deg] of a plate's attitude in the world."""
        step_s = min(max(t_s - self._t_s, 1e-6), 0.1)
        self._t_s = t_s
        self._weight_s = min(self._weight_s + step_s, HANG_S)
        self._mean += (world - self._mean) * (step_s / self._weight_s)
        left, _, right = np.linalg.svd(self._mean)
        mean = left @ right
        axis = np.cross([1.0, 0.0, 0.0], mean[:, 0])
        sine = float(np.linalg.norm(axis))
        askew = small_turn(axis / sine * math.asin(min(1.0, sine))) if sine > 1e-9 else np.eye(3)
        away = projected_deg(world @ askew.T) - projected_deg(mean @ askew.T)
        return np.asarray(projected_deg(mean) + away)


def _beforehand(plate: Plate) -> Knowledge:
    return Knowledge(np.array(plate.shape), np.diag(np.square(plate.shape_sd)))


def _grey(frame: Frame) -> Pixels:
    if frame.layout == "yuv420":
        return frame.image[: frame.size_px[1]]
    # green is most of luma, and sharp in a raw mosaic; taking it costs no copy of the whole picture
    return frame.image[..., 1]
