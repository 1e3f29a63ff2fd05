"""Configuration: TOML and ``--set KEY=VALUE`` become one frozen :class:`Config`, or one clear :class:`ConfigError`.

Every key has a default, so an empty file is a working station. A key that does not exist, a value of the wrong type or
out of its range is refused with the file, the key and the mend; nothing is ignored silently. Unknown stays unknown
(``None``).
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from station.coach import CoachSettings
from station.errors import ConfigError
from station.types import Mount

#: Keys of ``[camera]`` that describe the mount: those of the pose track's header.
MOUNT_KEYS = tuple(f.name for f in dataclasses.fields(Mount))


def _number(default: Any, low: float, high: float) -> Any:
    """A number (or a list of numbers) within ``low``..``high``."""
    return field(default=default, metadata={"range": (low, high)})


def _text(default: Any, pattern: str, wanted: str) -> Any:
    """A text that must match ``pattern`` entirely; ``wanted`` says so in words."""
    return field(default=default, metadata={"pattern": pattern, "wanted": wanted})


_NAME = (r"[A-Za-z0-9_-]{1,64}", "1 to 64 letters, digits, - or _ (it becomes part of MQTT topics)")


@dataclass(frozen=True, slots=True)
class StationConfig:
    """Who we are: both names are levels of every MQTT topic, ``hipline/v1/<gym>/<name>/``."""

    gym: str = _text("gym", *_NAME)
    name: str = _text("station", *_NAME)


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """The source of frames, what to ask of it, and its mount (``None`` = unknown)."""

    source: str = _text("auto", r".+", 'one of "auto", "picamera2", "v4l2:/dev/video0" or the path of a video file')
    fps: float | None = _number(None, 1, 240)
    width: int | None = _number(None, 64, 7680)
    height: int | None = _number(None, 64, 7680)
    mains_hz: int | None = _number(None, 50, 60)
    exposure_max_ms: float = _number(4.0, 0.1, 33.0)
    calibration: Path | None = None
    height_m: float | None = _number(None, 0.0, 5.0)
    distance_m: float | None = _number(None, 0.2, 20.0)
    focal_px: float | None = _number(None, 10.0, 100_000.0)
    center_px: tuple[float, float] | None = _number(None, -100_000.0, 100_000.0)
    distortion: tuple[float, ...] | None = _number(None, -1000.0, 1000.0)
    roll_deg: float | None = _number(None, -45.0, 45.0)
    pitch_deg: float | None = _number(None, -85.0, 85.0)

    @property
    def mount(self) -> Mount:
        """The mount as the kernel wants it."""
        return Mount(**{key: getattr(self, key) for key in MOUNT_KEYS})


@dataclass(frozen=True, slots=True)
class PoseConfig:
    """Which landmark model, on how many threads."""

    model: Literal["lite", "full"] = "lite"
    threads: int = _number(2, 1, 16)


@dataclass(frozen=True, slots=True)
class PelvisConfig:
    """Which estimator of the pelvis."""

    estimator: Literal["auto", "fused", "net", "optical", "hips", "tag"] = "auto"


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """How a session begins (``auto``: when someone runs; ``tap``: on command only) and whose zones hold."""

    start: Literal["auto", "tap"] = "auto"
    profile: Literal["women", "men"] | None = None


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """The broker; without ``host`` the station starts a private one on a free loopback port."""

    host: str | None = _text(None, r"\S+", "a host name or address")
    port: int = _number(1883, 1, 65535)
    username: str | None = _text(None, r".+", "a user name")
    password_file: Path | None = None
    ca_file: Path | None = None
    root: str = _text("hipline/v1", r"[^+#/\s]+(/[^+#/\s]+)*", "topic levels without +, #, blanks or a / at either end")


@dataclass(frozen=True, slots=True)
class WebConfig:
    """Where the page listens; ``host = "0.0.0.0"`` shows it to the whole network.

    ``pin_file`` holds the PIN that opens setup and commands to other machines; without it they stay closed to them.
    ``public_url`` is the address that the QR code of a report begins with; without it one is derived.
    """

    host: str = _text("127.0.0.1", r"\S+", "an address of this machine")
    port: int = _number(8080, 1, 65535)
    pin_file: Path | None = None
    public_url: str | None = _text(None, r"https?://\S+", "an address beginning with http:// or https://")


@dataclass(frozen=True, slots=True)
class OutboxConfig:
    """The queue of record; without ``path`` it lives in :func:`state_dir`."""

    path: Path | None = None
    max_rows: int = _number(100_000, 100, 10_000_000)


@dataclass(frozen=True, slots=True)
class UpdateConfig:
    """Where releases come from: an address or a folder, and the root metadata this station was enrolled with."""

    source: str | None = _text(None, r"\S+", "an address beginning with http:// or https://, or a folder")
    root: Path | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration; ``origin`` names the file it came from (for messages)."""

    station: StationConfig = StationConfig()
    camera: CameraConfig = CameraConfig()
    pose: PoseConfig = PoseConfig()
    pelvis: PelvisConfig = PelvisConfig()
    session: SessionConfig = SessionConfig()
    coach: CoachSettings = CoachSettings()  # noqa: RUF009 (frozen: one for all is right)
    mqtt: MqttConfig = MqttConfig()
    web: WebConfig = WebConfig()
    outbox: OutboxConfig = OutboxConfig()
    update: UpdateConfig = UpdateConfig()
    origin: str = "defaults"

    @property
    def topic_root(self) -> str:
        """``hipline/v1/<gym>/<station>``, without a slash at the end."""
        return f"{self.mqtt.root}/{self.station.gym}/{self.station.name}"


def changed_keys(old: Config, new: Config) -> tuple[str, ...]:
    """The keys (``table.name``) whose values differ, in the order of the tables."""
    return tuple(
        f"{table}.{item.name}"
        for table, kind in TABLES.items()
        for item in dataclasses.fields(kind)
        if getattr(getattr(old, table), item.name) != getattr(getattr(new, table), item.name)
    )


TABLES: Mapping[str, Any] = {
    name: kind for name, kind in typing.get_type_hints(Config).items() if dataclasses.is_dataclass(kind)
}


def state_dir() -> Path:
    """Where lives what must outlive the process: systemd's ``StateDirectory=``, else the user's XDG state directory."""
    systemd = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if systemd:
        return Path(systemd)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "hipline"


def default_config_file() -> Path | None:
    """``station.toml`` in systemd's ``ConfigurationDirectory=``, when there is one; else no file."""
    systemd = os.environ.get("CONFIGURATION_DIRECTORY", "").split(":")[0]
    path = Path(systemd) / "station.toml" if systemd else None
    return path if path is not None and path.is_file() else None


def load(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """The configuration of file ``path`` with ``KEY=VALUE`` overrides (``None``: :func:`default_config_file`, if any).

    Paths in a file are relative to that file, paths in an override to the working directory.
    Raises :class:`ConfigError` naming the file (or ``--set``), the key and the mend.
    """
    file = Path(path) if path is not None else default_config_file()
    values: dict[str, Any] = {}
    origin = "defaults"
    if file is not None:
        origin = str(file)
        values = dict(_checked(_parse_file(file), origin, file.parent))
    for override in overrides:
        values.update(_parse_override(override))
    values = {**_calibration(values, origin), **values}
    _together(values, origin)
    try:
        tables: dict[str, Any] = {
            name: kind(**{key.split(".")[1]: value for key, value in values.items() if key.startswith(f"{name}.")})
            for name, kind in TABLES.items()
        }
    except ValueError as error:  # keys of one table at odds with each other: it names them
        raise ConfigError(f"{origin}: {error}") from None
    return Config(**tables, origin=origin)


def _parse_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file: check the path given with --config") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as UTF-8 text ({error})") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None


def _parse_override(override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    key, text = key.strip(), text.strip()
    if not equals or not text:
        raise ConfigError(f"--set {override}: write KEY=VALUE, such as --set camera.height_m=1.4")
    table, _, name = key.partition(".")
    hint = _hint(key, "--set")
    try:
        value = text if _is_text(hint) and text[0] not in "\"'" else tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word where a number is wanted: the type check names it
    return dict(_checked({table: {name: value}}, "--set", Path()))


def _checked(raw: Mapping[str, Any], origin: str, base: Path) -> Iterator[tuple[str, Any]]:
    for table, content in raw.items():
        if table not in TABLES or not isinstance(content, dict):
            raise ConfigError(f"{origin}: {_unknown(table, origin)}")
        for name, value in content.items():
            key = f"{table}.{name}"
            hint = _hint(key, origin)
            meta = next(f.metadata for f in dataclasses.fields(TABLES[table]) if f.name == name)
            yield key, _value(value, hint, meta, f"{origin}: {key}", base)


def _hint(key: str, origin: str) -> Any:
    table, _, name = key.partition(".")
    hints = typing.get_type_hints(TABLES[table]) if table in TABLES else {}
    if name not in hints:
        raise ConfigError(f"{origin}: {_unknown(key, origin)}")
    return hints[name]


def _unknown(key: str, origin: str) -> str:
    if key in TABLES:
        return f"{key} is a table: write {f'{key}.NAME=VALUE' if origin == '--set' else f'[{key}]'}"
    known = [f"{table}.{f.name}" for table, kind in TABLES.items() for f in dataclasses.fields(kind)]
    last = key.rpartition(".")[2]
    close = [name for name in known if name.partition(".")[2] == last or name == key]
    close = close or difflib.get_close_matches(key, [*known, *TABLES], n=1, cutoff=0.6)
    close = close or [f"{name}" for name in known if difflib.get_close_matches(last, [name.partition(".")[2]], 1, 0.7)]
    mend = f"did you mean {close[0]}?" if close else f"the tables are {', '.join(TABLES)}"
    return f"unknown key {key}: {mend}"


def _is_text(hint: Any) -> bool:
    options = _options(hint)
    return str in options or Path in options or any(typing.get_origin(o) is Literal for o in options)


def _options(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a type hint, without None."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return tuple(option for option in typing.get_args(hint) if option is not type(None))
    return (hint,)


def _value(value: Any, hint: Any, meta: Mapping[str, Any], where: str, base: Path) -> Any:
    kind = _options(hint)[0]
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise ConfigError(f"{where} = {value!r}: must be one of {', '.join(choices)}")
        return value
    if typing.get_origin(kind) is tuple:
        return _numbers(value, kind, meta, where)
    if kind is bool:
        if not isinstance(value, bool):
            raise ConfigError(f"{where} = {value!r}: must be true or false")
        return value
    if kind in (int, float):
        return _one_number(value, kind, meta, where)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where} = {value!r}: must be a text in quotes")
    if kind is Path:
        return base / Path(value).expanduser()
    if "pattern" in meta and not re.fullmatch(meta["pattern"], value):
        raise ConfigError(f"{where} = {value!r}: must be {meta['wanted']}")
    return value


def _one_number(value: Any, kind: type, meta: Mapping[str, Any], where: str) -> int | float:
    low, high = meta["range"]
    word = "a whole number" if kind is int else "a number"
    wrong_type = isinstance(value, bool) or not isinstance(value, (int, float)) or (kind is int and value != int(value))
    if not isinstance(value, bool) and isinstance(value, float) and not math.isfinite(value):
        wrong_type = True
    if wrong_type or not low <= value <= high:
        raise ConfigError(f"{where} = {value!r}: must be {word} from {low:g} to {high:g}")
    return kind(value)  # type: ignore[no-any-return]  # int or float, as asked


def _numbers(value: Any, kind: Any, meta: Mapping[str, Any], where: str) -> tuple[float, ...]:
    lengths = (4, 5) if Ellipsis in typing.get_args(kind) else (2,)
    if not isinstance(value, (list, tuple)) or len(value) not in lengths:
        wanted = "[x, y]" if lengths == (2,) else "[k1, k2, p1, p2, k3] (OpenCV's order)"
        raise ConfigError(f"{where} = {value!r}: must be a list of numbers {wanted}")
    return tuple(float(_one_number(item, float, meta, where)) for item in value)


def _calibration(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """The mount that ``station calibrate`` wrote; keys set in ``[camera]`` itself win over it."""
    file = values.get("camera.calibration")
    if file is None:
        return {}
    if not file.is_file():
        raise ConfigError(f"{origin}: camera.calibration = {str(file)!r}: no such file")
    found = dict(_checked(_parse_file(file), str(file), file.parent))
    for key, value in found.items():
        if key.removeprefix("camera.") not in (*MOUNT_KEYS, "width", "height"):
            raise ConfigError(f"{file}: {key} does not belong here: a calibration holds the mount, nothing else")
        if key in ("camera.width", "camera.height") and values.get(key, value) != value:
            raise ConfigError(
                f"{origin}: {key} = {values[key]}, but {file} was made for {value}: "
                "leave the key out, or calibrate again"
            )
    return found


def _together(values: Mapping[str, Any], origin: str) -> None:
    """Refuse what makes sense alone but not together."""
    if ("camera.width" in values) != ("camera.height" in values):
        raise ConfigError(f"{origin}: camera.width and camera.height must be set together, or neither")
    if "mqtt.host" not in values:
        for key in ("mqtt.username", "mqtt.password_file", "mqtt.ca_file"):
            if key in values:
                raise ConfigError(f"{origin}: {key} needs mqtt.host: the private broker has no users and no TLS")
