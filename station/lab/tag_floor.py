"""The least error that corners alone allow: ``python -m station.lab.tag_floor [--corner-px 0.3]``.

Cramér-Rao bound of obliquity, rotation and tilt from the tags' corners, place and distance unknown, for a plate seen
from straight behind and for one that is turned; beside the two clips and the belt a flat plate, to show why none is.
"""

from __future__ import annotations

import argparse
import math
import sys

import numpy as np

from station.lab.rotations import pelvis_rotation
from station.tag.attitude import pixel_slopes, projected_slopes
from station.tag.lens import Lens
from station.tag.plates import LARGE, PLATES, Plate, place, tag_corners
from station.types import Floats, Mount, View

TURNED_DEG = (4.0, 12.0, 10.0)


def floor_deg(
    plate: Plate, distance_m: float, turned_deg: tuple[float, float, float], corner_px: float, *, flat: bool = False
) -> Floats:
    """Least sd [deg] of obliquity, rotation and tilt at 1280x720 and 930 px focal length; ``flat``: unfolded."""
    lens = Lens(View(1280, 720, 30.0, Mount(focal_px=930.0)))
    shape = np.zeros(len(plate.shape)) if flat else np.array(plate.shape)
    placed = place(plate, shape)
    turn = pelvis_rotation(*turned_deg)
    seen = (placed.outward @ turn.T)[:, 2] > 0.35
    arm = tag_corners(plate, placed)[seen].reshape(-1, 3) @ turn.T
    slopes = pixel_slopes(lens, arm, arm + np.array([0.0, 0.0, -distance_m])).reshape(-1, 6) / corner_px
    covariance = np.linalg.inv(slopes.T @ slopes)[:3, :3]
    angles = projected_slopes(turn)
    return np.sqrt(np.diag(angles @ covariance @ angles.T))


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m station.lab.tag_floor", description=(__doc__ or "").split(":")[0])
    parser.add_argument("--corner-px", type=float, default=0.3, help="noise of a corner (default 0.3)")
    options = parser.parse_args(arguments)
    if not math.isfinite(options.corner_px) or options.corner_px <= 0:
        print("--corner-px: must be above 0", file=sys.stderr)
        return 2
    print(f"corners {options.corner_px:g} px, 1280x720, focal length 930 px: obliquity, rotation, tilt [deg]")
    print(f"{'plate':14}{'at m':>6}   straight behind        turned by 4, 12, 10")
    rows = [("flat, 200 mm", LARGE, True), *((plate.title, plate, False) for plate in PLATES.values())]
    for name, plate, flat in rows:
        for distance_m in (2.0, 2.5, 3.0):
            both = [
                floor_deg(plate, distance_m, turned, options.corner_px, flat=flat)
                for turned in ((0.0, 0.0, 0.0), TURNED_DEG)
            ]
            print(f"{name:14}{distance_m:6.1f}   " + "    ".join(" ".join(f"{v:5.2f}" for v in row) for row in both))
    return 0


if __name__ == "__main__":
    sys.exit(main())
