"""Many viewers at once: sixteen served, the next refused; the slow and the dead cost nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from station.web.server import WebServer
from station.web.settings import WebSettings
from tests.web import runner
from tests.web.runner import ROOT, Publisher
from tests.web.stand import Broker, StreamReader, ask, free_port, until


def test_sixteen_streams_are_served_one_more_is_refused_and_a_place_comes_free(
    web: WebServer, engine: Publisher
) -> None:
    readers = [StreamReader(web) for _ in range(16)]
    until(lambda: all(reader.of("snapshot") for reader in readers))
    late = StreamReader(web)
    assert late.status == 503
    assert ask(web, "/").status == 200, "pages are served all the same"
    for seq in range(20):
        engine.say("stride", runner.stride(seq))
        time.sleep(0.05)
    until(lambda: all(reader.of("stride")[-1:] == [runner.stride(19)] for reader in readers))
    counts = [len(reader.of("stride")) for reader in readers]
    assert min(counts) >= 18, f"every viewer saw (nearly) every stride: {counts}"
    readers[0].close()
    until(lambda: web.hub.streams == 15, 5, "a closed stream did not free its place")
    again = StreamReader(web)
    assert again.status == 200
    for reader in [*readers[1:], again]:
        reader.close()


def test_a_viewer_who_reads_nothing_costs_the_others_nothing(web: WebServer, engine: Publisher) -> None:
    deaf = []
    for _ in range(4):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", web.port))
        sock.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        deaf.append(sock)
    listener = StreamReader(web)
    until(lambda: web.hub.streams == 5)
    heavy = {**runner.live(1.0), "padding": "x" * 8000}
    for i in range(150):
        engine.say("live", {**heavy, "t": float(i)})
        time.sleep(0.01)
    until(lambda: listener.of("live")[-1:] and listener.of("live")[-1]["t"] == 149.0)
    assert len(listener.of("live")) > 100
    viewers = web.hub._viewers
    assert sum(viewer.overwritten for viewer in viewers) > 0, "the deaf lost old frames instead of piling them up"
    assert all(len(viewer.slots) <= 2 for viewer in viewers)
    for sock in deaf:
        sock.close()
    until(lambda: web.hub.streams == 1, 10, "dead viewers kept their places")
    listener.close()


def test_the_first_thing_a_new_stream_gets_is_everything(web: WebServer, engine: Publisher) -> None:
    engine.say("state", runner.state("running"))
    engine.say("stride", runner.stride(7))
    engine.say("health", runner.HEALTH)
    until(lambda: web.hub.latest("health"))
    reader = StreamReader(web)
    until(lambda: reader.of("snapshot"))
    snapshot = reader.of("snapshot")[0]
    assert snapshot["stride"]["data"]["seq"] == 7
    assert snapshot["state"]["data"]["state"] == "running"
    assert snapshot["link"]["data"] == {"broker": True}
    assert snapshot["health"]["data"] == runner.HEALTH
    reader.close()


def test_silence_is_filled_with_heartbeats(web: WebServer) -> None:
    reader = StreamReader(web)
    until(lambda: len(reader.of("beat")) >= 2, 5)
    reader.close()


def test_a_stream_of_a_stranger_has_no_report(web: WebServer, engine: Publisher) -> None:
    stranger, own = StreamReader(web, Host="gym.example"), StreamReader(web)
    engine.say("session", runner.session())
    engine.say("state", runner.state("summary"))
    until(lambda: own.of("report"))
    until(lambda: stranger.of("summary"))
    assert stranger.of("report") == []
    assert "curves" not in stranger.of("summary")[0]
    stranger.close()
    own.close()


def _memory_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


_MAIN = """
import sys
from station.config import load
from station.web.server import serve
sys.exit(serve(load(None, sys.argv[1:])))
"""


class Process:
    """The web process as ``station web`` runs it."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.port = free_port()
        gym, name = ROOT.split("/")[-2:]
        sets = (f"mqtt.host=127.0.0.1|mqtt.port={broker.port}|web.port={self.port}|station.gym={gym}"
                f"|station.name={name}").split("|")  # fmt: skip
        environment = {**os.environ, "STATE_DIRECTORY": str(folder)}
        self.process = subprocess.Popen([sys.executable, "-c", _MAIN, *sets], env=environment, stderr=subprocess.PIPE)
        until(self._answers, 20)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def process(broker: Broker, tmp_path: Path) -> Process:
    return Process(broker, tmp_path)


def test_the_process_ends_cleanly_with_streams_open(process: Process, engine: Publisher) -> None:
    readers = [StreamReader(process) for _ in range(3)]
    until(lambda: all(reader.of("snapshot") for reader in readers))
    began = time.monotonic()
    process.process.terminate()
    assert process.process.wait(10) == 0
    assert time.monotonic() - began < 5
    assert process.process.stderr is not None
    errors = process.process.stderr.read().decode()
    assert "Traceback" not in errors
    assert f"page: http://127.0.0.1:{process.port}/" in errors


def test_the_process_reaches_neither_camera_nor_models(process: Process) -> None:
    maps = Path(f"/proc/{process.process.pid}/maps").read_text()
    for library in ("litert", "tflite", "cv2", "libcamera"):
        assert library not in maps, library
    process.process.terminate()
    assert process.process.wait(10) == 0


def flat_memory(process: Process, engine: Publisher, seconds: float) -> None:
    """Sixteen viewers, frames at 30 Hz, viewers who come and go: memory settles."""
    readers = [StreamReader(process) for _ in range(15)]
    engine.run(min(20.0, seconds / 3))
    before = _memory_kb(process.process.pid)
    end = time.monotonic() + seconds
    seq = 0
    while time.monotonic() < end:
        guest = StreamReader(process)
        engine.run(0.5)
        engine.say("stride", runner.stride(seq := seq + 1))
        guest.close()
        for reader in readers:
            reader.events.clear()
    after = _memory_kb(process.process.pid)
    for reader in readers:
        reader.close()
    process.process.terminate()
    assert process.process.wait(10) == 0
    assert after - before < 3000, f"{before} kB became {after} kB"


def test_memory_is_flat(process: Process, engine: Publisher) -> None:
    flat_memory(process, engine, 12.0)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_memory_is_flat_for_half_an_hour(process: Process, engine: Publisher) -> None:
    flat_memory(process, engine, float(os.environ.get("HIPLINE_SOAK_S", "1800")))


def test_the_cap_is_configurable(settings: WebSettings, serve: Callable[[WebSettings], WebServer]) -> None:
    web = serve(replace(settings, max_streams=1))
    first = StreamReader(web)
    until(lambda: first.of("snapshot"))
    assert StreamReader(web).status == 503
    first.close()
