"""The station's path beside MediaPipe Pose and beside the models as shipped: same frames, same run, CPU seconds.

Rounds alternate, so that a busy machine is busy for all of them; what counts is the ratio, not the figures.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from station.bench import stages
from station.camera.video import VideoFile
from station.config import Config
from station.errors import ConfigError, ModelError
from station.inference import Model
from station.models import built_model, models_folder
from station.pose import PoseEstimator
from station.types import Frame

ROUNDS = 3
#: A camera so fast has the pose on every second frame.
FAST_FPS = 60.0
_RUNNER = Path(__file__).with_name("mediapipe_pose.py")
_COMPLEXITY = {"lite": 0, "full": 1}


def measure(config: Config, count: int, python: Path) -> dict[str, Any]:
    """Frames per CPU second of each contestant, and the ratios to MediaPipe's lite and full (medians of the rounds)."""
    if not python.is_file():
        raise ConfigError(f"{python}: no such interpreter: `make bench-compare` makes one that has MediaPipe")
    rounds: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        one = {}
        for model in _COMPLEXITY:
            one[f"station {model}"] = _station(config, model, count)
            one[f"station {model}, fast"] = _station(config, model, count, FAST_FPS)
            one[f"shipped {model}"] = _shipped(config, model, count)
            one[f"mediapipe {model}"] = _mediapipe(config, model, count, python)
        rounds.append({name: round(rate, 1) for name, rate in one.items()})
        print(rounds[-1], file=sys.stderr, flush=True)
    ratios = {
        f"station {ours}{fast} / mediapipe {theirs}": round(
            statistics.median(one[f"station {ours}{fast}"] / one[f"mediapipe {theirs}"] for one in rounds), 2
        )
        for ours in _COMPLEXITY
        for fast in ("", ", fast")
        for theirs in _COMPLEXITY
    }
    rates = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    return {"source": str(stages.source_of(config)), "frames": count, "frames_per_cpu_s": rates, "ratios": ratios}


def _station(config: Config, model: str, count: int, fps: float | None = None) -> float:
    """The whole path: pose, pelvis, kernel, wire; with ``fps`` on the same frames as if they came that fast."""
    pose = dataclasses.replace(config.pose, model=model)  # type: ignore[arg-type]  # one of the two
    video = VideoFile(stages.source_of(config), config.camera.mount)
    view = video.view if fps is None else dataclasses.replace(video.view, fps=fps)
    path = stages.StationPath(dataclasses.replace(config, pose=pose), view, count)

    def work(frame: Frame) -> float:
        return path.step(dataclasses.replace(frame, t_s=frame.index / view.fps), count=False)

    return _rate(video, count, work)


def _shipped(config: Config, model: str, count: int) -> float:
    """The station's pose stage alone, with the models as their authors ship them (float, nothing pruned)."""
    file = models_folder() / "shipped" / f"pose_landmark_{model}.tflite"
    if not file.is_file():
        raise ModelError(f"{file}: missing; run `station model build --model all`")
    threads = config.pose.threads
    video = VideoFile(stages.source_of(config), config.camera.mount)
    pose = PoseEstimator(Model(file, threads=threads), Model(*built_model("detector"), threads=threads))
    return _rate(video, count, pose.estimate)


def _rate(video: VideoFile, count: int, work: Callable[[Frame], object]) -> float:
    """Frames per CPU second of ``work`` on frames that lie in memory: the decoder's threads must not count for it."""
    ready = [frame for frame, _ in stages.decoded(video, count + stages.WARM_UP)]
    video.close()
    gc.collect()
    gc.freeze()  # as the engine does
    cpu_s, done = 0.0, 0
    for number, kept in enumerate(ready):
        frame = dataclasses.replace(kept, image=kept.image.copy())  # as fresh as from a camera
        start_s = time.process_time()
        work(frame)
        if number >= stages.WARM_UP:
            cpu_s += time.process_time() - start_s
            done += 1
    return done / cpu_s


def _mediapipe(config: Config, model: str, count: int, python: Path) -> float:
    lite = models_folder() / "shipped" / "pose_landmark_lite.tflite"
    command = [str(part) for part in (python, _RUNNER, stages.source_of(config), count, _COMPLEXITY[model], lite)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise ConfigError(f"{python}: MediaPipe does not run there ({last}); remove it and run `make bench-compare`")
    found = json.loads(done.stdout.splitlines()[-1])
    return float(found["frames"]) / float(found["cpu_s"])


def table(report: dict[str, Any]) -> str:
    """The comparison for people."""
    lines = [f"{report['source']}, {report['frames']} frames, decoding counted for nobody", "frames a CPU second"]
    lines += [f"  {name:22}{rate:8.1f}" for name, rate in report["frames_per_cpu_s"].items()]
    lines += ["ratios"] + [f"  {name:40}{ratio:8.2f}" for name, ratio in report["ratios"].items()]
    return "\n".join(lines)
