"""Runs on either machine: every model on the same crops; see ``accuracy.py``.

``look.py CROPS.npz OUT.npz MODELS [PELVIS_FLOAT.tflite]``. CROPS has ``pose`` (n, 256, 256, 3) with their ``regions``
(n, 4: centre, side, lean) and ``pelvis`` (n, 112, 112, 3). OUT gets the keypoints of each pose model in pixels of the
picture, and what each pelvis model answers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from station.inference import Model
from station.models import built_model
from station.pelvis_net import OUTPUTS, model_path
from station.pose.estimator import BLAZEPOSE, SIZE_PX, LandmarkModel
from station.pose.region import Region
from station.types import KEYPOINTS, Floats, Pixels

POSE_MODELS = ("lite-float", "lite", "full-float", "full")
_ROWS = [BLAZEPOSE[name] for name in KEYPOINTS]


def keypoints(model: Model, crops: Pixels, regions: Floats) -> Floats:
    """Where the model sees the station's keypoints, (n, 12, 2) in pixels of the pictures that the crops are of."""
    landmarks, width = LandmarkModel(model), model.inputs[0].shape[2]
    aside, found = (SIZE_PX - width) // 2, []
    for crop, region in zip(crops, regions.tolist(), strict=True):
        landmarks.infer(np.ascontiguousarray(crop[:, aside : aside + width]))
        found.append(landmarks.landmarks(Region(*region)).xy_px[_ROWS])
    return np.stack(found)


def answers(model: Model, crops: Pixels) -> Floats:
    """The columns of :data:`station.pelvis_net.OUTPUTS` for each crop."""
    found = []
    for crop in crops:
        model.run(crop[np.newaxis], 1 / 127.5, -1.0)
        found.append(model.output(len(OUTPUTS)).ravel().astype(float))
    return np.stack(found)


def main() -> None:
    """See the head of this file."""
    crops, (out, folder, *more) = np.load(sys.argv[1]), (Path(argument) for argument in sys.argv[2:])
    said = {name: keypoints(Model(*built_model(name, folder)), crops["pose"], crops["regions"]) for name in POSE_MODELS}
    said["pelvis"] = answers(Model(model_path()), crops["pelvis"])
    if more:
        said["pelvis-float"] = answers(Model(more[0]), crops["pelvis"])
    np.savez(out, **said)  # type: ignore[arg-type]  # NumPy's stub takes the names for its own switch


if __name__ == "__main__":
    main()
