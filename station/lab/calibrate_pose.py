"""Measures what the narrow int8 pose models need to know: ``python -m station.lab.calibrate_pose``.

Runs the folded float models over crops of runners, moved, turned, scaled, mirrored and dimmed a little, and writes for
each activation the lowest and highest value to ``station/models/ranges_*.json``, and what the head finds where the
narrow models do not look (``rest.npz``). Only these numbers are committed, so that building a model needs no pictures
and comes out the same everywhere. Prints the sha256 of the models that they
make; put it into ``station/models/recipes.py``.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from station.errors import HiplineError
from station.inference import Model
from station.lab.crops import runners
from station.models import build, quantize
from station.models.graph import pack
from station.models.narrow import head_input, narrow, narrowed
from station.models.recipes import RECIPES, Recipe, built_model
from station.pose.crop import Cropper
from station.pose.detector import Detector
from station.pose.estimator import SIZE_PX, LandmarkModel
from station.types import Pixels

_VARIATIONS = 4
#: A range reaches this share of the way from the mean of the frames' extremes to the extreme of all frames: a rare
#: spike is cut off, so that all other values keep finer steps.
_REACH = 0.25


def crops(sources: Sequence[Path], every: int, seed: int = 0) -> list[Pixels]:
    """Crops of the runners in ``sources``, varied as the tracker's crops vary; the same for the same seed."""
    detector = Detector(Model(*built_model("detector"), threads=2))
    landmarks = LandmarkModel(Model(*built_model("full-float"), threads=2))
    cropper, random, out = Cropper(SIZE_PX, replicate=True), np.random.default_rng(seed), []
    for source in sources:
        for frame, region in runners(source, detector, landmarks, every):
            for _ in range(_VARIATIONS):
                dx, dy = random.normal(0, 0.03, 2) * region.side_px
                varied = dataclasses.replace(
                    region, x_px=region.x_px + dx, y_px=region.y_px + dy,
                    side_px=region.side_px * random.uniform(0.85, 1.2),
                    angle_rad=region.angle_rad + random.uniform(-0.2, 0.2),
                )  # fmt: skip
                crop = cropper.crop(frame, varied)[:, :: random.choice((-1, 1))]
                light, contrast = random.uniform(-20, 20), random.uniform(0.7, 1.2)
                lit = cv2.convertScaleAbs(np.ascontiguousarray(crop), alpha=contrast, beta=light)
                out.append(np.asarray(lit, np.uint8))
    return out


def measure(recipe: Recipe, pictures: Iterable[Pixels]) -> dict[str, tuple[float, float]]:
    """The range of every activation that becomes int8 or meets an int8 layer."""
    graph = build.folded(recipe, build.shipped_file(recipe))
    wanted = quantize.activations(graph, build.RULE)
    graph.outputs = [tensor for tensor in wanted if tensor not in graph.inputs]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.tflite"
        path.write_bytes(pack(graph))
        probe = Model(path, threads=2)
    seen = []
    for picture in pictures:
        probe.run(picture[np.newaxis], 1 / 255)
        outputs = [probe.output(tensor.name) for tensor in wanted]
        seen.append([(float(values.min()), float(values.max())) for values in outputs])
    extremes = np.array(seen)
    low = extremes[..., 0].mean(axis=0) * (1 - _REACH) + extremes[..., 0].min(axis=0) * _REACH
    high = extremes[..., 1].mean(axis=0) * (1 - _REACH) + extremes[..., 1].max(axis=0) * _REACH
    return {
        quantize.short_name(tensor): (_rounded(below), _rounded(above))
        for tensor, below, above in zip(wanted, low, high, strict=True)
    }


def measure_rest(recipe: Recipe, pictures: Sequence[Pixels]) -> build.Rest:
    """The mean of what the head of the float model is given, less what it is given of the narrow crop."""
    shipped, width_px = build.shipped_file(recipe), recipe.width_px
    assert width_px is not None
    wide, slim = build.folded(recipe, shipped), build.folded(recipe, shipped)
    cells = head_input(wide)
    shape = cells.shape[1:]
    narrow(slim, width_px, np.zeros(shape, np.float32))
    aside = (SIZE_PX - width_px) // 2
    total = np.zeros(shape)
    with tempfile.TemporaryDirectory() as folder:
        probes = []
        for number, (graph, output) in enumerate(((wide, cells), (slim, narrowed(slim)))):
            graph.outputs = [output]
            path = Path(folder) / f"{number}.tflite"
            path.write_bytes(pack(graph))
            probes.append(Model(path, threads=2))
        for picture in pictures:
            for probe, sign, part in zip(probes, (1, -1), (picture, picture[:, aside : SIZE_PX - aside]), strict=True):
                probe.run(part[np.newaxis], 1 / 255)
                total += sign * probe.output(int(np.prod(shape))).reshape(shape)
    return np.asarray(total / len(pictures), np.float16).astype(np.float32)


def _as_json(count: int, ranges: dict[str, tuple[float, float]]) -> str:
    """One line for each range: changes can be read in a diff."""
    lines = ",\n".join(f"  {json.dumps(name)}: [{low}, {high}]" for name, (low, high) in ranges.items())
    return f'{{\n "crops": {count},\n "ranges": {{\n{lines}\n }}\n}}\n'


def _rounded(value: float) -> float:
    """Six digits: more would be noise, and a short decimal reads back the same on every machine."""
    return 0.0 if value == 0 or not math.isfinite(value) else float(f"{value:.6g}")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the ranges of every quantized model; exit code 0, or that of the error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("sources", nargs="+", type=Path, metavar="FRAMES", help="folder of pictures, or video")
    parser.add_argument("--every", type=int, default=1, help="take each N-th frame (default: 1)")
    parser.add_argument("--out", type=Path, default=Path(build.__file__).parent, help="folder of the ranges")
    arguments = parser.parse_args(argv)
    try:
        build.build(("detector", "lite-float", "full-float"), say=lambda line: print(line, file=sys.stderr))
        pictures = crops(arguments.sources, arguments.every)
        rests = {name: measure_rest(recipe, pictures) for name, recipe in RECIPES.items() if recipe.width_px}
        stored: dict[str, Any] = {name: rest.astype(np.float16) for name, rest in rests.items()}
        np.savez_compressed(arguments.out / build.REST_FILE, **stored)
        for recipe in RECIPES.values():
            if recipe.ranges is not None:
                ranges = measure(recipe, pictures)
                (arguments.out / recipe.ranges).write_text(_as_json(len(pictures), ranges), "utf-8")
                data = build.make(recipe, build.shipped_file(recipe), ranges, rests.get(recipe.name))
                print(f"{recipe.name}: {len(ranges)} ranges from {len(pictures)} crops, sha256 {_hash(data)}")
    except HiplineError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
