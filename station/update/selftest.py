"""``station update self-test``: a release, staged and not yet active, shows that it works on this machine.

The bundled clip is the golden input: its true joints are known exactly, so the models must find them here, with this
processor's kernels, as they did where the release was built. The station's configuration must be one that this
release can read.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from station.camera import BUNDLED_CLIP, frames
from station.camera.video import VideoFile
from station.config import Config
from station.engine.observer import load_pose
from station.engine.version import version
from station.errors import ModelError
from station.models.info import info
from station.wire.track import keypoints_json

_FRAMES = 40
#: Median distance from the truth that is still sound [px of 1280 × 720]: about twice what float and mixed int8 have.
_NEAR_PX = {"shoulder": 20.0, "hip": 15.0, "knee": 25.0, "ankle": 25.0}


def self_test(config: Config, say: Callable[[str], None]) -> None:
    """Raises :class:`ModelError` (or another of :mod:`station.errors`) with what does not work."""
    for entry in info():
        if entry["state"] == "damaged":
            raise ModelError(f"{entry['path']}: is not the model of this release")
    far = golden(config)
    say(f"station {version()}: configuration {config.origin}, models sound, {far} from the truth")


def golden(config: Config, truth_file: Path | None = None) -> str:
    """Run the models on the first frames of the bundled clip; what the medians were, joint by joint.

    Raises :class:`ModelError` naming the joint that is not where it is.
    """
    truth = json.loads((truth_file or BUNDLED_CLIP.with_suffix(".truth.json")).read_text(encoding="utf-8"))
    pose, clip = load_pose(config, lambda _line: None), VideoFile(BUNDLED_CLIP)
    try:
        found = [keypoints_json(pose.estimate(frame)) for frame in itertools.islice(frames(clip), _FRAMES)]
    finally:
        clip.close()
    said = []
    for number, joint in enumerate(truth["joints"]):
        near_px = _NEAR_PX.get(joint.partition("_")[2])
        if near_px is None:
            continue  # heels and toes of a general pose model are no gauge
        points = [(keypoints.get(joint), truth["joints_px"][i][number]) for i, keypoints in enumerate(found)]
        away = [float(np.hypot(p[0] - x, p[1] - y)) for p, (x, y) in points if p is not None]
        median_px = float(np.median(away)) if len(away) > _FRAMES * 0.8 else float("inf")
        if not median_px <= near_px:
            raise ModelError(
                f"golden input: {joint} is {median_px:.0f} px off in {len(away)} of {_FRAMES} frames "
                f"(bound {near_px:g}): these models do not work on this machine"
            )
        said.append(median_px)
    return f"{max(said):.0f} px at most"
