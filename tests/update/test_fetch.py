"""check and download against a real repository: in good order, with what only changed, and after interruptions."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.ota import release
from station.errors import UpdateError
from station.update import fetch
from station.update.manifest import Manifest, ReleaseFile
from tests.update.publisher import LIMITS, Publisher, files_of, manifest_of
from tests.update.server import Server, serving


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path / "publisher")


@pytest.fixture
def server(publisher: Publisher) -> Iterator[Server]:
    with serving(publisher.place) as server:
        yield server


def bring(publisher: Publisher, state: Path, source: str | None = None, **rest: object) -> Manifest | None:
    """check and download, as the station does."""
    available = fetch.check(publisher.settings(state, source, **rest))
    return None if available is None else fetch.download(available, state / "blobs", lambda _: None)


def whole(manifest: Manifest, blobs: Path) -> bool:
    """Whether every file of the manifest is there and right."""
    return all(hashlib.sha256((blobs / file.sha256).read_bytes()).hexdigest() == file.sha256 for file in manifest.files)


@pytest.mark.parametrize("how", ["web", "stick"])
def test_a_release_comes_from_the_web_and_from_a_stick(
    publisher: Publisher, server: Server, tmp_path: Path, how: str
) -> None:
    published = publisher.publish("1.4.0")
    source = server.url if how == "web" else str(publisher.place)
    manifest = bring(publisher, tmp_path / "state", source)
    assert manifest is not None
    assert manifest.files == tuple(sorted(published.files, key=lambda file: file.path))
    assert whole(manifest, tmp_path / "state" / "blobs")
    assert bring(publisher, tmp_path / "state", source, sequence=manifest.sequence) is None
    assert not list((tmp_path / "state" / "blobs").glob("*.part"))


def test_one_changed_file_costs_a_twentieth_of_the_release(
    publisher: Publisher, server: Server, tmp_path: Path
) -> None:
    first, state = publisher.publish("1.4.0", files_of("1.4.0", size=200_000)), tmp_path / "state"
    assert bring(publisher, state, server.url) is not None
    server.sent.clear()
    second = publisher.publish("1.4.1", files_of("1.4.1", size=200_000))
    assert bring(publisher, state, server.url, sequence=first.sequence) == second_sorted(second)
    metadata = sum(size for path, size in server.sent.items() if not path.startswith("targets/blob/"))
    assert 0 < server.bytes_sent - metadata < 0.05 * second.download_size
    assert server.bytes_sent < 0.05 * second.download_size, "with the metadata"


def second_sorted(manifest: Manifest) -> Manifest:
    return replace(manifest, files=tuple(sorted(manifest.files, key=lambda file: file.path)))


def test_a_stream_that_breaks_off_is_taken_up_where_it_ended(
    publisher: Publisher, server: Server, tmp_path: Path
) -> None:
    manifest = publisher.publish("1.4.0", {"models/big.tflite": bytes(range(256)) * 4000})
    server.rules = [("targets/blob/", ("cut", (700_000, True)))]
    assert bring(publisher, tmp_path / "state", server.url) is not None
    assert whole(manifest, tmp_path / "state" / "blobs")
    assert [start for path, start in server.asked if "blob/" in path] == [None, "bytes=700000-"]
    assert sum(size for path, size in server.sent.items() if "blob/" in path) == manifest.files[0].size


def test_what_a_dead_updater_left_is_gone_on_with(publisher: Publisher, server: Server, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4000
    manifest = publisher.publish("1.4.0", {"models/big.tflite": data})
    part = tmp_path / "state" / "blobs" / f"{manifest.files[0].sha256}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(data[:1_000_000])
    assert bring(publisher, tmp_path / "state", server.url) is not None
    assert server.sent[next(path for path in server.sent if "blob/" in path)] == len(data) - 1_000_000


@pytest.mark.parametrize("rule", ["no ranges", "wrong range"])
def test_a_server_without_ranges_serves_from_the_beginning(
    publisher: Publisher, server: Server, tmp_path: Path, rule: str
) -> None:
    """A server that answers with another part than was asked for is not believed; its bytes never reach the file."""
    data = bytes(range(256)) * 400
    manifest = publisher.publish("1.4.0", {"models/big.tflite": data})
    blobs = tmp_path / "state" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{manifest.files[0].sha256}.part").write_bytes(data[:50_000])
    server.rules = [("targets/blob/", (rule, None))]
    if rule == "wrong range":
        with pytest.raises(UpdateError, match="a part that was not asked for"):
            bring(publisher, tmp_path / "state", server.url)
        assert (blobs / f"{manifest.files[0].sha256}.part").read_bytes() == data[:50_000]
    else:
        assert bring(publisher, tmp_path / "state", server.url) is not None
        assert whole(manifest, blobs)


def test_a_part_with_wrong_bytes_is_fetched_anew(publisher: Publisher, server: Server, tmp_path: Path) -> None:
    """Whatever filled the part before, a lying server or a dying disk: it does not block updates for ever."""
    manifest = publisher.publish("1.4.0", {"models/big.tflite": b"right" * 10_000})
    blobs = tmp_path / "state" / "blobs"
    blobs.mkdir(parents=True)
    part = blobs / f"{manifest.files[0].sha256}.part"
    for wrong in (b"wrong" * 5000, b"wrong" * 10_000, b"wrong" * 20_000):
        part.write_bytes(wrong)
        assert bring(publisher, tmp_path / "state", server.url) is not None
        assert whole(manifest, blobs)
        (blobs / manifest.files[0].sha256).unlink()


def test_a_blob_that_rotted_is_fetched_anew(publisher: Publisher, tmp_path: Path) -> None:
    manifest = publisher.publish("1.4.0")
    assert bring(publisher, tmp_path / "state") is not None
    blob = tmp_path / "state" / "blobs" / manifest.files[0].sha256
    blob.write_bytes(b"x" * blob.stat().st_size)
    assert bring(publisher, tmp_path / "state") is not None
    assert whole(manifest, tmp_path / "state" / "blobs")


def test_an_empty_file_is_a_file(publisher: Publisher, server: Server, tmp_path: Path) -> None:
    manifest = publisher.publish("1.4.0", {"scripts/nothing": b"", "models/a": b"1"})
    assert bring(publisher, tmp_path / "state", server.url) is not None
    assert whole(manifest, tmp_path / "state" / "blobs")


def test_too_small_a_disk_is_said_before_anything_is_fetched(
    publisher: Publisher, server: Server, tmp_path: Path
) -> None:
    publisher.publish("1.4.0")
    limits = replace(LIMITS, reserve_bytes=1 << 60)
    with pytest.raises(UpdateError, match=r"^release 1\.4\.0: needs .* MB on the disk of .*, .* MB are free; remove"):
        bring(publisher, tmp_path / "state", server.url, limits=limits)
    assert not any("blob/" in path for path, _ in server.asked)


def test_rings_choose_and_a_name_given_by_hand_overrules_them(publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish("1.3.0")
    publisher.release("1.4.0")
    publisher.roll_out("1.4.0", stable="1.3.0", percent=0, canary=("north/tm-02",))
    settings = publisher.settings(tmp_path / "state")
    offered = fetch.check(settings)
    assert offered is not None
    assert offered.version == "1.3.0"
    canary = fetch.check(replace(settings, station="north/tm-02"))
    assert canary is not None
    assert canary.version == "1.4.0"
    by_hand = fetch.check(settings, version="1.4.0")
    assert by_hand is not None
    assert by_hand.version == "1.4.0"


def test_a_halted_release_is_offered_to_nobody(publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish("1.3.0")
    publisher.release("1.4.0")
    publisher.roll_out("1.4.0", stable="1.3.0", canary=("north/tm-01",), halt=True, reason="black page")
    assert fetch.check(publisher.settings(tmp_path / "state", sequence=1_003_000)) is None
    assert fetch.check(publisher.settings(tmp_path / "state", sequence=1_004_000)) is None, "those who have it keep it"


def test_an_older_release_is_refused(publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish("1.3.0")
    with pytest.raises(UpdateError, match=r"release 1\.3\.0: older than the one that runs here"):
        fetch.check(publisher.settings(tmp_path / "state", sequence=1_004_000))
    with pytest.raises(UpdateError, match="older than the one that runs here"):
        fetch.check(publisher.settings(tmp_path / "state", sequence=1_004_000), version="1.3.0")


def test_a_release_too_far_ahead_is_refused(publisher: Publisher, tmp_path: Path) -> None:
    publisher.release("2.0.0", minimum=1_004_000)
    publisher.roll_out("2.0.0")
    with pytest.raises(UpdateError, match="can follow sequence 1004000 or newer, here runs 1003000"):
        fetch.check(publisher.settings(tmp_path / "state", sequence=1_003_000))
    assert fetch.check(publisher.settings(tmp_path / "state", sequence=1_004_000)) is not None
    assert fetch.check(publisher.settings(tmp_path / "state", sequence=0)) is not None, "a first installation"


def test_another_platform_is_refused(publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish("1.4.0")
    with pytest.raises(UpdateError, match="no signed build of it for linux-aarch64 with Python 3"):
        fetch.check(publisher.settings(tmp_path / "state", platform="linux-aarch64", python="3.13"))


def test_a_manifest_under_a_wrong_name_is_refused(publisher: Publisher, tmp_path: Path) -> None:
    """Signed by mistake: the build for a Pi where that for a PC belongs."""
    files = files_of("1.4.0")
    manifest = manifest_of("1.4.0", files, platform="linux-aarch64")
    publisher.sign(manifest, files)
    target = publisher.repository.add_file(
        "release/1.4.0/linux-x86_64-py3.11.json", publisher.folder / "built" / "1.4.0" / "linux-aarch64-py3.11.json"
    )
    publisher.repository.propose("targets", lambda signed: signed.targets.update({target.path: target}))
    publisher.complete()
    publisher.roll_out("1.4.0")
    with pytest.raises(
        UpdateError, match=r"is for 1\.4\.0, linux-aarch64, Python 3\.11; this station needs linux-x86_64"
    ):
        fetch.check(publisher.settings(tmp_path / "state"))


@pytest.mark.parametrize("version", ["../../1.4.0", "latest", "1.4.0/../../x"])
def test_a_version_that_is_none_reaches_no_path(publisher: Publisher, tmp_path: Path, version: str) -> None:
    with pytest.raises(UpdateError, match="must be three numbers"):
        fetch.check(publisher.settings(tmp_path / "state"), version=version)


def test_a_file_nobody_signed_is_not_fetched(publisher: Publisher, server: Server, tmp_path: Path) -> None:
    """A manifest that names a file beyond those the repository has signed."""
    publisher.publish("1.4.0")
    available = fetch.check(publisher.settings(tmp_path / "state", server.url))
    assert available is not None
    extra = ReleaseFile("scripts/x", hashlib.sha256(b"x").hexdigest(), 1, "script")
    forged = replace(available, manifest=replace(available.manifest, files=(extra,)))
    with pytest.raises(UpdateError, match="has not signed this file"):
        fetch.download(forged, tmp_path / "blobs", lambda _: None)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("ftp://x/y", "give an http"),
        ("", "give an http"),
        ("/nowhere/at/all", "is the stick mounted"),
        ("http://127.0.0.1:9/", "cannot be read"),
        ("http://no.such.host.invalid/", "cannot be read"),
    ],
)
def test_a_source_that_is_not_there_is_named(publisher: Publisher, tmp_path: Path, source: str, fault: str) -> None:
    with pytest.raises(UpdateError, match=fault) as caught:
        fetch.check(replace(publisher.settings(tmp_path / "state"), source=source))
    assert "\n" not in str(caught.value)


def test_a_station_that_was_not_enrolled_says_so(publisher: Publisher, tmp_path: Path) -> None:
    settings = replace(publisher.settings(tmp_path / "state"), root=tmp_path / "root.json")
    with pytest.raises(UpdateError, match="enrol this station"):
        fetch.check(settings)


@pytest.mark.parametrize("rubbish", [b"", b"\0" * 500, b"{}", None])
def test_metadata_that_a_dying_disk_spoilt_are_fetched_anew(
    publisher: Publisher, tmp_path: Path, rubbish: bytes | None
) -> None:
    """After a power cut nobody comes to mend it by hand."""
    publisher.publish("1.4.0")
    state = tmp_path / "state"
    assert fetch.check(publisher.settings(state)) is not None
    files = [path for path in (state / "tuf").rglob("*") if path.is_file() or path.is_symlink()]
    assert len(files) >= 6
    for file in files:
        data = file.read_bytes()
        if rubbish is None:
            file.unlink()
        else:
            file.write_bytes(rubbish)
        available = fetch.check(publisher.settings(state))
        assert available is not None, file
        assert available.version == "1.4.0"
        file.write_bytes(data)


def test_a_release_that_was_forgotten_is_gone_and_the_others_are_whole(publisher: Publisher, tmp_path: Path) -> None:
    old, new = publisher.publish("1.4.0"), publisher.publish("1.4.1")
    with pytest.raises(UpdateError, match="the rollout names it"):
        release.forget(publisher.repository, "1.4.1", [publisher.keys])
    with pytest.raises(UpdateError, match="is not in"):
        release.forget(publisher.repository, "1.3.0", [publisher.keys])
    release.forget(publisher.repository, "1.4.0", [publisher.keys])
    names = {path.name.split(".")[0] for path in (publisher.place / "targets" / "blob").iterdir()}
    assert names == {file.sha256 for file in new.files}
    assert {file.sha256 for file in old.files} - names, "the app of 1.4.0 is gone"
    assert bring(publisher, tmp_path / "state") is not None
    with pytest.raises(UpdateError, match="has no signed build"):
        fetch.check(publisher.settings(tmp_path / "state"), version="1.4.0")


def test_the_stick_may_hold_links_and_pipes(publisher: Publisher, tmp_path: Path) -> None:
    """A named pipe where a file should be would hold an updater up for ever."""
    import os

    publisher.publish("1.4.0")
    stick = tmp_path / "stick"
    shutil.copytree(publisher.place, stick)
    blob = next((stick / "targets" / "blob").iterdir())
    blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(UpdateError, match="does not have it"):
        bring(publisher, tmp_path / "state", str(stick))
    blob.unlink()
    blob.symlink_to("/dev/zero")
    with pytest.raises(UpdateError, match="does not have it"):
        bring(publisher, tmp_path / "state", str(stick))
