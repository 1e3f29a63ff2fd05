"""The inclinometer: our own quantized model looks at a native-resolution crop of the pelvis and says how it stands."""

from __future__ import annotations

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
