"""``station doctor``: what the station needs, each thing ok, warn or fail, with the mend."""

from __future__ import annotations

import itertools
import json
import platform
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from station.broker import PrivateBroker
from station.camera import BUNDLED_CLIP, Camera, frames, open_camera
from station.config import Config, state_dir
from station.engine.observer import load_pose
from station.engine.version import version
from station.errors import HiplineError
from station.health import temperature_c, throttled
from station.types import Frame

_CAMERA_FRAMES = 45
_HOT_C = 75.0
_LOW_DISK_GB = 1.0
_POSE_RUNS = 10
#: Mean luma below which exposures of 4 ms need more light.
_DARK = 50


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: what, how it stands, what was seen, and what to do about it."""

    what: str
    verdict: Literal["ok", "warn", "fail"]
    seen: str
    mend: str = ""


def doctor(config: Config, *, as_json: bool) -> int:
    """Print the findings as they come; 0 when nothing fails, 1 otherwise."""
    findings = []
    for finding in examine(config):
        findings.append(finding)
        if not as_json:
            mend = f"   -> {finding.mend}" if finding.mend else ""
            print(f"{finding.verdict:4}  {finding.what:12} {finding.seen}{mend}", flush=True)
    failed = any(finding.verdict == "fail" for finding in findings)
    if as_json:
        print(json.dumps({"ok": not failed, "checks": [asdict(finding) for finding in findings]}, indent=2))
    return int(failed)


def examine(config: Config) -> Iterator[Finding]:
    """All findings, one after the other."""
    yield Finding("versions", "ok", f"station {version()}, Python {platform.python_version()}, {platform.machine()}")
    yield _guarded("camera", lambda: _camera(config))
    yield _guarded("model", lambda: _model(config))
    yield _guarded("broker", lambda: _broker(config))
    yield _guarded("disk", _disk)
    yield _clock()
    yield _heat()


def _guarded(what: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except HiplineError as error:
        culprit, _, mend = str(error).partition("; ")
        return Finding(what, "fail", culprit, mend)


def _camera(config: Config) -> Finding:
    camera = open_camera(config.camera)
    try:
        some = list(itertools.islice(frames(camera), _CAMERA_FRAMES))
    finally:
        camera.close()
    span_s = some[-1].t_s - some[0].t_s
    rate = (len(some) - 1) / span_s if span_s > 0 else 0.0
    light = float(np.mean([_brightness(frame) for frame in some[-5:]]))
    seen = f"{camera.name}: {rate:.1f} frames a second, brightness {light:.0f} of 255"
    if camera.name.startswith(str(BUNDLED_CLIP)):
        return Finding("camera", "warn", seen, "no camera attached: attach one, or set camera.source")
    return _judged(camera, seen, rate, light)


def _judged(camera: Camera, seen: str, rate: float, light: float) -> Finding:
    if rate < 0.9 * camera.view.fps:
        return Finding(
            "camera", "warn", seen, f"slower than its {camera.view.fps:.4g}: check the cable, or ask for less"
        )
    if light < _DARK:
        return Finding("camera", "warn", seen, "dark: add light behind the runner")
    if camera.view.mount.focal_px is None or camera.view.mount.distance_m is None:
        return Finding(
            "camera", "warn", seen, "mount unknown: set camera.focal_px, distance_m, height_m for millimetres"
        )
    return Finding("camera", "ok", seen)


def _brightness(frame: Frame) -> float:
    """Mean of every eighth pixel, luma or colours."""
    return float(frame.image[: frame.size_px[1] : 8, ::8].mean())


def _model(config: Config) -> Finding:
    pose = load_pose(config, lambda _line: None)
    blank = Frame(0.0, 0, np.full((720 * 3 // 2, 1280), 128, np.uint8), "yuv420")
    pose.estimate(blank)
    start_s = time.perf_counter()
    for _ in range(_POSE_RUNS):
        pose.estimate(blank)
    each_ms = (time.perf_counter() - start_s) / _POSE_RUNS * 1000
    if pose.estimate(blank).someone:
        return Finding("model", "fail", "sees a person in a grey picture", "run `station model build`")
    seen = f"BlazePose {config.pose.model}: sound, detector {each_ms:.1f} ms"
    return Finding("model", "ok", seen)


def _broker(config: Config) -> Finding:
    if config.mqtt.host is None:
        with tempfile.TemporaryDirectory() as memory, PrivateBroker(Path(memory)) as broker:
            return Finding("broker", "ok", f"private mosquitto starts (tried on port {broker.port})")
    where = f"{config.mqtt.host}:{config.mqtt.port}"
    try:
        with socket.create_connection((config.mqtt.host, config.mqtt.port), timeout=3.0):
            return Finding("broker", "ok", f"{where} answers")
    except OSError as error:
        return Finding("broker", "fail", f"{where}: {error}", "check mqtt.host, mqtt.port and the network")


def _disk() -> Finding:
    folder = state_dir()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    seen = f"{free_gb:.1f} GB free at {folder}"
    if free_gb < _LOW_DISK_GB:
        return Finding("disk", "warn", seen, "free some space: strides are kept on disk until the broker has them")
    return Finding("disk", "ok", seen)


def _clock() -> Finding:
    now = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    if Path("/run/systemd/timesync/synchronized").exists():
        return Finding("clock", "ok", f"{now}, synchronised")
    return Finding("clock", "warn", f"{now}, not known to be synchronised", "labels only: enable systemd-timesyncd")


def _heat() -> Finding:
    celsius, slow = temperature_c(), throttled()
    seen = "unknown here" if celsius is None else f"{celsius:.0f} degrees C"
    if slow:
        return Finding("temperature", "warn", f"{seen}, throttled", "cool it, or give it a stronger power supply")
    if celsius is not None and celsius > _HOT_C:
        return Finding("temperature", "warn", seen, "hot: give it a fan or a heat sink")
    return Finding("temperature", "ok", seen)
