"""Render rear-view pictures of many different runners: ``python -m station.lab.frames OUT_DIR --n 60 --seed 1``.

Made for calibrating quantized pose models: bodies, clothes, light, gyms and mounts vary. Equal seeds give equal
pictures; pictures that are there already are kept, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from station.lab.bodies import BodyLibrary, load_library
from station.lab.runner import Studio
from station.lab.variety import random_take
from station.types import Pixels


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m station.lab.frames", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for the pictures (made when missing)")
    parser.add_argument("--n", type=int, default=60, help="how many (default 60)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default 1)")
    options = parser.parse_args(arguments)
    if options.n < 1 or (options.out.exists() and not options.out.is_dir()):
        print(f"{options.out}: must be a folder, and --n at least 1", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    library, begin = load_library(), time.monotonic()
    for index in range(options.n):
        path = options.out / f"runner_{options.seed}_{index:03d}.png"
        if not path.is_file():
            partial = path.with_suffix(".part.png")
            cv2.imwrite(str(partial), picture(library, options.seed, index)[..., ::-1])
            partial.replace(path)
        print(f"{path.name}: {index + 1}/{options.n}, {time.monotonic() - begin:.0f} s", flush=True)
    return 0


def picture(library: BodyLibrary, seed: int, index: int) -> Pixels:
    """Picture ``index`` of the series ``seed``: RGB, 1280x720."""
    rng = np.random.default_rng([seed, index])
    shot = random_take(rng)
    light = Studio(shot, library, samples=2).expose(float(rng.uniform(0, shot.style.period_s)), whole=True)
    return shot.sensor.develop(light, rng)


if __name__ == "__main__":
    sys.exit(main())
