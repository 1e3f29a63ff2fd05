"""A stick body: just enough joints and flesh for the run to be planned, without the exported bodies."""

from __future__ import annotations

import numpy as np

from station.lab.bodies import BONE, BONES, Body


def stick_body(stature_m: float = 1.72, hips_m: float = 0.172) -> Body:
    """A standing body of sticks with two box-shaped feet."""
    up = {"pelvis": 0.54, "spine05": 0.58, "spine04": 0.62, "spine03": 0.67, "spine02": 0.72, "spine01": 0.77,
          "neck": 0.85, "head": 0.90}  # fmt: skip
    joints = np.zeros((len(BONES), 3))
    for bone, share in up.items():
        joints[BONE[bone], 1] = share * stature_m
    for side, sign in (("L", -1.0), ("R", 1.0)):
        places = {
            "thigh": (hips_m / 2, 0.515, 0.0), "shank": (0.10, 0.275, -0.01), "foot": (0.11, 0.045, 0.03),
            "toes": (0.13, 0.012, -0.10), "upperarm": (0.17, 0.80, 0.0), "lowerarm": (0.33, 0.66, 0.02),
            "hand": (0.46, 0.53, -0.02),
        }  # fmt: skip
        for bone, (x, share, z) in places.items():
            joints[BONE[f"{bone}.{side}"]] = (sign * x, share * stature_m, z)
    vertices, rows = [], []
    for side in "LR":
        ankle = joints[BONE[f"foot.{side}"]]
        for x in (-0.045, 0.045):
            for y in (0.0, 0.05):
                for z in (-0.19, 0.05):
                    vertices.append([ankle[0] + x, y, ankle[2] + z])
                    rows.append(BONE[f"foot.{side}"])
    weights = np.zeros((len(rows), len(BONES)))
    weights[np.arange(len(rows)), rows] = 1.0
    return Body(np.array(vertices), joints, np.array([[0, 1, 2]], dtype=np.int32), weights, female=True)
