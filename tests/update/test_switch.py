"""The changeover: what is refused, what waits, what is kept, in what order the disk is told; and back by hand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from station.errors import UpdateError
from station.update import manifest as manifests
from station.update import stage
from station.update.manifest import this_platform, this_python
from tests.update.toy import HERE, REPOSITORY, Toy

pytestmark = pytest.mark.timeout(900)  # seconds on a free machine; a busy one takes its time


@pytest.fixture
def station(toy: Toy) -> Toy:
    """A station that runs 1.1.0 and came from 1.0.0."""
    for version in ("1.0.0", "1.1.0"):
        done = toy.update(toy.release(version))
        assert done.returncode == 0, done.stderr
    return toy


def test_what_is_not_for_this_station_is_refused_in_one_line(station: Toy) -> None:
    other = "linux-x86_64" if this_platform() == "linux-aarch64" else "linux-aarch64"
    python = "3.13" if this_python() == "3.11" else "3.11"
    for version, changes, line in (
        ("1.2.0", {"platform": other}, f"is for {other} with Python"),
        ("1.2.0", {"python": python}, f"with Python {python}, this is"),
        ("1.0.5", {}, "is older than 1.1.0, which runs"),
        ("1.3.0", {"minimum_previous": 1_002_000}, "cannot follow 1.1.0; install sequence 1002000"),
    ):
        done = station.update(station.release(version, **changes))
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert line in done.stderr
        assert station.layout.active() == "1.1.0"
        assert station.report["state"] == "failed"
        assert station.report["reason"] in done.stderr
    assert station.serves() == "1.1.0"


def test_a_disk_that_is_too_small_is_told_before_anything_is_built(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = manifests.read(toy.release("1.2.0", installed_size=1 << 30).read_bytes())
    usage = shutil.disk_usage(toy.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1 << 29))
    with pytest.raises(UpdateError, match=r"release 1.2.0: needs 1208 MB on the disk of \S+, 537 MB are free"):
        stage.refuse(manifest, toy.layout, toy.journal)
    assert not toy.layout.release("1.2.0").exists()


def test_nothing_happens_during_a_session(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy(environment={"TOY_SESSION": "4f9c2b7e"})
    assert toy.update(toy.release("1.0.0")).returncode == 0  # nobody could be running yet
    waits = toy.update(toy.release("1.1.0"))
    assert (waits.returncode, waits.stderr) == (0, "station: release 1.1.0: waits: session 4f9c2b7e is on\n")
    assert toy.layout.active() == "1.0.0"
    assert not toy.layout.release("1.1.0").exists()
    toy.environment.pop("TOY_SESSION")
    toy.systemctl("restart", "station.service")
    assert toy.serves() == "1.0.0"
    assert toy.update(toy.release("1.1.0")).returncode == 0
    assert toy.serves() == "1.1.0"


def test_a_session_that_begins_while_a_release_is_staged_is_waited_for(toy: Toy) -> None:
    assert toy.update(toy.release("1.0.0")).returncode == 0
    assert toy.update(toy.release("1.1.0"), failpoint="staged").returncode == -9
    toy.environment["TOY_SESSION"] = "4f9c2b7e"
    toy.systemctl("restart", "station.service")
    assert toy.serves() == "1.0.0"
    waits = toy.update(toy.release("1.1.0"))
    assert "waits: session 4f9c2b7e is on" in waits.stderr
    block = {key: toy.report[key] for key in ("state", "from", "to", "reason")}
    assert block == {"state": "staged", "from": "1.0.0", "to": "1.1.0", "reason": "session 4f9c2b7e is on"}


def test_a_release_that_fails_its_self_test_is_never_activated(station: Toy) -> None:
    done = station.update(station.release("1.2.0", "wrong model"))
    assert done.returncode == 1
    assert "release 1.2.0: self-test: failed with code 1: golden input: left_hip is 99 px off" in done.stderr
    assert station.serves() == "1.1.0"
    assert not station.layout.release("1.2.0").exists()
    assert "was tried and left" in station.update(station.release("1.2.0")).stderr
    assert station.update(station.release("1.2.0"), "--again").returncode == 0
    assert station.serves() == "1.2.0"
    assert not station.journal.failed


def test_a_blob_that_rotted_on_the_disk_is_not_installed(station: Toy) -> None:
    file = station.release("1.2.0")
    wheel = station.layout.blobs / manifests.read(file.read_bytes()).of_kind("wheel")[0].sha256
    data = bytearray(wheel.read_bytes())
    data[200] ^= 1
    wheel.write_bytes(data)
    done = station.update(file)
    assert done.returncode == 1
    assert "is damaged on this disk" in done.stderr
    assert not wheel.exists()
    assert station.serves() == "1.1.0"
    assert station.update(station.release("1.2.0")).returncode == 0  # no stain on the release: fetched anew, it is good


def test_back_by_hand_and_no_further(station: Toy) -> None:
    done = station.guard("--reason", "the new screen flickers")
    assert done.returncode == 0, done.stderr
    assert station.serves() == "1.0.0"
    assert station.report["reason"] == "the new screen flickers"
    assert station.update(station.release("1.1.0")).returncode == 1  # not by itself again
    again = station.guard()
    assert again.returncode == 1
    assert "no complete release before it to go back to" in again.stderr
    assert station.serves() == "1.0.0"


def test_the_guard_leaves_a_release_on_probation_when_a_service_gives_up_and_nobody_judges(station: Toy) -> None:
    assert station.update(station.release("1.2.0", "crash"), failpoint="probation.restarted").returncode == -9
    done = station.guard("--failed")
    assert done.returncode == 0, done.stderr
    assert station.serves() == "1.1.0"
    assert "gave up" in station.journal.failed["1.2.0"]


def test_the_guard_leaves_a_committed_release_alone(station: Toy) -> None:
    for option in ("--failed", "--boot"):
        assert station.guard(option).returncode == 0
        assert station.layout.active() == "1.1.0"


def test_the_guard_mends_a_link_that_leads_nowhere(station: Toy) -> None:
    station.layout.current.unlink()
    assert station.guard("--boot").returncode == 0
    assert station.layout.active() == "1.0.0"  # the one that was kept to go back to


def test_the_release_that_runs_needs_no_other_and_no_source_tree(station: Toy) -> None:
    """The environment was built at its final path, holds what the manifest says, and knows nothing of this one."""
    release = station.layout.release("1.1.0")
    script = (release / "venv/bin/station").read_text()
    assert script.startswith(f"#!{release}/venv/bin/python\n")
    code = "import importlib.metadata as m; print([d.name for d in m.distributions()])"
    listing = subprocess.run(
        [str(release / "venv/bin/python"), "-I", "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert listing == "['hipline-station']\n"
    assert (release / "scripts/hello").stat().st_mode & 0o111
    assert not (release / "models/pose.bin").stat().st_mode & 0o111


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("cycles", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_update_and_rollback_over_and_over_leave_the_disk_as_it_was(toy: Toy, tmp_path: Path, cycles: int) -> None:
    """Through the very functions that the commands call; a cycle is an update that stays and one that is left again."""
    done = subprocess.run(
        [sys.executable, HERE / "cycles.py", tmp_path / "cycles", str(cycles)], cwd=REPOSITORY, env=toy.environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    sizes = [int(size) for size in re.findall(r"^after \d+: (\d+) bytes", done.stdout, re.MULTILINE)]
    assert len(sizes) == cycles
    assert max(sizes[2:]) <= 1.01 * min(sizes[2:]), sizes
