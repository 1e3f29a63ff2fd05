"""A rendered runner who wears the reference tag: ``python -m station.lab.wear OUT.mp4 [--size large]``.

The plate hangs on the pelvis bone at the waistband, over whatever is worn there; its truth beside the clip is exact.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from station.lab.bodies import BONE, BONES, load_library
from station.lab.gaitplan import Style
from station.lab.garments import Dressed, Outfit
from station.lab.gl import Look
from station.lab.pinhole import Pinhole
from station.lab.runner import Studio, Take
from station.lab.sensor import Sensor
from station.lab.skinning import Mesh, Rig
from station.lab.tagshots import Worn
from station.tag.plates import FACET_MODULES, PLATES, modules
from station.types import Floats, Pixels

#: A material the shader has no rule for: plain matt paint.
_PAPER = 6.0
_WHITE, _BLACK = 0.78, 0.03
_CLEAR_M = 0.004
FPS = 30


def worn_mesh(rig: Rig, clothed: Dressed, worn: Worn) -> tuple[Mesh, Floats]:
    """The plate as a mesh of the rest pose that goes with the pelvis, and its middle seen from mid-hip [m].

    It hangs at the waistband in the middle of the back, just clear of cloth and skin; ``worn.offset_m`` is not used.
    """
    placed, plate = worn.placed, worn.plate
    grid = np.arange(FACET_MODULES + 1) * plate.module_m - plate.side_m / 2
    vertices: list[Floats] = []
    faces: list[list[int]] = []
    paint: list[list[float]] = []
    for k, tag_id in enumerate(plate.ids):
        light = modules(tag_id)[::-1]  # row 0 is at the top, the grid begins below
        for row in range(FACET_MODULES):
            for column in range(FACET_MODULES):
                base = len(vertices)
                for x, y in ((0, 0), (1, 0), (1, 1), (0, 1)):
                    across, high = grid[column + x] * placed.right[k], grid[row + y] * placed.up[k]
                    vertices.append(worn.mount @ (placed.centre_m[k] + across + high))
                faces += [[base, base + 1, base + 2], [base, base + 2, base + 3]]
                paint += [[_WHITE if light[row, column] else _BLACK] * 3] * 4
    points = np.array(vertices)
    height = clothed.waist_y_m - 0.5 * clothed.outfit.band_m
    points += [0.0, height, _behind(clothed.mesh, points, height)]
    middle = points.mean(axis=0) - (rig.body.joint("thigh.L") + rig.body.joint("thigh.R")) / 2
    weights = np.zeros((len(points), len(BONES)), dtype=np.float32)
    weights[:, BONE["pelvis"]] = 1.0
    count = len(points)
    mesh = Mesh(
        points, np.asarray(faces, np.int32), weights, np.asarray(paint, np.float32),
        np.full(count, _PAPER, np.float32), np.full(count, -1.0, np.float32),
    )  # fmt: skip
    return mesh, np.asarray(middle)


def _behind(mesh: Mesh, points: Floats, height_m: float) -> float:
    """How far back the plate's frame must be so that no point of it is inside the runner [m]."""
    low, high = height_m + points[:, 1].min() - 0.01, height_m + points[:, 1].max() + 0.01
    bone = mesh.weights[:, [BONE[name] for name in BONES if name.startswith(("upperarm", "lowerarm", "hand"))]].sum(1)
    body = mesh.vertices_m[(mesh.vertices_m[:, 1] > low) & (mesh.vertices_m[:, 1] < high) & (bone < 0.3)]
    need = [
        body[np.abs(body[:, 0] - x) < 0.012, 2].max(initial=-1.0) - z for x, z in points[:, [0, 2]][::40]
    ]  # a point in forty is one every few millimetres
    return float(max(need)) + _CLEAR_M


def wear(studio: Studio, worn: Worn) -> Floats:
    """Put the plate on the studio's runner; the plate's middle seen from mid-hip [m]. Before anything is rendered."""
    mesh, middle = worn_mesh(studio.rig, studio.clothed, worn)
    studio.dress_over(mesh)
    return middle


def take(distance_m: float, size_px: tuple[int, int], seconds: float, seed: int = 3) -> Take:
    """A runner in plain clothes whose tag faces a camera of 930 px per 1280."""
    strides = max(2, round(seconds * 1.4))
    return Take(
        body=seed % 8,
        style=Style(strides=strides, period_s=seconds, seed=seed),
        outfit=Outfit(),
        camera=Pinhole(*size_px, focal_px=930.0 * size_px[0] / 1280, distance_m=distance_m + 0.13),
        look=Look(seed=(1.0, 2.0, float(seed))),
        sensor=Sensor(noise=0.012, soft_px=0.7),
        exposure_s=0.004,
    )  # fmt: skip


def truth_of(studio: Studio, times: Floats) -> dict[str, Any]:
    """Pelvis angles, keypoints and camera of a clip, numbers only."""
    rows = [studio.truth_at(float(t)) for t in times]
    camera = studio.shot.camera
    return {
        "format": "hipline.tag-truth/1",
        "what": "rendered runner with the reference tag: simulated truth, exact by construction",
        "fps": FPS, "width": camera.width_px, "height": camera.height_px,
        "camera": {"height_m": camera.height_m, "distance_m": camera.distance_m, "focal_px": camera.focal_px,
                   "center_px": list(camera.principal_px), "roll_deg": camera.roll_deg, "pitch_deg": camera.pitch_deg},
        "obliquity_deg": [r["obliquity_deg"] for r in rows],
        "rotation_deg": [r["rotation_deg"] for r in rows],
        "tilt_deg": [r["tilt_deg"] for r in rows],
        "points_px": np.array([r["points_px"] for r in rows]).round(2).tolist(),
    }  # fmt: skip


def lights(studio: Studio, times: Floats) -> Iterator[NDArray[np.float32]]:
    """The whole picture at each time as linear light, before the sensor."""
    camera, (left, top, width, height) = studio.shot.camera, studio.window_px
    behind = studio.background()
    for t in times:
        light = behind.copy()
        part = studio.expose(float(t))[: camera.height_px - top, : camera.width_px - left]
        light[top : top + height, left : left + width] = part
        yield light


def pictures(studio: Studio, times: Floats) -> list[Pixels]:
    """The whole picture at each time, RGB, noise included."""
    return [
        studio.shot.sensor.develop(light, np.random.default_rng(index))
        for index, light in enumerate(lights(studio, times))
    ]


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m station.lab.wear", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="the clip (.mp4); its truth goes beside it")
    parser.add_argument("--size", choices=list(PLATES), default="large")
    parser.add_argument("--distance", type=float, default=2.5, help="camera to the runner [m]")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--width", type=int, default=1280, choices=[1280, 1920])
    options = parser.parse_args(arguments)
    if options.out.suffix != ".mp4" or not options.out.parent.is_dir():
        print(f"{options.out}: must end in .mp4, in a folder that exists", file=sys.stderr)
        return 2
    size = (options.width, options.width * 9 // 16)
    studio = Studio(replace(take(options.distance, size, options.seconds), exposures=2), load_library())
    wear(studio, Worn(PLATES[options.size]))
    times = np.arange(round(options.seconds * FPS)) / FPS
    with av.open(str(options.out), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "20", "preset": "medium"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for index, t in enumerate(times):
            picture = av.VideoFrame.from_ndarray(pictures(studio, np.array([t]))[0], format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    truth = options.out.with_suffix(".truth.json")
    truth.write_text(json.dumps(truth_of(studio, times), allow_nan=False, separators=(",", ":")) + "\n")
    print(f"{options.out}: {len(times)} frames; truth in {truth.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
