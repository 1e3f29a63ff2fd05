"""The inclinometer: our own quantized model looks at a native-resolution crop of the pelvis and says how it stands."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from station.inference import Model
from station.pose.crop import Cropper
from station.pose.region import Region
from station.types import KEYPOINT_INDEX, Floats, Frame, PelvisLevel, Pose

#: Pixels across the picture that the model takes.
INPUT_PX = 112
#: Columns of the model's answer; angles in units of :data:`SCALE_DEG`, hips in half crops from the crop's middle.
OUTPUTS = (
    "obliquity", "rotation", "tilt", "log_variance_obliquity", "log_variance_rotation", "log_variance_tilt",
    "left_x", "left_y", "right_x", "right_y", "waist",
)  # fmt: skip
SCALE_DEG = (5.0, 8.0, 8.0)
#: Log variances (of scaled angles) are kept in this range.
LOG_VARIANCE = (-6.0, 4.0)
#: What the net believes before it looks: mean and sd [deg] of the angles it was trained on, pelvis-only turns included
#: (printed by ``python -m station.lab.export``).
PRIOR_DEG = ((0.0, 7.0), (0.0, 11.2), (4.6, 9.5))
#: A picture that leaves more of the prior's variance than this has told nothing of the angle.
_MOST_LEFT = 0.75

#: Pictures over which the net's sense of left and right is averaged, and how many it takes to believe half of it.
_MIRROR_PAIRS, _MIRROR_DOUBT = 30, 4

#: The crop is as wide as 0.62 m of the runner, which is this many times her trunk (mid-hips to mid-shoulders) as the
#: pose model sees it, and its middle is a little above the hips. Trunk ratio on 25 rendered runners: 1.23, sd 5.6 %.
_SIDE_IN_TRUNKS, _ABOVE_HIPS = 1.23 * INPUT_PX / 128, 0.05 * 128 / INPUT_PX
#: The size follows slowly, it does not change within a run; 20 frames.
_SIZE_MEMORY = 0.95
_HIPS_AND_SHOULDERS = [KEYPOINT_INDEX[name] for name in ("left_hip", "right_hip", "left_shoulder", "right_shoulder")]


class PelvisNet:
    """Reads the pelvis on frames of one runner, one after the other.

    ``model`` takes (1, 112, 112, 3) in -1..1 and gives :data:`OUTPUTS`. A new runner has a new size: after a frame
    with nobody it is measured afresh.
    """

    def __init__(self, model: Model) -> None:
        self._model, self._cropper = model, Cropper(INPUT_PX, replicate=True)
        self._side_px = math.nan
        self._mirror = Mirror()
        self.sha256 = model.sha256

    @classmethod
    def load(cls, threads: int = 1, path: Path | None = None) -> PelvisNet:
        """The net with the model of the package, or with another one. Raises :class:`ModelError`."""
        return cls(Model(path or model_path(), threads=threads))

    def read(self, frame: Frame, pose: Pose) -> PelvisLevel | None:
        """The pelvis on this frame; ``None`` where the pose shows no hips to look at."""
        region = self.region(pose)
        if region is None:
            return None
        crop = self._cropper.crop(frame, region)
        mirrored = self._mirror.turn()
        self._model.run((crop[:, ::-1] if mirrored else crop)[np.newaxis], 1 / 127.5, -1.0)
        angles, sd, hips, waist = decode(self._model.output(len(OUTPUTS)).ravel())
        if mirrored:
            angles, hips = [-angles[0], -angles[1], angles[2]], hips[::-1] * (-1.0, 1.0)
        angles, sd = without_prior(self._mirror.centred(angles), sd)
        left, right = region.to_picture((hips + 1) * (INPUT_PX / 2) - 0.5, INPUT_PX).tolist()
        return PelvisLevel(
            *(angles[0], angles[1], angles[2], sd[0], sd[1], sd[2]),
            waist=waist,
            left_px=(left[0], left[1]),
            right_px=(right[0], right[1]),
        )

    def region(self, pose: Pose) -> Region | None:
        """Where this runner's pelvis is looked at; call it on every frame in turn. ``None``: no hips to look at."""
        (a_x, a_y), (b_x, b_y), (c_x, c_y), (d_x, d_y) = pose.xy_px[_HIPS_AND_SHOULDERS].tolist()
        x, y = (a_x + b_x) / 2, (a_y + b_y) / 2
        side_px = _SIDE_IN_TRUNKS * math.hypot(x - (c_x + d_x) / 2, y - (c_y + d_y) / 2)
        if not pose.someone:
            self._side_px = math.nan
            self._mirror = Mirror()
        if math.isfinite(side_px):
            known = math.isfinite(self._side_px)
            self._side_px = _SIZE_MEMORY * self._side_px + (1 - _SIZE_MEMORY) * side_px if known else side_px
        if not (math.isfinite(x + y) and self._side_px >= 1):
            return None
        return Region(x, y - _ABOVE_HIPS * self._side_px, self._side_px)


class Mirror:
    """Shows the net every second picture in a mirror, and takes out what it sees differently there.

    The pelvis does not know which way the picture was turned; the net half does: light from one side, a pattern, what
    it happened to learn. That part changes its sign from picture to picture, so it stands out from every motion, and a
    second of them tells it at no cost. It is taken out of both.
    """

    def __init__(self) -> None:
        self._mirrored = False
        self._before: list[float] | None = None
        self._half = [0.0, 0.0, 0.0]
        self._pairs = 0

    def turn(self) -> bool:
        """Whether the next picture is to be shown mirrored."""
        self._mirrored = not self._mirrored
        return self._mirrored

    def centred(self, angles_deg: list[float]) -> list[float]:
        """The angles of the picture shown last, in its own sense, without what the mirror changes."""
        sign = 0.5 if self._mirrored else -0.5
        if self._before is not None:
            self._pairs = min(self._pairs + 1, _MIRROR_PAIRS)
            steps = [sign * (now - before) for now, before in zip(angles_deg, self._before, strict=True)]
            self._half = [h + (step - h) / self._pairs for h, step in zip(self._half, steps, strict=True)]
        self._before = angles_deg
        believed = 2 * sign * self._pairs / (self._pairs + _MIRROR_DOUBT)
        return [angle - believed * half for angle, half in zip(angles_deg, self._half, strict=True)]


def model_path() -> Path:
    """Where the package keeps the shipped model."""
    return Path(__file__).parent / "models" / "pelvis.tflite"


def decode(values: NDArray[np.float32]) -> tuple[list[float], list[float], Floats, float]:
    """Angles and their sd in degrees, hip centres (2, 2) in half crops from its middle, waist 0..1."""
    scale = np.array(SCALE_DEG)
    raw = np.asarray(values, dtype=np.float64)
    sd = np.exp(0.5 * raw[3:6].clip(*LOG_VARIANCE)) * scale
    waist = 1 / (1 + math.exp(-float(np.clip(raw[10], -30, 30))))
    return (raw[:3] * scale).tolist(), sd.tolist(), raw[6:10].reshape(2, 2), waist


def without_prior(angles_deg: list[float], sd_deg: list[float]) -> tuple[list[float], list[float]]:
    """What the picture alone says, the belief of before divided out; NaN where it says next to nothing.

    A net that learned to be least wrong leans toward the mean of what it was trained on, the more the less it sees: its
    answer is a posterior, of gain below one. Whoever pools answers would count that belief once for every frame. From
    mean μ, sd σ and prior m, τ the likelihood is (μ - m) / (1 - σ²/τ²) + m with sd σ / sqrt(1 - σ²/τ²).
    """
    pairs = [_likelihood(angle, sd, *prior) for angle, sd, prior in zip(angles_deg, sd_deg, PRIOR_DEG, strict=True)]
    return [angle for angle, _ in pairs], [sd for _, sd in pairs]


def _likelihood(angle_deg: float, sd_deg: float, mean_deg: float, prior_sd_deg: float) -> tuple[float, float]:
    left = (sd_deg / prior_sd_deg) ** 2
    if not left < _MOST_LEFT:
        return math.nan, math.inf
    return mean_deg + (angle_deg - mean_deg) / (1 - left), sd_deg / math.sqrt(1 - left)
