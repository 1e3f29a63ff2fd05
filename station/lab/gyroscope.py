"""Score the optical gyroscope alone: ``python -m station.lab.gyroscope CLIP [CLIP ...]``.

Each clip needs its simulated truth beside it (``CLIP.truth.json``, as ``station.lab.clip`` and ``station.lab.rear``
write it). The rates are summed up and held, between 0.7 and 6 Hz, against the hip line in the picture. Where the line
hardly moves there is no gain to tell: then ``rmse`` is the drop that was invented.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path

import numpy as np

from station.camera import frames
from station.camera.video import VideoFile
from station.config import Config
from station.engine.observer import load_pose
from station.errors import HiplineError, SourceError
from station.optical_rate import OpticalRate
from station.types import KEYPOINT_INDEX, Floats

_BAND_HZ = (0.7, 6.0)
#: Root mean square of the true line [deg] below which it counts as level.
_LEVEL_DEG = 0.7


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m station.lab.gyroscope", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP", help="clip with its truth beside it")
    options = parser.parse_args(arguments)
    print("clip                    true rms     r   gain   rmse  known  within 1 sd     ms")
    try:
        for clip in options.clips:
            print(score(clip), flush=True)
    except HiplineError as error:
        print(f"gyroscope: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def score(clip: Path) -> str:
    """One line about one clip. Raises :class:`SourceError` without a truth that fits."""
    true = true_line_deg(clip)
    video = VideoFile(clip)
    pose, gyroscope = load_pose(Config(), lambda line: print(line, file=sys.stderr)), OpticalRate(video.view)
    turn, sd, spent_s = [], [], 0.0
    for frame in frames(video):
        seen = pose.estimate(frame)
        start_s = time.thread_time()
        rate = gyroscope.read(frame, seen)
        spent_s += time.thread_time() - start_s
        turn.append(rate.rate_dps / video.view.fps)
        sd.append(rate.sd_dps / video.view.fps)
    if len(turn) > len(true):
        raise SourceError(f"{clip}: more frames than its truth has; render it again")
    found, step = np.array(turn[1:]), np.diff(true[: len(turn)])
    known = np.isfinite(found)
    read = _band(np.where(known, found, 0.0), video.view.fps)
    line = _band(step, video.view.fps)
    level = float(line.std()) < _LEVEL_DEG
    gain = math.nan if level else float(read @ line / (line @ line))
    r = math.nan if level else float(np.corrcoef(read, line)[0, 1])
    # the sd is told about the clip's own scale, which the gyroscope cannot know
    own = 1.0 if level else float(found[known] @ step[known] / (step[known] @ step[known]))
    inside = float(np.mean(np.abs(found - own * step)[known] < np.array(sd[1:])[known])) if known.any() else math.nan
    numbers = f"{line.std():8.2f} {r:5.2f} {gain:6.2f} {(read - line).std():6.2f} {known.mean():6.2f} {inside:12.2f}"
    return f"{clip.stem:22s} {numbers} {1e3 * spent_s / len(turn):6.1f}"


def true_line_deg(clip: Path) -> Floats:
    """The hip line in the picture, + = right side higher, frame by frame."""
    path = clip.with_suffix(".truth.json")
    try:
        joints = np.array(json.loads(path.read_text(encoding="utf-8"))["joints_px"], dtype=float)
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(f"{path}: no truth of a rendered clip ({error}); render it with station.lab.rear") from None
    across = joints[:, KEYPOINT_INDEX["right_hip"]] - joints[:, KEYPOINT_INDEX["left_hip"]]
    return np.asarray(-np.degrees(np.arctan2(across[:, 1], across[:, 0])))


def _band(step_deg: Floats, fps: float) -> Floats:
    """Steps summed up, less what is slower or faster than gait."""
    angle = np.concatenate([[0.0], np.cumsum(step_deg)])
    frame = np.arange(len(angle))
    spectrum = np.fft.rfft(angle - np.polyval(np.polyfit(frame, angle, 1), frame))
    hz = np.fft.rfftfreq(len(angle), 1.0 / fps)
    spectrum[(hz < _BAND_HZ[0]) | (hz > _BAND_HZ[1])] = 0.0
    return np.asarray(np.fft.irfft(spectrum, len(angle)))


if __name__ == "__main__":
    sys.exit(main())
