"""Rendered runners to score the pelvis on: ``python -m station.lab.rear [OUT] [--n 6] [--seconds 6]``.

Bodies and shading method (``Look.cloth`` = 1) are those that training never sees; shirts are tucked in, short, over
the waistband and long in turn, waists as soft as in the library or as firm as the bones under them. ``run_NN.mp4`` run;
``sweep_*.mp4`` move the pelvis on its own (:mod:`station.lab.sweep`), ``…_firm.mp4`` with a firm waist. Beside every
clip lies its truth, as beside the bundled clip. All of it is simulated.
Clips that are there already are kept, an interrupted one goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from station.lab.bodies import Build, cache_dir, load_library
from station.lab.clip import FPS, encode, render, truth_of
from station.lab.dataset import HELD_OUT_BODIES, waist_share
from station.lab.runner import Studio, Take
from station.lab.sweep import Sweep, SweepKind
from station.lab.variety import random_take

#: Hem below the waistband's upper edge, in turn [m]; ``None`` = tucked in.
HEMS_M = (None, -0.04, 0.03, 0.14, None, 0.08)
#: Name, what moves, camera height [m].
SWEEPS: tuple[tuple[str, SweepKind, float], ...] = (
    ("locked", "locked", 0.95),
    ("running", "running", 0.95),
    ("following", "following", 0.95),
    ("level", "level", 0.95),
    ("turning", "turning", 0.95),
    ("turning_high", "turning", 1.4),
)
#: A sweep is shown once, a run twice: the kernel needs its strides.
RUN_LAPS, SWEEP_SECONDS = 2, 4.0
_SEED = 20_261
_SWEEP_BODY = 100
#: Counted up when what is drawn changes: another folder.
REVISION = 2


def rear_dir() -> Path:
    """Where the set lies unless told otherwise: in the lab's cache."""
    return cache_dir() / f"rear-{REVISION}"


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m station.lab.rear", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", help="folder (default: rear in the lab's cache)")
    parser.add_argument("--n", type=int, default=6, help="how many runners (default 6)")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a runner's loop (default 6)")
    options = parser.parse_args(arguments)
    out = options.out or rear_dir()
    if options.n < 0 or options.seconds < 2 or (out.exists() and not out.is_dir()):
        print(f"{out}: must be a folder, --n at least 0, --seconds at least 2", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    for name, shot, laps in takes(options.n, options.seconds):
        make(out / f"{name}.mp4", shot, laps)
    return 0


def takes(count: int, seconds: float) -> Iterator[tuple[str, Take, int]]:
    """Name, take and laps of every clip of the set, runners and sweeps in turn."""
    runs = [(f"run_{k:02d}", rear_take(k, seconds), RUN_LAPS) for k in range(count)]
    sweeps = [
        (f"sweep_{name}{'_firm' * firm}", sweep_take(k, kind, height_m, firm), 1)
        for k, (name, kind, height_m) in enumerate(SWEEPS)
        for firm in (False, True)
    ]
    for k in range(max(len(runs), len(sweeps))):
        yield from runs[k : k + 1]
        yield from sweeps[k : k + 1]


def rear_take(number: int, seconds: float) -> Take:
    """Runner ``number``: strides and belt fill ``seconds`` exactly, so that the clip loops."""
    rng = np.random.default_rng([_SEED, number])
    shot = random_take(rng, HELD_OUT_BODIES)
    style = shot.style
    strides = round(seconds * style.strides / style.period_s)
    belt_m = shot.look.belt_period_m
    speed_mps = max(1, round(style.speed_mps * seconds / belt_m)) * belt_m / seconds
    body = HELD_OUT_BODIES[0] + number % (HELD_OUT_BODIES[1] - HELD_OUT_BODIES[0])
    return replace(
        shot,
        body=body,
        style=replace(style, strides=strides, period_s=seconds, speed_mps=speed_mps),
        outfit=replace(shot.outfit, hem_m=HEMS_M[number % len(HEMS_M)]),
        build=Build(belt=float((number + number // 2) % 2)),
        look=replace(shot.look, cloth=1),
        exposures=1,
    )


def sweep_take(number: int, kind: SweepKind, height_m: float, firm: bool) -> Take:
    """A sweep by one of the same runners, seen from ``height_m``."""
    body = _SWEEP_BODY + (number if kind != "turning" else len(SWEEPS))  # both turn alike, but for the camera
    shot = rear_take(body, SWEEP_SECONDS)
    camera = replace(
        shot.camera, height_m=height_m, distance_m=2.4, focal_px=830.0, roll_deg=0.0, yaw_deg=0.0, x_m=0.0,
        pitch_deg=float(np.degrees(np.arctan2(0.85 - height_m, 2.4))),
    )  # fmt: skip
    return replace(shot, camera=camera, sweep=Sweep(kind), build=Build(belt=float(firm)))


def make(path: Path, shot: Take, laps: int) -> None:
    """Render, encode and describe one clip, unless it is there."""
    truth_path = path.with_suffix(".truth.json")
    if path.is_file() and truth_path.is_file():
        print(f"{path.name}: is there", flush=True)
        return
    studio, frames = Studio(shot, load_library(), samples=2), round(shot.style.period_s * FPS)
    folder = render(studio, frames)
    encode(studio, folder, frames * laps, path)
    truth = truth_of(studio, frames, laps)
    truth["waist_seen"] = waist_share(shot.outfit)
    truth["sweep"] = None if shot.sweep is None else shot.sweep.kind
    partial = truth_path.with_suffix(".part")
    partial.write_text(json.dumps(truth, allow_nan=False, separators=(",", ":")) + "\n")
    partial.replace(truth_path)
    for picture in folder.glob("*.png"):  # only the clips are kept: frames of all would fill a gigabyte
        picture.unlink()
    print(f"{path.name}: done", flush=True)


if __name__ == "__main__":
    sys.exit(main())
