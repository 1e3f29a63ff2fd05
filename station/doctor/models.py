"""Whether the pose models are the pinned ones, see, and are fast enough."""

from __future__ import annotations

import time

import numpy as np

from station.camera import BUNDLED_CLIP
from station.camera.video import VideoFile
from station.config import Config
from station.doctor.finding import Finding
from station.engine.observer import PoseSource, load_pose
from station.models.info import info

#: The model is timed over so many runs, or so long [s] where it is slow.
_POSE_RUNS, _POSE_S = 20, 2.0
#: Slower than this [ms] and a stride at 30 pictures a second loses frames.
_SLOW_MS = 33.0


def load(config: Config) -> tuple[Finding | None, PoseSource | None]:
    """The models in use by their hashes: what is wrong with one, or the pose stage made of them."""
    for entry in info():
        if entry["name"] in (config.pose.model, "detector") and entry["state"] != "ok":
            return Finding("model", "fail", f"{entry['path']} is {entry['state']}", "run `station model build`"), None
    return None, load_pose(config, lambda _line: None)


def models(config: Config, pose: PoseSource) -> Finding:
    """A run on a known picture, and how long one takes."""
    clip = VideoFile(BUNDLED_CLIP)
    frame = clip.read()
    clip.close()
    assert frame is not None
    found = pose.estimate(frame)  # the first run also looks for the runner
    start_s, runs = time.perf_counter(), 0
    while runs < _POSE_RUNS and (runs == 0 or time.perf_counter() - start_s < _POSE_S):
        found, runs = pose.estimate(frame), runs + 1
    each_ms = (time.perf_counter() - start_s) / runs * 1000
    if not np.isfinite(found.xy_px).all():
        return Finding("model", "fail", "does not see the runner of the bundled clip", "run `station model build`")
    seen = f"BlazePose {config.pose.model}: hash and self-test sound, {each_ms:.1f} ms a picture"
    if each_ms > _SLOW_MS:
        lighter = "end what else runs here" if config.pose.model == "lite" else 'pose.model = "lite"'
        return Finding("model", "warn", seen, f"too slow for 30 a second: {lighter}, or a faster board")
    return Finding("model", "ok", seen)
