"""``make bench-arm-accuracy`` tells whether the quantized models are as true on ARM's kernels as the float ones.

XNNPACK's int8 kernels on a Cortex-A72 and A76 are not those of x86-64: their roundings differ. Crops of clips with
known truth are cut here once, placed by the full float model, and every model sees the same ones: here, and under
emulation on either core. So what differs is models and kernels, nothing else. Ten minutes for 100 crops.

    python -m deploy.arm.accuracy [--every N] [--pelvis-float FILE] [CLIP ...]

CLIPs have a .truth.json beside them; none: the bundled one. FILE is what ``station.lab.export`` writes beside the
pelvis model. Exit 1 when a quantized model is more than 5 % less true on a core than its float model there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deploy.arm.count import CACHE, CORES, HERE, TREE, on_core, prepare
from station.camera import BUNDLED_CLIP
from station.geometry import RayCaster
from station.inference import Model
from station.lab.crops import runners
from station.models import built_model, models_folder
from station.pelvis import Sightline, level_reading
from station.pelvis_net import INPUT_PX, PelvisNet, decode, without_prior
from station.pose.crop import Cropper
from station.pose.detector import Detector
from station.pose.estimator import BLAZEPOSE, SIZE_PX, LandmarkModel
from station.pose.region import Region
from station.types import KEYPOINT_INDEX, KEYPOINTS, Floats, PelvisLevel, Pixels, Pose, View
from station.wire import mount_from_json

#: Of the frames of a clip every so many-th is taken: neighbours say the same.
EVERY = 8
#: A quantized model may be this much less true than its float model.
ALLOWED = 0.05
ROWS = [BLAZEPOSE[name] for name in KEYPOINTS]
JOINTS = {
    "hips": [KEYPOINT_INDEX[f"{side}_hip"] for side in ("left", "right")],
    "knees": [KEYPOINT_INDEX[f"{side}_knee"] for side in ("left", "right")],
    "ankles": [KEYPOINT_INDEX[f"{side}_ankle"] for side in ("left", "right")],
}
PAIRS = (("lite", "lite-float"), ("full", "full-float"), ("pelvis", "pelvis-float"))

Scores = dict[str, dict[str, float]]


@dataclass(slots=True)
class Cut:
    """What all models see, and the truth of it."""

    pose: list[Pixels] = field(default_factory=list)
    regions: list[list[float]] = field(default_factory=list)
    pelvis: list[Pixels] = field(default_factory=list)
    pelvis_regions: list[Region] = field(default_factory=list)
    sightlines: list[Sightline] = field(default_factory=list)
    clip: list[int] = field(default_factory=list)
    joints_px: list[Floats] = field(default_factory=list)
    obliquity_deg: list[float] = field(default_factory=list)


def cut(clips: Sequence[Path], every: int) -> Cut:
    """Every so many-th frame of each clip in which a runner was found."""
    out = Cut()
    detector, placing = Detector(Model(*built_model("detector"))), LandmarkModel(Model(*built_model("full-float")))
    wide, small = Cropper(SIZE_PX, replicate=True), Cropper(INPUT_PX, replicate=True)
    for number, clip in enumerate(clips):
        truth = json.loads(clip.with_suffix(".truth.json").read_text(encoding="utf-8"))
        sightline = Sightline(
            RayCaster(View(truth["width"], truth["height"], truth["fps"], mount_from_json(truth["camera"])))
        )
        net = PelvisNet.load()  # follows one runner's size
        for frame, region in runners(clip, detector, placing, every):
            xy_px = placing.read(frame, region).xy_px[ROWS]
            waist = net.region(Pose(xy_px, np.ones(len(xy_px))))
            if waist is None:
                continue
            out.pose.append(wide.crop(frame, region).copy())
            out.regions.append([region.x_px, region.y_px, region.side_px, region.angle_rad])
            out.pelvis.append(small.crop(frame, waist).copy())
            out.pelvis_regions.append(waist)
            out.sightlines.append(sightline)
            out.clip.append(number)
            out.joints_px.append(np.array(truth["joints_px"][frame.index], float))
            out.obliquity_deg.append(float(truth["obliquity_deg"][frame.index]))
    return out


def obliquity_deg(answers: Floats, seen: Cut) -> Floats:
    """Obliquity in the world as the station uses it, NaN where the model says next to nothing."""
    found = []
    for values, region, sightline in zip(answers, seen.pelvis_regions, seen.sightlines, strict=True):
        angles, sd, hips, waist = decode(values.astype(np.float32))
        angles, sd = without_prior(angles, sd)
        left, right = region.to_picture((hips + 1) * (INPUT_PX / 2) - 0.5, INPUT_PX).tolist()
        level = PelvisLevel(
            *(angles[0], angles[1], angles[2], sd[0], sd[1], sd[2]),
            waist=waist,
            left_px=(left[0], left[1]),
            right_px=(right[0], right[1]),
        )
        found.append(level_reading(level, Pose.nobody(), sightline).level_deg)
    return np.array(found)


def score(said: Mapping[str, Floats], seen: Cut) -> Scores:
    """How far each model is from the truth: root mean square, in pixels and degrees, about its own mean in each clip.

    (A pose model's joints are not the rendered skeleton's: the constant between them is nobody's error.) ``_all`` is
    with that mean.
    """
    clip = np.array(seen.clip)
    found: Scores = {}
    for name, values in said.items():
        if name.startswith("pelvis"):
            error = {"obliquity_deg": (obliquity_deg(values, seen) - np.array(seen.obliquity_deg))[:, None]}
        else:
            away = values - np.array(seen.joints_px)
            error = {f"{part}_px": away[:, rows].reshape(len(away), -1) for part, rows in JOINTS.items()}
        found[name] = {}
        for what, off in error.items():
            about = np.concatenate([off[clip == c] - np.nanmean(off[clip == c], axis=0) for c in np.unique(clip)])
            found[name][what] = round(float(np.sqrt(np.nanmean(about**2))), 4)
            found[name][f"{what}_all"] = round(float(np.sqrt(np.nanmean(off**2))), 4)
    return found


def apart(one: Mapping[str, Floats], other: Mapping[str, Floats], seen: Cut) -> Scores:
    """Root mean square distance between what two machines said, model by model."""
    found: Scores = {}
    for name in one:
        if name.startswith("pelvis"):
            off = obliquity_deg(one[name], seen) - obliquity_deg(other[name], seen)
            found[name] = {"obliquity_deg": round(float(np.sqrt(np.nanmean(off**2))), 4)}
        else:
            away = one[name] - other[name]
            found[name] = {f"{p}_px": round(float(np.sqrt((away[:, r] ** 2).mean())), 4) for p, r in JOINTS.items()}
    return found


def faults(scores: Mapping[str, Scores]) -> list[str]:
    """One line for everything that a quantized model does worse than :data:`ALLOWED` against its float one."""
    out = []
    for machine, found in scores.items():
        for small, large in PAIRS:
            for what in found.get(small, {}) if large in found else ():
                ratio = found[small][what] / found[large][what]
                if not what.endswith("_all") and not ratio <= 1 + ALLOWED:
                    out.append(f"{machine} {small}: {what} {found[small][what]}, {ratio:.2f} times the float model's")
    return out


def main() -> int:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description="Accuracy of the quantized models on ARM kernels.")
    parser.add_argument("clips", nargs="*", type=Path, default=[BUNDLED_CLIP], metavar="CLIP")
    parser.add_argument("--every", type=int, default=EVERY, metavar="N", help=f"take every N-th frame ({EVERY})")
    parser.add_argument("--pelvis-float", type=Path, metavar="FILE", help="the float pelvis model")
    options = parser.parse_args()
    prepare()
    seen = cut(options.clips, options.every)
    more = [str(options.pelvis_float.resolve())] if options.pelvis_float else []
    with tempfile.TemporaryDirectory(prefix="hipline-arm-") as name:
        folder, said = Path(name), {}
        crops = folder / "crops.npz"
        np.savez(crops, pose=np.stack(seen.pose), regions=np.array(seen.regions), pelvis=np.stack(seen.pelvis))
        for machine in ("x86", *CORES):
            print(f"{len(seen.pose)} crops on {machine} …", file=sys.stderr, flush=True)
            said[machine] = _looked(machine, crops, folder / f"{machine}.npz", more)
    scores = {machine: score(found, seen) for machine, found in said.items()}
    report = {
        "crops": len(seen.pose), "clips": [clip.name for clip in options.clips], "off_truth": scores,
        "off_x86": {core: apart(said[core], said["x86"], seen) for core in CORES},
    }  # fmt: skip
    print(json.dumps(report, indent=1))
    for fault in faults(scores):
        print(f"bench-arm-accuracy: {fault}", file=sys.stderr)
    return 1 if faults(scores) else 0


def _looked(machine: str, crops: Path, out: Path, more: Sequence[str]) -> dict[str, Floats]:
    command = [str(HERE / "look.py"), str(crops), str(out), str(models_folder()), *more]
    environment = dict(os.environ) | {"PYTHONPATH": str(TREE), "PYTHONDONTWRITEBYTECODE": "1"}
    if machine == "x86":
        command.insert(0, sys.executable)
    else:
        command[:0] = on_core(machine)
        environment |= {
            "PYTHONPATH": f"{TREE}{os.pathsep}{CACHE / 'site'}", "OPENBLAS_NUM_THREADS": "1",
            "LD_LIBRARY_PATH": str(CACHE / "qemu/usr/lib/x86_64-linux-gnu"), "HIPLINE_MODELS": str(models_folder()),
        }  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench-arm-accuracy: {machine}: ended with {done.returncode}: {done.stderr[-2000:]}")
    return dict(np.load(out))


if __name__ == "__main__":
    sys.exit(main())
