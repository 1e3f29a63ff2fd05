"""A bare system becomes a station with one command, twice the same; a rollback that needs no release; all gone again.

An image (a folder that stands for ``/``) is installed: accounts, folders, units and the first release are real, only
Debian's packages and a running systemd are not part of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from station.config import load
from station.update import journal as journals
from station.update.journal import Journal
from station.update.layout import Layout
from station.update.manifest import this_platform, this_python
from tests.update import publisher
from tests.update.publisher import Publisher
from tests.update.toy import REPOSITORY, wheel

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="accounts and foreign owners: only root can make them"),
    pytest.mark.timeout(900),  # seconds on a free machine; a busy one takes its time
]
UNIT = "etc/systemd/system"


def files_of(version: str) -> dict[str, bytes]:
    return {
        f"wheels/hipline_station-{version}-py3-none-any.whl": wheel(version),
        "models/pose.bin": b"model of all releases",
        "systemd/station.service": (REPOSITORY / "systemd/station.service").read_bytes() + f"# {version}\n".encode(),
    }


@pytest.fixture
def repository(tmp_path: Path) -> Publisher:
    """An update repository with 1.0.0 for everybody."""
    made = Publisher(tmp_path / "publisher")
    publish(made, "1.0.0")
    return made


def publish(repository: Publisher, version: str) -> None:
    files = files_of(version)
    manifest = publisher.manifest_of(version, files, platform=this_platform(), python=this_python())
    repository.sign(manifest, files)
    repository.roll_out(version)


def deploy(name: str, *words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(REPOSITORY / "deploy" / name), *map(str, words)]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=280, check=False
    )


def install(repository: Publisher, image: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    image.mkdir(exist_ok=True)
    return deploy(
        "install", "--gym", "north", "--name", "tm-07", "--source", repository.place, "--root", repository.root_file,
        "--prefix", image, "--bootstrap", sys.executable, "--camera", "v4l2:/dev/video0", *words,
    )  # fmt: skip


def tree(folder: Path) -> dict[str, Any]:
    """Every path with what it is: content, target or nothing; the mode of each."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(folder.rglob("*"))
    }


def without_time(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: what for name, what in found.items() if not name.endswith(("report.json", "lock"))}


def test_a_dry_run_names_everything_and_changes_nothing(repository: Publisher, tmp_path: Path) -> None:
    done = install(repository, tmp_path / "image", "--dry-run")
    assert done.returncode == 0, done.stderr
    for word in ("accounts", "station.toml", "update-root.json", "conf.d/hipline.conf", "guard", "first release"):
        assert word in done.stdout
    assert list((tmp_path / "image").iterdir()) == []


def test_one_command_makes_a_station_and_the_second_changes_nothing(repository: Publisher, tmp_path: Path) -> None:
    image = tmp_path / "image"
    done = install(repository, image, "--kiosk")
    assert done.returncode == 0, done.stderr
    layout = Layout(image / "var/lib/hipline")
    assert layout.active() == "1.0.0"
    assert journals.load(layout) == Journal()
    command = image / "usr/local/bin/station"
    assert (command.read_bytes(), command.stat().st_mode & 0o777) == (
        (REPOSITORY / "systemd/station").read_bytes(),
        0o755,
    )
    accounts = (image / "etc/passwd").read_text()
    assert "station:" in accounts
    assert "station-web:" in accounts
    for unit in ("station.service", "station-web.service", "station-kiosk.service"):  # they change with the release
        assert str((image / UNIT / unit).readlink()) == f"/var/lib/hipline/current/systemd/{unit}"
        assert str((image / UNIT / "multi-user.target.wants" / unit).readlink()) == f"../{unit}"
    for unit in ("station-update.service", "station-update.timer", "station-update.path"):  # once it is committed
        assert str((image / UNIT / unit).readlink()) == f"/var/lib/hipline/base/current/systemd/{unit}"
        assert (layout.base_current / "systemd" / unit).read_bytes() == (REPOSITORY / "systemd" / unit).read_bytes()
    guard = image / UNIT / "station-rollback.service"  # no release changes it
    assert guard.read_bytes() == (REPOSITORY / "systemd/station-rollback.service").read_bytes()
    assert not guard.is_symlink()
    before = without_time(tree(image))
    again = install(repository, image, "--kiosk")
    assert again.returncode == 0, again.stderr
    assert "  now " not in again.stdout
    assert without_time(tree(image)) == before


def test_a_station_built_from_a_clone_becomes_one_of_the_same_version(repository: Publisher, tmp_path: Path) -> None:
    image = tmp_path / "image"
    built = image / "var/lib/hipline/releases/source"
    (built / "venv/bin").mkdir(parents=True)
    (image / "var/lib/hipline/current").symlink_to("releases/source")
    done = install(repository, image)
    assert done.returncode == 0, done.stderr
    assert Layout(image / "var/lib/hipline").active() == "1.0.0"
    assert not built.exists()


def test_the_configuration_is_one_that_the_station_reads_and_a_person_may_change(
    repository: Publisher, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    file = image / "etc/station/station.toml"
    file.parent.mkdir(parents=True)
    file.write_text('[station]\ngym = "north"\nname = "by-hand"\n')  # a station without updates so far
    assert install(repository, image).returncode == 0
    config = load(file)
    assert (config.station.name, config.update.source) == ("by-hand", str(repository.place))
    assert config.update.root == Path("/etc/station/update-root.json")
    assert config.mqtt.host == "127.0.0.1"
    file.write_text('[camera]\nheight_m = 1.1\n[mqtt]\nhost = "127.0.0.1"\n')  # as systemd/install leaves it: no name
    assert install(repository, image).returncode == 0
    config = load(file)
    assert (config.station.gym, config.station.name, config.camera.height_m) == ("north", "tm-07", 1.1)
    assert config.update.source == str(repository.place)
    file.write_text(file.read_text() + "[web]\nport = 8090\n")
    assert install(repository, image).returncode == 0
    assert load(file).web.port == 8090
    fresh = tmp_path / "fresh"
    assert install(repository, fresh).returncode == 0
    written = tomllib.loads((fresh / "etc/station/station.toml").read_text())
    assert written["station"] == {"gym": "north", "name": "tm-07"}
    assert written["camera"] == {"source": "v4l2:/dev/video0"}  # by name: a lost camera is told, no clip is played


def test_the_stations_broker_joins_the_gyms(repository: Publisher, tmp_path: Path) -> None:
    gym = [sys.executable, str(REPOSITORY / "deploy/broker/gym.py"), str(tmp_path / "gym")]
    subprocess.run([*gym, "init", "--gym", "north", "--host", "127.0.0.1"], check=True, capture_output=True)
    for name in ("tm-07", "tm-08"):
        subprocess.run([*gym, "add-station", name], check=True, capture_output=True)
    image, bundles = tmp_path / "image", tmp_path / "gym/stations"
    wrong = install(repository, image, "--broker", bundles / "tm-08")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)
    assert "is not that of north/tm-07" in wrong.stderr
    alone = install(repository, image)
    assert alone.returncode == 0, alone.stderr
    place = image / "etc/mosquitto/conf.d/hipline.conf"
    assert "listener 1883 127.0.0.1" in place.read_text()
    assert "connection gym" not in place.read_text()
    assert install(repository, image, "--broker", bundles / "tm-07").returncode == 0
    assert place.read_bytes() == (bundles / "tm-07/hipline.conf").read_bytes()
    assert place.stat().st_mode & 0o077 == 0  # it holds a password
    assert (image / "etc/mosquitto/certs/ca.crt").is_file()
    assert install(repository, image).returncode == 0  # who is enrolled stays so
    assert "connection gym" in place.read_text()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--name", "tm/07"], "--name 'tm/07': 1 to 64 letters"),
        (["--source", "/nowhere/at/all"], "--source /nowhere/at/all: neither an address nor a folder"),
        (["--root", "/dev/null"], "--root /dev/null: is no root metadata"),
        (["--broker", "/dev"], "--broker /dev: holds no hipline.conf"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_done(
    repository: Publisher, tmp_path: Path, words: list[str], line: str
) -> None:
    done = install(repository, tmp_path / "image", *words)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert line in done.stderr
    assert list((tmp_path / "image").iterdir()) == []


def test_a_repository_that_the_root_does_not_vouch_for_installs_nothing(repository: Publisher, tmp_path: Path) -> None:
    stranger = Publisher(tmp_path / "stranger")
    publish(stranger, "1.0.0")
    done = install(repository, tmp_path / "image", "--root", stranger.root_file)
    assert done.returncode == 1
    assert Layout(tmp_path / "image/var/lib/hipline").active() is None


def test_a_release_whose_python_is_ruined_is_left_by_the_systems_own(repository: Publisher, tmp_path: Path) -> None:
    image = tmp_path / "image"
    assert install(repository, image).returncode == 0
    root = image / "var/lib/hipline"
    layout = Layout(root)
    publish(repository, "1.1.0")
    # no systemd here: the steps of an update up to its activation, then a release that cannot start anything
    subprocess.run(["cp", "-a", layout.release("1.0.0"), layout.release("1.1.0")], check=True)
    layout.current.unlink()
    layout.current.symlink_to("releases/1.1.0")
    journals.store(layout, Journal("probation", "1.0.0", "1.1.0"))
    (layout.release("1.1.0") / "venv/bin/python").unlink()
    guard = image / "usr/local/lib/hipline/guard"
    done = subprocess.run(
        ["/usr/bin/env", "-i", f"HIPLINE_ROOT={root}", "HIPLINE_SYSTEMCTL=/bin/true", "/usr/bin/python3", "-IB", guard],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert layout.active() == "1.0.0"
    assert not layout.release("1.1.0").exists()
    assert journals.load(layout).failed == {"1.1.0": "rolled back by hand"}


def test_systemd_calls_the_guard_first_before_the_services_then_after_failures(
    repository: Publisher, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    assert install(repository, image).returncode == 0
    layout = Layout(image / "var/lib/hipline")
    subprocess.run(["cp", "-a", layout.release("1.0.0"), layout.release("1.1.0")], check=True)
    layout.current.unlink()
    layout.current.symlink_to("releases/1.1.0")
    journals.store(layout, Journal("probation", "1.0.0", "1.1.0"))
    environment = [f"HIPLINE_ROOT={layout.root}", "HIPLINE_SYSTEMCTL=/bin/true", f"RUNTIME_DIRECTORY={tmp_path}"]
    command = ["/usr/bin/env", "-i", *environment, "/usr/bin/python3", "-IB"]
    command += [str(image / "usr/local/lib/hipline/guard"), "--systemd"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert (layout.active(), journals.load(layout).boots) == ("1.1.0", 1)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert layout.active() == "1.0.0"
    assert "gave up" in journals.load(layout).failed["1.1.0"]


def test_rollback_over_ssh_is_one_command(tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\necho "at $1: $2"\n[ "$1" != pi@tm-08 ]\n')
    ssh.chmod(0o755)
    done = deploy("rollback", "--reason", "it's odd", "pi@tm-07", "pi@tm-08", SSH=str(ssh))
    assert done.returncode == 1  # one of them did not
    assert done.stdout.count("/usr/bin/python3 -IB /usr/local/lib/hipline/guard --reason 'it'\\''s odd'") == 2


def test_uninstall_leaves_configuration_and_data_and_purge_leaves_nothing(
    repository: Publisher, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    assert install(repository, image, "--kiosk").returncode == 0
    (image / "var/lib/station").mkdir(parents=True, exist_ok=True)
    (image / "var/lib/station/outbox.db").write_bytes(b"strides")
    before = tree(image)
    dry = deploy("uninstall", "--prefix", image, "--purge", "--dry-run")
    assert dry.returncode == 0
    assert tree(image) == before
    done = deploy("uninstall", "--prefix", image)
    assert done.returncode == 0, done.stderr
    left = [name for name, (_, what) in tree(image).items() if what is not None]
    assert [name for name in left if "station" in name or "hipline" in name] == [
        "etc/station/station.toml", "etc/station/update-root.json", "var/lib/station/outbox.db",
    ]  # fmt: skip
    assert deploy("uninstall", "--prefix", image, "--purge").returncode == 0
    left = [name for name, (_, what) in tree(image).items() if what is not None]
    assert [name for name in left if "station" in name or "hipline" in name] == []
    assert "station" not in (image / "etc/passwd").read_text()
    assert deploy("uninstall", "--prefix", image, "--purge").stdout.count("  now ") == 0
