"""Where everything of an update lies on the station's disk, and the two ways to write there that survive a power cut.

    <root>/current                     -> releases/1.4.0 (a relative symlink; what runs)
    <root>/releases/1.4.0/venv         Python environment, built at this very path
                         /models  /systemd  /scripts
                         /manifest.json   written last: a release with it is complete
    <root>/base/current                -> base/<hash>: guard and updater units, see :mod:`station.update.base`
    <root>/update/journal.json         how far the changeover has got
                 /report.json          the same for others: the update block of the status message, and details
                 /blobs/<sha256>       files of releases by content, shared by all of them
                 /tuf                  trusted metadata
                 /work                 scratch space of one run

Standard library only: the rollback that runs outside of every release uses this too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from station.errors import UpdateError
from station.update.failpoints import hit

#: Where releases live, unless ``HIPLINE_ROOT`` says otherwise.
ROOT = Path("/var/lib/hipline")

_VERSION = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){2}")


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths under ``root``."""

    root: Path

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> Layout:
        """The one of this machine: ``HIPLINE_ROOT`` or :data:`ROOT`."""
        return cls(Path(environment.get("HIPLINE_ROOT") or ROOT))

    @property
    def current(self) -> Path:
        """The symlink to the release that runs."""
        return self.root / "current"

    @property
    def releases(self) -> Path:
        """The folder of releases."""
        return self.root / "releases"

    @property
    def base(self) -> Path:
        """Guard and updater units, by generation."""
        return self.root / "base"

    @property
    def base_current(self) -> Path:
        """The symlink to the generation in use."""
        return self.base / "current"

    @property
    def update(self) -> Path:
        """The folder of the updater's own files."""
        return self.root / "update"

    @property
    def journal(self) -> Path:
        """How far the changeover has got."""
        return self.update / "journal.json"

    @property
    def report(self) -> Path:
        """The same for others to read."""
        return self.update / "report.json"

    @property
    def blobs(self) -> Path:
        """Files of releases by their hash."""
        return self.update / "blobs"

    @property
    def tuf(self) -> Path:
        """Trusted metadata."""
        return self.update / "tuf"

    @property
    def work(self) -> Path:
        """Scratch space, emptied by every staging."""
        return self.update / "work"

    @property
    def lock(self) -> Path:
        """Held by whoever changes anything here."""
        return self.update / "lock"

    def release(self, version: str) -> Path:
        """The folder of a release."""
        if not _VERSION.fullmatch(version):
            raise UpdateError(f"{version!r} is no version: three numbers, like 1.4.0")
        return self.releases / version

    def active(self) -> str | None:
        """The version that ``current`` points at; ``None`` without one."""
        try:
            target = self.current.readlink()
        except OSError:
            return None
        return target.name if target.parent == Path("releases") and _VERSION.fullmatch(target.name) else None

    def is_complete(self, version: str) -> bool:
        """Whether a release was staged to its end."""
        return (self.release(version) / "manifest.json").is_file()

    def complete(self) -> Iterator[str]:
        """Every complete release, oldest version first."""
        names = [path.name for path in self.releases.glob("*") if _VERSION.fullmatch(path.name)]
        for name in sorted(names, key=lambda name: [int(part) for part in name.split(".")]):
            if self.is_complete(name):
                yield name

    def make(self) -> None:
        """Make the folders; anyone may look into them, none but their owner may change them."""
        for folder in (self.root, self.releases, self.base, self.update, self.blobs):
            folder.mkdir(parents=True, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes) -> None:
    """Replace a file at once: after a power cut it is the old one or the new one, whole; on return it is the new one.

    Raises :class:`UpdateError` naming the file when the disk refuses.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        hit("write.begun")
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        hit("write.synced")
        new.replace(path)
        hit("write.renamed")
        sync_folder(path.parent)
    except OSError as error:
        raise UpdateError(
            f"{path}: cannot be written ({error.strerror}); free some space or look at the disk"
        ) from None
