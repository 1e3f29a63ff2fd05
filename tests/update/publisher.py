"""A publisher of updates for the tests: real keys, a real TUF repository, releases of a few small files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deploy.ota import keyring, release, rollout
from deploy.ota.repository import Repository
from station.update import manifest as manifests
from station.update import rings
from station.update.fetch import Settings
from station.update.manifest import FOLDER, Kind, Manifest, Platform, Python, ReleaseFile, sequence_of
from station.update.transport import Limits

#: Patient, for machines that are busy with something else.
LIMITS = Limits(gap_s=20.0, window_s=20.0, check_s=60.0, download_s=60.0, pause_s=0.01, reserve_bytes=0)
#: As in life, but a hundred times less patient: for servers that would never end.
IMPATIENT = Limits(
    gap_s=2.0, window_s=0.7, floor_bytes_per_s=2000, check_s=6.0, download_s=6.0, pause_s=0.01, reserve_bytes=0
)
Files = Mapping[str, bytes]
KIND: Mapping[str, Kind] = {folder: kind for kind, folder in FOLDER.items()}


def files_of(version: str, *, wheels: int = 4, size: int = 20_000) -> dict[str, bytes]:
    """A release: wheels and a model that all releases share, an app of its own."""
    shared = {f"wheels/dep{n}-1.0-py3-none-any.whl": _noise(f"dep{n}", size) for n in range(wheels)}
    app = f"wheels/hipline_station-{version}-py3-none-any.whl"
    return {
        **shared,
        app: _noise(f"app {version}", size // 50),
        "models/pose.tflite": _noise("pose", size),
        "systemd/station.service": b"[Unit]\n",
    }


def _noise(seed: str, size: int) -> bytes:
    return hashlib.shake_128(seed.encode()).digest(size)


def manifest_of(
    version: str, files: Files, *, platform: Platform = "linux-x86_64", python: Python = "3.11", minimum: int = 0
) -> Manifest:
    """The manifest of a release of these files (path: content)."""
    entries = tuple(
        ReleaseFile(path, hashlib.sha256(data).hexdigest(), len(data), KIND[path.split("/", maxsplit=1)[0]])
        for path, data in files.items()
    )
    return Manifest(version, sequence_of(version), minimum, platform, python, 1000, entries)


def build(folder: Path, manifest: Manifest, files: Files) -> Path:
    """What deploy/release leaves in a folder."""
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    for data in files.values():
        (folder / "blobs" / hashlib.sha256(data).hexdigest()).write_bytes(data)
    (folder / f"{manifest.platform}-py{manifest.python}.json").write_bytes(manifests.write(manifest))
    return folder


class Publisher:
    """One person with all the keys in ``keys``, and the repository that stations read in ``repository``."""

    def __init__(self, folder: Path, now: Callable[[], datetime] | None = None) -> None:
        self.folder, self.keys = folder, folder / "keys"
        self.repository = Repository(folder / "repository", now) if now else Repository(folder / "repository")
        keyring.make(self.keys, keyring.ROLES, "anna")
        self.repository.start({role: keyring.public_keys([self.keys], role) for role in keyring.ROLES}, 1)
        assert self.complete() == []

    @property
    def place(self) -> Path:
        """Where the repository lies."""
        return self.repository.folder

    @property
    def root_file(self) -> Path:
        """The root that stations are enrolled with."""
        return self.place / "metadata" / "1.root.json"

    def complete(self, *more_keys: Path) -> Sequence[object]:
        """Sign what waits."""
        return self.repository.complete(keyring.signers([self.keys, *more_keys]))

    def release(self, version: str, files: Files | None = None, minimum: int = 0) -> Manifest:
        """Build and sign a release, for nobody yet."""
        files = files_of(version) if files is None else files
        manifest = manifest_of(version, files, minimum=minimum)
        self.sign(manifest, files)
        return manifest

    def sign(self, manifest: Manifest, files: Files, name: str | None = None) -> None:
        """Sign a manifest that was made by hand."""
        built = build(self.folder / "built" / (name or manifest.version), manifest, files)
        release.sign(self.repository, built, [self.keys])

    def roll_out(self, version: str, **rest: object) -> None:
        """To everybody, unless ``rest`` (of :class:`~station.update.rings.Rollout`) says else."""
        wanted = rings.Rollout(version, **{"percent": 100, **rest})  # type: ignore[arg-type]
        rollout.sign(self.repository, wanted, dict(keyring.signers([self.keys])))

    def publish(self, version: str, files: Files | None = None) -> Manifest:
        """A release for everybody."""
        manifest = self.release(version, files)
        self.roll_out(version)
        return manifest

    def settings(self, state: Path, source: str | None = None, **rest: object) -> Settings:
        """Of a station that was enrolled here and reads from the folder, or from ``source``."""
        values: dict[str, object] = {
            "source": source or str(self.place), "state": state, "root": self.root_file, "station": "north/tm-01",
            "platform": "linux-x86_64", "python": "3.11", "limits": LIMITS, **rest,
        }  # fmt: skip
        return Settings(**values)  # type: ignore[arg-type]


def days_ago(days: float) -> Callable[[], datetime]:
    """A clock that is late."""
    return lambda: datetime.now(UTC).replace(microsecond=0) - timedelta(days=days)
