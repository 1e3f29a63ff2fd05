"""From an update source to verified files on this disk: is there a release for this station, and bring it here.

The door of the first half of an update. ``check`` believes nothing but signed metadata; ``download`` leaves every file
of the manifest at ``blobs/<sha256>``, checked and on the disk, having fetched only what was missing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from station.errors import UpdateError
from station.update import manifest as manifests
from station.update import rings
from station.update.manifest import Manifest, Platform, Python, ReleaseFile, this_platform, this_python
from station.update.transport import (
    CHUNK,
    AbsentError,
    InterruptedStreamError,
    Limits,
    Pace,
    Source,
    paced,
    source_of,
)
from station.update.trust import Trust, place_of

_PART = ".part"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where updates come from, and who asks.

    ``source`` is an http(s) address or a folder; ``state`` keeps the metadata seen last (``tuf/``); ``root`` is the
    file with the root metadata this station was enrolled with. ``station`` is written ``<gym>/<station>``.
    ``sequence`` is that of the release which runs here, 0 if none does.
    """

    source: str
    state: Path
    root: Path
    station: str
    sequence: int = 0
    platform: Platform = field(default_factory=this_platform)
    python: Python = field(default_factory=this_python)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Available:
    """A release that this station should and may install."""

    manifest: Manifest
    trust: Trust = field(repr=False)
    source: Source = field(repr=False)
    limits: Limits = field(repr=False)

    @property
    def version(self) -> str:
        """The version of the release."""
        return self.manifest.version


def check(settings: Settings, version: str | None = None) -> Available | None:
    """The release this station should change over to, or ``None`` if it runs what it should.

    ``version`` is one asked for by hand: it overrules the rings, but not the signatures nor any other rule. Raises
    :class:`~station.errors.UpdateError` when the source cannot be trusted or read, or the release is not for us.
    """
    source = source_of(settings.source, settings.limits)
    try:
        root = settings.root.read_bytes()
    except OSError as error:
        raise UpdateError(
            f"{settings.root}: cannot be read ({error.strerror}); enrol this station in the update repository"
        ) from error
    trust = Trust(source, settings.state / "tuf", root, settings.limits)
    trust.refresh()
    by_name = version is not None
    if version is None:
        rollout = _rollout(trust, source)
        version = rings.choose(rollout, settings.station)
        by_name = rings.in_ring(rollout, settings.station) and not rollout.halt
    if version is None:
        return None
    sequence = manifests.sequence_of(version)
    if sequence == settings.sequence or (sequence < settings.sequence and not by_name):
        return None
    manifest = _manifest(trust, source, version, settings)
    if manifest.sequence < settings.sequence:
        raise UpdateError(
            f"release {version}: older than the one that runs here (sequence {manifest.sequence} < "
            f"{settings.sequence}); nothing was installed"
        )
    if 0 < settings.sequence < manifest.minimum_previous:
        raise UpdateError(
            f"release {version}: can follow sequence {manifest.minimum_previous} or newer, here runs "
            f"{settings.sequence}; install a release in between first"
        )
    return Available(manifest, trust, source, settings.limits)


def _rollout(trust: Trust, source: Source) -> rings.Rollout:
    data = trust.read(rings.TARGET, rings.MAX_BYTES)
    if data is None:
        raise UpdateError(f"update source {source.name}: says nothing of a rollout; sign one with deploy/rollout")
    return rings.read(data)


def _manifest(trust: Trust, source: Source, version: str, settings: Settings) -> Manifest:
    name = manifests.target_of(version, settings.platform, settings.python)
    data = trust.read(name, manifests.MAX_BYTES)
    if data is None:
        raise UpdateError(
            f"release {version}: update source {source.name} has no signed build of it for {settings.platform} with "
            f"Python {settings.python}"
        )
    manifest = manifests.read(data, name)
    if (manifest.version, manifest.platform, manifest.python) != (version, settings.platform, settings.python):
        raise UpdateError(
            f"{name}: is for {manifest.version}, {manifest.platform}, Python {manifest.python}; this station needs "
            f"{settings.platform}, Python {settings.python}; nothing was installed"
        )
    return manifest


def download(available: Available, blobs: Path, say: Callable[[str], None]) -> Manifest:
    """Bring every file of the release to ``blobs/<sha256>`` and return its manifest.

    What is there already is checked again and not fetched; what was begun is gone on with. ``say`` is told how far it
    is. Raises :class:`~station.errors.UpdateError`; what was fetched by then stays for the next try.
    """
    blobs.mkdir(parents=True, exist_ok=True)
    wanted = {file.sha256: file for file in available.manifest.files}
    missing = [file for file in wanted.values() if not _is_whole(blobs / file.sha256, file)]
    for file in missing:  # damaged since it came: whoever asks what is here must not be told that it is
        (blobs / file.sha256).unlink(missing_ok=True)
    _check_budget(available, blobs, missing)
    say(f"release {available.version}: {len(missing)} of {len(wanted)} files to fetch, {_mb(_size(missing))}")
    pace = Pace(available.limits, available.limits.download_s, available.source.name)
    for file in missing:
        _Blob(available, blobs, file, pace).fetch()
        say(f"release {available.version}: {file.path}, {_mb(file.size)}")
    _sync_folder(blobs)
    return available.manifest


def disk_needed(manifest: Manifest, missing: Iterable[ReleaseFile], limits: Limits) -> int:
    """Bytes an update takes at its worst: what is fetched, what is installed from it, what must stay free."""
    return _size(missing) + manifest.installed_size + limits.reserve_bytes


def _check_budget(available: Available, blobs: Path, missing: Iterable[ReleaseFile]) -> None:
    begun = sum(path.stat().st_size for path in blobs.glob(f"*{_PART}"))
    needed = disk_needed(available.manifest, missing, available.limits) - begun
    free = shutil.disk_usage(blobs).free
    if free < needed:
        raise UpdateError(
            f"release {available.version}: needs {_mb(needed)} on the disk of {blobs}, {_mb(free)} are free; "
            "remove what does not belong there"
        )


class _Blob:
    """One file on its way here."""

    def __init__(self, available: Available, blobs: Path, file: ReleaseFile, pace: Pace) -> None:
        self._file, self._pace = file, pace
        self._source, self._limits = available.source, available.limits
        self._name = f"release {available.version}: {file.path}"
        self._part, self._whole = blobs / f"{file.sha256}{_PART}", blobs / file.sha256
        target = available.trust.target(f"blob/{file.sha256}")
        if target is None or target.hashes.get("sha256") != file.sha256 or target.length != file.size:
            raise UpdateError(f"{self._name}: the repository has not signed this file; nothing was installed")
        self._place = place_of(target)

    def fetch(self) -> None:
        """Until it is whole and right, or the tries are used up."""
        fault = ""
        for attempt in range(self._limits.tries):
            if attempt:
                time.sleep(self._limits.pause_s)
            try:
                began_at = self._receive()
            except AbsentError:
                raise UpdateError(f"{self._name}: {self._source.name} does not have it") from None
            except InterruptedStreamError as error:
                fault = str(error)
                continue
            except OSError as error:
                raise UpdateError(f"{self._name}: cannot be written ({error.strerror})") from error
            if self._finish():
                return
            # What lay here before may be to blame; the bytes of one stream from its beginning have no such excuse.
            if not began_at:
                raise UpdateError(f"{self._name}: not the file that was signed; nothing was installed")
        raise UpdateError(
            f"{self._name}: {self._source.name} broke off {self._limits.tries} times ({fault}); "
            "what came is kept for the next try"
        )

    def _receive(self) -> int:
        """Append what is missing to the part; returns where it began. The cap is the signed size."""
        have = self._part.stat().st_size if self._part.exists() else 0
        if have > self._file.size:
            self._part.unlink()
            have = 0
        if have and have == self._file.size:
            return have
        with (
            paced(self._source, self._place, have, self._pace) as stream,
            self._part.open("r+b" if have else "wb") as out,
        ):
            out.truncate(stream.start)
            at = out.seek(stream.start)
            for chunk in stream.chunks:
                at += len(chunk)
                if at > self._file.size:
                    out.truncate(0)
                    raise UpdateError(f"{self._name}: longer than the {self._file.size} bytes that were signed")
                out.write(chunk)
        if at < self._file.size:
            raise InterruptedStreamError(f"ended after {at} of {self._file.size} bytes")
        return stream.start

    def _finish(self) -> bool:
        """Check the part and make it the blob; a wrong one is thrown away."""
        if not _is_whole(self._part, self._file):
            self._part.unlink()
            return False
        with self._part.open("rb") as file:
            os.fsync(file.fileno())
        self._part.replace(self._whole)
        return True


def _is_whole(path: Path, file: ReleaseFile) -> bool:
    try:
        if path.stat().st_size != file.size:
            return False
        digest = hashlib.sha256()
        with path.open("rb") as data:
            while chunk := data.read(CHUNK):
                digest.update(chunk)
    except OSError:
        return False
    return digest.hexdigest() == file.sha256


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _size(files: Iterable[ReleaseFile]) -> int:
    return sum(file.size for file in files)


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
