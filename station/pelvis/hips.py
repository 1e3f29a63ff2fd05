"""From what the pelvis estimator said on a frame to the pelvis sample that the kernel works with."""

from __future__ import annotations

import math

from station.geometry import RayCaster
from station.types import KEYPOINT_INDEX, Floats, PelvisReading, PelvisSample, Pose

LEFT_HIP, RIGHT_HIP = KEYPOINT_INDEX["left_hip"], KEYPOINT_INDEX["right_hip"]
#: Hips that a general pose model drew follow the thighs: what they say of the pelvis is off by about this much [deg],
#: and pooling does not mend it.
POSE_MODEL_HIPS_SD_DEG = 4.0


def hips_reading(pose: Pose, caster: RayCaster) -> PelvisReading:
    """Obliquity of a *pose model's* hip line, free of camera roll and pitch; rotation and tilt unknown."""
    obliquity = hip_line_deg(caster.rays(pose.xy_px))
    return PelvisReading(
        obliquity_deg=obliquity,
        sd_obliquity_deg=POSE_MODEL_HIPS_SD_DEG if math.isfinite(obliquity) else math.nan,
        source="hips",
    )


def hip_line_deg(rays: Floats) -> float:
    """Angle of the hip line [deg] from the rays (12, 2) of a pose, + = right side higher; NaN = not seen."""
    (left_x, left_y), (right_x, right_y) = rays[LEFT_HIP].tolist(), rays[RIGHT_HIP].tolist()
    across = right_x - left_x
    # Sides that are swapped give a line that runs backwards; its slope is still that of the line.
    return math.degrees(math.atan2(math.copysign(right_y - left_y, (right_y - left_y) * across), abs(across)))


def sample(t_s: float, rays: Floats, reading: PelvisReading | None) -> PelvisSample:
    """The pelvis of one frame; without a reading the hips of the pose are taken as they are, source "hips"."""
    if reading is None:
        return PelvisSample(t_s, hip_line_deg(rays), math.nan, math.nan, math.nan, math.nan, math.nan, "hips")
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
