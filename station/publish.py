"""The way out: MQTT 5 to one broker, on a thread of its own. No call here waits for network or disk.

    outbox = Outbox(path, max_rows=config.outbox.max_rows)          # station.outbox
    publisher = Publisher(Link(host, port, root="hipline/v1/gym/tm-07"), outbox, version="0.1.0", on_command=inbox.put)
    publisher.start()                                               # connects, and reconnects for ever
    publisher.say("state", wire.state_json(...))                    # status, state, health, live: the newest counts
    publisher.record("stride", wire.stride_json(...))               # stride, session, cue: outbox first, then QoS 1
    publisher.answer(command, ok=True)                              # commands come in through on_command
    publisher.erase("4f9c2b7e")                                     # forget a session: outbox and retained message
    publisher.stats()                                               # counters for health
    publisher.close(timeout_s=5)                                    # says offline, flushes within the bound

``publisher.trouble`` is the :class:`~station.errors.BrokerError` that keeps it from being connected, or ``None``;
``publisher.wait_connected(timeout_s)`` raises it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from station.errors import BrokerError
from station.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Link:
    """Where the broker is and who we are to it. ``root`` is ``hipline/v1/<gym>/<station>``."""

    host: str
    port: int
    root: str
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    client_id: str = ""
    keepalive_s: int = 15


@dataclass(frozen=True, slots=True)
class LinkStats:
    """Counters since start. ``waiting`` rows of the outbox are not acknowledged yet; ``lost`` says what went missing."""

    connected: bool
    connects: int
    published: int
    dropped: int
    waiting: int
    lost: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Command:
    """A validated command from ``cmd/<name>``."""

    name: str
    args: Mapping[str, Any]
    reply_to: str
    correlation: bytes | None = None


class Publisher:
    """See the head of this module."""

    def __init__(
        self, link: Link, outbox: Outbox, *, version: str, on_command: Callable[[Command], None] | None = None
    ) -> None:
        raise NotImplementedError

    @property
    def trouble(self) -> BrokerError | None:
        """Why there is no connection."""
        raise NotImplementedError

    def start(self) -> None: ...
    def say(self, topic: str, payload: Mapping[str, Any]) -> None: ...
    def record(self, topic: str, payload: Mapping[str, Any]) -> None: ...
    def answer(self, command: Command, *, ok: bool, reason: str | None = None) -> None: ...
    def erase(self, session: str) -> None: ...
    def stats(self) -> LinkStats: ...
    def wait_connected(self, timeout_s: float) -> None: ...
    def close(self, timeout_s: float = 5.0) -> None: ...
