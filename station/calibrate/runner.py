"""Without a target: roll and height from someone who stands still on the belt, coarse.

What a standing person shows of the camera, and what not. The line from between the ankles to between the shoulders is
upright to within what people lean: that is roll. Hips are not used: pose models draw them from the legs. The feet and
the shoulders under a known pitch (or the pitch under a known height) give the height; a camera whose pitch nobody
measured is only known as well as it was hung. Focal length and distance are not told at all: a target does that.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from station.calibrate.report import toml, write_text
from station.camera import BUNDLED_CLIP, frames, open_camera
from station.config import Config
from station.errors import CalibrationError, CameraError, ConfigError
from station.geometry import RayCaster
from station.replay import open_recording
from station.types import KEYPOINT_INDEX, Floats, Observation, Pose, View

#: Standing still for this long [s].
STILL_S = 3.0
#: A marks' mean over half a second may wander by this share of the body's height in the picture [sd].
_STILL_SHARE = 0.012
_MIN_SCORE, _MIN_POSES = 0.3, 20
#: A camera gives up waiting for someone who stands [s].
_PATIENCE_S = 60.0
#: Height of the ankle marks [m], and of the shoulder marks as a share of stature.
ANKLE_M, SHOULDER_SHARE = 0.09, 0.815
#: People in general [m], and someone who said how tall.
STATURE_M, STATURE_SD_M, SAID_SD_M = 1.72, 0.09, 0.02
#: A camera that was hung as hardware.md says, its pitch not measured [deg]; and one that was measured.
PITCH_DEG, PITCH_SD_DEG, MEASURED_PITCH_SD_DEG = -4.5, 2.5, 0.5
#: What people who stand lean to a side, and what a pose model adds [deg, sd].
LEAN_SD_DEG, MODEL_SD_DEG = 0.8, 0.6
#: Error of the focal length that is assumed where none is known, as a share.
_FOCAL_SD = 0.15
_MARKS = ("left_ankle", "right_ankle", "left_shoulder", "right_shoulder")


@dataclass(frozen=True, slots=True)
class Guess:
    """Roll and height with their standard deviations; ``pitch_deg`` is what was assumed or followed from the height."""

    roll_deg: float
    sd_roll_deg: float
    height_m: float
    sd_height_m: float
    pitch_deg: float


def calibrate_from_runner(
    config: Config, sources: Sequence[Path], stature_m: float | None, out: Path | None, *, as_json: bool
) -> int:
    """Roll and height from a film, a pose track or the camera; 0 when a result was given.

    Raises :class:`CalibrationError` when nobody stands still long enough, :class:`ConfigError` for two sources.
    """
    if len(sources) > 1:
        raise ConfigError(f"{sources[1]}: --from-runner takes one film or pose track, or the camera")
    if stature_m is not None and not 1.2 <= stature_m <= 2.3:
        raise ConfigError(f"--stature {stature_m:g}: must be metres, from 1.2 to 2.3")
    if sources:
        with open_recording(sources[0], config) as recording:
            guess = guessed(recording.view, standing(recording), stature_m)
    else:
        guess = _live(config, stature_m)
    values = {"height_m": round(guess.height_m, 2), "roll_deg": round(guess.roll_deg, 1)}
    sd = {"height_m": round(guess.sd_height_m, 2), "roll_deg": round(guess.sd_roll_deg, 1)}
    _say(f"height {guess.height_m:.2f} m ± {2 * guess.sd_height_m:.2f}, at a pitch of {guess.pitch_deg:.1f}°")
    _say(f"roll {guess.roll_deg:+.1f}° ± {2 * guess.sd_roll_deg:.1f}")
    _say("coarse: no focal length, no distance, so no millimetres; a printed target tells them (--print)")
    text = toml(
        values,
        [
            "Coarse: from someone who stood still (`station calibrate --from-runner`), without a target.",
            f"One standard deviation: height_m {sd['height_m']:g}, roll_deg {sd['roll_deg']:g}.",
        ],
    )
    if out is not None:
        write_text(out, text)
    if as_json:
        print(
            json.dumps({"camera": values, "sd": sd, "pitch_deg": round(guess.pitch_deg, 2), "coarse": True}, indent=2)
        )
    elif out is None:
        print(text, end="")
    return 0


def standing(observations: Iterable[Observation]) -> Pose:
    """The median pose of the first three seconds in which someone stands still.

    Raises :class:`CalibrationError` when there are none.
    """
    rows = [KEYPOINT_INDEX[name] for name in _MARKS]
    kept: list[tuple[float, Floats]] = []
    for observation in observations:
        pose = observation.pose
        if pose is None:
            continue
        if not (pose.score[rows] >= _MIN_SCORE).all() or not np.isfinite(pose.xy_px[rows]).all():
            kept.clear()
            continue
        kept.append((observation.t_s, pose.xy_px))
        while kept[-1][0] - kept[0][0] > STILL_S:
            kept.pop(0)
        if len(kept) >= _MIN_POSES and kept[-1][0] - kept[0][0] > 0.9 * STILL_S and _still(kept, rows):
            return Pose(np.median([xy for _, xy in kept], axis=0), pose.score)
    raise CalibrationError(
        f"nobody stands still for {STILL_S:.0f} seconds with both feet and both shoulders in the picture: stand on the "
        "belt at the runner's place, back to the camera, feet side by side, weight on both"
    )


def _still(kept: Sequence[tuple[float, Floats]], rows: Sequence[int]) -> bool:
    """Whether no mark wanders: means over sixths of the time, against the body's height."""
    marks = np.array([xy[rows] for _, xy in kept])
    means = np.array([part.mean(axis=0) for part in np.array_split(marks, 6)])
    body_px = np.ptp(marks.mean(axis=0)[:, 1])
    return body_px > 0 and float(means.std(axis=0).max()) < _STILL_SHARE * float(body_px)


def guessed(view: View, pose: Pose, stature_m: float | None = None) -> Guess:
    """Roll and height from a standing pose, with what the mount already says (pitch or height, focal, distance)."""
    mount = view.mount
    pitch_deg = PITCH_DEG if mount.pitch_deg is None else mount.pitch_deg
    pitch_sd_deg = PITCH_SD_DEG if mount.pitch_deg is None else MEASURED_PITCH_SD_DEG
    tall_m, tall_sd_m = (STATURE_M, STATURE_SD_M) if stature_m is None else (stature_m, SAID_SD_M)
    if mount.pitch_deg is None and mount.height_m is not None:
        pitch_deg = _pitch_for(view, pose, tall_m, mount.height_m)
        pitch_sd_deg = math.nan
    roll_deg = _roll(view, pose, pitch_deg)
    height_m = _height(view, pose, pitch_deg, roll_deg, tall_m)
    if mount.height_m is not None and mount.pitch_deg is None:
        sd_height_m = 0.02  # a tape's
    else:
        by_pitch = _height(view, pose, pitch_deg + 0.5, roll_deg, tall_m) - height_m
        by_tall = _height(view, pose, pitch_deg, roll_deg, tall_m + 0.01) - height_m
        focal_sd = 0.01 if mount.focal_px is not None else _FOCAL_SD
        longer = dataclasses.replace(mount, focal_px=RayCaster(view).focal_px * 1.01)
        by_focal = _height(dataclasses.replace(view, mount=longer), pose, pitch_deg, roll_deg, tall_m) - height_m
        parts = (by_pitch * pitch_sd_deg / 0.5, by_tall * tall_sd_m / 0.01, by_focal * focal_sd / 0.01, 0.02)
        sd_height_m = math.hypot(*parts)
    return Guess(roll_deg, math.hypot(LEAN_SD_DEG, MODEL_SD_DEG), height_m, sd_height_m, pitch_deg)


def _middles(view: View, pose: Pose, pitch_deg: float, roll_deg: float) -> tuple[Floats, Floats]:
    """Rays of the middle of the ankles and of the shoulders."""
    mount = dataclasses.replace(view.mount, pitch_deg=pitch_deg, roll_deg=roll_deg)
    rays = RayCaster(dataclasses.replace(view, mount=mount)).rays(pose.xy_px)
    left_ankle, right_ankle, left_shoulder, right_shoulder = (rays[KEYPOINT_INDEX[name]] for name in _MARKS)
    return (left_ankle + right_ankle) / 2, (left_shoulder + right_shoulder) / 2


def _roll(view: View, pose: Pose, pitch_deg: float) -> float:
    """The roll that makes the body upright."""
    roll_deg = 0.0
    for _ in range(6):
        ankles, shoulders = _middles(view, pose, pitch_deg, roll_deg)
        roll_deg -= math.degrees(math.atan2(shoulders[0] - ankles[0], shoulders[1] - ankles[1]))
    return roll_deg


def _height(view: View, pose: Pose, pitch_deg: float, roll_deg: float, tall_m: float) -> float:
    """Height of the camera above the belt: from the distance at which the body is as tall as it is."""
    ankles, shoulders = _middles(view, pose, pitch_deg, roll_deg)
    depth_m = view.mount.distance_m or (SHOULDER_SHARE * tall_m - ANKLE_M) / float(shoulders[1] - ankles[1])
    return ANKLE_M - float(ankles[1]) * depth_m


def _pitch_for(view: View, pose: Pose, tall_m: float, height_m: float) -> float:
    """The pitch at which the feet are as far below the camera as was measured."""
    low, high = -60.0, 45.0
    for _ in range(40):  # the further up it looks, the nearer to the horizon the feet are, and the lower it hangs
        middle = (low + high) / 2
        lower = _height(view, pose, middle, _roll(view, pose, middle), tall_m) > height_m
        low, high = (middle, high) if lower else (low, middle)
    return (low + high) / 2


def _live(config: Config, stature_m: float | None) -> Guess:
    """The same from the camera."""
    from station.engine.observer import Observer, load_pose  # noqa: PLC0415 (the interpreter: for films and cameras only)

    camera = open_camera(config.camera)
    try:
        if camera.name.startswith(str(BUNDLED_CLIP)):
            raise CameraError("no camera is attached: attach one, set camera.source, or give a film")
        observer = Observer(load_pose(config, _say), camera.view)
        _say(f"watching {camera.name}: stand on the belt, back to the camera, for {STILL_S:.0f} seconds")
        until_s = time.monotonic() + _PATIENCE_S

        def seen() -> Iterator[Observation]:
            for frame in itertools.takewhile(lambda _: time.monotonic() < until_s, frames(camera)):
                yield observer.observe(frame)

        return guessed(camera.view, standing(seen()), stature_m)
    finally:
        camera.close()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
