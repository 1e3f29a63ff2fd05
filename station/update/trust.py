"""Whom the station believes: a client of The Update Framework (python-tuf) around one update repository.

Signatures, thresholds, rotation, expiry, and protection against replayed and frozen metadata are python-tuf's. Here are
its transport, what is kept on disk, and one clear line for each way it can refuse.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tuf.api import exceptions
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from station.errors import UpdateError
from station.update.transport import AbsentError, InterruptedStreamError, Limits, Pace, Source, paced

METADATA, TARGETS = "metadata", "targets"
_CONFIG = UpdaterConfig(
    max_root_rotations=64, max_delegations=4, root_max_length=128_000, timestamp_max_length=16_384,
    snapshot_max_length=256_000, targets_max_length=5_000_000,
)  # fmt: skip


class Trust:
    """What a repository has signed, as far as a station may believe it.

    ``folder`` keeps the metadata seen last: it is what protects against older ones. ``root`` is the root metadata that
    came with the station's enrolment. One process at a time may use a folder.
    """

    def __init__(self, source: Source, folder: Path, root: bytes, limits: Limits) -> None:
        self._source, self._folder = source, folder
        self._pace = Pace(limits, limits.check_s, source.name)
        with _one_line(source.name):
            folder.mkdir(parents=True, exist_ok=True)
            self._fetcher = _Fetcher(source, self._pace)
            self._updater = Updater(str(folder), f"{METADATA}/", fetcher=self._fetcher, config=_CONFIG, bootstrap=root)

    def refresh(self) -> None:
        """Bring the metadata up to date, or raise :class:`~station.errors.UpdateError`: it is not to be trusted."""
        with _one_line(self._source.name):
            try:
                self._updater.refresh()
            finally:
                _sync(self._folder)

    def target(self, name: str) -> TargetFile | None:
        """Length and hashes signed for a target, or ``None`` if nobody who may has signed one of this name."""
        with _one_line(self._source.name):
            return self._updater.get_targetinfo(name)

    def read(self, name: str, most: int) -> bytes | None:
        """A small target (``most`` bytes at most), checked against what was signed."""
        target = self.target(name)
        if target is None:
            return None
        if target.length > most:
            raise UpdateError(f"{name}: {target.length} bytes were signed, more than the {most} it may have")
        with _one_line(self._source.name):
            data = self._fetcher.download_bytes(place_of(target), target.length)
            target.verify_length_and_hashes(data)
        return data


def place_of(target: TargetFile) -> str:
    """Where the repository keeps a target: by its hash, so that old and new of one name stand side by side."""
    folder, slash, name = target.path.rpartition("/")
    return f"{TARGETS}/{folder}{slash}{target.hashes['sha256']}.{name}"


class _Fetcher(FetcherInterface):
    """python-tuf's transport, on ours. A generator, so that errors of ours are not wrapped in theirs."""

    def __init__(self, source: Source, pace: Pace) -> None:
        self._source, self._pace = source, pace

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            with paced(self._source, url, 0, self._pace) as stream:
                yield from stream.chunks
        except AbsentError:
            raise exceptions.DownloadHTTPError(f"has no {url}", 404) from None
        except InterruptedStreamError as error:
            raise exceptions.DownloadError(f"cannot be read: {url}: {error}") from error


@contextmanager
def _one_line(source: str) -> Iterator[None]:
    """Turns python-tuf's refusals into :class:`~station.errors.UpdateError`, each with its likely cause."""
    name = f"update source {source}"
    try:
        yield
    except exceptions.ExpiredMetadataError as error:
        raise UpdateError(
            f"{name}: {error}: nobody renewed it, or someone holds newer ones back, or this clock is wrong (it says "
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC); nothing was installed"
        ) from error
    except exceptions.BadVersionNumberError as error:
        raise UpdateError(f"{name}: offers older metadata than this station has seen ({error})") from error
    except exceptions.UnsignedMetadataError as error:
        raise UpdateError(f"{name}: not signed by the keys this station trusts ({error})") from error
    except (exceptions.LengthOrHashMismatchError, exceptions.DownloadLengthMismatchError) as error:
        raise UpdateError(f"{name}: a file is not the one that was signed ({error})") from error
    except exceptions.DownloadError as error:
        raise UpdateError(f"{name}: {error}") from error
    except exceptions.RepositoryError as error:
        raise UpdateError(f"{name}: its metadata is damaged ({error})") from error
    except OSError as error:
        raise UpdateError(f"{error.filename}: cannot keep the update metadata ({error.strerror})") from error


def _sync(folder: Path) -> None:
    """What protects against replay must survive a power cut; python-tuf renames, but does not sync."""
    for path in [*folder.rglob("*"), folder]:
        if path.is_symlink():
            continue
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
