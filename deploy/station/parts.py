"""What an installed station consists of beside its releases, and the small deeds that put it there.

Standard library only, for the Python of a bare Raspberry Pi OS.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.station import archive
from station.update import base

SOURCE = Path(__file__).resolve().parents[2]

#: Copied: it must be there whatever becomes of releases.
GUARD_UNIT = "station-rollback.service"
#: Links to what the last release that was committed brought (station/update/base.py).
UPDATER_UNITS = base.UNITS
LASTING_UNITS = (*UPDATER_UNITS, GUARD_UNIT)
#: Links into the active release: they change with it, in the same rename.
RELEASE_UNITS = ("station.service", "station-web.service", "station-retry.timer")
KIOSK_UNIT = "station-kiosk.service"
#: Files of systemd/ and where they go.
DROP_INS = {
    "sysusers.d/hipline.conf": "etc/sysusers.d/hipline.conf",
    "tmpfiles.d/hipline.conf": "etc/tmpfiles.d/hipline.conf",
    "journald.conf.d/hipline.conf": "etc/systemd/journald.conf.d/hipline.conf",
    "system.conf.d/hipline.conf": "etc/systemd/system.conf.d/hipline.conf",
    "mosquitto.service.d/hipline.conf": "etc/systemd/system/mosquitto.service.d/hipline.conf",
}
#: The command, for people: as its services see the world.
COMMAND = "usr/local/bin/station"
USERS = ("station", "station-web", "station-kiosk")
UNITS = "etc/systemd/system"
CONFIG = "etc/station/station.toml"
ROOT_METADATA = "etc/station/update-root.json"
BROKER_CONFIG = "etc/mosquitto/conf.d/hipline.conf"
BROKER_CA = "etc/mosquitto/certs/ca.crt"
RELEASES = "var/lib/hipline"
GUARD = "usr/local/lib/hipline/guard"
#: What the updater itself needs: the rest of a station comes with its first release.
UPDATER_PACKAGES = (
    "cffi", "cryptography", "numpy", "paho-mqtt", "pycparser", "securesystemslib", "tuf", "urllib3",
)  # fmt: skip


class InstallError(Exception):
    """One line: what is wrong, and the mend. ``code`` is the exit code: 2 for bad input."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Step:
    """One thing that an installed station has: ``needed`` says that it is not there yet, ``do`` puts it there."""

    what: str
    needed: Callable[[], bool]
    do: Callable[[], None]


def run_steps(steps: Sequence[Step], *, dry: bool, say: Callable[[str], None] = print) -> int:
    """Do what is needed, in order; how many steps that were. ``dry``: only say so."""
    count = 0
    for step in steps:
        if not step.needed():
            say(f"  ok     {step.what}")
            continue
        count += 1
        say(f"  {'would ' if dry else 'now   '} {step.what}")
        if not dry:
            step.do()
    return count


def call(*command: str | Path, env: dict[str, str] | None = None, show: bool = False, cwd: Path | None = None) -> str:
    """Output of a program; :class:`InstallError` with its last line when it fails. ``show``: let it speak itself."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, capture_output=not show, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL, cwd=cwd,
            env={**os.environ, **(env or {})},
        )  # fmt: skip
    except OSError as error:
        raise InstallError(f"{words[0]}: {error.strerror}") from None
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout or "").splitlines() if line.strip()]
        raise InstallError(f"{' '.join(words[:3])} …: {said[-1] if said else f'exit code {done.returncode}'}")
    return done.stdout or ""


def same(path: Path, data: bytes) -> bool:
    """Whether a file has this content."""
    return path.is_file() and path.read_bytes() == data


def put(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.chmod(mode)
    new.replace(path)


def put_all(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write several files below a folder."""
    for name, data in files.items():
        put(folder / name, data)


def link(place: Path, target: str) -> None:
    """Make a symlink, in place of whatever stands there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_name(f".{place.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(place)


def links_to(place: Path, target: str) -> bool:
    """Whether a symlink is there and says that."""
    return place.is_symlink() and str(place.readlink()) == target


def guard_files() -> dict[str, bytes]:
    """The rollback that no release changes: path below :data:`GUARD` → content."""
    launcher = SOURCE / "deploy/station/launcher.py"
    return {**archive.modules(SOURCE), "__main__.py": launcher.read_bytes()}


def base_files() -> dict[str, bytes]:
    """Guard and units of this source tree, for a station that has no release yet: as a release brings them."""
    units = {f"systemd/{unit}": (SOURCE / "systemd" / unit).read_bytes() for unit in UPDATER_UNITS}
    return {base.GUARD: archive.pack(SOURCE), **units}


def wanted_by(unit: Path) -> list[str]:
    """The targets of a unit's ``[Install]`` section."""
    text = unit.read_text(encoding="utf-8") if unit.is_file() else ""
    return [name for line in re.findall(r"^WantedBy=(.*)$", text, re.MULTILINE) for name in line.split()]


def remove(path: Path) -> None:
    """Remove a file, a link or a tree, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def main_of(name: str, run: Callable[[], int]) -> int:
    """Run a command; its error is one line."""
    try:
        return run()
    except InstallError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.code
    except OSError as error:
        print(f"{name}: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
