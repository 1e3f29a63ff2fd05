"""Everything an update source can do wrong, on purpose or not: refused with one line, and nothing wrong is kept."""

from __future__ import annotations

import hashlib
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, Targets

from deploy.ota import keyring
from deploy.ota.keys import check_as_a_station
from deploy.ota.push import slice_of
from deploy.ota.repository import Repository, drop_key, swap_keys
from station.errors import UpdateError
from station.update import fetch
from station.update import manifest as manifests
from station.update.manifest import Manifest
from tests.update.publisher import IMPATIENT, Publisher, days_ago, files_of, manifest_of
from tests.update.server import Server, serving
from tests.update.test_fetch import bring, whole


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    publisher = Publisher(tmp_path / "publisher")
    publisher.publish("1.4.0")
    return publisher


@pytest.fixture
def server(publisher: Publisher) -> Iterator[Server]:
    with serving(publisher.place) as server:
        yield server


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    """The same, for tests that leave the repository as it is."""
    publisher = Publisher(tmp_path_factory.mktemp("settled"))
    publisher.publish("1.4.0")
    return publisher


@pytest.fixture
def bad_server(settled: Publisher) -> Iterator[Server]:
    """Serves that repository until it is told how to be bad."""
    with serving(settled.place) as server:
        yield server


def refused(publisher: Publisher, state: Path, source: str, **rest: object) -> str:
    """The one line a station refuses with; asserts that nothing but right files came of it."""
    with pytest.raises(UpdateError) as caught:
        bring(publisher, state, source, **rest)
    text = str(caught.value)
    assert "\n" not in text
    for blob in (state / "blobs").glob("*"):
        assert blob.suffix == ".part" or blob.name == keep_hash(blob), f"{blob} is not what its name says"
    return text


def keep_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def recovers(publisher: Publisher, state: Path) -> Manifest:
    """The attack over, the same station updates as if nothing had been."""
    manifest = bring(publisher, state)
    assert manifest is not None
    assert whole(manifest, state / "blobs")
    return manifest


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what", ["timestamp.json", "1.snapshot.json", "targets/rollout/", "targets/release/", "targets/blob/"]
)
@pytest.mark.parametrize(("how", "value"), [("endless", None), ("trickle", 0.1), ("silent", None), ("slow head", 0.1)])
def test_a_stream_without_end_ends(
    settled: Publisher, bad_server: Server, tmp_path: Path, what: str, how: str, value: Any
) -> None:
    bad_server.rules = [(what.replace("1.snapshot", r"\d+\.snapshot"), (how, value))]
    started_s = time.monotonic()
    text = refused(settled, tmp_path / "state", bad_server.url, limits=IMPATIENT)
    assert time.monotonic() - started_s < 30
    reasons = (
        "slower than",
        "not done after",
        "longer than",
        "exceeding",
        "not the one",
        "broke off",
        "cannot be read",
    )
    assert any(reason in text for reason in reasons), text
    bad_server.over.set()
    recovers(settled, tmp_path / "state")


def test_an_endless_stream_costs_no_more_than_what_was_signed(
    settled: Publisher, bad_server: Server, tmp_path: Path
) -> None:
    bad_server.rules = [("targets/blob/", ("endless", None))]
    assert "longer than the" in refused(settled, tmp_path / "state", bad_server.url)
    kept = sum(path.stat().st_size for path in (tmp_path / "state" / "blobs").iterdir())
    assert kept <= 20_000


# --- content ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["timestamp.json", r"\d+\.snapshot.json", r"\d+\.targets.json", r"\d+\.rollout.json",
                                  "targets/rollout/", "targets/release/", "targets/blob/"])  # fmt: skip
@pytest.mark.parametrize(
    ("how", "value"),
    [("bytes", b""), ("bytes", b"{}"), ("bytes", b"\0" * 3_000_000), ("cut", (50, False)), ("status", 404),
     ("status", 500), ("redirect", "/metadata/timestamp.json"), ("redirect", "file:///etc/passwd")],
)  # fmt: skip
def test_other_bytes_than_the_signed_ones_are_refused(
    settled: Publisher, bad_server: Server, tmp_path: Path, what: str, how: str, value: Any
) -> None:
    if what == "timestamp.json" and value == "/metadata/timestamp.json":
        value = "/metadata/1.root.json"
    bad_server.rules = [(what, (how, value))]
    refused(settled, tmp_path / "state", bad_server.url)
    bad_server.rules = []
    recovers(settled, tmp_path / "state")


def test_a_redirect_to_the_right_bytes_is_followed_and_a_loop_is_not(
    publisher: Publisher, server: Server, tmp_path: Path
) -> None:
    with serving(publisher.place) as mirror:
        server.rules = [("metadata/timestamp.json", ("redirect", f"{mirror.url}/metadata/timestamp.json"))]
        assert bring(publisher, tmp_path / "state", server.url) is not None
    server.rules = [("metadata/timestamp.json", ("redirect", "/metadata/timestamp.json"))]
    assert "cannot be read" in refused(publisher, tmp_path / "other", server.url)


def test_any_byte_of_any_metadata_changed_is_refused(publisher: Publisher, tmp_path: Path) -> None:
    """Some bytes of each file, every bit of them: refused, or (a hex digit in upper case) of no effect at all."""
    dice = random.Random(7)
    good = fetch.check(publisher.settings(tmp_path / "good"))
    assert good is not None
    evil = tmp_path / "evil"
    shutil.copytree(publisher.place, evil)
    read_by_a_station = [path for path in slice_of(publisher.repository, "1.4.0") if path.suffix == ".json"]
    harmless = tried = 0
    for path in read_by_a_station:
        if path.name == "1.root.json":
            continue  # the station has its own
        data = (evil / path).read_bytes()
        for at in {0, len(data) - 1, *(dice.randrange(len(data)) for _ in range(15))}:
            (evil / path).write_bytes(data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :])
            tried += 1
            try:
                found = fetch.check(publisher.settings(tmp_path / f"state-{tried}", str(evil)))
            except UpdateError:
                continue
            harmless += 1
            assert found is not None
            assert found.manifest == good.manifest, f"{path}: byte {at} made another release"
        (evil / path).write_bytes(data)
    assert len(read_by_a_station) == 7
    assert tried > 90
    assert harmless <= 3


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_byte_of_every_metadata_changed_is_refused(publisher: Publisher, tmp_path: Path) -> None:
    """One bit of each byte of each file; of the timestamp, the one that no other file vouches for, every bit.

    What does not change what is signed (a hex digit of a signature in upper case) may pass, and has no effect.
    """
    dice, evil = random.Random(9), tmp_path / "evil"
    good = fetch.check(publisher.settings(tmp_path / "good"))
    shutil.copytree(publisher.place, evil)
    tried, harmless = 0, list[str]()
    for path in slice_of(publisher.repository, "1.4.0"):
        if path.suffix != ".json" or path.name == "1.root.json":
            continue
        data = (evil / path).read_bytes()
        bits = range(8) if path.name == "timestamp.json" else None
        for at in range(len(data)):
            for bit in bits or [dice.randrange(8)]:
                (evil / path).write_bytes(data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :])
                tried += 1
                state = tmp_path / "state"
                try:
                    found = fetch.check(publisher.settings(state, str(evil)))
                except UpdateError:
                    found = None
                else:
                    harmless.append(path.name)
                    assert found is not None
                    assert good is not None
                    assert found.manifest == good.manifest, f"{path}: bit {bit} of byte {at} has an effect"
                shutil.rmtree(state, ignore_errors=True)
        (evil / path).write_bytes(data)
    print(f"\n{tried} changes, {len(harmless)} without any effect")
    assert tried > 8000
    assert set(harmless) <= {"timestamp.json"}  # all others are held by a hash


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_byte_of_a_file_and_every_length_is_refused(publisher: Publisher, tmp_path: Path) -> None:
    """A small file, whole. A large one is held by the same comparison of sha256 and size, so there samples do."""
    evil, state = tmp_path / "evil", tmp_path / "state"
    shutil.copytree(publisher.place, evil)
    file = min((evil / "targets/blob").iterdir(), key=lambda path: (path.stat().st_size < 100, path.stat().st_size))
    data = file.read_bytes()
    assert len(data) == 400
    available = fetch.check(publisher.settings(state, str(evil)))
    assert available is not None
    changed = [data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :] for at in range(len(data))]
    changed += [data[:length] for length in range(len(data))] + [data + b"\0" * more for more in (1, 2, 4096)]
    for other in changed:
        file.write_bytes(other)
        shutil.rmtree(state / "blobs", ignore_errors=True)
        with pytest.raises(UpdateError):
            fetch.download(available, state / "blobs", lambda _line: None)
        assert all(blob.suffix == ".part" or keep_hash(blob) == blob.name for blob in (state / "blobs").iterdir())


def test_any_byte_of_a_file_changed_is_refused(publisher: Publisher, tmp_path: Path) -> None:
    dice = random.Random(8)
    evil = tmp_path / "evil"
    shutil.copytree(publisher.place, evil)
    for number, file in enumerate(sorted((evil / "targets" / "blob").iterdir())):
        data = file.read_bytes()
        at = dice.randrange(len(data))
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert "not the file that was signed" in refused(publisher, tmp_path / f"state-{number}", str(evil))
        file.write_bytes(data)


def test_swapped_files_are_refused(publisher: Publisher, tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    shutil.copytree(publisher.place, evil)
    one, other = sorted(path for path in (evil / "targets" / "blob").iterdir() if path.stat().st_size == 20_000)[:2]
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    assert "not the file that was signed" in refused(publisher, tmp_path / "state", str(evil))
    recovers(publisher, tmp_path / "state")


def test_metadata_in_each_others_place_are_refused(publisher: Publisher, tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    for name in ("targets", "snapshot", "rollout"):
        shutil.rmtree(evil, ignore_errors=True)
        shutil.copytree(publisher.place, evil)
        newest = evil / "metadata" / f"{publisher.repository.version(name)}.{name}.json"
        (evil / "metadata" / "timestamp.json").write_bytes(newest.read_bytes())
        refused(publisher, tmp_path / f"state-{name}", str(evil))


@pytest.mark.parametrize("path", ["../../../etc/cron.d/x", "/etc/passwd", "models/../../x", "wheels/x.whl/../../y.whl"])
def test_a_signed_manifest_that_leaves_its_folder_is_refused(publisher: Publisher, tmp_path: Path, path: str) -> None:
    """Even with the targets keys: a build machine may have been lied to."""
    files = files_of("1.5.0")
    manifest = manifest_of("1.5.0", files)
    publisher.sign(manifest, files)
    data = manifests.write(manifest).replace(b"models/pose.tflite", path.encode())
    file = tmp_path / "linux-x86_64-py3.11.json"
    file.write_bytes(data)
    target = publisher.repository.add_file("release/1.5.0/linux-x86_64-py3.11.json", file)
    publisher.repository.propose("targets", lambda signed: signed.targets.update({target.path: target}))
    publisher.complete()
    publisher.roll_out("1.5.0")
    assert "is not a plain name below models/; nothing was installed" in refused(
        publisher, tmp_path / "state", str(publisher.place)
    )


# --- who signed, and when --------------------------------------------------------------------------------------------


def test_older_metadata_than_seen_before_are_refused(publisher: Publisher, tmp_path: Path) -> None:
    old, older = tmp_path / "old", tmp_path / "older"
    shutil.copytree(publisher.place, older)
    publisher.publish("1.4.1")
    shutil.copytree(publisher.place, old)
    publisher.publish("1.4.2")
    assert bring(publisher, tmp_path / "state") is not None
    for replayed in (old, older):
        assert "offers older metadata than this station has seen" in refused(
            publisher, tmp_path / "state", str(replayed)
        )
    shutil.copytree(old / "metadata", tmp_path / "mixed" / "metadata")
    shutil.copy(publisher.place / "metadata" / "timestamp.json", tmp_path / "mixed" / "metadata")
    assert bring(publisher, tmp_path / "state", str(publisher.place)) is not None
    refused(publisher, tmp_path / "fresh", str(tmp_path / "mixed"))


@pytest.mark.parametrize(("days", "what"), [(15, "timestamp"), (61, "timestamp"), (800, "root")])
def test_expired_metadata_are_refused(tmp_path: Path, days: float, what: str) -> None:
    """A server that shows for ever what was true once: the stations notice after two weeks at most."""
    publisher = Publisher(tmp_path / "publisher", days_ago(days))
    publisher.publish("1.4.0")
    text = refused(publisher, tmp_path / "state", str(publisher.place))
    assert f"{what}.json is expired" in text
    assert "or this clock is wrong" in text


def test_only_the_online_machine_alive_is_not_enough(tmp_path: Path) -> None:
    """Snapshot and timestamp renewed every day do not make up for targets and rollout that people let expire."""
    publisher = Publisher(tmp_path / "publisher", days_ago(190))
    publisher.publish("1.4.0")
    Repository(publisher.place).refresh(keyring.signers([publisher.keys]))
    assert "rollout is expired" in refused(publisher, tmp_path / "state", str(publisher.place))


def test_another_publisher_is_refused(publisher: Publisher, tmp_path: Path) -> None:
    stranger = Publisher(tmp_path / "stranger")
    stranger.publish("9.0.0")
    assert "not signed by the keys this station trusts" in refused(publisher, tmp_path / "state", str(stranger.place))
    recovers(publisher, tmp_path / "state")


def test_the_rollout_key_cannot_sign_a_release(publisher: Publisher, tmp_path: Path) -> None:
    """Whoever has the operator's key alone can choose among signed releases, not make one."""
    files = files_of("6.6.6")
    built = tmp_path / "linux-x86_64-py3.11.json"
    built.write_bytes(manifests.write(manifest_of("6.6.6", files)))
    release = publisher.repository.add_file("release/6.6.6/linux-x86_64-py3.11.json", built)
    publisher.repository.propose("rollout", lambda signed: signed.targets.update({release.path: release}))
    publisher.complete()
    assert release.path in publisher.repository.published("rollout").signed.targets, "it was signed and published"
    with pytest.raises(UpdateError, match="has no signed build"):
        fetch.check(publisher.settings(tmp_path / "state"), version="6.6.6")


def test_one_signature_of_two_is_none(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    for name in ("anna", "ben", "safe"):
        keyring.make(keys / name, ("root", "targets"), name)
    keyring.make(keys / "server", ("rollout", "snapshot", "timestamp"), "server")
    places = [keys / name for name in ("anna", "ben", "safe", "server")]
    repository = Repository(tmp_path / "repository")
    repository.start({role: keyring.public_keys(places, role) for role in keyring.ROLES}, 2)
    missing = repository.complete(keyring.signers([keys / "anna", keys / "server"]))
    assert [(one.role, one.signatures) for one in missing][:2] == [("root", 1), ("targets", 1)]
    assert not repository.exists
    assert repository.complete(keyring.signers([keys / "ben", keys / "server"])) == []
    assert repository.exists

    # One of the two publishes a change alone, past every tool: the file is put where stations look.
    draft: Metadata[Targets] = repository.published("targets")
    draft.signed.version += 1
    draft.signatures.clear()
    draft.sign(keyring.signers([keys / "anna"])[keyring.public_keys([keys / "anna"], "targets")[0].keyid])
    draft.to_file(str(repository.folder / "metadata" / "2.targets.json"))
    repository.complete(keyring.signers([keys / "server"]))
    with pytest.raises(UpdateError, match="not signed by the keys this station trusts"):
        check_as_a_station(repository)


# --- keys come and go ------------------------------------------------------------------------------------------------


def give_new_keys(publisher: Publisher, role: str, new: Path) -> None:
    keys = keyring.public_keys([new], role)
    delegator = "targets" if role == "rollout" else "root"
    publisher.repository.propose(delegator, lambda signed: swap_keys(signed, role, keys))


def test_a_station_follows_when_every_key_is_rotated(publisher: Publisher, tmp_path: Path) -> None:
    assert bring(publisher, tmp_path / "state") is not None
    new = tmp_path / "new"
    keyring.make(new, keyring.ROLES, "new")
    for role in ("rollout", "snapshot", "timestamp", "targets", "root"):
        give_new_keys(publisher, role, new)
        assert publisher.complete(new) == []
    publisher.keys = new
    publisher.publish("1.4.1")
    for state in ("state", "enrolled long ago, never updated"):
        manifest = bring(publisher, tmp_path / state)
        assert manifest is not None
        assert manifest.version == "1.4.1"


@pytest.mark.parametrize("role", ["rollout", "targets", "timestamp"])
def test_a_revoked_key_signs_nothing_any_more(publisher: Publisher, tmp_path: Path, role: str) -> None:
    thief = tmp_path / "thief"
    shutil.copytree(publisher.keys, thief)
    new = tmp_path / "new"
    keyring.make(new, [role], "new")
    give_new_keys(publisher, role, new)
    publisher.complete(new)
    recovers(publisher, tmp_path / "state")
    # The thief has a copy of the repository and the old keys, also the online ones: everything but the new key.
    stolen = Repository(tmp_path / "stolen")
    shutil.copytree(publisher.place, stolen.folder)
    metadata = stolen.published(role)
    metadata.signed.version += 1
    metadata.signatures.clear()
    old = keyring.public_keys([thief], role)[0].keyid
    metadata.sign(keyring.signers([thief])[old])
    name = "timestamp.json" if role == "timestamp" else f"{metadata.signed.version}.{role}.json"
    metadata.to_file(str(stolen.folder / "metadata" / name))
    if role != "timestamp":
        stolen.complete(keyring.signers([thief]))
    assert "not signed by the keys this station trusts" in refused(publisher, tmp_path / "state", str(stolen.folder))


def test_the_last_keys_of_a_role_cannot_be_revoked(publisher: Publisher) -> None:
    keyid = publisher.repository.root.roles["root"].keyids[0]
    with pytest.raises(UpdateError, match="with this key gone 0 would be left, 1 must sign; rotate"):
        publisher.repository.propose("root", lambda signed: drop_key(signed, "root", keyid))


def test_a_signed_release_never_changes(publisher: Publisher) -> None:
    with pytest.raises(UpdateError, match="signed before with other bytes; releases never change"):
        publisher.release("1.4.0", {**files_of("1.4.0"), "models/other.tflite": b"other"})
