"""Compares the pose models on the same crops in one run: ``python -m station.lab.compare_pose FRAMES``.

Every model sees the same crop of the same frame, one after the other in turn. The shipped file of the same size is the
reference: the table shows how far each model's hips and ankles lie from it, in pixels of the picture and in percent of
the trunk's length, and how long an inference takes (one thread, median; compare within a table only). For a rendered
clip with its truth beside it (``NAME.truth.json``) it also shows how far they lie from where they really are.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from station.errors import HiplineError
from station.inference import Model
from station.lab.crops import runners
from station.models.build import build, shipped_file
from station.models.recipes import RECIPES, built_model
from station.pose.detector import Detector
from station.pose.estimator import BLAZEPOSE, LandmarkModel
from station.types import KEYPOINTS, Floats

_SHOULDERS = [BLAZEPOSE["left_shoulder"], BLAZEPOSE["right_shoulder"]]
_HIPS = [BLAZEPOSE["left_hip"], BLAZEPOSE["right_hip"]]
_ROWS = [BLAZEPOSE[name] for name in KEYPOINTS]
_ANKLES = [BLAZEPOSE["left_ankle"], BLAZEPOSE["right_ankle"]]


@dataclass(slots=True)
class Contender:
    """One model file with what it said and how long it took, frame by frame."""

    name: str
    model: LandmarkModel
    size_bytes: int
    points_px: list[Floats] = field(default_factory=list)
    error_px: list[Floats] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)


def contenders(folder: Path) -> list[Contender]:
    """The shipped files (written to ``folder``) and the station's models made of them, lite and full."""
    build(tuple(RECIPES), say=lambda line: print(line, file=sys.stderr))
    out = []
    for size in ("lite", "full"):
        shipped = folder / f"{size}.tflite"
        shipped.write_bytes(shipped_file(RECIPES[size]))
        for name, path in (
            (f"{size}, as shipped", shipped),
            (f"{size}, folded and pruned", built_model(f"{size}-float")[0]),
            (f"{size}, mixed int8", built_model(size)[0]),
        ):
            out.append(Contender(name, LandmarkModel(Model(path)), path.stat().st_size))
    return out


def compare(sources: Sequence[Path], every: int) -> tuple[list[Contender], int]:
    """Run every contender on every runner in ``sources``; also the number of frames."""
    with tempfile.TemporaryDirectory() as folder:
        rivals = contenders(Path(folder))
    detector, count = Detector(Model(*built_model("detector"))), 0
    placing = LandmarkModel(Model(*built_model("full-float")))
    for source in sources:
        truth = _truth(source)
        for frame, region in runners(source, detector, placing, every):
            count += 1
            # In turn, and each time another one first: a busy machine is then equally unfair to all.
            for rival in rivals[count % len(rivals) :] + rivals[: count % len(rivals)]:
                crop = rival.model.crop(frame, region)
                start = time.perf_counter()
                rival.model.infer(crop)
                rival.took_ms.append(1e3 * (time.perf_counter() - start))
                rival.points_px.append(rival.model.landmarks(region).xy_px)
                if truth is not None:
                    rival.error_px.append(rival.points_px[-1][_ROWS] - truth[frame.index])
    return rivals, count


def _truth(source: Path) -> Floats | None:
    """Where the keypoints of a rendered clip really are, (frames, 12, 2) in pixels."""
    path = source.with_suffix(".truth.json")
    if source.is_dir() or not path.is_file():
        return None
    points: Floats = np.array(json.loads(path.read_text("utf-8"))["joints_px"], float)
    return points


def table(rivals: Sequence[Contender]) -> str:
    """The comparison as a Markdown table."""
    lines = [
        "| model | MB | inference ms | hips px mean / p95 / max | hips % of trunk | hip line deg (sd) "
        "| ankles px mean / p95 | hips, ankles off truth px (median) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    reference: Mapping[str, Contender] = {r.name.split(",")[0]: r for r in rivals if r.name.endswith("as shipped")}
    for rival in rivals:
        truth = np.stack(reference[rival.name.split(",")[0]].points_px)
        points = np.stack(rival.points_px)
        away = np.linalg.norm(points - truth, axis=2)
        hips, ankles = away[:, _HIPS], away[:, _ANKLES]
        trunk = np.linalg.norm(truth[:, _HIPS].mean(axis=1) - truth[:, _SHOULDERS].mean(axis=1), axis=1)
        turned = np.degrees(_line_rad(points) - _line_rad(truth))
        lines.append(
            f"| {rival.name} | {rival.size_bytes / 1e6:.2f} | {np.median(rival.took_ms):.2f} "
            f"| {hips.mean():.2f} / {np.percentile(hips, 95):.2f} / {hips.max():.2f} "
            f"| {100 * (hips.mean(axis=1) / trunk).mean():.2f} | {turned.std():.2f} "
            f"| {ankles.mean():.2f} / {np.percentile(ankles, 95):.2f} | {_off_truth(rival)} |"
        )
    return "\n".join(lines)


def _off_truth(rival: Contender) -> str:
    if not rival.error_px:
        return "no truth"
    off = np.median(np.linalg.norm(np.stack(rival.error_px), axis=2), axis=0)
    return ", ".join(f"{off[rows].mean():.1f}" for rows in (slice(2, 4), slice(6, 8)))


def _line_rad(points: Floats) -> Floats:
    across = points[:, _HIPS[1]] - points[:, _HIPS[0]]
    angle: Floats = np.arctan(across[:, 1] / across[:, 0])
    return angle


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; exit code 0, or that of the error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("sources", nargs="+", type=Path, metavar="FRAMES", help="folder of pictures, or video")
    parser.add_argument("--every", type=int, default=1, help="take each N-th frame (default: 1)")
    arguments = parser.parse_args(argv)
    try:
        rivals, count = compare(arguments.sources, arguments.every)
    except HiplineError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"{count} frames\n\n{table(rivals)}" if count else "nobody seen in these frames")
    return 0 if count else 1


if __name__ == "__main__":
    sys.exit(main())
