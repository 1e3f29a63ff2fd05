"""What a fleet says of itself: the retained ``status`` of every station, and what follows from it for a rollout.

The judgement is pure: a rollout and statuses in, who is how far and whether to go on out.
"""

from __future__ import annotations

import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from station.errors import BrokerError
from station.update.rings import Rollout, in_ring

Place = Literal["done", "busy", "failed", "waiting", "offline", "outside"]


@dataclass(frozen=True, slots=True)
class Status:
    """The status of one station (``<gym>/<name>``), as it last said it."""

    station: str
    online: bool
    version: str
    update: str = "idle"
    to: str | None = None
    reason: str | None = None


def status_of(topic: str, payload: bytes) -> Status | None:
    """The status in a message on ``…/<gym>/<station>/status``, or ``None``: it is none, or it was cleared."""
    try:
        gym, name, _ = topic.split("/")[-3:]
        table = json.loads(payload)
        update: Mapping[str, Any] = table.get("update") or {}
        return Status(
            station=f"{gym}/{name}",
            online=table["state"] == "online",
            version=str(table["version"]),
            update=str(update.get("state", "idle")),
            to=_text(update.get("to")),
            reason=_text(update.get("reason")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _text(value: Any) -> str | None:
    return None if value is None else " ".join(str(value).split())[:200]


def place(rollout: Rollout, status: Status) -> Place:
    """How far a station has come with the new version."""
    if not in_ring(rollout, status.station):
        return "outside"
    if status.update == "failed" and status.to == rollout.version:
        return "failed"
    if status.version == rollout.version and status.online and status.update != "probation":
        return "done"
    if not status.online:
        return "offline"
    return "busy" if status.update in {"staged", "probation"} and status.to == rollout.version else "waiting"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do next, and why in one line."""

    action: Literal["halt", "advance", "wait"]
    reason: str


def judge(rollout: Rollout, statuses: Sequence[Status], most_failures: int = 0) -> Verdict:
    """Halt when more than ``most_failures`` stations of the ring failed; go on when every one of them is done.

    A station of the ring that is offline holds the rollout up: nobody knows whether the release took it down.
    """
    places = {status.station: place(rollout, status) for status in statuses}
    failed = sorted(station for station, at in places.items() if at == "failed")
    if len(failed) > most_failures:
        reasons = {status.station: status.reason for status in statuses}
        return Verdict(
            "halt", f"{failed[0]}: {reasons[failed[0]]}" + (f" (and {len(failed) - 1} more)" * (len(failed) > 1))
        )
    ring = {station: at for station, at in places.items() if at != "outside"}
    silent = sorted(set(rollout.canary) - set(places))
    if silent:
        return Verdict("wait", f"{silent[0]} has never been heard of" + _more(silent))
    undone = sorted(station for station, at in ring.items() if at not in {"done", "failed"})
    if undone:
        return Verdict("wait", f"{undone[0]} is {ring[undone[0]]}" + _more(undone))
    if "done" not in ring.values():
        return Verdict("wait", "nobody is in the ring")
    return Verdict("advance", f"all {len(ring)} stations of the ring run {rollout.version}")


def _more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def table(rollout: Rollout | None, statuses: Sequence[Status]) -> Iterator[str]:
    """Who runs what, a line each."""
    width = max([7, *(len(status.station) for status in statuses)])
    yield f"{'station':<{width}}  {'there':<8}{'runs':<12}{'rollout':<9}update"
    for status in sorted(statuses, key=lambda one: one.station):
        there = "online" if status.online else "offline"
        at = "-" if rollout is None else place(rollout, status)
        update = status.update if status.to is None else f"{status.update} {status.to}"
        yield f"{status.station:<{width}}  {there:<8}{status.version:<12}{at:<9}{update} {status.reason or ''}".rstrip()


@dataclass(frozen=True, slots=True)
class Broker:
    """The gym's broker, and who asks."""

    host: str
    port: int = 8883
    user: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    plain: bool = False
    root: str = "hipline/v1"


class Fleet:
    """The newest status of every station."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._changed = threading.Condition()
        self._statuses: dict[str, Status] = {}
        self._subscribed = threading.Event()

    @contextmanager
    def listening(self, timeout_s: float = 10.0) -> Iterator[Fleet]:
        """Connected and subscribed; raises :class:`~station.errors.BrokerError` when the broker will not have it."""
        broker = self._broker
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"hipline-rollout-{secrets.token_hex(4)}", protocol=mqtt.MQTTv5
        )
        client.on_connect = lambda c, *_: c.subscribe(f"{broker.root}/+/+/status", qos=1)
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = self._message
        try:
            if broker.user is not None:
                password = broker.password_file.read_text("utf-8").strip() if broker.password_file else None
                client.username_pw_set(broker.user, password)
            if not broker.plain:
                client.tls_set_context(ssl.create_default_context(cafile=broker.ca_file))
            client.connect(broker.host, broker.port, keepalive=30)
        except OSError as error:
            raise BrokerError(f"{broker.host}:{broker.port}: cannot be reached ({error}); is the broker up?") from error
        client.loop_start()
        try:
            if not self._subscribed.wait(timeout_s):
                raise BrokerError(
                    f"{broker.host}:{broker.port}: does not let {broker.user or 'us'} read; is the user right?"
                )
            yield self
        finally:
            client.disconnect()
            client.loop_stop()

    def settle(self, quiet_s: float = 1.0, most_s: float = 15.0) -> None:
        """Wait until the retained messages have come: nothing new for ``quiet_s``."""
        end_s = time.monotonic() + most_s
        with self._changed:
            while time.monotonic() < end_s and self._changed.wait(quiet_s):
                pass

    def wait(self, timeout_s: float) -> None:
        """Until somebody says something, at most ``timeout_s``."""
        with self._changed:
            self._changed.wait(timeout_s)

    @property
    def statuses(self) -> list[Status]:
        """Of every station that has one, in order of name."""
        with self._changed:
            return [self._statuses[name] for name in sorted(self._statuses)]

    def _message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        status = status_of(message.topic, bytes(message.payload))
        with self._changed:
            if status is not None:
                self._statuses[status.station] = status
            elif not message.payload:
                self._statuses.pop("/".join(message.topic.split("/")[-3:-1]), None)
            self._changed.notify_all()
