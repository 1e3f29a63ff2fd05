"""An update repository in a folder: metadata that people and machines sign, and the files it vouches for.

What lies in ``metadata/`` and ``targets/`` is published: any web server serves it as it is. What still lacks a
signature waits in ``pending/``. Every change is a new version; of what is published only ``timestamp.json`` is ever
written again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from deploy.ota.keyring import InputError
from station.errors import UpdateError
from station.update.trust import METADATA, place_of

#: How long a signature is good for. What a machine signs is short: so long can a station be kept in the dark.
DAYS = {"root": 730, "targets": 365, "rollout": 180, "snapshot": 60, "timestamp": 14}
#: In the order in which they are published: each is verified with what stands before it.
_SIGNED_BY_PEOPLE = ("root", "targets", "rollout")
_DELEGATOR = {"targets": "root", "rollout": "targets"}
_PATHS_OF_ROLLOUT = ["rollout/*"]

Signers = Mapping[str, Signer]
Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class Missing:
    """Metadata that waits for ``signatures`` more, each by one of ``owners`` (key ids that have not signed yet)."""

    role: str
    version: int
    signatures: int
    owners: tuple[str, ...]


class Repository:
    """See the module. ``now`` is the clock that expiry is counted from."""

    def __init__(self, folder: Path, now: Clock = _now) -> None:
        self.folder, self._now = folder, now
        self._metadata, self._pending = folder / METADATA, folder / "pending"

    # --- what is there -----------------------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether there is a published root."""
        return (self._metadata / "1.root.json").is_file()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One command at a time changes the repository."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def version(self, role: str) -> int:
        """The newest published version of a role, 0 if there is none."""
        if role == "timestamp":
            path = self._metadata / "timestamp.json"
            return int(Metadata.from_file(str(path)).signed.version) if path.exists() else 0
        numbers = [path.name.split(".")[0] for path in self._metadata.glob(f"*.{role}.json")]
        return max((int(number) for number in numbers if number.isdigit()), default=0)

    def published(self, role: str) -> Metadata[Any]:
        """The newest published metadata of a role."""
        version = self.version(role)
        if not version:
            raise InputError(f"{self.folder}: has no {role} yet; start the repository with deploy/keys start")
        name = "timestamp.json" if role == "timestamp" else f"{version}.{role}.json"
        return Metadata.from_file(str(self._metadata / name))

    @property
    def root(self) -> Root:
        """The newest published root."""
        return cast(Root, self.published("root").signed)

    @property
    def targets(self) -> Targets:
        """What the targets role has signed and published."""
        return cast(Targets, self.published("targets").signed)

    def draft(self, role: str) -> Metadata[Any] | None:
        """The metadata of a role that waits for signatures."""
        path = self._pending / f"{role}.json"
        return Metadata.from_file(str(path)) if path.exists() else None

    @property
    def is_current(self) -> bool:
        """Whether snapshot and timestamp stand for everything that is published."""
        if not self._is_signed_online("snapshot") or not self._is_signed_online("timestamp"):
            return False
        snapshot, timestamp = self.published("snapshot").signed, self.published("timestamp").signed
        return bool(snapshot.meta == self._wanted() and timestamp.snapshot_meta == self._file_of("snapshot"))

    # --- changes -----------------------------------------------------------------------------------------------------

    def start(self, keys: Mapping[str, Sequence[Key]], threshold: int) -> None:
        """Propose the first root, targets and rollout; ``threshold`` is that of root and targets."""
        if self.exists or self.draft("root") is not None:
            raise InputError(f"{self.folder}: is a repository already")
        root = Root(version=1, expires=self._expiry("root"), consistent_snapshot=True)
        for role in ("root", "targets", "snapshot", "timestamp"):
            _check_enough(role, keys.get(role, ()), threshold if role in {"root", "targets"} else 1)
            for key in keys[role]:
                root.add_key(key, role)
            root.roles[role].threshold = threshold if role in {"root", "targets"} else 1
        _check_enough("rollout", keys.get("rollout", ()), 1)
        targets = Targets(version=1, expires=self._expiry("targets"))
        delegated = DelegatedRole("rollout", [], 1, True, paths=_PATHS_OF_ROLLOUT)
        targets.delegations = Delegations({}, {"rollout": delegated})
        for key in keys["rollout"]:
            targets.add_key(key, "rollout")
        rollout = Targets(version=1, expires=self._expiry("rollout"))
        for name, signed in (("root", root), ("targets", targets), ("rollout", rollout)):
            self._store_draft(name, Metadata(cast(Signed, signed)))

    def propose(self, role: str, change: Callable[[Any], None]) -> None:
        """A new version of ``role`` (root, targets or rollout), changed by ``change``; waits for its signatures."""
        waiting = self.draft(role)
        metadata = waiting or self.published(role)
        metadata.signatures.clear()
        change(metadata.signed)
        if waiting is None:
            metadata.signed.version += 1
        metadata.signed.expires = self._expiry(role)
        self._store_draft(role, metadata)

    def renew(self, role: str) -> None:
        """The same again with a later expiry."""
        self.propose(role, lambda _: None)

    def complete(self, signers: Signers) -> list[Missing]:
        """Sign whatever waits with the keys at hand and publish what is signed enough.

        Snapshot and timestamp follow if their keys are here. Returns what still waits for somebody else.
        """
        self._renew_what_lost_its_keys()
        missing = [fault for role in _SIGNED_BY_PEOPLE for fault in self._complete_one(role, signers)]
        self._refresh(signers, force=False)
        return missing

    def refresh(self, signers: Signers) -> None:
        """Sign snapshot and timestamp anew, so that they do not expire: the daily work of the online machine."""
        if not self._refresh(signers, force=True):
            raise InputError("the keys of snapshot and timestamp are not among those given; add --keys ONLINE-KEYS")

    def discard(self) -> None:
        """Forget what waits for signatures."""
        shutil.rmtree(self._pending, ignore_errors=True)

    def add_file(self, name: str, source: Path) -> TargetFile:
        """Lay a file where the target ``name`` is to be found; it counts once :meth:`propose` has signed for it."""
        target = TargetFile.from_file(name, str(source), ["sha256"])
        place = self.folder / place_of(target)
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            _copy(source, place)
        return target

    # --- how ---------------------------------------------------------------------------------------------------------

    def _complete_one(self, role: str, signers: Signers) -> Iterator[Missing]:
        draft = self.draft(role)
        if draft is None:
            return
        delegators = self._delegators(role, draft)
        wanted = {keyid for delegator in delegators for keyid in delegator.get_delegated_role(role).keyids}
        for keyid in sorted(wanted & set(signers)):
            draft.sign(signers[keyid], append=True)
        self._store_draft(role, draft)
        results = [one.get_verification_result(role, draft.signed_bytes, draft.signatures) for one in delegators]
        unsigned = {keyid for result in results for keyid in result.unsigned}
        missing = max(result.missing for result in results)
        if missing or self._waits_for_its_delegator(role):
            yield Missing(role, draft.signed.version, missing, tuple(sorted(unsigned)))
            return
        self._publish(role, draft)
        (self._pending / f"{role}.json").unlink()

    def _delegators(self, role: str, draft: Metadata[Any]) -> list[Root | Targets]:
        """Who must agree: a root is signed for itself and for the root before it."""
        if role == "root":
            return [draft.signed, self.root] if self.version("root") else [draft.signed]
        return [self._delegator_to_be(role)]

    def _delegator_to_be(self, role: str) -> Root | Targets:
        delegator = _DELEGATOR[role]
        return cast(Root | Targets, (self.draft(delegator) or self.published(delegator)).signed)

    def _waits_for_its_delegator(self, role: str) -> bool:
        return role != "root" and self.draft(_DELEGATOR[role]) is not None

    def _renew_what_lost_its_keys(self) -> None:
        """New keys for a role leave its old metadata without a valid signature."""
        for role in ("targets", "rollout"):
            if self.version(role) and self.draft(role) is None and not self._is_signed(role):
                self.renew(role)

    def _is_signed(self, role: str) -> bool:
        metadata = self.published(role)
        # Machines sign for the root that is published, people for the one that will be.
        delegator = self._delegator_to_be(role) if role in _SIGNED_BY_PEOPLE else self.root
        try:
            delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        except RepositoryError:
            return False
        return True

    def _refresh(self, signers: Signers, *, force: bool) -> bool:
        if not all(self.version(role) for role in _SIGNED_BY_PEOPLE):
            return False
        if not all(set(self.root.roles[role].keyids) & set(signers) for role in ("snapshot", "timestamp")):
            return False
        wanted = self._wanted()
        snapshot = self._newest("snapshot", Snapshot)
        if force or snapshot.meta != wanted or not self._is_signed_online("snapshot"):
            snapshot.meta = wanted
            self._publish_online("snapshot", snapshot, signers)
            force = True
        if force or not self._is_signed_online("timestamp"):
            timestamp = self._newest("timestamp", Timestamp)
            timestamp.snapshot_meta = self._file_of("snapshot")
            self._publish_online("timestamp", timestamp, signers)
        return True

    def _wanted(self) -> dict[str, MetaFile]:
        return {f"{role}.json": self._file_of(role) for role in ("targets", "rollout") if self.version(role)}

    def _newest(self, role: str, kind: type[Any]) -> Any:
        return self.published(role).signed if self.version(role) else kind()

    def _is_signed_online(self, role: str) -> bool:
        return bool(self.version(role)) and self._is_signed(role)

    def _publish_online(self, role: str, signed: Any, signers: Signers) -> None:
        signed.version = self.version(role) + 1
        signed.expires = self._expiry(role)
        metadata = Metadata(signed)
        for keyid in self.root.roles[role].keyids:
            if keyid in signers:
                metadata.sign(signers[keyid], append=True)
        self._publish(role, metadata)

    def _file_of(self, role: str) -> MetaFile:
        path = self._metadata / f"{self.version(role)}.{role}.json"
        return MetaFile.from_data(self.version(role), path.read_bytes(), ["sha256"])

    def _publish(self, role: str, metadata: Metadata[Any]) -> None:
        name = "timestamp.json" if role == "timestamp" else f"{metadata.signed.version}.{role}.json"
        _write(self._metadata / name, metadata.to_bytes(JSONSerializer(compact=True)))

    def _store_draft(self, role: str, metadata: Metadata[Any]) -> None:
        _write(self._pending / f"{role}.json", metadata.to_bytes(JSONSerializer(compact=True)))

    def _expiry(self, role: str) -> datetime:
        return self._now() + timedelta(days=DAYS[role])


def _check_enough(role: str, keys: Sequence[Key], threshold: int) -> None:
    if len(keys) < threshold:
        raise InputError(f"{role}: {len(keys)} keys, {threshold} wanted; make them with deploy/keys make")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data)
    new.replace(path)


def _copy(source: Path, place: Path) -> None:
    new = place.with_name(f".{place.name}.new")
    shutil.copyfile(source, new)
    new.chmod(0o644)
    os.utime(new, (source.stat().st_mtime, source.stat().st_mtime))
    new.replace(place)


def swap_keys(signed: Root | Targets, role: str, keys: Iterable[Key]) -> None:
    """Make ``keys`` the only ones of a role; its threshold stays."""
    new = list(keys)
    old = list(signed.get_delegated_role(role).keyids)
    if len(new) < signed.get_delegated_role(role).threshold:
        raise InputError(f"{role}: {len(new)} new keys, {signed.get_delegated_role(role).threshold} wanted")
    for keyid in old:
        signed.revoke_key(keyid, role)
    for key in new:
        signed.add_key(key, role)


def drop_key(signed: Root | Targets, role: str, keyid: str) -> None:
    """Take one key from a role; refused when too few would be left to sign."""
    entry = signed.get_delegated_role(role)
    if len(entry.keyids) - 1 < entry.threshold:
        raise InputError(
            f"{role}: with this key gone {len(entry.keyids) - 1} would be left, {entry.threshold} must sign; "
            "rotate to new keys instead"
        )
    signed.revoke_key(keyid, role)


def check_published(repository: Repository) -> None:
    """Raises unless the repository is whole: everything was published at least once."""
    for role in (*_SIGNED_BY_PEOPLE, "snapshot", "timestamp"):
        if not repository.version(role):
            raise UpdateError(f"{repository.folder}: {role} is not published yet; see deploy/keys status")
