"""What the station says of itself, as the updater hears it: the retained ``status`` and ``state``, and ``health``."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from station.config import Config
from station.errors import BrokerError
from station.publish import Link
from station.wire import loads
from station.wire.topics import HEALTH, STATE, STATUS

_TOPICS = (STATUS, STATE, HEALTH)
#: Retained messages come with the answer to our subscription; this is for a machine under load.
RETAINED_S = 2.0


class Ear:
    """The newest message of each topic; ``frames`` counts what the engine says it has processed since we listen."""

    def __init__(self, config: Config) -> None:
        settings, self._root = config.mqtt, config.topic_root
        self._link = Link(
            str(settings.host), settings.port, self._root, settings.username, settings.password_file, settings.ca_file
        )
        self._lock = threading.Lock()
        self._newest: dict[str, Mapping[str, Any]] = {}
        self._frames, self._health_s = 0.0, float("nan")
        self._subscribed = threading.Event()

    @contextlib.contextmanager
    def listening(self, timeout_s: float = 10.0) -> Iterator[Ear]:
        """Connect and listen until left; :class:`BrokerError` when the broker does not let us within ``timeout_s``."""
        link = self._link
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"hipline-updater-{secrets.token_hex(4)}", protocol=mqtt.MQTTv5
        )
        if (context := link.tls()) is not None:
            client.tls_set_context(context)
        if link.username is not None:
            client.username_pw_set(link.username, link.password())
        client.on_connect = lambda c, *_: c.subscribe([(f"{self._root}/{topic}", 1) for topic in _TOPICS])
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = self._message
        client.reconnect_delay_set(1, 5)
        client.connect_async(link.host, link.port, keepalive=15)
        client.loop_start()
        try:
            if not self._subscribed.wait(timeout_s):
                raise BrokerError(
                    f"broker {link}: does not let the updater listen within {timeout_s:g} s; is it running?"
                )
            yield self
        finally:
            client.disconnect()
            client.loop_stop()

    def newest(self, topic: str) -> Mapping[str, Any] | None:
        """The newest message on ``topic``; ``None`` if there was none."""
        with self._lock:
            return self._newest.get(topic)

    @property
    def frames(self) -> float:
        """Frames processed, counted from the rates in ``health`` and the time between two of them."""
        with self._lock:
            return self._frames

    @property
    def version(self) -> str | None:
        """The version that is online at the broker; ``None`` while nobody is."""
        status = self.newest(STATUS)
        return str(status.get("version")) if status is not None and status.get("state") == "online" else None

    @property
    def session(self) -> str | None:
        """The session that is on; ``None`` without one, and when no engine is there to have one."""
        state = self.newest(STATE)
        return None if self.version is None or state is None else state.get("session")

    def forget(self) -> None:
        """Count frames from zero; what was retained stays known."""
        with self._lock:
            self._frames, self._health_s = 0.0, float("nan")

    def _message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        try:
            payload = loads(message.payload.decode("utf-8"))
        except ValueError:
            return  # nobody of ours wrote that
        topic, now_s = message.topic.removeprefix(f"{self._root}/"), time.monotonic()
        with self._lock:
            self._newest[topic] = payload
            if topic == HEALTH:
                rate = payload.get("fps_out")
                if isinstance(rate, int | float) and now_s > self._health_s:
                    self._frames += rate * (now_s - self._health_s)
                self._health_s = now_s


def session_on(config: Config) -> str | None:
    """The session that is on at this station now; :class:`BrokerError` when nobody can tell."""
    if config.mqtt.host is None:
        raise BrokerError(f"{config.origin}: mqtt.host is not set: nobody can tell whether a session is on; set it")
    with Ear(config).listening() as ear:
        until_s = time.monotonic() + RETAINED_S
        while ear.newest(STATUS) is None and time.monotonic() < until_s:
            time.sleep(0.05)
        time.sleep(0.2)  # both retained messages come together
        return ear.session
