"""The doctor's eyes: camera, focus, exposure, light and framing, from the camera itself or from a station that runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from station.camera import BUNDLED_CLIP, Camera, open_camera
from station.camera.look import Look
from station.config import Config
from station.doctor.broker import heard
from station.doctor.finding import Finding
from station.engine.observer import PoseSource
from station.errors import HiplineError
from station.types import Frame, Pose

#: How long the camera is watched [s]: until exposure has settled, or as long as a file is worth it.
_PATIENCE_S, _ENOUGH_S = 7.0, 2.2
_POSE_EVERY_S = 0.25
_GAIN_MAX = 8.0

_FRAMING = {
    "runner_left": "turn or move the camera to the left: the runner stands left of the middle",
    "runner_right": "turn or move the camera to the right: the runner stands right of the middle",
    "feet_cut": "pitch the camera down, or move it back: the feet leave the picture",
    "shoulders_cut": "pitch the camera up, or move it back: the shoulders leave the picture",
    "too_near": "move the camera back, or take a wider lens",
    "too_far": "move the camera nearer, or take a longer lens",
}


def findings(config: Config, pose: PoseSource | None, *, running: bool) -> Iterator[Finding]:
    """Camera, focus, exposure, light, framing; when there is no picture, the camera's failure alone."""
    try:
        if running:
            camera, seen = _from_station(config)
        else:
            camera, seen = _from_camera(config, pose)
    except HiplineError as error:
        yield Finding.of_error("camera", error)
        return
    yield camera
    yield _focus(seen)
    yield _exposure(seen, config.camera.exposure_max_ms)
    yield _light(seen)
    yield _framing(seen, posed=running or pose is not None)


def _from_station(config: Config) -> tuple[Finding, Mapping[str, Any]]:
    """What the station that runs publishes of its picture; it has the camera, and nobody else may."""
    health = heard(config) if config.mqtt.host is not None else None
    if health is None:
        mend = "stop it and look again, or wait until it publishes" if config.mqtt.host else "stop it and look again"
        return Finding("camera", "warn", "in the hands of the station that runs, which was not heard", mend), {}
    seen = f"in use by the station that runs: {health['fps_in']} frames a second, {health['dropped']} dropped"
    calibrated = health["camera"].get("calibrated")
    if not calibrated:
        return Finding("camera", "warn", seen, _UNKNOWN_MOUNT), health["camera"]
    return Finding("camera", "ok", seen), health["camera"]


_UNKNOWN_MOUNT = "mount unknown: `station calibrate`, or set camera.focal_px, distance_m, height_m for millimetres"


def _from_camera(config: Config, pose: PoseSource | None) -> tuple[Finding, Mapping[str, Any]]:
    camera = open_camera(config.camera)
    try:
        frames, look = _watch(camera, pose)
    finally:
        camera.close()
    span_s = frames[-1].t_s - frames[0].t_s if frames else 0.0
    rate = (len(frames) - 1) / span_s if span_s > 0 else 0.0
    judged, exposure = look.judgement, camera.exposure
    seen = {
        "light": judged.light, "blur": judged.blur, "framing": judged.framing, "dirty": judged.dirty,
        "flicker": judged.flicker, "luma": judged.luma, "hints": list(judged.hints),
        "exposure_ms": exposure.exposure_ms if exposure else None, "gain": exposure.gain if exposure else None,
        "lux": exposure.lux if exposure else None, "locked": exposure.locked if exposure else None,
    }  # fmt: skip
    return _camera(camera, rate), seen


def _watch(camera: Camera, pose: PoseSource | None) -> tuple[list[Frame], Look]:
    """Frames without their pictures' owner holding on to them, and what the look made of them."""
    frames: list[Frame] = []
    look, posed_s, start_s = Look(), float("-inf"), time.monotonic()
    while (frame := camera.read()) is not None:
        found: Pose | None = None
        if pose is not None and frame.t_s - posed_s >= _POSE_EVERY_S:
            found, posed_s = pose.estimate(frame), frame.t_s
            look.note(frame, found, camera.exposure.gain if camera.exposure else None)
        elif pose is None:
            look.note(frame, None)
        frames.append(Frame(frame.t_s, frame.index, frame.image[:1], frame.layout))
        waited_s = time.monotonic() - start_s
        settled = camera.exposure is None or camera.exposure.locked
        if waited_s > _PATIENCE_S or (waited_s > _ENOUGH_S and settled and frame.t_s - frames[0].t_s > _ENOUGH_S):
            break
    return frames, look


def _camera(camera: Camera, rate: float) -> Finding:
    view = camera.view
    seen = f"{camera.name}: {rate:.1f} frames a second"
    if camera.name.startswith(str(BUNDLED_CLIP)):
        return Finding("camera", "warn", seen, "no camera attached: attach one, or set camera.source")
    if rate < 0.9 * view.fps:
        return Finding("camera", "warn", seen, f"slower than its {view.fps:.4g}: check the cable, or ask for less")
    if view.mount.focal_px is None or view.mount.distance_m is None:
        return Finding("camera", "warn", seen, _UNKNOWN_MOUNT)
    return Finding("camera", "ok", seen)


def _focus(seen: Mapping[str, Any]) -> Finding:
    blur, dirty = seen.get("blur"), seen.get("dirty")
    if dirty:
        return Finding("focus", "warn", "a part of the picture is veiled", "clean the lens with a dry microfibre cloth")
    if blur is None:
        return Finding("focus", "ok", "nobody on the belt to judge it by")
    if blur > 0.5:
        return Finding("focus", "warn", f"blur {blur:.2f} of 1", "focus on the runner's place, and light it")
    return Finding("focus", "ok", f"blur {blur:.2f} of 1")


def _exposure(seen: Mapping[str, Any], cap_ms: float) -> Finding:
    exposure_ms, gain, flicker = seen.get("exposure_ms"), seen.get("gain"), seen.get("flicker")
    if "flicker" in seen.get("hints", ()):
        return Finding(
            "exposure",
            "warn",
            f"brightness flickers by {100 * float(flicker or 0):.0f} %",
            "set camera.mains_hz, or other lamps",
        )
    if exposure_ms is None:
        return Finding("exposure", "ok", "this camera does not say")
    told = f"{exposure_ms:.1f} ms" + ("" if gain is None else f", gain {gain:.1f}")
    if exposure_ms > 1.05 * cap_ms:
        return Finding("exposure", "warn", f"{told}, longer than {cap_ms:g} ms", "has not settled: look again")
    if gain is not None and gain > _GAIN_MAX:
        return Finding("exposure", "warn", f"{told}: grain", "more light on the runner's back")
    return Finding("exposure", "ok", f"{told}, {'held' if seen.get('locked') else 'not held yet'}")


def _light(seen: Mapping[str, Any]) -> Finding:
    light = seen.get("light")
    if light is None:
        return Finding("light", "ok", "not known")
    told = f"{light:.2f} of 1" + (f", {seen['lux']:.0f} lux" if seen.get("lux") else "")
    if light < 0.3:
        return Finding("light", "warn", told, "dark: more light on the runner's back (hardware.md, Exposure and light)")
    if "bright" in seen.get("hints", ()):
        return Finding("light", "warn", f"{told}, much of the runner is white", "less light, or no lamp in the picture")
    return Finding("light", "ok", told)


def _framing(seen: Mapping[str, Any], *, posed: bool) -> Finding:
    score = seen.get("framing")
    if score is None:
        return Finding("framing", "ok", "nobody on the belt to judge it by" if posed else "not judged without a model")
    mends = [_FRAMING[hint] for hint in seen.get("hints", ()) if hint in _FRAMING]
    if score < 0.6:
        return Finding("framing", "warn", f"{score:.2f} of 1", mends[0] if mends else "the runner into the middle")
    return Finding("framing", "ok", f"{score:.2f} of 1")
