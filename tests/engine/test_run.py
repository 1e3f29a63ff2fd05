"""``station run`` as its user meets it: one command, everything up, one Ctrl-C, nothing left."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from station.camera import BUNDLED_CLIP
from station.camera.picamera import attached
from station.camera.v4l2 import devices
from tests.broker_fixture import Listener, Mosquitto, eventually, free_port

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("mosquitto_path", "models")


@pytest.fixture(scope="session")
def models() -> None:
    """The built pose models; `make test` builds them."""
    from station.models.build import build

    build(("lite", "detector"), say=lambda _line: None)


@pytest.fixture
def video() -> Path:
    return BUNDLED_CLIP


class Running:
    """A running station; ``lines`` are what it printed so far."""

    def __init__(self, folder: Path, *arguments: str | Path) -> None:
        self.log = folder / "run.log"
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "XDG_STATE_HOME": str(folder / "state")}
        environment |= {"XDG_RUNTIME_DIR": str(folder), "PYTHONUNBUFFERED": "1"}
        environment.pop("STATE_DIRECTORY", None)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "station", "run", *map(str, arguments)],
                stdout=log, stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def ready(self) -> None:
        eventually(lambda: "running " in self.text or self.process.poll() is not None, 30, "the station runs")
        assert self.process.poll() is None, self.text

    @property
    def broker_port(self) -> int:
        found = re.search(r"^broker +127\.0\.0\.1:(\d+)", self.text, re.MULTILINE)
        assert found, self.text
        return int(found[1])

    def family(self) -> list[int]:
        """Process ids of the station and of everything it started."""
        family = [self.process.pid]
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[1]) in family and fields[0] != "Z":
                    family.append(int(stat.parent.name))
        return family

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(how)
        return self.process.wait(20)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts stations and kills what a failed test left."""
    started: list[Running] = []

    def make(*arguments: str | Path) -> Running:
        started.append(Running(tmp_path, *arguments))
        return started[-1]

    yield make
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_everything_comes_up_and_one_signal_ends_it_all(
    start: Callable[..., Running], video: Path, how: signal.Signals
) -> None:
    running = start("--set", f"camera.source={video}", "--set", f"web.port={free_port()}")
    running.ready()
    port = running.broker_port
    url = re.search(r"^page +(http://\S+)", running.text, re.MULTILINE)
    assert url, running.text
    with urllib.request.urlopen(url[1], timeout=10) as page:
        assert page.status == 200
    listener = Listener(port, "hipline/v1/gym/station/#")
    eventually(lambda: listener.on("/live"))
    eventually(lambda: listener.on("/status"))
    assert f"mosquitto_sub -h 127.0.0.1 -p {port} -t 'hipline/v1/gym/station/#'" in running.text
    family = running.family()
    assert len(family) == 3  # engine, mosquitto, page
    listener.client.loop_stop()
    assert running.end(how) == 0, running.text
    assert not any(_alive(pid) for pid in family)
    assert "Traceback" not in running.text
    assert not list(running.log.parent.glob("hipline-broker-*"))


def test_ctrl_c_of_a_terminal_reaches_all_and_still_ends_in_order(start: Callable[..., Running], video: Path) -> None:
    running = start("--set", f"camera.source={video}", "--set", f"web.port={free_port()}")
    running.ready()
    listener = Listener(running.broker_port, "hipline/v1/gym/station/status")
    eventually(lambda: listener.heard)
    family = running.family()
    os.killpg(running.process.pid, signal.SIGINT)  # as a terminal does: the whole foreground group
    assert running.process.wait(20) == 0, running.text
    # the broker outlived the engine long enough to pass on its farewell
    assert listener.heard[-1].json["state"] == "offline"
    listener.client.loop_stop()
    assert not any(_alive(pid) for pid in family)


def test_kill_9_leaves_no_process_either(start: Callable[..., Running], video: Path) -> None:
    running = start("--set", f"camera.source={video}", "--set", f"web.port={free_port()}")
    running.ready()
    family = running.family()
    assert len(family) == 3
    running.end(signal.SIGKILL)
    eventually(lambda: not any(_alive(pid) for pid in family), 30, "all gone")


def test_no_web_starts_no_page(start: Callable[..., Running], video: Path) -> None:
    running = start("--no-web", "--set", f"camera.source={video}")
    running.ready()
    assert len(running.family()) == 2
    assert "page" not in running.text
    assert running.end() == 0


def test_without_a_camera_the_bundled_clip_plays(start: Callable[..., Running]) -> None:
    if devices() or attached():
        pytest.skip("a camera is attached: it is taken instead of the clip")
    running = start("--no-web")
    running.ready()
    assert "runner.mp4" in running.text
    assert "no camera attached: the bundled clip in a loop" in running.text
    listener = Listener(running.broker_port, "hipline/v1/gym/station/live")
    eventually(lambda: any(heard.json["kp"] for heard in listener.heard))
    listener.close()
    assert running.end() == 0


def test_systemd_hears_ready_after_a_frame_the_watchdog_and_the_end(
    start: Callable[..., Running], video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        running = start("--no-web", "--set", f"camera.source={video}")
        assert notify.recv(4096) == b"READY=1\nSTATUS=running"  # and nothing before it, from the broker either
        assert notify.recv(4096) == b"WATCHDOG=1"
        assert notify.recv(4096) == b"WATCHDOG=1"
        running.ready()
        assert running.end(signal.SIGTERM) == 0
        notify.settimeout(1)
        last = b""
        while b"STOPPING" not in last:
            last = notify.recv(4096)
        assert last == b"STOPPING=1\nSTATUS=asked to stop"


def test_a_second_station_on_the_same_data_is_refused(start: Callable[..., Running], video: Path) -> None:
    first = start("--no-web", "--set", f"camera.source={video}")
    first.ready()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "XDG_STATE_HOME": str(first.log.parent / "state")}
    second = subprocess.run(
        [sys.executable, "-m", "station", "run", "--no-web"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert "another station is running" in second.stderr
    assert first.end() == 0


def test_a_page_that_dies_is_started_again(start: Callable[..., Running], video: Path) -> None:
    running = start("--set", f"camera.source={video}", "--set", f"web.port={free_port()}")
    running.ready()
    page = next(
        pid for pid in running.family() if b"web" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    )  # fmt: skip
    time.sleep(1)
    os.kill(page, signal.SIGKILL)
    eventually(lambda: "starting it again" in running.text, 20, "the page is started again")
    eventually(lambda: len(running.family()) == 3, 10)
    assert running.end() == 0


def test_a_broker_that_dies_ends_the_station_with_its_reason(start: Callable[..., Running], video: Path) -> None:
    running = start("--no-web", "--set", f"camera.source={video}")
    running.ready()
    broker = next(pid for pid in running.family() if pid != running.process.pid)
    os.kill(broker, signal.SIGKILL)
    assert running.process.wait(20) == 1
    assert running.text.splitlines()[-1].startswith("station: mosquitto: ")


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["--set", "camera.source=absent.mp4"], 2, "absent.mp4: no such file"),
        (["--set", "camera.source=v4l2:/dev/video77"], 2, "/dev/video77"),
        (["--set", "camera.source=/dev/null"], 2, "/dev/null: cannot be opened"),
        (["--set", "camera.source=picamera2"], 2, "picamera2"),
        (["--set", "pelvis.estimator=feet"], 2, "pelvis.estimator"),
        (["--set", "camera.hight_m=1"], 2, "camera.height_m"),
    ],
)
def test_what_cannot_run_says_so_in_one_line(
    start: Callable[..., Running], arguments: list[str], code: int, named: str
) -> None:
    running = start("--no-web", *arguments)
    family = running.family()
    assert running.process.wait(30) == code, running.text
    last = running.text.splitlines()[-1]
    assert last.startswith("station: ")
    assert named in last
    assert "Traceback" not in running.text
    assert not any(_alive(pid) for pid in family)


def test_a_configured_broker_is_used_and_none_started(
    start: Callable[..., Running], video: Path, mosquitto: Mosquitto, listen: Callable[..., Listener]
) -> None:
    port = mosquitto.port
    listener = listen(port, "hipline/v1/gym/tm-09/#")
    running = start(
        "--no-web", "--set", f"camera.source={video}", "--set", "mqtt.host=127.0.0.1",
        "--set", f"mqtt.port={port}", "--set", "station.name=tm-09",
    )  # fmt: skip
    running.ready()
    assert len(running.family()) == 1
    eventually(lambda: listener.on("/live"))
    assert running.end() == 0
    eventually(lambda: listener.on("/status")[-1].json["state"] == "offline")
