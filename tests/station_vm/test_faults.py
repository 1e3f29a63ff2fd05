"""What happens to a machine in a gym: it hangs, its clock jumps, its network is gone, its disk is full or read-only."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest

from . import striding
from .machine import Machine, until
from .station import OLD, SERVING, TOPIC, Place, journal, page, version_online

pytestmark = [pytest.mark.virtual, pytest.mark.timeout(2 * 3600)]

STRIDING = "striding"


@pytest.fixture(scope="module")
def strides(place: Place) -> str:
    """The name of a saved state in which the station strides."""
    if STRIDING not in place.snapshots():
        machine = place.start(SERVING)
        try:
            striding.begin(machine)
            machine.save(STRIDING)
        finally:
            machine.close()
    return STRIDING


@pytest.fixture
def runner(place: Place, strides: str) -> Iterator[Machine]:
    """A station with a runner on it."""
    machine = place.start(strides)
    yield machine
    machine.cut()


def test_the_clock_is_stepped_and_no_stride_is_lost(runner: Machine) -> None:
    before = striding.heard(runner)
    pid = runner.show("station", "MainPID")
    for step in ("+3 hours", "-2 days", "+400 days"):
        runner.run("timedatectl set-ntp false; systemctl stop systemd-timesyncd", check=False)
        count = len(striding.heard(runner))
        runner.run(f"date -s '{step}'")
        until(lambda count=count: len(striding.heard(runner)) >= count + 4, 600, f"no strides after {step}", 2)  # type: ignore[misc]
    found = striding.heard(runner)
    assert runner.show("station", "MainPID") == pid, "the watchdog took the step for a hang"
    assert runner.show("station", "NRestarts") == "0"
    numbers = [int(str(one["seq"])) for one in found]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "a stride is missing"
    assert len(found) >= len(before) + 12
    starts = [float(str(one["start_s"])) for one in found]
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    print(f"\n{len(found)} strides in one row; between two starts {min(gaps):.2f} to {max(gaps):.2f} s")
    assert 0.3 < min(gaps) <= max(gaps) < 3.0  # the time of the camera, not of the clock on the wall


def test_a_full_disk_is_told_and_nothing_is_lost(runner: Machine) -> None:
    runner.run(
        "fallocate -l $(df --output=avail -B1 / | tail -n 1) /var/full; cat /dev/zero > /var/fuller", check=False
    )
    assert int(runner.run("df --output=avail / | tail -n 1")) < 64
    _told_and_over(runner, "rm -f /var/full /var/fuller")


def test_a_read_only_disk_is_told_and_nothing_is_lost(runner: Machine) -> None:
    runner.run("echo u > /proc/sysrq-trigger")  # what the kernel does by itself after an error (errors=remount-ro)
    until(lambda: " ro," in runner.run("grep ' / ' /proc/mounts"), 60, "the disk is not read-only")
    _told_and_over(runner, "mount -o remount,rw /")


def _told_and_over(machine: Machine, mend: str) -> None:
    """The station measures on, says what is wrong, and goes on as before once it is mended."""
    pid = machine.show("station", "MainPID")
    first = _newest(machine)
    told: dict[str, object] = {}

    def tells() -> bool:
        told.update(striding.health(machine))
        lost = told.get("lost")
        return isinstance(lost, dict) and "trouble" in lost

    until(tells, 900, f"the health message says nothing of the disk: {told}")
    print(f"\nhealth: lost {told['lost']}, fps_out {told['fps_out']}")
    then = _newest(machine)
    until(lambda: _newest(machine) >= then + 4, 600, "it does not measure on")
    assert page(machine)
    machine.run(mend)
    until(lambda: not tells_still(machine), 900, "the trouble is not over")
    last = _newest(machine)
    until(lambda: _newest(machine) >= last + 2, 600, "no strides afterwards")
    assert machine.show("station", "MainPID") == pid
    kept = _stored(machine)
    assert set(range(first + 1, last + 1)) <= kept, "a stride is missing in the outbox"


def tells_still(machine: Machine) -> bool:
    """Whether the health message speaks of the disk."""
    lost = striding.health(machine).get("lost")
    return isinstance(lost, dict) and "trouble" in lost


def _newest(machine: Machine) -> int:
    """The number of the next stride: heard directly, for a subscriber that writes to a full disk hears nothing."""
    said = machine.run(f"mosquitto_sub -t {TOPIC}/stride -C 1 -W 60", timeout_s=600)
    return int(json.loads(said)["seq"])


def _stored(machine: Machine) -> set[int]:
    """Numbers of the strides on the disk. The station has its file to itself: a copy is read, made while it stands."""
    machine.run("sleep 5")
    pid = machine.show("station", "MainPID")
    copied = "mkdir -p /run/copy; cp /var/lib/station/outbox.db* /run/copy/"
    machine.run(f"kill -STOP {pid}; {copied}; code=$?; kill -CONT {pid}; exit $code")
    code = (
        "import sqlite3, zlib, json; d = sqlite3.connect('/run/copy/outbox.db');"
        "rows = d.execute('SELECT payload FROM rows WHERE kind = ?', ('stride',));"
        "print([json.loads(zlib.decompress(p))['seq'] for p, in rows])"
    )
    return set(json.loads(machine.run(f'/usr/bin/python3 -c "{code}"')))


def test_a_machine_that_hangs_is_reset_by_its_watchdog_and_serves_again(place: Place) -> None:
    machine = place.start(SERVING)
    try:
        assert machine.run("systemctl show --property=RuntimeWatchdogUSec --value") == "14s"
        assert "i6300" in machine.run("cat /sys/class/watchdog/watchdog0/identity").lower()
        boot = machine.run("cat /proc/sys/kernel/random/boot_id")
        # A kernel that has panicked and was not told to reboot stands still. (A process that hogs the processor proves
        # nothing: since Linux 6.12 the scheduler leaves the others a twentieth even then, enough to feed the dog.)
        machine.run("sysctl -q kernel.panic=0")
        machine.tell("echo c > /proc/sysrq-trigger")
        machine.wait_for_reset(1200)
        machine.wait_up(1200)
        assert machine.run("cat /proc/sys/kernel/random/boot_id") != boot
        until(lambda: version_online(machine) == OLD and page(machine), 1800, journal(machine), pause_s=2)
        print(f"\nserves {float(machine.run('cut -d. -f1 /proc/uptime'))} s after the reset")
    finally:
        machine.cut()


def test_without_a_network_at_boot_the_station_serves_itself(place: Place) -> None:
    machine = place.start(network=False)
    try:
        assert "lo" in (links := machine.run("ls /sys/class/net")).split()
        assert not [name for name in links.split() if name.startswith(("en", "eth"))]
        until(lambda: version_online(machine) == OLD and page(machine), 1800, journal(machine), pause_s=2)
        assert machine.run("systemctl --failed --no-legend --plain") == ""
        print(f"\nserves {machine.run('cut -d. -f1 /proc/uptime')} s after power on, without a network")
    finally:
        machine.cut()
