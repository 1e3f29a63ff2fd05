"""Updates in a real systemd: installed by deploy/install without a network, updated, judged, taken back, by real units.

The container does not enforce MemoryMax and IPAddressDeny; the rest of the units holds there.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.ota.wheelhouse import Target
from station.update.manifest import this_platform
from tests.update.publisher import Publisher

from . import rootfs
from .releases import Releases
from .test_booted import Container, _is_up, until

pytestmark = [pytest.mark.virtual, pytest.mark.timeout(3600)]

_CLIP = f"/var/lib/hipline/current/venv/lib/python{rootfs.PYTHON}/site-packages/station/assets/runner.mp4"
_TREE = ("station", "systemd", "locks", "deploy", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hipline-update-") as made:
        yield Path(made)


@pytest.fixture(scope="module")
def root(folder: Path) -> Iterator[Path]:
    try:
        base = rootfs.base()
    except rootfs.RootfsError as error:
        pytest.skip(str(error))
    with rootfs.overlay(base, folder / "overlay") as made:
        yield made


@pytest.fixture(scope="module")
def releases(root: Path, folder: Path) -> Releases:
    (root / "srv/hipline").mkdir(parents=True)
    target = Target(this_platform(), rootfs.PYTHON)  # type: ignore[arg-type]
    return Releases(folder, root / "wheels", Publisher(root / "srv/hipline"), target)


@pytest.fixture(scope="module")
def station(root: Path, releases: Releases, folder: Path) -> Iterator[Container]:
    """A station that ``deploy/install`` made of a bare system, from the repository alone, and that was then booted."""
    releases.publish("90.0.0")
    listed = subprocess.run(
        ["git", "ls-files", "-z", *_TREE], cwd=rootfs.REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        target = root / "usr/src/hipline" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(rootfs.REPOSITORY / name, target, follow_symlinks=False)
    command = ["/usr/src/hipline/deploy/install", "--gym", "north", "--name", "tm-07", "--camera", _CLIP]
    command += ["--source", "/srv/hipline/repository", "--root", "/srv/hipline/repository/metadata/1.root.json"]
    no_index = {"PIP_INDEX_URL": "http://127.0.0.1:9/"}
    print(rootfs.in_root(root, *command, env=no_index, timeout_s=1800).stdout)
    again = rootfs.in_root(root, *command, env=no_index).stdout
    assert "  now " not in again
    (root / "etc/machine-id").write_text("")
    for name in ("dev", "proc"):  # the container has its own
        subprocess.run(["umount", "--recursive", "--lazy", str(root / name)], check=False)
    booted = Container(root, folder / "console.log")
    try:
        until(lambda: booted.log.exists() and _is_up(booted), 180, "no systemd in the container after three minutes")
        until(lambda: version_online(booted) == "90.0.0", 180, "the first release does not come up by itself")
        yield booted
    finally:
        booted.close()


def version_online(station: Container) -> str | None:
    said = station.run("mosquitto_sub -t hipline/v1/north/tm-07/status -C 1 -W 5", check=False)
    status = json.loads(said) if said.startswith("{") else {}
    return str(status["version"]) if status.get("state") == "online" else None


def update_block(station: Container) -> dict[str, str | None]:
    said = station.run("mosquitto_sub -t hipline/v1/north/tm-07/status -C 1 -W 5")
    return dict(json.loads(said)["update"])


def updater(station: Container) -> str:
    """The release whose updater units systemd has."""
    return str(re.findall("(?m)^# of (.*)$", station.run("systemctl cat station-update.timer"))[0])


def update(station: Container) -> str:
    """Let the unit run to its end; what it said."""
    station.run("systemctl start station-update")
    until(lambda: station.show("station-update", "ActiveState") in ("inactive", "failed"), 1500, "it never ends")
    return station.run("journalctl -u station-update -u station-rollback -o cat --no-pager -n 60", check=False)


def test_an_update_by_the_unit_is_committed(station: Container, releases: Releases) -> None:
    station.run("mosquitto_pub -t hipline/v1/north/tm-07/cmd/stop -m ''")
    station.run("sed -i 's,^source = .*mp4.*,&\\n[session]\\nstart = \"tap\",' /etc/station/station.toml")
    station.run("systemctl restart station")  # the clip's runner must not begin a session: it would be waited for
    until(lambda: version_online(station) == "90.0.0", 120, "not back with tap")
    assert updater(station) == "90.0.0"
    releases.publish("90.1.0")
    said = update(station)
    assert "release 90.1.0: committed" in said, said
    assert version_online(station) == "90.1.0"
    until(lambda: update_block(station)["state"] == "idle", 30, "that it is committed is not told")
    assert station.run("readlink /var/lib/hipline/current") == "releases/90.1.0"
    assert updater(station) == "90.1.0"


def test_a_release_that_crashes_is_left_and_told(station: Container, releases: Releases) -> None:
    releases.publish("90.2.0", crash=True)
    said = update(station)
    assert "station.service crashes" in said, said
    until(lambda: version_online(station) == "90.1.0", 180, "the release before does not come back")
    until(lambda: update_block(station)["state"] == "failed", 30, "that it failed is not told")
    block = update_block(station)
    assert (block["from"], block["to"]) == ("90.1.0", "90.2.0")
    assert "station.service crashes" in str(block["reason"])
    assert not (station.root / "var/lib/hipline/releases/90.2.0").exists()
    assert updater(station) == "90.1.0"


def test_back_by_hand_by_the_guard_that_was_installed(station: Container) -> None:
    station.run("/usr/src/hipline/deploy/rollback --reason 'the new screen flickers'")
    until(lambda: version_online(station) == "90.0.0", 180, "the release before does not come back")
    until(lambda: update_block(station)["reason"] == "the new screen flickers", 30, "the reason is not told")
    assert updater(station) == "90.0.0"
