"""A manifest is read as if an enemy had written it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.errors import UpdateError
from station.update import manifest as manifests
from station.update.manifest import sequence_of, target_of
from tests.update.publisher import files_of, manifest_of

GOOD = manifest_of("1.4.0", files_of("1.4.0"))


def changed(change: dict[str, Any] | None = None, file: dict[str, Any] | None = None, without: str = "") -> bytes:
    """The good manifest with some fields changed, of itself or of its first file."""
    table = json.loads(manifests.write(GOOD))
    table["files"][0].update(file or {})
    table.update(change or {})
    table.pop(without, None)
    return json.dumps(table).encode()


def test_what_was_written_is_read_back() -> None:
    again = manifests.read(manifests.write(GOOD))
    assert manifests.write(again) == manifests.write(GOOD)
    assert set(again.files) == set(GOOD.files)
    assert again.version == "1.4.0"
    assert again.sequence == 1_004_000


def test_a_version_tells_its_sequence() -> None:
    assert sequence_of("0.0.1") == 1
    assert sequence_of("12.34.567") == 12_034_567
    assert sequence_of("1.10.0") > sequence_of("1.9.999")
    assert target_of("1.4.0", "linux-aarch64", "3.13") == "release/1.4.0/linux-aarch64-py3.13.json"


@pytest.mark.parametrize(
    "version", ["1.4", "1.4.0.0", "1.4.1000", "01.4.0", "1.4.0-rc1", "v1.4.0", "../1", "", "\u0661.4.0"]
)
def test_other_versions_are_refused(version: str) -> None:
    with pytest.raises(UpdateError, match="must be three numbers"):
        sequence_of(version)


def test_a_field_that_is_not_known_is_left_alone() -> None:
    assert manifests.read(changed({"notes": {"de": "neu"}}, {"mode": 420})).files[0].path == GOOD_FIRST


GOOD_FIRST = sorted(file.path for file in GOOD.files)[0]

PATHS = [
    "../../etc/passwd", "models/../../x", "/etc/passwd", "models//x", "models/./x", "models/x/", "models", "x",
    "wheels/x.tflite", "models/.hidden", "models/a/b/c/d/e/f", "models/a\\b", "models/C:x", "models/x\n", "models/x\0",
    "models/$(reboot)", "models/-rf", "models/ä", "~/models/x", "models/x;y", "", None, 7, ["models/x"],
    "models/" + "x" * 300,
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_could_leave_its_folder_is_refused(path: Any) -> None:
    with pytest.raises(
        UpdateError, match=r"^release: path .* is not a plain name below models/; nothing was installed$"
    ):
        manifests.read(changed(file={"path": path, "kind": "model"}), "release")


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", "not an object"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"format": "hipline.release/1", "format": "hipline.release/1"}', "twice"),
        (b'{"format": NaN}', "no number"),
        (b" " * (manifests.MAX_BYTES + 1), "longer than"),
        (changed({"format": "hipline.release/2"}), "format"),
        (changed(without="version"), "version is None"),
        (changed({"version": "1.5.0"}), "sequence 1004000 is not that of version 1.5.0"),
        (changed({"sequence": 1_004_000.0}), "sequence is 1004000.0"),
        (changed({"sequence": True}), "sequence is True"),
        (changed({"sequence": -1}), "sequence is -1"),
        (changed({"minimum_previous": 1_004_001}), "minimum_previous is larger"),
        (changed({"platform": "linux-riscv64"}), "platform is 'linux-riscv64'"),
        (changed({"platform": ["linux-aarch64"]}), "platform is"),
        (changed({"python": "3.12"}), "python is '3.12'"),
        (changed({"installed_size": 1 << 40}), "installed_size is"),
        (changed({"files": []}), "files is not a list"),
        (changed({"files": {"a": 1}}), "files is not a list"),
        (changed({"files": [7]}), "a file is not an object"),
        (changed({"files": [{}] * 1001}), "more than 1000 files"),
        (changed(file={"sha256": "0" * 63}), "sha256 is"),
        (changed(file={"sha256": "A" * 64}), "sha256 is"),
        (changed(file={"size": 1 << 31}), "size is"),
        (changed(file={"size": "7"}), "size is"),
        (changed(file={"kind": "symlink"}), "kind is 'symlink'"),
        (changed(file={"path": "wheels/pip.tar.gz", "kind": "wheel"}), "not that of a wheel"),
    ],
)
def test_a_fault_is_one_clear_line(data: bytes, fault: str) -> None:
    with pytest.raises(UpdateError, match=fault) as caught:
        manifests.read(data, "release/1.4.0/x.json")
    text = str(caught.value)
    assert text.startswith("release/1.4.0/x.json: ")
    assert "\n" not in text
    assert len(text) < 300


@pytest.mark.parametrize(
    ("paths", "fault"),
    [
        (("models/a", "models/a"), "twice"),
        (("models/a", "models/A"), "twice"),
        (("models/a", "models/a/b"), "lies below the file models/a"),
    ],
)
def test_two_files_at_one_place_are_refused(paths: tuple[str, str], fault: str) -> None:
    table = json.loads(manifests.write(GOOD))
    table["files"] = [{"path": path, "kind": "model", "sha256": "0" * 64, "size": 1} for path in paths]
    with pytest.raises(UpdateError, match=fault):
        manifests.read(json.dumps(table).encode())


def test_one_hash_with_two_sizes_and_too_much_in_all_are_refused() -> None:
    table = json.loads(manifests.write(GOOD))
    table["files"] = [{"path": f"models/{n}", "kind": "model", "sha256": "0" * 64, "size": n} for n in (1, 2)]
    with pytest.raises(UpdateError, match="one hash with two sizes"):
        manifests.read(json.dumps(table).encode())
    table["files"] = [{"path": f"models/{n}", "kind": "model", "sha256": f"{n:064}", "size": 1 << 30} for n in range(5)]
    with pytest.raises(UpdateError, match="the files are more than"):
        manifests.read(json.dumps(table).encode())


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(UpdateError):
        manifests.read(data)


@given(st.data())
def test_a_manifest_with_a_byte_changed_is_refused_or_still_safe(data: st.DataObject) -> None:
    good = manifests.write(GOOD)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    try:
        manifest = manifests.read(bad)
    except UpdateError:
        return
    inside = Path("/station/release")
    assert all((inside / file.path).resolve().is_relative_to(inside) for file in manifest.files)
