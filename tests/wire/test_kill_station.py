"""kill -9 of the station itself: what its outbox had taken arrives, in order, from the next process."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from station.outbox import Outbox
from station.publish import Link, Publisher
from tests.broker_fixture import Listener, Mosquitto, eventually

ROOT = "hipline/v1/gym/tm-07"


def life(port: int, file: Path, session: str, told: Connection) -> None:
    """A process that records strides until it is killed, and tells how far the outbox has certainly got."""
    outbox = Outbox(file)
    publisher = Publisher(Link("127.0.0.1", port, ROOT), outbox, version="1")
    publisher.start()
    seq = 0
    while True:
        for _ in range(5):
            publisher.record("stride", {"station": "tm-07", "session": session, "seq": seq})
            seq += 1
            time.sleep(0.003)
        stored = threading.Event()
        outbox.fetch({}, 0, lambda _rows, stored=stored: stored.set())  # type: ignore[misc]  # after what was put before
        stored.wait(5)
        told.send(seq)


@pytest.mark.slow
def test_a_station_killed_again_and_again(
    mosquitto: Mosquitto, tmp_path: Path, listen: Callable[..., Listener]
) -> None:
    listener = listen(mosquitto.port)
    mosquitto.save()  # so that the listener's session outlives the kills
    dice, spawn = random.Random(3), multiprocessing.get_context("spawn")
    stored: dict[str, int] = {}
    for number in range(10):
        session = f"{number:08x}"
        hear, tell = spawn.Pipe(duplex=False)
        args = (mosquitto.port, tmp_path / "outbox.db", session, tell)
        process = spawn.Process(target=life, args=args, daemon=True)
        process.start()
        tell.close()
        if number in (3, 6):
            mosquitto.kill()
        assert hear.poll(30)
        until_s = time.monotonic() + dice.uniform(0.0, 1.0)
        while time.monotonic() < until_s:
            if hear.poll(0.005):
                stored[session] = hear.recv()
        process.kill()
        process.join()
        while True:  # what it had told before it died
            try:
                stored[session] = hear.recv()
            except EOFError:
                break
        if number in (4, 7):
            mosquitto.start()
    outbox = Outbox(tmp_path / "outbox.db")
    last = Publisher(Link("127.0.0.1", mosquitto.port, ROOT), outbox, version="1")
    last.start()
    last.wait_connected(10)
    eventually(lambda: last.stats().waiting == 0, 20)
    last.close()
    assert outbox.stats().said() == {}
    outbox.close()

    def arrived() -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for session, seq in dict.fromkeys((m.json["session"], m.json["seq"]) for m in listener.on("/stride")):
            found[session].append(seq)
        return found

    eventually(lambda: all(len(arrived()[session]) >= count for session, count in stored.items()), 20)
    for session, seqs in arrived().items():
        assert seqs == list(range(len(seqs))), session
        assert len(seqs) >= stored[session]
    assert sum(stored.values()) > 100
