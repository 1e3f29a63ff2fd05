"""Runs inside the emulated machine: each model and the whole frame path, with marks that the counting plugin hears.

``guest.py FRAMES.npz OUT.npz MODELS``: FRAMES holds ``frames`` (n, rows, columns) of I420 pictures in order, MODELS is
the folder of built models. OUT gets what the pose said, for the comparison with another machine's kernels. Work between
two marks is counted; marks come in pairs (2·k before, 2·k + 1 after), announced on standard output as
``k repetitions name``. One thread: the sums are exact then.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from station.config import load
from station.engine.observer import Observer
from station.engine.pelvis import load_pelvis
from station.inference import Model
from station.models import LANDMARK_MODELS, built_model
from station.pose import PoseEstimator
from station.session import Session
from station.types import Frame, View

_LIBC = ctypes.CDLL(None)
_GETPRIORITY, _MARK = 141, 0x5150
#: A camera that needs the pose on every frame, and one that has it on every second.
SLOW_FPS, FAST_FPS = 30.0, 60.0
#: Frames of the path that are counted, after one that acquires the runner and one that warms up: an even number.
COUNTED = 4


class Counter:
    """Marks for the plugin; on another machine than the emulated one there are none."""

    def __init__(self) -> None:
        self._marks = 0

    def count(self, name: str, repetitions: int, work: Callable[[int], object]) -> None:
        """Count ``repetitions`` calls of ``work(i)``."""
        print(self._marks, repetitions, name, flush=True)
        self._mark(0)
        for i in range(repetitions):
            work(i)
        self._mark(1)
        self._marks += 1

    def _mark(self, end: int) -> None:
        if os.uname().machine == "aarch64":  # elsewhere the number is another call's
            _LIBC.syscall(_GETPRIORITY, _MARK, 2 * self._marks + end, 0)


def run_models(counter: Counter, folder: Path) -> None:
    """Every built model on one fixed input."""
    for path in sorted(folder.glob("*.tflite")):
        model = Model(path)
        values = np.random.default_rng(0).random(model.inputs[0].shape, np.float32)
        model.run(values)

        def work(_: int, run: Callable[..., None] = model.run, on: Any = values) -> None:
            run(on)

        counter.count(f"model {path.stem}", 2, work)


def run_path(counter: Counter, name: str, estimator: str, pictures: NDArray[np.uint8], fps: float) -> dict[str, Any]:
    """Crop, pose, pelvis and kernel on consecutive frames, as the station has them of a camera of ``fps``."""
    frames = [Frame(i / fps, i, picture, "yuv420") for i, picture in enumerate(pictures)]
    config = load(None, [f"pelvis.estimator={estimator}"])
    view = View(*frames[0].size_px, fps)
    observer = Observer(PoseEstimator.load(name), view, load_pelvis(config, view))
    session, found = Session(view), []

    def step(i: int) -> None:
        seen = observer.observe(frames[i + 2])
        session.feed(seen)
        if seen.pose is not None:
            found.append((seen.pose.xy_px, seen.pose.score))

    for i in (-2, -1):
        step(i)
    counter.count(f"frame {name} {estimator}" + (f" {fps:g} fps" if fps != SLOW_FPS else ""), COUNTED, step)
    return {f"{name}_xy_px": np.stack([xy for xy, _ in found]), f"{name}_score": np.stack([s for _, s in found])}


def main() -> None:
    """See the head of this file."""
    source, out, models = (Path(argument) for argument in sys.argv[1:4])
    pictures = np.load(source)["frames"]
    cv2.setNumThreads(1)
    counter = Counter()
    run_models(counter, models)
    said: dict[str, Any] = {}
    for name in LANDMARK_MODELS:
        built_model(name)  # checks its hash
        said |= run_path(counter, name, "hips", pictures, SLOW_FPS)
    for fps in (SLOW_FPS, FAST_FPS):
        for name in ("lite", "full"):
            run_path(counter, name, "fused", pictures, fps)
    np.savez(out, **said)


if __name__ == "__main__":
    main()
