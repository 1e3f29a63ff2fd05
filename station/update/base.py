"""What lies below all releases and still comes with them: the guard, and the units of the updater.

    <root>/base/<hash>/guard.pyz      the rollback, one file, run by the system's own Python
                      /systemd/…      every unit of the release it came with; /etc/systemd/system links to the updater's
    <root>/base/current               -> <hash> (a relative symlink)

A release brings both. They are taken over when it is committed, never while it is on probation: so what judges a
release is never its own. A generation is named by its content: a half-written one is known as such, and the same one
is written once. The way back takes the generation of the release it goes to.

Standard library only: the rollback uses this too.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from station.errors import UpdateError
from station.update.failpoints import hit
from station.update.layout import Layout, sync_folder, write_file

GUARD = "guard.pyz"
#: Links to these lie in /etc/systemd/system; the guard's own unit is a copy that no release changes.
UNITS = ("station-update.service", "station-update.timer", "station-update.path")


def active(layout: Layout) -> str | None:
    """The generation in use, if it is whole."""
    try:
        name = layout.base_current.readlink().name
    except OSError:
        return None
    return name if _is_whole(layout, name) else None


def of_release(layout: Layout, version: str) -> dict[str, bytes]:
    """What a release brings: path in a generation → content. Empty when it brings no guard: then nothing changes."""
    folder = layout.release(version)
    guard = folder / "scripts" / GUARD
    if not guard.is_file():
        return {}
    units = {f"systemd/{path.name}": path.read_bytes() for path in _units(folder)}
    return {GUARD: guard.read_bytes(), **units}


def adopt(layout: Layout, files: Mapping[str, bytes]) -> bool:
    """Let these be the guard and the units; durable on return. Whether anything changed.

    At any instant the old ones are in place, whole, or these. Raises :class:`UpdateError` when the disk refuses.
    """
    if not files:
        return False
    name = name_of(files)
    if active(layout) == name:
        return False
    try:
        if not _is_whole(layout, name):
            _write(layout.base / name, files)
            hit("base.written")
        use(layout, name)
    except OSError as error:
        raise UpdateError(f"{error.filename or layout.base}: cannot be written ({error.strerror})") from None
    return True


def use(layout: Layout, name: str) -> None:
    """Let ``current`` point at a generation that is there."""
    new = layout.base / ".current.new"
    new.unlink(missing_ok=True)
    new.symlink_to(name)
    hit("base.linked")
    new.replace(layout.base_current)
    hit("base.switched")
    sync_folder(layout.base)


def prune(layout: Layout) -> None:
    """Remove generations out of use: each can be had again from its release."""
    keep = active(layout)
    for folder in layout.base.glob("*"):
        if keep is not None and folder.name not in (keep, layout.base_current.name):
            hit("prune.base")
            shutil.rmtree(folder, ignore_errors=True)


def name_of(files: Mapping[str, bytes]) -> str:
    """The name of a generation: a hash of all it contains."""
    total = hashlib.sha256()
    for path, data in sorted(files.items()):
        total.update(f"{path}\0{hashlib.sha256(data).hexdigest()}\n".encode())
    return total.hexdigest()[:16]


def _is_whole(layout: Layout, name: str) -> bool:
    folder = layout.base / name
    try:
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in (folder / GUARD, *_units(folder))}
    except OSError:
        return False
    return name_of(files) == name


def _units(folder: Path) -> list[Path]:
    return [path for path in sorted((folder / "systemd").glob("*.*")) if path.is_file()]


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "systemd").mkdir(parents=True)
    for path, data in files.items():
        write_file(folder / path, data)
    for each in (folder, folder.parent, folder.parent.parent):
        sync_folder(each)
