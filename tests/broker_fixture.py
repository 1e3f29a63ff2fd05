"""A real mosquitto on a free loopback port, and real clients of it. Import the fixtures into a ``conftest.py``."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether a loopback port takes connections."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def eventually(condition: Callable[[], object], timeout_s: float = 30.0, what: str = "") -> None:
    """Wait until ``condition`` holds; fail the test after ``timeout_s``."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until_s:
            pytest.fail(f"not within {timeout_s:g} s: {what or condition}")
        time.sleep(0.01)


class Mosquitto:
    """A mosquitto that can be started, stopped, killed and started again on the same port with the same files."""

    def __init__(self, program: Path, folder: Path, *lines: str, port: int | None = None) -> None:
        self.program = program
        self.folder = folder
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "mosquitto.conf"
        common = (
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {folder}/",
        )
        self.config.write_text("\n".join(lines or common) + "\n", encoding="utf-8")

    def start(self) -> Mosquitto:
        """Start it and wait until it listens."""
        with (self.folder / "log").open("ab") as log:
            # As root it would become the user mosquitto, who may not write here.
            user = () if "user " in self.config.read_text() else self._same_user()
            self.process = subprocess.Popen([self.program, "-c", self.config, "-v", *user], stdout=log, stderr=log)
        eventually(
            lambda: self.listens or self.process is None or self.process.poll() is not None, what="mosquitto listens"
        )
        assert self.process.poll() is None, (self.folder / "log").read_text()
        return self

    def _same_user(self) -> tuple[str, ...]:
        with self.config.open("a", encoding="utf-8") as file:
            file.write("user root\n")
        return ()

    @property
    def listens(self) -> bool:
        """Whether its port takes connections."""
        return listens(self.port)

    def save(self) -> None:
        """Make it write its database now, as its autosave would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGUSR1)
        time.sleep(0.2)

    def kill(self) -> None:
        """As the power would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """In good order."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(10)


@dataclass(frozen=True)
class Heard:
    """A message as a subscriber received it; ``connection`` counts the subscriber's connections from 1."""

    topic: str
    payload: bytes
    retained: bool
    connection: int
    at_s: float
    correlation: bytes | None = None
    expiry_s: int | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


class Listener:
    """A subscriber that stays: it reconnects by itself and keeps its session while it is away."""

    def __init__(self, port: int, topic: str = "#", *, name: str = "listener", session_s: int = 3600) -> None:
        self.heard: list[Heard] = []
        self.connections = 0
        self._topic = topic
        self._ready = threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
        self.client.on_connect = self._connected
        self.client.on_message = self._message
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.reconnect_delay_set(1, 1)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho left it without types
        properties.SessionExpiryInterval = session_s
        self.client.connect("127.0.0.1", port, keepalive=15, clean_start=False, properties=properties)
        self.client.loop_start()
        assert self._ready.wait(5), "the broker does not let us subscribe"

    def _connected(self, client: mqtt.Client, *_: Any) -> None:
        self.connections += 1
        client.subscribe(self._topic, qos=1)

    def _message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        correlation = getattr(message.properties, "CorrelationData", None)
        expiry_s = getattr(message.properties, "MessageExpiryInterval", None)
        payload, now_s = bytes(message.payload), time.monotonic()
        self.heard.append(Heard(message.topic, payload, message.retain, self.connections, now_s, correlation, expiry_s))

    def on(self, end: str) -> list[Heard]:
        """What was heard on topics that end with ``end``, in order."""
        return [message for message in list(self.heard) if message.topic.endswith(end)]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def mosquitto(mosquitto_path: Path, tmp_path: Path) -> Iterator[Mosquitto]:
    """A mosquitto that listens, with persistence, open to everyone on loopback."""
    broker = Mosquitto(mosquitto_path, tmp_path / "mosquitto").start()
    yield broker
    broker.kill()


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    """Makes listeners and closes them at the end."""
    made: list[Listener] = []

    def make(*args: Any, **kwargs: Any) -> Listener:
        made.append(Listener(*args, **kwargs))
        return made[-1]

    yield make
    for listener in made:
        listener.close()
