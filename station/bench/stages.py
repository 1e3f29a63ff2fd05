"""How long each stage of the path takes on this machine."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from station import wire
from station.camera import BUNDLED_CLIP, frames
from station.camera.video import VideoFile
from station.config import Config
from station.engine.observer import Observer
from station.engine.pelvis import load_pelvis
from station.engine.version import version
from station.errors import CameraError
from station.health import Timings, rss_mb
from station.inference import Model
from station.models import built_model
from station.models.build import build
from station.pose import PoseEstimator
from station.session import Session
from station.types import Frame, Live, StrideMetrics, View

WARM_UP = 10
#: In the order of the path; ``pose`` is ``crop`` and ``infer`` together, ``whole`` all of them.
STAGES = ("decode", "crop", "infer", "pose", "pelvis", "kernel", "wire", "whole")


class TimedModel(Model):
    """A model that adds up how long its runs took: what is left of the pose stage is cropping and reading."""

    spent_s = 0.0

    def run(self, values: NDArray[Any], scale: float = 1.0, offset: float = 0.0) -> None:
        """As :meth:`Model.run`."""
        start_s = time.perf_counter()
        super().run(values, scale, offset)
        self.spent_s += time.perf_counter() - start_s


class StationPath:
    """The station's path from a frame to what is published of it, without camera and broker."""

    def __init__(self, config: Config, view: View, window: int) -> None:
        build((config.pose.model, "detector"), say=lambda line: print(line, file=sys.stderr))
        names, threads = (config.pose.model, "detector"), config.pose.threads
        models = [TimedModel(*built_model(name), threads=threads) for name in names]
        self._models = models
        self.pelvis = load_pelvis(config, view)
        self.observer = Observer(PoseEstimator(*models), view, self.pelvis, window=window)
        self._session = Session(view)
        self._view = view
        self.times = {name: Timings(window) for name in STAGES}

    def step(self, frame: Frame, decode_s: float = 0.0, *, count: bool = True) -> float:
        """One frame; returns how long it took without decoding [s]."""
        before_s = sum(model.spent_s for model in self._models)
        start_s = time.perf_counter()
        observation = self.observer.observe(frame)
        observed_s = time.perf_counter()
        outputs = self._session.feed(observation)
        fed_s = time.perf_counter()
        for output in outputs:
            if isinstance(output, Live) and observation.pose is not None:
                wire.dumps(wire.live_json(output, observation.pose, self._view))
            elif isinstance(output, StrideMetrics):
                wire.dumps(wire.stride_json(output, "bench", "0" * 8, None))
        end_s = time.perf_counter()
        if count:
            infer_s = sum(model.spent_s for model in self._models) - before_s
            pose_s, pelvis_s = self.observer.pose_times.newest_s, self.observer.pelvis_times.newest_s
            spent = (decode_s, pose_s - infer_s, infer_s, pose_s, pelvis_s, fed_s - observed_s, end_s - fed_s)
            for name, seconds in zip(STAGES, (*spent, end_s - start_s + decode_s), strict=True):
                self.times[name].add(seconds)
        return end_s - start_s


def source_of(config: Config) -> Path:
    """The clip to measure on."""
    return BUNDLED_CLIP if config.camera.source == "auto" else Path(config.camera.source)


def decoded(video: VideoFile, count: int) -> Iterator[tuple[Frame, float]]:
    """At most ``count`` frames, each with the time its decoding took [s]."""
    start_s = time.perf_counter()
    for number, frame in enumerate(frames(video)):
        if number >= count:
            return
        yield frame, time.perf_counter() - start_s
        start_s = time.perf_counter()


def measure(config: Config, count: int) -> dict[str, Any]:
    """The report: percentiles of every stage in milliseconds, rate, memory."""
    video = VideoFile(source_of(config), config.camera.mount)
    path = StationPath(config, video.view, count)
    done, cpu_s, began_s = 0, time.process_time(), time.perf_counter()
    for frame, decode_s in decoded(video, count + WARM_UP):
        path.step(frame, decode_s, count=done >= WARM_UP)
        done += 1
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    video.close()
    if done <= WARM_UP:
        raise CameraError(f"{video.name}: too short to measure on; give a video of some seconds with camera.source")
    return {
        "source": video.name,
        "frames": done,
        "frames_per_s": round(done / took_s, 1),
        "cpu_ms_per_frame": round(1000 * cpu_s / done, 1),
        "rss_mb": rss_mb(),
        "model": config.pose.model,
        "estimator": path.pelvis.source,
        "threads": config.pose.threads,
        "machine": f"{platform.machine()}, station {version()}",
        "ms": {name: timing.percentiles(50, 95, 99) for name, timing in path.times.items()},
    }


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    head = "{source}\n{frames} frames, {frames_per_s} a second, {cpu_ms_per_frame} ms of CPU each, {rss_mb} MB; "
    head += "BlazePose {model}, pelvis {estimator}, {threads} threads; {machine}"
    lines = [head.format(**report), f"{'ms':8}{'p50':>9}{'p95':>9}{'p99':>9}"]
    for name, values in report["ms"].items():
        lines.append(f"{name:8}" + "".join(f"{values[rank]:9.2f}" for rank in ("p50", "p95", "p99")))
    return "\n".join(lines)
