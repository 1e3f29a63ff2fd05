"""Pose tracks, ``hipline.track/1``: a header line, then one line a frame (``docs/formats.md``).

Reading streams: an hours-long track needs the memory of one line. What is wrong raises
:class:`~station.errors.TrackError`, which names file and line and says how to mend it; every frame before that line has
been handed out by then.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from station.errors import TrackError
from station.types import KEYPOINT_INDEX, KEYPOINTS, Mount, Observation, PelvisReading, Pose, View
from station.wire.jsonio import JsonObject, dumps, loads

FORMAT = "hipline.track/1"
#: A frame line has some 700 bytes; a longer one than this is no track, and must not fill the memory.
MAX_LINE_BYTES = 1_000_000

_MOUNT_KEYS = tuple(f.name for f in fields(Mount))
_ANGLES = ("obliquity", "rotation", "tilt")
#: What the world allows, so that a unit mixed up (mm for m, rad for deg) is told at the door.
_MOUNT_RANGES: Mapping[str, tuple[float, float, str]] = {
    "height_m": (0.0, 10.0, "metres above the belt, 0 to 10"),
    "distance_m": (1e-3, 100.0, "metres to the runner, more than 0, at most 100"),
    "focal_px": (1e-3, 1e6, "pixels, more than 0"),
    "roll_deg": (-180.0, 180.0, "degrees, -180 to 180"),
    "pitch_deg": (-90.0, 90.0, "degrees, -90 to 90"),
}


class _BadLineError(ValueError):
    """What is wrong with a line and how to mend it; the reader adds file and line."""


# --- reading ----------------------------------------------------------------------------------------------------------


def read_track(path: str | Path) -> tuple[View, Iterator[Observation]]:
    """The header of the track at ``path``, and its frames one by one.

    Raises :class:`TrackError` for the header here, for a frame when the iteration reaches its line.
    """
    frames = _frames(Path(path))
    view = next(frames)
    assert isinstance(view, View)  # the generator hands out the header first
    return view, frames  # type: ignore[return-value]  # and frames ever after


def _frames(path: Path) -> Iterator[View | Observation]:
    line = 1
    try:
        with path.open("rb") as file:
            yield view_from_json(_parse(_line(file) or b""))
            before = -math.inf
            while text := _line(file):
                line += 1
                observation = observation_from_json(_parse(text))
                if observation.t_s <= before:
                    raise _BadLineError(
                        f"time does not increase ({observation.t_s!r} after {before!r}): write frames in time order"
                    )
                before = observation.t_s
                yield observation
    except _BadLineError as error:
        raise TrackError(f"{path}: line {line}: {error}") from None
    except OSError as error:
        raise TrackError(f"{path}: cannot be read ({error.strerror or error}): check the path and its rights") from None


def _line(file: BinaryIO) -> bytes:
    text = file.readline(MAX_LINE_BYTES + 1)
    if len(text) > MAX_LINE_BYTES:
        raise _BadLineError(f"longer than {MAX_LINE_BYTES} bytes: a pose track has one frame on each line")
    return text


def _parse(line: bytes) -> JsonObject:
    try:
        value = loads(line.decode())
    except UnicodeDecodeError:
        raise _BadLineError("not UTF-8 text: a pose track is JSON Lines in UTF-8") from None
    except ValueError as error:
        what = str(error) if "finite" in str(error) else f"not JSON ({error})"
        mend = "write null or leave the key out" if "finite" in what else "mend or cut the track here"
        raise _BadLineError(f"{what}: {mend}") from None
    if not isinstance(value, dict):
        raise _BadLineError("not a JSON object: every line of a pose track is one {...}")
    return value


def view_from_json(header: Mapping[str, Any]) -> View:
    """The view that a header line describes; ``ValueError`` says what is wrong with it. Unknown keys are ignored."""
    if header.get("format") != FORMAT:
        raise _BadLineError(
            f'format is {header.get("format")!r}, not "{FORMAT}": this is not a pose track of this version'
        )
    camera = {} if header.get("camera") is None else header["camera"]
    if not isinstance(camera, dict):
        raise _BadLineError("camera must be an object of mount keys: leave it out when nothing is known")
    return View(
        width_px=_pixels(header, "width"),
        height_px=_pixels(header, "height"),
        fps=_in_range(header.get("fps"), "fps", 1e-3, 1e5, "the nominal frame rate, more than 0"),
        mount=mount_from_json(camera),
    )


def mount_from_json(camera: Mapping[str, Any]) -> Mount:
    """What the ``camera`` object says of the mount; a key that is absent or null stays unknown."""
    known = {key: camera[key] for key in _MOUNT_KEYS if camera.get(key) is not None}
    for key, value in known.items():
        where = f"camera.{key}"
        if key == "center_px":
            known[key] = _numbers(value, where, (2,), "[x, y] in pixels")
        elif key == "distortion":
            five = _numbers(value, where, (4, 5), "OpenCV's [k1, k2, p1, p2, k3]")
            known[key] = five if len(five) == 5 else (*five, 0.0)
        else:
            known[key] = _in_range(value, where, *_MOUNT_RANGES[key])
    return Mount(**known)


def observation_from_json(frame: Mapping[str, Any]) -> Observation:
    """The frame that a line describes; ``ValueError`` says what is wrong with it. Unknown keys are ignored."""
    if "t" not in frame:
        raise _BadLineError('no time: every frame needs "t" in seconds')
    pose = _pose(frame["kp"]) if "kp" in frame else None
    pelvis = _pelvis(frame["pelvis"]) if "pelvis" in frame else None
    return Observation(_number(frame["t"], "t"), pose, pelvis)


def _pose(keypoints: Any) -> Pose:
    if not isinstance(keypoints, dict):
        raise _BadLineError("kp must be an object: {} for nobody, no kp at all when the pose was not run")
    pose = Pose.nobody()
    for name, point in keypoints.items():
        row = KEYPOINT_INDEX.get(name)
        if row is None:
            continue
        if type(point) is not list or len(point) != 3:
            raise _BadLineError(f"kp.{name} must be [x_px, y_px, score]: leave out a keypoint that was not found")
        x_px, y_px, score = (_number(value, f"kp.{name}") for value in point)
        if not 0.0 <= score <= 1.0:
            raise _BadLineError(f"kp.{name} has score {score!r}: scores go from 0 to 1")
        pose.xy_px[row, 0], pose.xy_px[row, 1], pose.score[row] = x_px, y_px, score
    return pose


def _pelvis(block: Any) -> PelvisReading:
    if not isinstance(block, dict):
        raise _BadLineError(
            "pelvis must be an object: leave it out when no estimator spoke, null its angles when unknown"
        )
    sd = block.get("sd_deg")
    sds = sd if isinstance(sd, dict) else dict.fromkeys(_ANGLES, sd)
    source = block.get("source", "unknown")
    if not isinstance(source, str):
        raise _BadLineError(f"pelvis.source must be a text, not {source!r}")
    waist = _or_nan(block, "waist")
    if not math.isnan(waist) and not 0.0 <= waist <= 1.0:
        raise _BadLineError(f"pelvis.waist is {waist!r}: it goes from 0 to 1")
    return PelvisReading(
        **{f"{angle}_deg": _or_nan(block, f"{angle}_deg") for angle in _ANGLES},
        **{f"sd_{angle}_deg": _sd(sds.get(angle), f"sd_deg.{angle}") for angle in _ANGLES},
        source=source,
        level_deg=_or_nan(block, "level_deg"),
        level_sd_deg=_sd(block.get("level_sd_deg"), "level_sd_deg"),
        rate_dps=_or_nan(block, "rate_dps"),
        rate_sd_dps=_sd(block.get("rate_sd_dps"), "rate_sd_dps"),
        waist=waist,
    )


def _number(value: Any, where: str) -> float:
    if type(value) is float:
        return value
    if type(value) is int:  # not bool: true is not a number here
        try:
            return float(value)
        except OverflowError:
            raise _BadLineError(f"{where} is not finite: write null or leave the key out") from None
    raise _BadLineError(f"{where} must be a number, not {_short(value)}")


def _or_nan(block: Mapping[str, Any], key: str) -> float:
    value = block.get(key)
    return math.nan if value is None else _number(value, f"pelvis.{key}")


def _sd(value: Any, key: str) -> float:
    if value is None:
        return math.nan
    sd = _number(value, f"pelvis.{key}")
    if sd < 0.0:
        raise _BadLineError(f"pelvis.{key} is {sd!r}: a standard deviation is not negative")
    return sd


def _pixels(header: Mapping[str, Any], key: str) -> int:
    value = _in_range(header.get(key), key, 1, 100_000, "a whole number of pixels, more than 0")
    if value != int(value):
        raise _BadLineError(f"{key} is {value!r}: must be a whole number of pixels, more than 0")
    return int(value)


def _in_range(value: Any, where: str, low: float, high: float, wanted: str) -> float:
    if value is None:
        raise _BadLineError(f"{where} is missing: must be {wanted}")
    number = _number(value, where)
    if not low <= number <= high:
        raise _BadLineError(f"{where} is {number!r}: must be {wanted}")
    return number


def _numbers(value: Any, where: str, lengths: tuple[int, ...], wanted: str) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) not in lengths:
        raise _BadLineError(f"{where} is {_short(value)}: must be {wanted}")
    return tuple(_number(item, where) for item in value)


def _short(value: Any) -> str:
    text = dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


# --- writing ----------------------------------------------------------------------------------------------------------


class TrackWriter:
    """Writes a track frame by frame to an open text file (which stays the caller's to close).

    What is read back equals what was written, number for number; so a replay of the track gives the same strides.
    """

    def __init__(self, file: TextIO, view: View) -> None:
        self._file = file
        self._before = -math.inf
        self._put(view_json(view))

    def write(self, observation: Observation) -> None:
        """Append one frame. Times must increase (``ValueError`` otherwise: that is the caller's bug)."""
        if not observation.t_s > self._before:
            raise ValueError(f"time does not increase: {observation.t_s!r} after {self._before!r}")
        self._before = observation.t_s
        self._put(observation_json(observation))

    def _put(self, line: JsonObject) -> None:
        self._file.write(dumps(line) + "\n")


def view_json(view: View) -> JsonObject:
    """The header line of a track."""
    header: JsonObject = {"format": FORMAT, "width": int(view.width_px), "height": int(view.height_px)}
    header["fps"] = float(view.fps)
    mount = {key: getattr(view.mount, key) for key in _MOUNT_KEYS}
    camera = {
        key: [float(item) for item in value] if isinstance(value, tuple) else float(value)
        for key, value in mount.items()
        if value is not None
    }
    return {**header, "camera": camera} if camera else header


def observation_json(observation: Observation) -> JsonObject:
    """One frame line of a track."""
    frame: JsonObject = {"t": float(observation.t_s)}
    if observation.pose is not None:
        frame["kp"] = keypoints_json(observation.pose)
    if observation.pelvis is not None:
        frame["pelvis"] = pelvis_json(observation.pelvis)
    return frame


def keypoints_json(pose: Pose) -> JsonObject:
    """Name → ``[x_px, y_px, score]`` of every keypoint that was found."""
    rows = zip(KEYPOINTS, pose.xy_px.tolist(), pose.score.tolist(), strict=True)
    return {
        name: [x, y, 0.0 if math.isnan(score) else min(max(score, 0.0), 1.0)]
        for name, (x, y), score in rows
        if math.isfinite(x) and math.isfinite(y)
    }


def pelvis_json(reading: PelvisReading) -> JsonObject:
    """The ``pelvis`` block: the three angles always, as numbers or null; the rest where it is known."""
    block: JsonObject = {f"{angle}_deg": _or_none(getattr(reading, f"{angle}_deg")) for angle in _ANGLES}
    sds = {angle: _or_none(getattr(reading, f"sd_{angle}_deg")) for angle in _ANGLES}
    if any(sd is not None for sd in sds.values()):
        same = len(set(sds.values())) == 1
        block["sd_deg"] = sds["obliquity"] if same else {angle: sd for angle, sd in sds.items() if sd is not None}
    block["source"] = reading.source
    for key in ("level_deg", "level_sd_deg", "rate_dps", "rate_sd_dps", "waist"):
        value = _or_none(getattr(reading, key))
        if value is not None:
            block[key] = value
    return block


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
