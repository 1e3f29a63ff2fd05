"""From what the pelvis estimator said on a frame to the pelvis sample that the kernel works with."""

from __future__ import annotations

import math

import numpy as np

from station.geometry import RayCaster
from station.types import KEYPOINT_INDEX, PelvisReading, PelvisSample, Pose

LEFT_HIP, RIGHT_HIP = KEYPOINT_INDEX["left_hip"], KEYPOINT_INDEX["right_hip"]
#: Hips that a general pose model drew follow the thighs: what they say of the pelvis is off by about this much [deg],
#: and pooling does not mend it.
POSE_MODEL_HIPS_SD_DEG = 4.0


def hips_reading(pose: Pose, caster: RayCaster) -> PelvisReading:
    """Obliquity of the hip line of a *pose model*: free of camera roll and pitch, of low trust, rotation and tilt unknown."""
    obliquity = hip_line_deg(pose, caster)
    return PelvisReading(
        obliquity_deg=obliquity,
        sd_obliquity_deg=POSE_MODEL_HIPS_SD_DEG if math.isfinite(obliquity) else math.nan,
        source="hips",
    )


def hip_line_deg(pose: Pose, caster: RayCaster) -> float:
    """Angle of the line between the hip keypoints [deg], + = right side higher; NaN where a hip is missing."""
    left, right = caster.rays(pose.xy_px[[LEFT_HIP, RIGHT_HIP]])
    slope = right - left
    if not np.isfinite(slope).all():
        return math.nan
    # Sides that are swapped give a line that runs backwards; its slope is still that of the line.
    return math.degrees(math.atan2(slope[1] * math.copysign(1.0, slope[0]), abs(slope[0])))


def sample(t_s: float, pose: Pose, reading: PelvisReading | None, caster: RayCaster) -> PelvisSample:
    """The pelvis of one frame. Without a reading the hip keypoints are taken as they are, ``source`` "hips"."""
    if reading is None:
        return PelvisSample(t_s, hip_line_deg(pose, caster), math.nan, math.nan, math.nan, math.nan, math.nan, "hips")
    return PelvisSample(
        t_s,
        reading.obliquity_deg,
        reading.rotation_deg,
        reading.tilt_deg,
        reading.sd_obliquity_deg,
        reading.sd_rotation_deg,
        reading.sd_tilt_deg,
        reading.source,
    )
