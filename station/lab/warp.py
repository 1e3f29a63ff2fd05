"""``station warp``: what every estimator of the pelvis makes of a known motion put into a clip, real or rendered.

No one knows how the pelvis of a filmed runner stood. But a warp that turns it by a known angle is known exactly, and
whatever the runner did besides drops out when the unwarped clip is read the same way and taken off. So for each
estimator: its *gain* and correlation on a pelvis turned alone (wanted 1), on the whole picture turned (wanted 1, the
easy test), and its answer to a leg that is lifted while not one pixel of the pelvis changes (wanted 0).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from station.camera import frames
from station.camera.video import VideoFile
from station.config import Config
from station.engine.observer import load_pose
from station.engine.pelvis import HipsEstimator, PelvisEstimator, load_pelvis
from station.errors import ModelError, SourceError
from station.lab.warps import HALF_PELVIS_HW, Body, bodies_of, lift_leg, turn_pelvis, turn_picture
from station.optical_rate import OpticalRate
from station.types import Floats, Frame, Pixels, Pose, View

VARIANTS = ("pelvis", "whole", "leg")
_LEAST_FRAMES, _LEAST_KNOWN = 30, 0.6


class Reader(Protocol):
    """One estimator on one pass over the clip."""

    def read(self, frame: Frame, pose: Pose) -> float:
        """Obliquity [deg], up to a constant and a steady drift; NaN = does not know."""


Readers = Mapping[str, Callable[[View], Reader]]
Warp = Callable[[Pixels, Body, float], Pixels]


@dataclass(frozen=True, slots=True)
class Answer:
    """An estimator's answer to one variant. ``gain`` of ``leg`` is in degrees per half pelvis width of lift.

    ``r``: correlation with the applied motion. ``rmse_deg``: what is left beside gain times motion. ``jitter_deg``:
    the part of that which changes from frame to frame. ``known``: share of frames on which it spoke. All NaN when it
    spoke too seldom.
    """

    gain: float
    r: float
    rmse_deg: float
    jitter_deg: float
    known: float

    @property
    def sign(self) -> str:
        """Which way it answers: ``+`` as applied, ``-`` against it, ``?`` when it gave no answer."""
        return "?" if math.isnan(self.gain) else "+" if self.gain >= 0 else "-"


def warp(config: Config, arguments: argparse.Namespace) -> int:
    """The command. Raises :class:`SourceError` for a clip that will not do, :class:`ModelError` without pose model."""
    _check(arguments)
    clip = Clip(config, arguments.clip, arguments.seconds)
    answers = judge(clip, readers(config), arguments.amplitude, arguments.hz)
    if arguments.json:
        head = {"clip": str(arguments.clip), "frames": len(clip.times_s), "fps": clip.view.fps}
        head |= {"amplitude_deg": arguments.amplitude, "hz": arguments.hz}
        print(json.dumps({**head, "estimators": _plain(answers)}, allow_nan=False))
    else:
        print(f"{arguments.clip}: {len(clip.times_s)} frames, ±{arguments.amplitude:g}° at {arguments.hz:g} Hz")
        print(table(answers))
    return 0


def _check(arguments: argparse.Namespace) -> None:
    for name, low, high in (("amplitude", 0.5, 15.0), ("hz", 0.3, 6.0), ("seconds", 1.0, 600.0)):
        if not low <= getattr(arguments, name) <= high:
            raise SourceError(f"--{name} {getattr(arguments, name):g}: must be {low:g} to {high:g}")


def readers(config: Config) -> Readers:
    """Every estimator whose model is there, by name: ``hips``, ``optical`` (rates summed up), ``net``, ``fused``."""
    out: dict[str, Callable[[View], Reader]] = {"hips": lambda view: _Angle(HipsEstimator(view)), "optical": _Summed}
    for name in ("net", "fused"):
        chosen = replace(config, pelvis=replace(config.pelvis, estimator=name))
        try:
            load_pelvis(chosen, View(1280, 720, 30.0))
        except ModelError as error:
            tell(f"without {name}: {error}")
        else:
            out[name] = partial(_loaded, chosen)
    return out


class _Angle:
    def __init__(self, estimator: PelvisEstimator) -> None:
        self._estimator = estimator

    def read(self, frame: Frame, pose: Pose) -> float:
        return self._estimator.read(frame, pose).obliquity_deg


def _loaded(config: Config, view: View) -> Reader:
    return _Angle(load_pelvis(config, view))


class _Summed:
    """The gyroscope's rates summed up: an angle that drifts; a lost frame is not made up for."""

    def __init__(self, view: View) -> None:
        self._gyroscope, self._angle_deg, self._t_s = OpticalRate(view), 0.0, math.nan

    def read(self, frame: Frame, pose: Pose) -> float:
        rate, before_s = self._gyroscope.read(frame, pose).rate_dps, self._t_s
        self._t_s = frame.t_s
        if not math.isfinite(rate):
            return math.nan
        self._angle_deg += rate * (frame.t_s - before_s)
        return self._angle_deg


class Clip:
    """The first seconds of a clip, and where the runner is in them."""

    def __init__(self, config: Config, path: Path, seconds: float) -> None:
        self._config, self.path, self._seconds = config, path, seconds
        video = VideoFile(path, config.camera.mount)
        self.view = video.view
        video.close()
        poses, self.times_s = [], []
        for frame, pose in self.play():
            poses.append(pose)
            self.times_s.append(frame.t_s)
        self.bodies = bodies_of(poses)
        known = sum(body is not None for body in self.bodies)
        if len(poses) < _LEAST_FRAMES or known < _LEAST_KNOWN * len(poses):
            raise SourceError(
                f"{path}: a runner's hips in {known} of {len(poses)} frames; give a clip of a second or more "
                "that shows a runner from behind"
            )

    def play(self, change: Callable[[int, Pixels], Pixels] | None = None) -> Iterator[tuple[Frame, Pose]]:
        """Every frame, changed by ``change``, with the pose found in it. BGR, so that all passes are alike."""
        video = VideoFile(self.path, self._config.camera.mount)
        stage = load_pose(self._config, tell)
        try:
            for frame in frames(video):
                if frame.t_s > self._seconds:
                    return
                image = bgr(frame)
                shown = replace(frame, image=change(frame.index, image) if change else image, layout="bgr")
                yield shown, stage.estimate(shown)
        finally:
            video.close()


def bgr(frame: Frame) -> Pixels:
    """The picture in colour, blue first."""
    if frame.layout == "bgr":
        return frame.image
    code = cv2.COLOR_YUV2BGR_I420 if frame.layout == "yuv420" else cv2.COLOR_RGB2BGR
    return np.asarray(cv2.cvtColor(frame.image, code), dtype=np.uint8)


def judge(clip: Clip, estimators: Readers, amplitude_deg: float, hz: float) -> dict[str, dict[str, Answer]]:
    """What each estimator answers to each variant."""
    t = np.array(clip.times_s) - clip.times_s[0]
    swing = np.sin(2 * np.pi * hz * t)
    lift = (1 - np.cos(2 * np.pi * hz * t)) / 2
    half_px = [HALF_PELVIS_HW * body.width_px if body else 0.0 for body in clip.bodies]
    by = {"pelvis": (turn_pelvis, amplitude_deg * swing), "whole": (turn_picture, amplitude_deg * swing),
          "leg": (lift_leg, lift * half_px)}  # fmt: skip
    applied = {"pelvis": amplitude_deg * swing, "whole": amplitude_deg * swing, "leg": lift}
    plain = _read(clip, estimators, "as it is", None)
    out: dict[str, dict[str, Answer]] = {name: {} for name in estimators}
    for variant in VARIANTS:
        read = _read(clip, estimators, variant, _changing(clip, *by[variant]))
        for name in estimators:
            out[name][variant] = answer(t, applied[variant], read[name] - plain[name])
    return out


def _changing(clip: Clip, change_by: Warp, sizes: Floats) -> Callable[[int, Pixels], Pixels]:
    def change(index: int, image: Pixels) -> Pixels:
        body = clip.bodies[index]
        return image if body is None else change_by(image, body, float(sizes[index]))

    return change


def _read(
    clip: Clip, estimators: Readers, what: str, change: Callable[[int, Pixels], Pixels] | None
) -> dict[str, Floats]:
    tell(f"{clip.path.name}: {what}")
    running = {name: make(clip.view) for name, make in estimators.items()}
    said: dict[str, list[float]] = {name: [] for name in running}
    for frame, pose in clip.play(change):
        for name, reader in running.items():
            said[name].append(reader.read(frame, pose))
    return {name: np.array(values) for name, values in said.items()}


def answer(t_s: Floats, applied: Floats, difference: Floats) -> Answer:
    """How ``difference`` follows ``applied``, a constant and a steady drift allowed for."""
    known = np.isfinite(difference)
    share = float(known.mean())
    if share < _LEAST_KNOWN:
        return Answer(math.nan, math.nan, math.nan, math.nan, share)
    t, y = t_s[known], difference[known]
    drift = np.stack([np.ones_like(t), t], axis=1)
    x, y = (v - drift @ np.linalg.lstsq(drift, v, rcond=None)[0] for v in (applied[known], y))
    gain = float(x @ y / (x @ x))
    rest = y - gain * x
    r = float(x @ y / math.sqrt((x @ x) * (y @ y))) if y.any() else 0.0
    jitter = float(np.std(np.diff(rest))) / math.sqrt(2) if len(rest) > 1 else 0.0
    return Answer(gain, r, float(np.sqrt(np.mean(rest**2))), jitter, share)


def table(answers: Mapping[str, Mapping[str, Answer]]) -> str:
    """The answers for people."""
    lines = ["estimator  variant  sign   gain      r   rmse  jitter  known"]
    units = {"pelvis": "", "whole": "", "leg": "  (deg per half pelvis width of lift; wanted 0)"}
    for name, of in answers.items():
        for variant, a in of.items():
            numbers = f"{a.gain:6.2f} {a.r:6.2f} {a.rmse_deg:6.2f} {a.jitter_deg:7.2f} {a.known:6.2f}"
            lines.append(f"{name:10s} {variant:8s} {a.sign:>4s} {numbers}{units[variant]}")
    return "\n".join(lines)


def _plain(answers: Mapping[str, Mapping[str, Answer]]) -> dict[str, dict[str, dict[str, Any]]]:
    """For JSON: NaN becomes null."""
    return {
        name: {
            variant: {"sign": a.sign} | {k: v if math.isfinite(v) else None for k, v in asdict(a).items()}
            for variant, a in of.items()
        }
        for name, of in answers.items()
    }


def tell(line: str) -> None:
    """A line for people, on standard error."""
    print(f"warp: {line}", file=sys.stderr, flush=True)
