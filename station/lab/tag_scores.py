"""Score the tag estimator on drawn pictures: ``python -m station.lab.tag_scores [--seconds 6] [--runners 4]``.

Runners differ in movement, how the plate hangs, how well it was folded, light, blur, noise and compression. The first
second of each they stand: that level is taken off, as the station does. Truth is simulated and exact.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from station.lab.handmade import handmade
from station.lab.pinhole import Pinhole
from station.lab.rotations import pelvis_rotation
from station.lab.sensor import Sensor
from station.lab.tag_clips import DISTANCES_M, SIZES, Clip, load
from station.lab.tagshots import Motion, Shot, Worn, jog, picture
from station.tag import PLATES, Plate, TagEstimator
from station.types import KEYPOINT_INDEX, Floats, Frame, Mount, PelvisReading, Pixels, Pose, View

FPS, STAND_S, START_S, STRIDE_S = 30.0, 1.0, 0.3, 0.72
ANGLES = ("obliquity", "rotation", "tilt")


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Readings (n, 3) and their sd beside the truth [deg], the standing level taken off; NaN = not seen."""

    t_s: Floats
    said_deg: Floats
    sd_deg: Floats
    true_deg: Floats
    stride_s: float = STRIDE_S

    @property
    def error_deg(self) -> Floats:
        """What was said minus what is true, frames with a reading only (n, 3)."""
        error = self.said_deg - self.true_deg
        return np.asarray(error[np.isfinite(error).all(axis=1)])

    @property
    def seen(self) -> float:
        """Share of the frames with a reading."""
        return float(np.isfinite(self.said_deg).all(axis=1).mean())


def stride_errors_deg(result: Run) -> Floats:
    """Errors of what is read off whole strides (n, 3): each side's peak drop, rotation range, tilt range."""
    errors = []
    frames = round(result.stride_s * FPS)
    for first in range(0, len(result.t_s) - frames + 1, 3):
        said, true = (angles[first : first + frames] for angles in (result.said_deg, result.true_deg))
        known = np.isfinite(said).all(axis=1)
        if known.mean() < 0.9:
            continue
        a, b = said[known], true
        ranges = np.ptp(a[:, 1:], axis=0) - np.ptp(b[:, 1:], axis=0)
        errors.append([float(a[:, 0].max() - b[:, 0].max()), *ranges])
        errors.append([float(b[:, 0].min() - a[:, 0].min()), *ranges])
    return np.array(errors).reshape(-1, 3)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One runner before one camera."""

    shot: Shot
    motion: Motion
    view: View
    quality: int
    seed: int
    noise_px: float = 4.0
    backdrop: Pixels | None = field(default=None)


def scene(plate: Plate, size_px: tuple[int, int], distance_m: float, seed: int, fixed: Sensor | None = None) -> Scene:
    """A random runner who wears ``plate``; equal seeds give equal scenes."""
    rng = np.random.default_rng([seed, *size_px, round(distance_m * 100), plate.ids[0]])
    focal = SIZES[size_px]
    camera = Pinhole(*size_px, focal_px=focal, distance_m=distance_m + 0.13, height_m=float(rng.uniform(0.85, 1.15)))
    mount = pelvis_rotation(*rng.normal([0.0, 0.0, float(rng.uniform(0, 10))], [3.0, 3.0, 2.0]))
    placement = handmade(plate, rng)
    offset = (float(rng.normal(0, 0.008)), float(rng.uniform(0.07, 0.12)), float(rng.uniform(0.11, 0.15)))
    sensor = fixed or Sensor(
        exposure=float(rng.uniform(0.6, 1.2)),
        noise=float(rng.uniform(0.006, 0.025)),
        soft_px=float(rng.uniform(0.5, 1.0)),
    )
    shot = Shot(
        Worn(plate, mount=mount, offset_m=offset, placement=placement), camera, sensor,
        exposure_s=float(rng.uniform(0.002, 0.008)), light=tuple(rng.normal([0, 1.5, 1.5], [1.0, 0.4, 0.5])),
    )  # fmt: skip
    motion = starting(
        jog(
            float(rng.uniform(1.3, 1.5)), float(rng.uniform(2, 8)), float(rng.uniform(3, 9)),
            float(rng.uniform(1.5, 4)), float(rng.uniform(4, 14)),
        )
    )  # fmt: skip
    view = View(*size_px, FPS, Mount(camera.height_m, distance_m, focal * float(rng.normal(1, 0.003)), pitch_deg=-6.0))
    return Scene(shot, motion, view, int(rng.integers(60, 95)), seed)


def starting(motion: Motion) -> Motion:
    """Stand for :data:`STAND_S`, then begin to move."""
    standing = np.array([0.0, 0.0, np.mean([motion(t)[0][2] for t in np.linspace(5, 15, 300)])])

    def at(t_s: float) -> tuple[Floats, Floats]:
        angles, centre = motion(t_s)
        share = min(max((t_s - STAND_S) / START_S, 0.0), 1.0)
        return share * angles + (1 - share) * standing, share * centre + (1 - share) * np.array([0.0, 0.95, 0.0])

    return at


def run(what: Scene, seconds: float, estimator: TagEstimator | None = None) -> Run:
    """Every frame of ``seconds`` through the estimator."""
    estimator = estimator or TagEstimator(what.view)
    rng = np.random.default_rng([what.seed, 1])
    times = np.arange(round(seconds * FPS)) / FPS
    said, sd, true = [], [], []
    for index, t_s in enumerate(times):
        luma = picture(what.shot, what.motion, float(t_s), rng, what.backdrop)
        luma = compressed(luma, what.quality)
        reading = estimator.read(frame_of(luma, float(t_s), index), pose_of(what, float(t_s), rng))
        true.append(what.motion(float(t_s))[0])
        if reading is None:
            said.append([np.nan] * 3)
            sd.append([np.nan] * 3)
        else:
            said.append([reading.obliquity_deg, reading.rotation_deg, reading.tilt_deg])
            sd.append([reading.sd_obliquity_deg, reading.sd_rotation_deg, reading.sd_tilt_deg])
    spoken, truth = np.array(said), np.array(true)
    return levelled(times, spoken, np.array(sd), truth, times < STAND_S, STRIDE_S)


def compressed(luma: Pixels, quality: int) -> Pixels:
    """What a camera's JPEG leaves of a picture."""
    done, packed = cv2.imencode(".jpg", luma, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("JPEG encoding failed")
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


def frame_of(luma: Pixels, t_s: float, index: int) -> Frame:
    """A grey picture as the camera's I420 frame."""
    rows = luma.shape[0]
    return Frame(t_s, index, np.vstack([luma, np.full((rows // 2, luma.shape[1]), 128, np.uint8)]), "yuv420")


def pose_of(what: Scene, t_s: float, rng: np.random.Generator) -> Pose:
    """Shoulders and hips as a pose model would say them: off by some pixels."""
    _, centre = what.motion(t_s)
    pose = Pose.nobody()
    for name, (x, y) in {
        "left_shoulder": (-0.17, 0.5), "right_shoulder": (0.17, 0.5), "left_hip": (-0.09, 0.0), "right_hip": (0.09, 0.0)
    }.items():  # fmt: skip
        row = KEYPOINT_INDEX[name]
        seen = what.shot.camera.project(centre + np.array([x, y, 0.0]))
        pose.xy_px[row] = seen + rng.normal(0, what.noise_px, 2)
        pose.score[row] = 0.9
    return pose


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m station.lab.tag_scores", description=(__doc__ or "").split(":")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a run, one second of it standing")
    parser.add_argument("--runners", type=int, default=4, help="runs of each plate, size and distance")
    parser.add_argument("--seed", type=int, default=0, help="which runners")
    parser.add_argument("--distances", type=float, nargs="*", default=list(DISTANCES_M), help="camera to runner [m]")
    parser.add_argument("--widths", type=int, nargs="*", default=[1280, 1920], choices=[1280, 1920])
    parser.add_argument("--clips", type=Path, help="wholly rendered runners instead: what station.lab.tag_renders kept")
    parser.add_argument("--plates", nargs="*", default=list(PLATES), choices=list(PLATES))
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)  # pictures this small gain nothing from more
    print("angles in degrees: obliquity, rotation, tilt; of strides: peak drop, rotation range, tilt range")
    print("plate  picture    at m   seen %      rmse a frame       within 1 sd %      worst of a stride")
    every: list[Run] = []
    for plate in options.plates:
        for size in [size for size in SIZES if size[0] in options.widths]:
            for distance in options.distances:
                seeds = range(options.seed, options.seed + options.runners)
                if options.clips is not None:
                    kept = sorted(options.clips.glob(f"{plate}-{size[0]}-{distance:.1f}-*.npz"))
                    runs = [replayed(load(path)) for path in kept]
                else:
                    runs = [run(scene(PLATES[plate], size, distance, k), options.seconds) for k in seeds]
                if not runs:
                    continue
                every += runs
                print(f"{plate:6} {size[0]}x{size[1]:<5} {distance:4.1f}  {row(runs)}", flush=True)
    if every:
        print(f"all                      {row(every)}")
    print(json.dumps({"runs": len(every), "frames": int(sum(len(r.t_s) for r in every))}))
    return 0


def replayed(clip: Clip) -> Run:
    """The estimator over a wholly rendered runner."""
    estimator = TagEstimator(clip.view)
    said, sd = [], []
    for index, t_s in enumerate(clip.t_s):
        pose = Pose(clip.points_px[index], np.full(len(KEYPOINT_INDEX), 0.9))
        reading = estimator.read(frame_of(clip.luma(index), float(t_s), index), pose) or PelvisReading()
        said.append([reading.obliquity_deg, reading.rotation_deg, reading.tilt_deg])
        sd.append([reading.sd_obliquity_deg, reading.sd_rotation_deg, reading.sd_tilt_deg])
    return levelled(clip.t_s, np.array(said), np.array(sd), clip.true_deg, clip.stands, clip.stride_s)


def levelled(
    t_s: Floats, said_deg: Floats, sd_deg: Floats, true_deg: Floats, still: NDArray[np.bool_], stride_s: float
) -> Run:
    """What was said and true of the run, both counted from standing."""
    level = np.nanmean(said_deg[still], axis=0) if np.isfinite(said_deg[still]).any() else np.zeros(3)
    true = true_deg[~still] - true_deg[still].mean(axis=0)
    return Run(t_s[~still], said_deg[~still] - level, sd_deg[~still], true, stride_s)


def row(runs: list[Run]) -> str:
    """Seen, RMSE and coverage of several runs, as text."""
    error = np.concatenate([r.error_deg for r in runs])
    sd = np.concatenate([r.sd_deg[np.isfinite(r.sd_deg).all(axis=1)] for r in runs])
    rmse = np.sqrt((error**2).mean(axis=0))
    within = (np.abs(error) <= sd).mean(axis=0) * 100
    seen = 100 * float(np.mean([r.seen for r in runs]))
    strides = np.concatenate([stride_errors_deg(r) for r in runs])
    worst = np.abs(strides).max(axis=0) if len(strides) else np.full(3, np.nan)
    parts = (f"{seen:6.1f} ", *(f"{v:6.2f}" for v in rmse), "  ", *(f"{v:4.0f}" for v in within), "  ")
    return " ".join((*parts, *(f"{v:6.2f}" for v in worst)))


if __name__ == "__main__":
    sys.exit(main())
