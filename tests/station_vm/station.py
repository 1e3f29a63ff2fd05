"""The emulated machine becomes a station: deploy/install from a stick with signed releases; saved when it serves."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from deploy.ota.wheelhouse import Target
from tests.update.publisher import Publisher
from tests.virtual.releases import Releases
from tests.virtual.rootfs import REPOSITORY

from . import clips, image
from .image import say
from .machine import Machine, MachineError, until

#: The last one crashes; a repository of its own on the stick offers it.
OLD, NEW, BAD = "90.0.0", "90.1.0", "90.2.0"
REPOSITORIES = "/media/stick/repository", "/media/stick/bad"
TARGET = Target("linux-aarch64", "3.13")
_TREE = ("station", "systemd", "locks", "deploy", "pyproject.toml", "README.md", "LICENSE")
#: A picture costs the emulated processor half a second; nobody steps on the belt by himself, or updates would wait.
_CONFIG = """\
[station]
gym = "north"
name = "tm-07"
[camera]
source = "/usr/share/hipline-test/clip.mp4"
[pelvis]
estimator = "hips"
[mqtt]
host = "127.0.0.1"
[session]
start = "tap"
"""
#: Signed metadata lives for two weeks.
_FRESH_S = 9 * 86400.0
SERVING, TOPIC = "serving", "hipline/v1/north/tm-07"


class Place:
    """A folder with all that a virtual station is started from: ``disk.qcow2`` with its snapshots, and the stick."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk, self.stick = folder / "disk.qcow2", folder / "stick.img"

    @property
    def made_s(self) -> float:
        """When its releases were signed; where a clock without a battery begins."""
        return float((self.folder / "made").read_text())

    def start(self, snapshot: str | None = None, *, network: bool = True, disk: Path | None = None) -> Machine:
        """The machine, booted or resumed; it answers when this returns."""
        machine = Machine(
            disk or self.disk, self.folder / "run", stick=self.stick, snapshot=snapshot, network=network,
            now_s=self.made_s,
        )  # fmt: skip
        try:
            machine.wait_up(1200.0)
        except BaseException:
            machine.cut()
            raise
        return machine

    def snapshots(self) -> set[str]:
        """Names of the saved states."""
        said = subprocess.run(["qemu-img", "info", "-U", "--output=json", self.disk], capture_output=True, check=True)
        return {str(one["name"]) for one in json.loads(said.stdout).get("snapshots", [])}


def place() -> Place:
    """The place for this commit, with a station that serves saved as :data:`SERVING`; made if it is not there yet.

    ``HIPLINE_STATION_VM`` names the folder of one that is to be used whatever commit it was made of.
    """
    if kept := os.environ.get("HIPLINE_STATION_VM"):
        image.tools()
        return _complete(Place(Path(kept)))
    base = image.base()
    commit = subprocess.run(
        ["git", "-C", REPOSITORY, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    digest = hashlib.sha256(f"{base.name} {commit} {_CONFIG}".encode()).hexdigest()[:12]
    found = Place(image.cache() / f"station-{digest}")
    if not (found.folder / "made").exists() or time.time() - found.made_s > _FRESH_S:
        for old in image.cache().glob("station-*"):
            shutil.rmtree(old)
        found.folder.mkdir(parents=True)
        _releases(found)
        for name in ("disk.qcow2", "vmlinuz", "initrd"):
            shutil.copyfile(base / name, found.folder / name)
        (found.folder / "made").write_text(str(time.time()))
    return _complete(found)


def _complete(found: Place) -> Place:
    if SERVING not in found.snapshots():
        _install(found)
    return found


def _releases(found: Place) -> None:
    say("releases of this commit, signed, and the stick that carries them")
    work, content = found.folder / "work", found.folder / "stick"
    for folder in (work, content):
        folder.mkdir()
    releases = Releases(work, None, Publisher(work), TARGET)
    for version in (OLD, NEW):
        releases.publish(version)
    shutil.copytree(work / "repository", content / "repository")
    releases.publish(BAD, crash=True)
    (work / "repository").rename(content / "bad")
    put_tree(content / "hipline")
    write_stick(content, found.stick)
    for folder in (work, content):
        shutil.rmtree(folder)


def put_tree(folder: Path) -> None:
    """What a technician's clone of this commit has, as far as deploy/install reads it."""
    folder.mkdir()
    packed = subprocess.run(["git", "-C", REPOSITORY, "archive", "HEAD", *_TREE], capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", folder], input=packed.stdout, check=True)


def write_stick(content: Path, stick: Path) -> None:
    """A disk image of a folder."""
    size = sum(path.lstat().st_size for path in content.rglob("*")) // 1000 * 1200 + (64 << 20)
    subprocess.run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-d", content, "-L", "stick", stick, f"{size >> 10}k"],
        check=True, stdout=subprocess.DEVNULL, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
    )  # fmt: skip


def _install(found: Place) -> None:
    say("first boot")
    machine = found.start()
    try:
        say(f"up after {machine.cpu_s:.0f} s of the emulator's CPU; deploy/install from the stick")
        machine.run("mount -o ro /dev/vdb /media/stick")
        machine.put("/etc/station/station.toml", _CONFIG)
        machine.put_bytes("/usr/share/hipline-test/clip.mp4", clips.lighter(every=10))
        repository = REPOSITORIES[0]
        command = (
            f"/media/stick/hipline/deploy/install --gym north --name tm-07 --version {OLD} "
            f"--source {repository} --root {repository}/metadata/1.root.json"
        )
        machine.run("echo '/dev/vdb /media/stick ext4 ro,nofail 0 0' >> /etc/fstab")
        log = "-p StandardOutput=append:/root/install.log -p StandardError=append:/root/install.log"
        machine.run(f"systemd-run -q --unit=install {log} --setenv=PIP_INDEX_URL=http://127.0.0.1:9/ -- {command}")
        _follow(machine, "install", "/root/install.log")
        until(lambda: version_online(machine) == OLD and page(machine), 1800, f"never serves: {journal(machine)}")
        machine.run("sync")
        say(f"it serves; saved ({machine.cpu_s:.0f} s of CPU)")
        machine.save(SERVING)
    finally:
        machine.close()


def _follow(machine: Machine, unit: str, log: str) -> None:
    """Pass on what a long job says until it has ended; :class:`MachineError` when that was not well."""
    seen = 0
    while True:
        state = machine.show(unit, "ActiveState")
        lines = machine.run(f"cat {log}", check=False).splitlines()
        for line in lines[seen:]:
            say(f"  {line}")
        seen = len(lines)
        if state not in ("active", "activating"):
            break
        time.sleep(5)
    if state == "failed" or machine.show(unit, "Result") not in ("success", ""):
        raise MachineError(f"{unit} failed: {lines[-5:]}")


def version_online(machine: Machine) -> str | None:
    """Which version the broker knows as online."""
    said = machine.run(f"mosquitto_sub -t {TOPIC}/status -C 1 -W 4", check=False)
    try:
        status = json.loads(said)
    except ValueError:
        return None
    return str(status["version"]) if status.get("state") == "online" else None


def page(machine: Machine) -> bool:
    """Whether the runner's page answers."""
    return "<html" in machine.run("curl --silent --max-time 20 http://127.0.0.1:8080/", check=False).lower()


def journal(machine: Machine, *units: str, lines: int = 40) -> str:
    """The newest lines of the log, of these units or of all."""
    chosen = " ".join(f"-u {unit}" for unit in units)
    return machine.run(f"journalctl {chosen} -o short-monotonic --no-pager -n {lines}", check=False)
