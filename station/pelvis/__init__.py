"""The pelvis of one frame: its witnesses fused, in the frame of the world, with an honest sd; or the hips' line."""

from station.pelvis.frames import Sightline
from station.pelvis.fusion import PelvisFusion, level_reading
from station.pelvis.hips import POSE_MODEL_HIPS_SD_DEG, hip_line_deg, hips_reading, sample

__all__ = [
    "POSE_MODEL_HIPS_SD_DEG",
    "PelvisFusion",
    "Sightline",
    "hip_line_deg",
    "hips_reading",
    "level_reading",
    "sample",
]
