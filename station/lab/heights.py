"""One runner rendered from hip height and from 1.4 m: ``python -m station.lab.heights [OUT] [--seconds 6]``.

Two held-out runners (a soft waist, a firm one) turn by 8 degrees in the same strides before both cameras. Each clip is
replayed with its mount configured, as ``station replay --set camera.height_m=…`` does; what is told of the same
strides is laid side by side. Beside the estimators stand what they could be at best, all with the true joints:
``exact``, the true pelvis along the line of sight (what is left is the geometry's doing), ``uncorrected``, the same
without the mount, ``eye``, the net's pelvis, and ``eye, true turn``, the net's obliquity with the true rotation and
tilt. All of it is simulated.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from station.camera import frames
from station.camera.video import VideoFile
from station.config import Config, load
from station.geometry import RayCaster
from station.lab.bodies import cache_dir
from station.lab.pinhole import Pinhole
from station.lab.rear import RUN_LAPS, make, rear_take
from station.lab.rotations import arc, pelvis_rotation
from station.lab.runner import Take
from station.pelvis import Sightline
from station.pelvis.frames import Angles
from station.pelvis_net import PelvisNet
from station.replay import open_recording
from station.session import Session
from station.types import KEYPOINT_INDEX, Floats, Observation, PelvisReading, Pose, StrideMetrics, View

RUNNERS = (0, 2)
HEIGHTS_M = (0.95, 1.4)
ROTATION_DEG = 8.0
IDEAL = ("exact", "uncorrected", "eye", "eye, true turn")
ESTIMATORS = (*IDEAL, "net", "fused", "hips")
DROPS = ("pelvic_drop_peak_left_deg", "pelvic_drop_peak_right_deg", "pelvic_drop_left_deg", "pelvic_drop_right_deg")
_HIPS = [KEYPOINT_INDEX["left_hip"], KEYPOINT_INDEX["right_hip"]]
_MOUNT = ("height_m", "distance_m", "focal_px", "roll_deg", "pitch_deg")
_SD_DEG = 0.3
#: Ends of the same stride in two clips differ by less.
_SAME_S = 0.15


@dataclass(frozen=True, slots=True)
class Difference:
    """What one estimator says of the high clip less what it says of the low one, degrees.

    ``last``: of the last pooled values, in the order of :data:`DROPS`; ``worst``: the largest over all strides told by
    both (``strides`` of them); ``said``: what it says of the low clip. ``None`` = null in one of them.
    """

    runner: int
    estimator: str
    said: list[float | None]
    last: list[float | None]
    worst: float | None
    strides: int


def main(arguments: list[str] | None = None) -> int:
    """The command: renders what is not there, replays, prints the table."""
    parser = argparse.ArgumentParser(prog="python -m station.lab.heights", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", help="folder (default: heights in the lab's cache)")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a runner's loop, shown twice (default 6)")
    options = parser.parse_args(arguments)
    out = options.out or cache_dir() / "heights"
    if options.seconds < 4 or (out.exists() and not out.is_dir()):
        print(f"{out}: must be a folder, --seconds at least 4", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    found: list[Difference] = []
    for runner in RUNNERS:
        clips = [out / f"run_{runner:02d}_{round(100 * height_m)}.mp4" for height_m in HEIGHTS_M]
        for clip, height_m in zip(clips, HEIGHTS_M, strict=True):
            make(clip, take(runner, height_m, options.seconds), RUN_LAPS)
        found += [compare(runner, estimator, *clips) for estimator in ESTIMATORS]
    print(table(found))
    return 0


def take(number: int, height_m: float, seconds: float) -> Take:
    """Runner ``number`` of the scored set, turning by 8 degrees, before a camera at ``height_m`` that looks at hips."""
    shot = rear_take(number, seconds)
    pitch_deg = float(np.degrees(np.arctan2(0.85 - height_m, 2.4)))
    camera = replace(
        shot.camera, height_m=height_m, distance_m=2.4, focal_px=830.0, roll_deg=0.0, yaw_deg=0.0, x_m=0.0,
        pitch_deg=pitch_deg,
    )  # fmt: skip
    return replace(shot, camera=camera, style=replace(shot.style, rotation_deg=ROTATION_DEG))


def compare(runner: int, estimator: str, low: Path, high: Path) -> Difference:
    """The two clips through one estimator."""
    there, here = (_told(clip, estimator) for clip in (low, high))
    pairs = [(a, b) for a in there for b in here if abs(a.stride.end_s - b.stride.end_s) < _SAME_S]
    rows = [(_drops(a), _drops(b)) for a, b in pairs] or [([None] * len(DROPS), [None] * len(DROPS))]
    apart = [_less(one, other) for one, other in rows]
    return Difference(
        runner,
        estimator,
        rows[-1][0],
        apart[-1],
        max((abs(value) for row in apart for value in row if value is not None), default=None),
        len(pairs),
    )


def _drops(stride: StrideMetrics) -> list[float | None]:
    return [stride.metrics[name].value for name in DROPS]


def _less(low: list[float | None], high: list[float | None]) -> list[float | None]:
    return [None if a is None or b is None else b - a for a, b in zip(low, high, strict=True)]


def _told(clip: Path, estimator: str) -> list[StrideMetrics]:
    truth = json.loads(clip.with_suffix(".truth.json").read_text(encoding="utf-8"))
    if estimator in IDEAL:
        video = VideoFile(clip, _config(truth["camera"], "net").camera.mount)
        try:
            return _strides(video.view, _ideal(truth, video, estimator))
        finally:
            video.close()
    with open_recording(clip, _config(truth["camera"], estimator)) as recording:
        return _strides(recording.view, recording)


def _config(camera: dict[str, Any], estimator: str) -> Config:
    """As on the command line of ``station replay``."""
    mount = [f"camera.{key}={camera[key]}" for key in _MOUNT]
    return load(None, [*mount, f"pelvis.estimator={estimator}"])


def _strides(view: View, observations: Iterable[Observation]) -> list[StrideMetrics]:
    session = Session(view)
    told = [out for observation in observations for out in session.feed(observation)]
    told += session.finish()
    return [out for out in told if isinstance(out, StrideMetrics) and out.status == "ok"]


def _ideal(truth: dict[str, Any], video: VideoFile, kind: str) -> Iterator[Observation]:
    """The true joints in the picture, and the pelvis as an eye at the camera sees it: a perfect one, or the net."""
    sightline = Sightline(RayCaster(video.view))
    net = PelvisNet.load(1) if kind.startswith("eye") else None
    c = truth["camera"]
    camera = Pinhole(
        focal_px=c["focal_px"], height_m=c["height_m"], distance_m=c["distance_m"], pitch_deg=c["pitch_deg"],
        roll_deg=c["roll_deg"], centre_px=(c["center_px"][0], c["center_px"][1]),
    )  # fmt: skip
    for row, frame in enumerate(frames(video)):
        joints_px = np.array(truth["joints_px"][row])
        pose = Pose(joints_px, np.ones(len(joints_px)))
        angles = [truth[f"{angle}_deg"][row] for angle in ("obliquity", "rotation", "tilt")]
        seen = Angles(along_the_sight(camera, np.array(truth["hip_centre_m"][row]), angles), (_SD_DEG,) * 3)
        if net is not None and (level := net.read(frame, pose)) is not None:
            deg = (level.obliquity_deg, level.rotation_deg, level.tilt_deg)
            sd_deg = (level.sd_obliquity_deg, level.sd_rotation_deg, level.sd_tilt_deg)
            true_turn = kind == "eye, true turn"
            seen = Angles((deg[0], *seen.deg[1:]), (sd_deg[0], *seen.sd_deg[1:])) if true_turn else Angles(deg, sd_deg)
        (left, right) = joints_px[_HIPS].tolist()
        sight = sightline.at((left[0], left[1]), (right[0], right[1]))
        world = seen if sight is None or kind == "uncorrected" else sight.to_world(seen)
        yield Observation(frame.t_s, pose, PelvisReading(*world.deg, *world.sd_deg, source="net"))


def along_the_sight(camera: Pinhole, hips_m: Floats, angles_deg: list[float]) -> tuple[float, float, float]:
    """Obliquity, rotation and tilt [deg] as the camera would see them that is turned until it looks at the hips."""
    toward = camera.attitude.T @ (hips_m - camera.position_m)
    seen = arc(np.array([0.0, 0.0, -1.0]), toward).T @ camera.attitude.T @ pelvis_rotation(*angles_deg)
    right, up = seen[:, 0], seen[:, 1]
    told = np.degrees([np.arctan2(right[1], right[0]), np.arctan2(-right[2], right[0]), np.arctan2(-up[2], up[1])])
    return float(told[0]), float(told[1]), float(told[2])


def table(found: list[Difference]) -> str:
    """As Markdown."""
    head = (
        "| runner | estimator | peak left, right; excursion left, right at hip height | at 1.4 m less that | "
        "worst of all strides | strides |"
    )
    lines = [head, "|" + "---|" * (head.count("|") - 1)]
    for one in found:
        said, last = (", ".join("null" if v is None else f"{v:+.2f}" for v in row) for row in (one.said, one.last))
        worst = "-" if one.worst is None else f"{one.worst:.2f}"
        lines.append(f"| {one.runner} | {one.estimator} | {said} | {last} | {worst} | {one.strides} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
