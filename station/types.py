"""The records that flow through the station: frozen, slotted, with units and frames in their names.

Signs and words are those of ``docs/metrics.md``: x right and y down in the picture, obliquity positive = right side
higher, rotation positive = right side forward, tilt positive = anterior. ``t_s`` is sensor time in seconds. A number
that is not known is NaN inside arrays and readings, ``None`` with a :class:`Reason` in what leaves the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Side = Literal["left", "right"]

#: Row order of :attr:`Pose.xy_px`; the names of ``hipline.track/1``.
KEYPOINTS = (
    "left_shoulder", "right_shoulder", "left_hip", "right_hip", "left_knee", "right_knee",
    "left_ankle", "right_ankle", "left_heel", "right_heel", "left_toe", "right_toe",
)  # fmt: skip
KEYPOINT_INDEX: Mapping[str, int] = {name: row for row, name in enumerate(KEYPOINTS)}


class Reason(StrEnum):
    """Why a value is null or a stride rejected; the text is the wire's."""

    GAP = "gap"
    LOW_CONFIDENCE = "low_confidence"
    OFF_FRAME = "off_frame"
    IMPLAUSIBLE_DURATION = "implausible_duration"
    SWAPPED_SIDES = "swapped_sides"
    WALKING = "walking"
    WARMING_UP = "warming_up"
    WAIST_HIDDEN = "waist_hidden"
    FEET_NOT_SEEN = "feet not seen"
    KNEES_NOT_SEEN = "knees not seen"
    SHOULDERS_NOT_SEEN = "shoulders not seen"
    HIPS_NOT_SEEN = "hips not seen"
    NOT_CALIBRATED = "camera not calibrated"
    NOT_REAR_VIEW = "not a rear view"
    NOT_ESTIMATED = "not seen by this estimator"
    TOO_FEW_STRIDES = "too few strides"
    NOT_IN_THIS_VERSION = "not in this version"


# --- what the camera side hands to the kernel -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mount:
    """What is known of the camera's place and lens; ``None`` = unknown (keys of the track header's ``camera``)."""

    height_m: float | None = None
    distance_m: float | None = None
    focal_px: float | None = None
    center_px: tuple[float, float] | None = None
    distortion: tuple[float, ...] | None = None
    roll_deg: float | None = None
    pitch_deg: float | None = None


@dataclass(frozen=True, slots=True)
class View:
    """Size of the picture, nominal frame rate and mount: the header of a pose track."""

    width_px: int
    height_px: int
    fps: float
    mount: Mount = Mount()


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture.

    ``image`` is (height, width, 3) for ``rgb``/``bgr`` and (height·3/2, width) for ``yuv420`` (I420);
    whoever holds a frame may read it but must not write to it. ``index`` counts frames of the source from 0. ``small``
    is the same picture once more, reduced by the camera, in the same layout; not every camera makes one.
    """

    t_s: float
    index: int
    image: Pixels
    layout: Literal["rgb", "bgr", "yuv420"]
    small: Pixels | None = None

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the picture."""
        rows, columns = self.image.shape[:2]
        return columns, rows * 2 // 3 if self.layout == "yuv420" else rows


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """Keypoints of the runner in raw pixels: ``xy_px`` (12, 2) and ``score`` (12,) in the order of :data:`KEYPOINTS`.

    A keypoint that was not found is NaN with score 0. A pose without any keypoint means: nobody in the picture.
    """

    xy_px: Floats
    score: Floats

    @classmethod
    def nobody(cls) -> Pose:
        """The pose of an empty belt."""
        return cls(np.full((len(KEYPOINTS), 2), np.nan), np.zeros(len(KEYPOINTS)))

    @property
    def someone(self) -> bool:
        """Whether any keypoint was found."""
        return any(math.isfinite(x) and math.isfinite(y) for x, y in self.xy_px.tolist())


@dataclass(frozen=True, slots=True)
class PelvisLevel:
    """The inclinometer: pelvis angles from one picture, degrees, each with its sd; NaN = it cannot tell.

    They are in the frame of the *line of sight*: the camera turned (without rolling) until it looks straight at the
    middle of the hips. Camera roll, pitch, height and the runner's place in the picture are still in them.
    ``waist`` (0..1): how well the waist is seen. ``left_px``, ``right_px``: hip centres in the picture.
    """

    obliquity_deg: float
    rotation_deg: float
    tilt_deg: float
    sd_obliquity_deg: float
    sd_rotation_deg: float
    sd_tilt_deg: float
    waist: float = float("nan")
    left_px: tuple[float, float] = (float("nan"), float("nan"))
    right_px: tuple[float, float] = (float("nan"), float("nan"))


@dataclass(frozen=True, slots=True)
class PelvisRate:
    """The optical gyroscope: how fast the pelvis patch turns in the picture since the last frame, degrees per second.

    Positive = the right side rises. NaN with an infinite sd = lost (no person, too little texture, no consensus).
    ``points`` agreed on it.
    """

    rate_dps: float
    sd_dps: float
    points: int = 0


@dataclass(frozen=True, slots=True)
class PelvisReading:
    """What an estimator says of the pelvis on one frame: the ``pelvis`` block of the pose track, world frame, degrees.

    NaN = the estimator does not know. ``sd_*`` are standard deviations of the angle beside them. ``level_*`` and
    ``rate_*`` are the two witnesses (inclinometer and gyroscope) behind a fused obliquity; ``waist`` (0..1) is how well
    the waist is seen.
    """

    obliquity_deg: float = float("nan")
    rotation_deg: float = float("nan")
    tilt_deg: float = float("nan")
    sd_obliquity_deg: float = float("nan")
    sd_rotation_deg: float = float("nan")
    sd_tilt_deg: float = float("nan")
    source: str = "fused"
    level_deg: float = float("nan")
    level_sd_deg: float = float("nan")
    rate_dps: float = float("nan")
    rate_sd_dps: float = float("nan")
    waist: float = float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """One frame as the kernel sees it: exactly what a line of a pose track can hold.

    ``pose`` is ``None`` when the pose was not run on this frame. ``pelvis`` is ``None`` when no estimator spoke: then
    the kernel reads obliquity from the hips, flagged; a reading full of NaN means "not known" and is never replaced.
    """

    t_s: float
    pose: Pose | None
    pelvis: PelvisReading | None = None


# --- what the kernel says ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PelvisSample:
    """Pelvis angles of one frame after fusion and mount correction, world frame, with their sd."""

    t_s: float
    obliquity_deg: float
    rotation_deg: float
    tilt_deg: float
    sd_obliquity_deg: float
    sd_rotation_deg: float
    sd_tilt_deg: float
    source: str


@dataclass(frozen=True, slots=True)
class GaitEvent:
    """Initial contact or toe-off of one foot; ``sd_s`` is the uncertainty of its time."""

    kind: Literal["contact", "off"]
    side: Side
    t_s: float
    sd_s: float


@dataclass(frozen=True, slots=True)
class Stride:
    """One gait cycle, left contact to next left contact; an event that was not seen is ``None``."""

    seq: int
    start_s: float
    end_s: float
    left_contact_s: float | None
    left_off_s: float | None
    right_contact_s: float | None
    right_off_s: float | None


@dataclass(frozen=True, slots=True)
class Metric:
    """One entry of a stride's ``metrics``: pooled ``value`` ± ``ci95`` and this ``stride`` alone; or a ``reason``."""

    value: float | None = None
    ci95: float | None = None
    stride: float | None = None
    reason: str | None = None
    source: str | None = None
    parts: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class StrideMetrics:
    """A stride with every metric of ``docs/metrics.md``; ``reasons`` say why a rejected stride was rejected.

    ``pooled``: strides behind ``value``; it starts over at a change of speed, a leap of contact, after a long gap and
    where another estimator of the pelvis takes over.
    """

    stride: Stride
    status: Literal["ok", "rejected"]
    reasons: tuple[str, ...]
    metrics: Mapping[str, Metric]
    zones: Mapping[str, Literal["green", "amber", "red"]] = field(default_factory=dict)
    pooled: int = 0


@dataclass(frozen=True, slots=True)
class Live:
    """The newest drawing-quality state for the page: never measure from it. ``phase`` runs 0..1 from left contact."""

    t_s: float
    pelvis: PelvisSample | None
    phase: float | None
    side: Side | None
    stability: float | None


StateName = Literal[
    "idle", "baseline", "warming_up", "running", "low_confidence", "summary", "camera_lost"
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class State:
    """The session's state since ``since_s`` (sensor time); ``session`` is its running number, ``None`` when idle."""

    name: StateName
    since_s: float
    session: int | None = None
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Cue:
    """One instruction to the runner: raised, cleared or praised, because of the strides ``because`` (their ``seq``)."""

    t_s: float
    cue: str
    side: Side | None
    action: Literal["raise", "clear", "praise"]
    metric: str
    because: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """A metric over a whole session; ``trend_per_min`` is its drift across the run.

    One that was never measured has ``n`` = 0, a NaN median and iqr, and the ``reason`` that was given most often.
    ``source``: the estimator of the pelvis whose strides these are; those of others are left out.
    """

    median: float
    iqr: float
    ci95: float | None
    n: int
    trend_per_min: float | None
    reason: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Mean and sd of an angle over the gait cycle: 101 points from left contact to left contact."""

    mean: Floats
    sd: Floats


@dataclass(frozen=True, slots=True, eq=False)
class SessionSummary:
    """What is kept of a session when it ends."""

    start_s: float
    duration_s: float
    profile: str | None
    strides: int
    rejected: Mapping[str, int]
    metrics: Mapping[str, MetricSummary]
    zones: Mapping[str, str]
    curves: Mapping[str, Curve]
    cues: tuple[Mapping[str, object], ...]
    advice: tuple[str, ...]
    frames_seen: int


Output = GaitEvent | StrideMetrics | Live | State | Cue | SessionSummary
