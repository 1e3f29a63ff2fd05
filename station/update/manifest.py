"""The manifest of a release: which files it consists of, for which machine, and after which releases it may come.

A manifest is JSON signed as a target of the update repository. It is read on the station before anything else of the
release, so every field is checked as if an enemy had written it: one fault, one :class:`~station.errors.UpdateError`.
"""

from __future__ import annotations

import json
import platform as machine
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

from station.errors import UpdateError

FORMAT = "hipline.release/1"
#: Caps on what a manifest may ask of a station.
MAX_BYTES, MAX_FILES, MAX_FILE_SIZE, MAX_TOTAL_SIZE = 1 << 20, 1000, 1 << 30, 4 << 30

Platform = Literal["linux-aarch64", "linux-x86_64"]
Python = Literal["3.11", "3.13"]
Kind = Literal["wheel", "model", "unit", "script"]
#: Each kind of file has its folder in the release, and nothing lies outside of these.
FOLDER: Mapping[Kind, str] = {"wheel": "wheels", "model": "models", "unit": "systemd", "script": "scripts"}

_VERSION = re.compile(r"(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})")
_NAME = re.compile(r"[A-Za-z0-9_@][A-Za-z0-9._+@-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """One file: its place in the release, and the bytes that belong there."""

    path: str
    sha256: str
    size: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a release is, for one platform and one Python.

    ``sequence`` orders releases: a station never goes back to a smaller one, except to the one it came from.
    ``minimum_previous`` is the smallest sequence from which a station may come (a first installation may always).
    ``installed_size`` is what the release takes on disk when it is installed, in bytes, beside its files themselves.
    """

    version: str
    sequence: int
    minimum_previous: int
    platform: Platform
    python: Python
    installed_size: int
    files: tuple[ReleaseFile, ...]

    @property
    def download_size(self) -> int:
        """Bytes of all files, each counted once."""
        return sum({file.sha256: file.size for file in self.files}.values())

    def of_kind(self, kind: Kind) -> tuple[ReleaseFile, ...]:
        """The files of one kind, in order of path."""
        return tuple(file for file in self.files if file.kind == kind)


def sequence_of(version: str) -> int:
    """The sequence number of version ``X.Y.Z``: X·10⁶ + Y·10³ + Z, so that a person can tell it from the version."""
    if not _VERSION.fullmatch(version):
        raise UpdateError(f"version {version[:40]!r}: must be three numbers below 1000, like 1.4.0")
    major, minor, patch = (int(part) for part in version.split("."))
    return major * 1_000_000 + minor * 1000 + patch


def target_of(version: str, platform: str, python: str) -> str:
    """The name of a manifest in the update repository."""
    return f"release/{version}/{platform}-py{python}.json"


def this_platform() -> Platform:
    """The platform of the running machine."""
    name = f"{sys.platform}-{machine.machine()}"
    for known in get_args(Platform):
        if name == known:
            return known  # type: ignore[no-any-return]  # one of the names
    raise UpdateError(f"this machine ({name}): there are releases for {', '.join(get_args(Platform))} only")


def this_python() -> Python:
    """The version of the running Python, as manifests name it."""
    name = f"{sys.version_info.major}.{sys.version_info.minor}"
    for known in get_args(Python):
        if name == known:
            return known  # type: ignore[no-any-return]
    raise UpdateError(f"Python {name}: there are releases for {', '.join(get_args(Python))} only")


def write(manifest: Manifest) -> bytes:
    """Canonical JSON: the same manifest gives the same bytes."""
    payload = {
        "format": FORMAT,
        "version": manifest.version,
        "sequence": manifest.sequence,
        "minimum_previous": manifest.minimum_previous,
        "platform": manifest.platform,
        "python": manifest.python,
        "installed_size": manifest.installed_size,
        "files": [
            {"path": file.path, "sha256": file.sha256, "size": file.size, "kind": file.kind}
            for file in sorted(manifest.files, key=lambda file: file.path)
        ],
    }
    return (json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=True) + "\n").encode()


def read(data: bytes, name: str = "manifest") -> Manifest:
    """The manifest in ``data``; ``name`` is what errors call it. Fields that are not known are left alone.

    Raises :class:`~station.errors.UpdateError` for everything that is not a whole and safe manifest.
    """
    try:
        if len(data) > MAX_BYTES:
            raise _FaultError(f"is longer than {MAX_BYTES} bytes")
        table = _mapping(_json(data), "the manifest")
        if table.get("format") != FORMAT:
            raise _FaultError(f'the format is not "{FORMAT}": a newer station may know it')
        version = _text(table, "version", _VERSION)
        manifest = Manifest(
            version=version,
            sequence=_number(table, "sequence", 999_999_999),
            minimum_previous=_number(table, "minimum_previous", 999_999_999),
            platform=_choice(table, "platform", get_args(Platform)),
            python=_choice(table, "python", get_args(Python)),
            installed_size=_number(table, "installed_size", MAX_TOTAL_SIZE),
            files=_files(table.get("files")),
        )
        if manifest.sequence != sequence_of(version):
            raise _FaultError(f"sequence {manifest.sequence} is not that of version {version}")
        if manifest.minimum_previous > manifest.sequence:
            raise _FaultError("minimum_previous is larger than sequence")
        return manifest
    except _FaultError as fault:
        raise UpdateError(f"{name}: {fault}; nothing was installed") from None


class _FaultError(Exception):
    """What is wrong, without the name of what it is wrong with."""


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For ``json.loads``: an object that says a thing twice is refused rather than read one way here, another there."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands there twice")
    return table


def no_constant(name: str) -> Any:
    """For ``json.loads``: NaN and infinities are no JSON."""
    raise ValueError(f"{name} is no number")


def _json(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=unique_keys, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise _FaultError(f"is not JSON ({str(error)[:80]})") from None


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _FaultError(f"{what} is not an object")
    return value


def _text(table: Mapping[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _FaultError(f"{key} is {_shown(value)}")
    return value


def _number(table: Mapping[str, Any], key: str, largest: int) -> int:
    value = table.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= largest:
        raise _FaultError(f"{key} is {_shown(value)}, not a whole number from 0 to {largest}")
    return value


def _choice(table: Mapping[str, Any], key: str, known: tuple[Any, ...]) -> Any:
    value = table.get(key)
    if value not in known:
        raise _FaultError(f"{key} is {_shown(value)}, not one of {', '.join(known)}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


def _files(value: Any) -> tuple[ReleaseFile, ...]:
    if not isinstance(value, list) or not value:
        raise _FaultError("files is not a list with something in it")
    if len(value) > MAX_FILES:
        raise _FaultError(f"names more than {MAX_FILES} files")
    files = tuple(sorted((_file(_mapping(item, "a file")) for item in value), key=lambda file: file.path))
    _check_paths(file.path for file in files)
    sizes: dict[str, int] = {}
    for file in files:
        if sizes.setdefault(file.sha256, file.size) != file.size:
            raise _FaultError(f"{file.path}: one hash with two sizes")
    if sum(sizes.values()) > MAX_TOTAL_SIZE:
        raise _FaultError(f"the files are more than {MAX_TOTAL_SIZE} bytes")
    return files


def _file(table: Mapping[str, Any]) -> ReleaseFile:
    kind: Kind = _choice(table, "kind", get_args(Kind))
    path = table.get("path")
    if not isinstance(path, str) or not _is_safe(path, FOLDER[kind]):
        raise _FaultError(f"path {_shown(path)} is not a plain name below {FOLDER[kind]}/")
    if kind == "wheel" and not path.endswith(".whl"):
        raise _FaultError(f"path {_shown(path)} is not that of a wheel")
    return ReleaseFile(path, _text(table, "sha256", _SHA256), _number(table, "size", MAX_FILE_SIZE), kind)


def _is_safe(path: str, folder: str) -> bool:
    """Plain names only, two to six deep: no ``..``, no root, no drive, no hidden file, nothing a shell would read."""
    parts = path.split("/")
    return (
        2 <= len(parts) <= 6
        and parts[0] == folder
        and all(_NAME.fullmatch(part) for part in parts)
        and str(PurePosixPath(path)) == path
    )


def _check_paths(paths: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for path in paths:
        folded = path.casefold()
        if folded in seen:
            raise _FaultError(f"path {path} stands there twice")
        seen[folded] = path
    for folded, path in seen.items():
        for parent in PurePosixPath(folded).parents:
            if str(parent) in seen:
                raise _FaultError(f"path {path} lies below the file {seen[str(parent)]}")
