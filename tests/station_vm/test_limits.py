"""What a container does not enforce, in a machine of its own: memory, devices, addresses, processes, unit by unit.

Every probe runs under the unit's own file, only its command replaced; every refusal has its counterpart outside of it.
"""

from __future__ import annotations

import re

import pytest

from .machine import Machine

pytestmark = [pytest.mark.virtual, pytest.mark.timeout(3600)]

UNITS = ("station", "station-web", "station-rollback", "station-update")
#: Lines of a unit that say how it is run, not what it may do.
_RUN = (
    "ExecStart", "Type", "WatchdogSec", "Restart", "TimeoutStart", "TimeoutAbort", "OnFailure", "StartLimit", "Wants",
    "After", "Before", "RuntimeMaxSec", "RequiresMounts",
)  # fmt: skip
_TRY = """
import errno, os, socket
def attempt(what):
    try:
        what()
        return "could"
    except OSError as error:
        return errno.errorcode[error.errno]
"""
_SEND = "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ({address!r}, 9))"
_FORK = """
import signal
made = 0
try:
    while made < 200:
        if os.fork() == 0:
            signal.pause()
        made += 1
except OSError:
    pass
print(made)
"""
NEAR, FAR = "192.168.77.9", "198.51.100.9"


@pytest.fixture(scope="module")
def machine(serving: Machine) -> Machine:
    """A station at rest, with a network of the gym and something that stands for the rest of the world."""
    serving.run("systemctl stop station-retry.timer station-update.timer station station-web")
    serving.run("modprobe dummy; ip link add gym type dummy; ip link set gym up")
    serving.run("ip address add 192.168.77.1/24 dev gym; ip address add 198.51.100.1/24 dev gym")
    return serving


def probe(machine: Machine, unit: str, code: str, *extra: str) -> str:
    """What a Python program prints under the unit's restrictions (``extra`` lines overrule some)."""
    start_probe(machine, unit, code, *extra)
    return machine.run("cat /run/probe.out")


def start_probe(machine: Machine, unit: str, code: str, *extra: str) -> None:
    text = machine.run(f"cat /etc/systemd/system/{unit}.service")
    text = re.sub(r"\\\n", " ", text).partition("[Install]")[0]
    kept = [line for line in text.splitlines() if not line.startswith(_RUN)]
    added = ["Type=oneshot", "ExecStart=/usr/bin/python3 -IB /run/probe.py", "StandardOutput=truncate:/run/probe.out"]
    machine.put("/run/probe.py", f"{_TRY}\n{code}\n")
    machine.put("/run/systemd/system/probe.service", "\n".join([*kept, *added, *extra]) + "\n")
    machine.run("chmod 644 /run/probe.py; rm -f /run/probe.out; systemctl daemon-reload; systemctl start probe",
                check=False, timeout_s=900)  # fmt: skip


def free(machine: Machine, code: str) -> str:
    """What the same program prints as root outside of every unit of ours."""
    machine.put("/run/probe.py", f"{_TRY}\n{code}\n")
    return machine.run("/usr/bin/python3 -IB /run/probe.py")


@pytest.mark.parametrize(("unit", "most_mb"), [("station", 700), ("station-web", 300), ("station-rollback", 100)])
def test_a_unit_that_eats_memory_is_killed_at_its_bound(machine: Machine, unit: str, most_mb: int) -> None:
    bound = int(machine.run(f"systemctl show {unit} --property=MemoryMax --value"))
    assert bound == most_mb << 20
    code = (
        f"eaten = []\nwhile len(eaten) < {most_mb + 200}:\n    eaten.append(b'1' * (1 << 20))\n"
        "    print(len(eaten), flush=True)"
    )
    start_probe(machine, unit, code)
    assert machine.show("probe", "Result") == "oom-kill"
    eaten_mb = int(machine.run("tail -n 1 /run/probe.out"))
    print(f"\n{unit}: killed after {eaten_mb} MB of {most_mb}")
    assert most_mb * 0.8 < eaten_mb <= most_mb
    assert machine.show("mosquitto", "ActiveState") == "active"
    assert free(machine, f"print(len(b'1' * {(most_mb + 200) << 20}) >> 20)") == str(most_mb + 200)


def test_a_self_test_that_eats_memory_dies_alone(machine: Machine) -> None:
    child = "eaten = [b'1' * (1 << 20) for _ in range(1400)]"
    code = f"import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', {child!r}]).returncode)"
    assert probe(machine, "station-update", code) == "-9"
    assert machine.show("probe", "Result") == "success"


def test_devices_are_those_of_the_camera_only(machine: Machine) -> None:
    disk = "print(attempt(lambda: open('/dev/vda', 'rb')))"
    assert free(machine, disk) == "could"
    as_root = ("User=root", "Group=root")
    assert probe(machine, "station", disk, *as_root) == "EPERM"
    for unit in ("station-web", "station-rollback", "station-update"):
        assert probe(machine, unit, disk, *as_root) == "ENOENT"  # has a /dev of its own
        made = "print(attempt(lambda: os.mknod('/tmp/disk', 0o60600, os.makedev(254, 0))))"
        assert probe(machine, unit, made, *as_root) in ("EPERM", "EACCES")
    assert machine.call("modprobe vivid n_devs=1")[0] == 0, "this kernel has no virtual camera to allow"
    video = "print(attempt(lambda: open('/dev/video0', 'rb')))"
    machine.run("udevadm settle")
    assert probe(machine, "station", video) == "could"  # as its own user
    assert probe(machine, "station-web", video) == "ENOENT"
    machine.run("modprobe -r vivid", check=False)


@pytest.mark.parametrize("unit", UNITS)
def test_packets_go_where_the_unit_says(machine: Machine, unit: str) -> None:
    code = "\n".join(f"print(attempt(lambda: {_SEND.format(address=address)}))" for address in (NEAR, FAR))
    assert free(machine, code) == "could\ncould"
    expected = {
        "station": "could\nEPERM", "station-web": "could\nEPERM", "station-update": "could\ncould",
        "station-rollback": "EAFNOSUPPORT\nEAFNOSUPPORT",
    }  # fmt: skip
    assert probe(machine, unit, code) == expected[unit]


@pytest.mark.parametrize("unit", UNITS)
def test_no_other_kind_of_socket_can_be_made(machine: Machine, unit: str) -> None:
    families = {"packet": "socket.AF_PACKET, socket.SOCK_DGRAM", "vsock": "socket.AF_VSOCK, socket.SOCK_STREAM"}
    code = "\n".join(f"print(attempt(lambda: socket.socket({family})))" for family in families.values())
    machine.run("modprobe vsock", check=False)
    assert free(machine, code) == "could\ncould"
    said = probe(machine, unit, code).splitlines()
    assert said == ["EAFNOSUPPORT", "EAFNOSUPPORT"]


def test_processes_are_counted(machine: Machine) -> None:
    code = _FORK
    most = {unit: int(machine.show(unit, "TasksMax")) for unit in UNITS}
    for unit, bound in most.items():
        assert int(probe(machine, unit, code)) == bound - 1
