"""``station bench latency``: how long each stage takes on this machine, on real frames."""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path

from station.camera import BUNDLED_CLIP, frames
from station.camera.video import VideoFile
from station.config import Config
from station.engine.observer import Observer, load_pose
from station.engine.pelvis import load_pelvis
from station.engine.version import version
from station.errors import CameraError
from station.health import Timings
from station.session import Session

_WARM_UP = 10


def bench(config: Config, count: int, *, as_json: bool) -> int:
    """Run ``count`` frames one after the other, as fast as they go, and print p50, p95 and p99 of each stage in ms."""
    source = BUNDLED_CLIP if config.camera.source == "auto" else Path(config.camera.source)
    video = VideoFile(source, config.camera.mount)
    pose, pelvis = load_pose(config, lambda line: print(line, file=sys.stderr)), load_pelvis(config, video.view)
    observer = Observer(pose, video.view, pelvis, window=count)
    session = Session(video.view)
    stages = {name: Timings(count) for name in ("decode", "kernel", "whole")}
    done = 0
    began_s = start_s = time.perf_counter()
    for frame in frames(video):
        decoded_s = time.perf_counter()
        observation = observer.observe(frame)
        observed_s = time.perf_counter()
        session.feed(observation)
        end_s = time.perf_counter()
        done += 1
        if done > _WARM_UP:
            stages["decode"].add(decoded_s - start_s)
            stages["kernel"].add(end_s - observed_s)
            stages["whole"].add(end_s - start_s)
        start_s = end_s
        if done >= count + _WARM_UP:
            break
    video.close()
    if done <= _WARM_UP:
        raise CameraError(f"{source}: too short to measure on; give a video of some seconds with camera.source")
    times = {"decode": stages["decode"], "pose": observer.pose_times, "pelvis": observer.pelvis_times}
    times |= {"kernel": stages["kernel"], "whole": stages["whole"]}
    report = {
        "source": video.name,
        "frames": done,
        "frames_per_s": round(done / (time.perf_counter() - began_s), 1),
        "model": config.pose.model,
        "estimator": pelvis.source,
        "threads": config.pose.threads,
        "machine": f"{platform.machine()}, station {version()}",
        "ms": {name: timing.percentiles(50, 95, 99) for name, timing in times.items()},
    }
    print(json.dumps(report, indent=2) if as_json else _table(report))
    return 0


def _table(report: dict[str, object]) -> str:
    head = "{source}\n{frames} frames, {frames_per_s} a second; BlazePose {model}, pelvis {estimator}, "
    head += "{threads} threads; {machine}"
    lines = [head.format(**report), f"{'ms':8}{'p50':>9}{'p95':>9}{'p99':>9}"]
    stages = report["ms"]
    assert isinstance(stages, dict)
    for name, values in stages.items():
        lines.append(f"{name:8}" + "".join(f"{values[rank]:9.2f}" for rank in ("p50", "p95", "p99")))
    return "\n".join(lines)
