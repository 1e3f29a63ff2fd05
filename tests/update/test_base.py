"""Guard and updater come with the release that was committed; neither can be lost to a bad one."""

from __future__ import annotations

import subprocess
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from deploy.station import archive, parts
from station.update import base
from station.update.layout import Layout
from tests.update.toy import REPOSITORY, Toy

pytestmark = pytest.mark.timeout(900)  # seconds on a free machine; a busy one takes its time


def spoilt(data: bytes, module: str, code: str) -> bytes:
    """The guard with another module."""
    out = BytesIO()
    with zipfile.ZipFile(BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, code if name == module else old.read(name))
    return out.getvalue()


def test_the_archive_is_the_same_to_the_byte_and_does_its_work_alone(tmp_path: Path) -> None:
    data = archive.pack(REPOSITORY)
    assert data == archive.pack(REPOSITORY)
    file = tmp_path / "guard.pyz"
    file.write_bytes(data)
    command = ["/usr/bin/env", "-i", "/usr/bin/python3", "-IB", str(file), "--self-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("station/update/guard.py", "raise RuntimeError('no guard')"),
        pytest.param("station/update/journal.py", "1 +", marks=pytest.mark.slow),
        pytest.param("station/update/guard.py", "def main(): return 3", marks=pytest.mark.slow),
    ],
)
def test_a_release_whose_guard_does_not_work_is_not_activated(station: Toy, module: str, code: str) -> None:
    bad = spoilt(archive.pack(REPOSITORY), module, code)
    done = station.update(station.release("1.1.0", other={"scripts/guard.pyz": bad}))
    assert done.returncode == 1
    assert "release 1.1.0: its guard: failed with code" in done.stderr
    assert station.layout.active() == station.updater == "1.0.0"
    assert "its guard" in station.journal.failed["1.1.0"]


@pytest.mark.parametrize(
    "unit", [base.UNITS[0], *(pytest.param(unit, marks=pytest.mark.slow) for unit in base.UNITS[1:])]
)
def test_a_release_whose_units_systemd_does_not_take_is_left(station: Toy, unit: str) -> None:
    done = station.update(station.release("1.1.0", other={f"systemd/{unit}": b"what is this\n# 1.1.0\n"}))
    assert done.returncode == 1
    assert f"systemd does not take its {unit}" in done.stderr
    assert station.serves() == station.updater == "1.0.0"
    assert station.report["state"] == "failed"


@pytest.mark.slow
def test_while_a_release_is_on_probation_it_is_judged_by_the_old_guard(station: Toy) -> None:
    died = station.update(station.release("1.1.0"), failpoint="probation.passed")
    assert died.returncode == -9
    assert (station.layout.active(), station.updater) == ("1.1.0", "1.0.0")


def test_by_hand_the_guard_of_the_release_before_comes_back_too(station: Toy) -> None:
    assert station.update(station.release("1.1.0")).returncode == 0
    assert station.updater == "1.1.0"
    station.power_on()
    done = station.guard("--reason", "it flickers")
    assert done.returncode == 0, done.stderr
    assert station.serves() == station.updater == "1.0.0"
    assert len(list(station.layout.base.iterdir())) == 2  # the generation and the link


@pytest.mark.slow
def test_a_release_without_a_guard_leaves_things_as_they_are(station: Toy) -> None:
    manifest = station.release("1.1.0")
    text = manifest.read_text()
    manifest.write_text(text.replace("scripts/guard.pyz", "scripts/other"))
    assert station.update(manifest).returncode == 0
    assert (station.serves(), station.updater) == ("1.1.0", "1.0.0")


@pytest.mark.parametrize(
    "ruin",
    ["raises", *(pytest.param(ruin, marks=pytest.mark.slow) for ruin in ("torn", "no zip", "gone", "link gone"))],
)
def test_a_guard_that_breaks_later_is_stood_in_for(station: Toy, ruin: str) -> None:
    """Whatever becomes of the release's copy, also between its check and its use: the installation's own does it."""
    assert station.update(station.release("1.1.0")).returncode == 0
    link = station.layout.base_current
    guard = link / base.GUARD
    data = guard.read_bytes()
    if ruin == "link gone":
        link.unlink()
    elif ruin == "gone":
        guard.unlink()
    else:
        raising = spoilt(data, "station/update/switch.py", "raise OSError('bad sector')")
        guard.write_bytes({"torn": data[: len(data) // 2], "raises": raising, "no zip": b"\0" * 5000}[ruin])
    done = station.guard("--reason", "back")
    assert done.returncode == 0, done.stderr
    assert station.serves() == "1.0.0"
    assert station.updater == "1.0.0"  # mended on the way


def test_at_boot_what_is_not_whole_is_made_whole(station: Toy) -> None:
    (station.layout.base_current / "systemd/station-update.service").write_text("[Service]\n# torn")
    station.power_on()
    assert station.updater == "1.0.0"


def test_a_generation_is_known_by_its_content(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.make()
    files = parts.base_files()
    assert base.adopt(layout, files)
    assert not base.adopt(layout, files)
    assert base.active(layout) == base.name_of(files)
    (layout.base_current / base.GUARD).write_bytes(b"")
    assert base.active(layout) is None
    assert base.adopt(layout, files)
    assert (layout.base_current / base.GUARD).read_bytes() == files[base.GUARD]
    other = {**files, "systemd/station-update.timer": b"[Timer]\n"}
    assert base.adopt(layout, other)
    base.prune(layout)
    assert sorted(path.name for path in layout.base.iterdir()) == sorted([base.name_of(other), "current"])
