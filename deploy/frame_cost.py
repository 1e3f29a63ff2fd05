"""What the parts of the frame path cost on this machine: ``python deploy/frame_cost.py [FRAMES] [ROUNDS]``.

The whole path runs over the first frames of the bundled clip, round after round, one thread, each part under a clock;
of every frame and part the fastest round counts, so that a busy machine hurts less. Microseconds a frame, in the mean
over all frames; parts hold what they call. The clocks themselves cost some ten microseconds a frame.
"""

from __future__ import annotations

import functools
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from station import optical_rate, wire
from station.bench import stages
from station.camera.video import VideoFile
from station.config import load
from station.engine.observer import Observer
from station.inference import Model
from station.optical_rate import OpticalRate, patch
from station.pelvis.filter import LevelFilter
from station.pelvis.fusion import PelvisFusion
from station.pelvis_net import PelvisNet
from station.pose import PoseEstimator
from station.pose.crop import Cropper
from station.pose.estimator import LandmarkModel
from station.session import Session
from station.tag import TagEstimator

#: Name, where it is defined, and under what name there.
PARTS: tuple[tuple[str, Any, str], ...] = (
    ("observe", Observer, "observe"),
    ("  pose", PoseEstimator, "estimate"),
    ("    crop", LandmarkModel, "crop"),
    ("    LiteRT", LandmarkModel, "infer"),
    ("    points", LandmarkModel, "landmarks"),
    ("  pelvis net", PelvisNet, "read"),
    ("  gyroscope", OpticalRate, "read"),
    ("    Lucas-Kanade", patch, "_follow"),
    ("    texture", patch, "_steepness"),
    ("    consensus", optical_rate, "agree"),
    ("  fusion", PelvisFusion, "feed"),
    ("    filter", LevelFilter, "feed"),
    ("  tag", TagEstimator, "read"),
    ("kernel", Session, "feed"),
    ("live as JSON", wire, "live_json"),
    ("JSON as text", wire, "dumps"),
    ("all crops", Cropper, "crop"),
    ("all of LiteRT", Model, "run"),
)


def main() -> int:
    """See the head of this file."""
    count, rounds = ([int(argument) for argument in sys.argv[1:]] + [300, 10][len(sys.argv) - 1 :])[:2]
    spent_ns: dict[str, int] = defaultdict(int)
    for name, owner, attribute in PARTS:
        setattr(owner, attribute, _timed(getattr(owner, attribute), name, spent_ns))
    config = load(None, ["pose.threads=1"])
    video = VideoFile(stages.source_of(config), config.camera.mount)
    frames = [frame for frame, _ in stages.decoded(video, count + stages.WARM_UP)]
    video.close()
    least: list[dict[str, int]] = [{} for _ in frames]
    for _ in range(rounds):
        path = stages.StationPath(config, video.view, 1)
        for frame, best in zip(frames, least, strict=True):
            spent_ns.clear()
            start_ns = time.perf_counter_ns()
            path.step(frame, count=False)
            spent_ns["whole"] = time.perf_counter_ns() - start_ns
            for name, took in spent_ns.items():
                best[name] = min(took, best.get(name, took))
    counted = least[stages.WARM_UP :]
    for name in (*(name for name, _, _ in PARTS), "whole"):
        print(f"{name:20}{sum(best.get(name, 0) for best in counted) / len(counted) / 1000:9.0f}")
    return 0


def _timed(work: Callable[..., Any], name: str, spent_ns: dict[str, int]) -> Callable[..., Any]:
    @functools.wraps(work)
    def timed(*args: Any, **more: Any) -> Any:
        start_ns = time.perf_counter_ns()
        try:
            return work(*args, **more)
        finally:
            spent_ns[name] += time.perf_counter_ns() - start_ns

    return timed


if __name__ == "__main__":
    sys.exit(main())
