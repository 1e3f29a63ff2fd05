"""What a container does not enforce, in a machine of its own: memory, devices, addresses, processes, unit by unit.

Every probe runs under the unit's own file, only its command replaced; every refusal has its counterpart outside of it.
"""

from __future__ import annotations

import json
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
NEAR, FAR = "192.168.77.9", "198.51.100.9"
#: Everything that a unit may forbid, in one program: a start of Python takes the emulated processor seconds.
_ALL = f"""
import json, signal
def send(address):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (address, 9))
said = {{
    "disk": attempt(lambda: open("/dev/vda", "rb")),
    "camera": attempt(lambda: open("/dev/video0", "rb")),
    "near": attempt(lambda: send("{NEAR}")),
    "far": attempt(lambda: send("{FAR}")),
    "packet": attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)),
    "vsock": attempt(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)),
}}
made = []
try:
    while len(made) < 200:
        made.append(os.fork())
        if made[-1] == 0:
            signal.pause()
except OSError:
    pass
for pid in made:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
print(json.dumps(said | {{"processes": str(len(made))}}))
"""


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


@pytest.fixture(scope="module")
def seen(machine: Machine) -> dict[str, dict[str, str]]:
    """What one program could do under each unit, and outside of all (``free``); as root, devices included."""
    assert machine.call("modprobe vivid n_devs=1; udevadm settle; modprobe vsock; test -e /dev/video0")[0] == 0
    found = {"free": json.loads(free(machine, _ALL))}
    for unit in UNITS:
        found[unit] = json.loads(probe(machine, unit, _ALL, "User=root", "Group=root"))
    return found


def test_outside_of_the_units_all_of_it_can_be_done(seen: dict[str, dict[str, str]]) -> None:
    assert {what: said for what, said in seen["free"].items() if said != "could"} == {"processes": "200"}


def test_devices_are_those_of_the_camera_only(machine: Machine, seen: dict[str, dict[str, str]]) -> None:
    assert (seen["station"]["disk"], seen["station"]["camera"]) == ("EPERM", "could")
    for unit in ("station-web", "station-rollback", "station-update"):  # they have a /dev of their own
        assert (seen[unit]["disk"], seen[unit]["camera"]) == ("ENOENT", "ENOENT")
    as_itself = "print(attempt(lambda: open('/dev/video0', 'rb')))"
    assert probe(machine, "station", as_itself) == "could"


@pytest.mark.parametrize(
    ("unit", "near", "far"),
    [
        ("station", "could", "EPERM"),
        ("station-web", "could", "EPERM"),
        ("station-update", "could", "could"),
        ("station-rollback", "EAFNOSUPPORT", "EAFNOSUPPORT"),
    ],
)
def test_packets_go_where_the_unit_says(seen: dict[str, dict[str, str]], unit: str, near: str, far: str) -> None:
    assert (seen[unit]["near"], seen[unit]["far"]) == (near, far)


@pytest.mark.parametrize("unit", UNITS)
def test_no_other_kind_of_socket_can_be_made(seen: dict[str, dict[str, str]], unit: str) -> None:
    assert (seen[unit]["packet"], seen[unit]["vsock"]) == ("EAFNOSUPPORT", "EAFNOSUPPORT")


@pytest.mark.parametrize("unit", UNITS)
def test_processes_are_counted(machine: Machine, seen: dict[str, dict[str, str]], unit: str) -> None:
    assert int(seen[unit]["processes"]) == int(machine.show(unit, "TasksMax")) - 1
