"""Render the bundled clip with its truth: ``python -m station.lab.clip OUT.mp4 [--seconds S] [--laps N]``.

The runner is dressed, lit and filmed as :func:`bundled` says. Frames are rendered into the cache one by one,
so that an interrupted run goes on where it stopped; the last step encodes them and writes ``OUT.truth.json``. The clip
is a seamless loop: stride plan and belt pattern repeat with its length. ``--laps`` shows a short loop several times.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from station.lab.bodies import cache_dir, load_library
from station.lab.gaitplan import Style
from station.lab.garments import Outfit
from station.lab.gl import Look
from station.lab.runner import Studio, Take
from station.lab.sensor import Sensor
from station.types import KEYPOINTS, Pixels

FPS = 30
#: Counted up when the renderer itself changes, so that cached frames of an older one are not mixed in.
REVISION = 1
MOST_BYTES = 4_000_000
BELT_M = 2.7


def bundled(seconds: float = 10.0) -> Take:
    """The clip in the package: 168 steps a minute at 2.7 m/s, left drop larger than right."""
    strides = round(seconds * 168 / 120)
    speed = round(2.7 * seconds / BELT_M) * BELT_M / seconds  # the belt's pattern comes round with the clip
    style = Style(strides=strides, period_s=seconds, speed_mps=speed)
    return Take(
        body=0,
        style=style,
        outfit=Outfit(bun=True),
        look=Look(wall=1, belt_period_m=BELT_M),
        sensor=Sensor(exposure=1.12, noise=0.004),
    )


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m station.lab.clip", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="the clip to write (.mp4); its truth goes beside it")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the loop (default 10)")
    parser.add_argument("--laps", type=int, default=2, help="show the loop so many times (default 2)")
    parser.add_argument("--preview", action="store_true", help="one exposure a frame, for a quick look")
    options = parser.parse_args(arguments)
    if options.out.suffix != ".mp4" or not options.out.parent.is_dir():
        print(f"{options.out}: must end in .mp4, in a folder that exists", file=sys.stderr)
        return 2
    shot = bundled(options.seconds)
    if options.preview:
        shot = replace(shot, exposures=1)
    studio = Studio(shot, load_library())
    frames = round(options.seconds * FPS)
    folder = render(studio, frames)
    size = encode(studio, folder, frames * options.laps, options.out)
    truth = options.out.with_suffix(".truth.json")
    truth.write_text(json.dumps(truth_of(studio, frames, options.laps), allow_nan=False, separators=(",", ":")) + "\n")
    print(f"{options.out}: {frames} frames, {size / 1e6:.2f} MB; truth in {truth.name}")
    return 0


def render(studio: Studio, frames: int) -> Path:
    """Render every frame that is not in the cache yet; the folder it is in."""
    recipe = json.dumps([REVISION, asdict(studio.shot)], sort_keys=True)
    folder = cache_dir() / f"clip-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    folder.mkdir(exist_ok=True)
    _save(folder / "background.png", studio.shot.sensor.develop(studio.background(), None))
    missing = [i for i in range(frames) if not (folder / f"{i:04d}.png").is_file()]
    print(f"{frames - len(missing)} of {frames} frames are there already, window {studio.window_px}", flush=True)
    begin = time.monotonic()
    left, top, _, _ = studio.window_px
    camera = studio.shot.camera
    for done, i in enumerate(missing, start=1):
        light = studio.expose(i / FPS)
        _save(
            folder / f"{i:04d}.png",
            studio.shot.sensor.develop(light, None, (left, top), (camera.width_px, camera.height_px)),
        )
        if done % 30 == 0 or done == len(missing):
            each = (time.monotonic() - begin) / done
            left_min = each * (len(missing) - done) / 60
            print(f"frame {i + 1}/{frames}, {each:.2f} s each, {left_min:.1f} min left", flush=True)
    return folder


def encode(studio: Studio, folder: Path, frames: int, out: Path) -> int:
    """Encode the cached frames as H.264 with the even quality that fits the allowed size; the file's size in bytes."""
    crf = 19.0
    for _ in range(6):
        partial = out.with_suffix(".part.mp4")
        _encode_once(studio, folder, frames, partial, crf)
        size = partial.stat().st_size
        print(f"crf {crf:.1f}: {size / 1e6:.2f} MB", flush=True)
        if size <= MOST_BYTES:
            partial.replace(out)
            return size
        crf += 6 * float(np.log2(size / MOST_BYTES)) + 0.7  # six steps halve the size
    raise RuntimeError(f"{out}: does not fit into {MOST_BYTES} bytes")


def _encode_once(studio: Studio, folder: Path, frames: int, out: Path, crf: float) -> None:
    sensor = studio.shot.sensor
    with av.open(str(out), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": f"{crf:.2f}", "preset": "medium"})
        camera = studio.shot.camera
        stream.width, stream.height, stream.pix_fmt = camera.width_px, camera.height_px, "yuv420p"
        for i in range(frames):
            picture = av.VideoFrame.from_ndarray(_grainy(_frame(studio, folder, i), sensor.noise, i), format="rgb24")
            picture.pts, picture.time_base = i, Fraction(1, FPS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _frame(studio: Studio, folder: Path, index: int) -> Pixels:
    left, top, width, height = studio.window_px
    whole = _load(folder / "background.png")
    part = _load(folder / f"{index % round(studio.shot.style.period_s * FPS):04d}.png")
    part = part[: whole.shape[0] - top, : whole.shape[1] - left]
    # The window's rim fades into the background, so that a shadow cut off there leaves no edge.
    rows, columns = part.shape[:2]
    ramp_x = np.minimum(np.arange(columns) + 1, np.arange(columns)[::-1] + 1) / 24.0
    ramp_y = np.full(rows, 1.0)
    share = np.clip(np.minimum.outer(ramp_y, ramp_x), 0.0, 1.0)[..., None]
    under = whole[top : top + height, left : left + width].astype(np.float32)
    whole[top : top + height, left : left + width] = (part * share + under * (1 - share) + 0.5).astype(np.uint8)
    return whole


def _grainy(image: Pixels, noise: float, index: int) -> Pixels:
    grain = np.random.default_rng(index).standard_normal(image.shape[:2], dtype=np.float32)
    # In the tone curve's terms shot noise is nearly even over the grey levels.
    return np.clip(image + (255 * 0.45 * noise * grain)[..., None] + 0.5, 0, 255).astype(np.uint8)


def truth_of(studio: Studio, frames: int, laps: int = 1) -> dict[str, Any]:
    """What is true of the clip (``frames`` a lap), plain numbers only; the keys say unit and frame."""
    rows = [studio.truth_at(i / FPS) for i in range(frames)] * laps
    style, camera = studio.shot.style, studio.shot.camera
    steps = studio.rig.plan.steps
    starts = [lap * style.period_s for lap in range(laps)]
    points_m, points_px = np.array([r["points_m"] for r in rows]), np.array([r["points_px"] for r in rows])
    hips_m = points_m[:, [KEYPOINTS.index("left_hip"), KEYPOINTS.index("right_hip")]]
    obliquity = np.array([r["obliquity_deg"] for r in rows])
    return {
        "format": "hipline.clip-truth/1",
        "what": "rendered runner: simulated truth, exact by construction; world X right, Y up, Z backward, metres",
        "fps": FPS, "frames": frames * laps, "period_s": style.period_s,
        "width": camera.width_px, "height": camera.height_px,
        "camera": {"height_m": camera.height_m, "distance_m": camera.distance_m, "focal_px": camera.focal_px,
                   "center_px": list(camera.principal_px), "roll_deg": camera.roll_deg, "pitch_deg": camera.pitch_deg},
        "belt_mps": style.speed_mps,
        "cadence_spm": 120.0 * style.strides / style.period_s,
        "hip_distance_m": float(np.linalg.norm(hips_m[:, 1] - hips_m[:, 0], axis=1).mean()),
        "peak_drop_deg": _peak_drops(studio, obliquity),
        "events": {f"{name}_{kind}_s": [round(start + getattr(s, f"{kind}_s"), 6)
                                        for start in starts for s in steps[side]]
                   for side, name in (("L", "left"), ("R", "right")) for kind in ("contact", "off")},
        "obliquity_deg": np.round(obliquity, 4).tolist(),
        "rotation_deg": [round(r["rotation_deg"], 4) for r in rows],
        "tilt_deg": [round(r["tilt_deg"], 4) for r in rows],
        "hip_centre_m": np.round(hips_m.mean(axis=1), 5).tolist(),
        "hip_centre_px": np.round(camera.project(hips_m.mean(axis=1)), 3).tolist(),
        "down": {name: [bool(r["down"][side]) for r in rows] for side, name in (("L", "left"), ("R", "right"))},
        "joints": list(KEYPOINTS),
        "joints_m": np.round(points_m, 5).tolist(),
        "joints_px": np.round(points_px, 3).tolist(),
    }  # fmt: skip


def _peak_drops(studio: Studio, obliquity_deg: Any) -> dict[str, float]:
    """Mean over the stances of the peak drop against the clip's mean obliquity (finely sampled, not per frame)."""
    if studio.shot.sweep is not None:  # the pelvis does not go with the stances
        return {}
    plan, level = studio.rig.plan, float(np.mean(obliquity_deg))
    peaks = {}
    for side, name, sign in (("L", "left", -1.0), ("R", "right", 1.0)):
        each = [
            max(sign * (plan.angles_deg(float(t))[0] - level) for t in np.linspace(s.contact_s, s.off_s, 60))
            for s in plan.steps[side]
        ]
        peaks[name] = round(float(np.mean(each)), 4)
    return peaks


def _save(path: Path, image: Pixels) -> None:
    partial = path.with_suffix(".part.png")
    cv2.imwrite(str(partial), image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    partial.replace(path)


def _load(path: Path) -> Pixels:
    image = cv2.imread(str(path))
    if image is None:
        raise RuntimeError(f"{path}: unreadable; delete it and start again")
    return np.asarray(image[..., ::-1].copy(), dtype=np.uint8)


if __name__ == "__main__":
    sys.exit(main())
