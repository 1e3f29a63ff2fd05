"""Whether the broker greets the station, and what the station that runs tells through it."""

from __future__ import annotations

import json
import queue
import tempfile
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from station.broker import PrivateBroker
from station.config import Config
from station.doctor.finding import Finding
from station.wire.topics import HEALTH

_GREETING_S = 3.0
#: A station that runs says how it is every five seconds.
_HEALTH_S = 7.0


def broker(config: Config, *, running: bool) -> Finding:
    """The configured broker greets this station by MQTT, or a private one can be started."""
    if config.mqtt.host is not None:
        return _greeting(config)
    if running:
        return Finding("broker", "ok", "private, of the station that runs")
    with tempfile.TemporaryDirectory() as memory, PrivateBroker(Path(memory)) as private:
        return Finding("broker", "ok", f"private mosquitto starts (tried on port {private.port})")


def _greeting(config: Config) -> Finding:
    where = f"{config.mqtt.host}:{config.mqtt.port}"
    said: queue.Queue[tuple[bool, str]] = queue.Queue()
    try:
        client = _client(config)
        client.on_connect = lambda _client, _data, _flags, code, _properties: said.put((not code.is_failure, str(code)))
        client.connect(str(config.mqtt.host), config.mqtt.port)
    except OSError as error:
        return Finding("broker", "fail", f"{where}: {error}", "check mqtt.host, mqtt.port, its files and the network")
    client.loop_start()
    try:
        welcome, code = said.get(timeout=_GREETING_S)
    except queue.Empty:
        mend = "is it an MQTT broker, and is mqtt.port right (1883 plain, 8883 TLS with mqtt.ca_file)? restart it"
        return Finding("broker", "fail", f"{where} takes the connection and says nothing for {_GREETING_S:g} s", mend)
    finally:
        client.disconnect()
        client.loop_stop()
    if not welcome:
        return Finding("broker", "fail", f"{where} refuses: {code}", "check mqtt.username and mqtt.password_file")
    return Finding("broker", "ok", f"{where} answers")


def heard(config: Config, timeout_s: float = _HEALTH_S) -> dict[str, Any] | None:
    """The next ``health`` of this station; ``None`` when none comes in time."""
    got: queue.Queue[bytes | bytearray] = queue.Queue()
    client: mqtt.Client | None = None
    try:
        client = _client(config)
        client.on_connect = lambda asked, *_: asked.subscribe(f"{config.topic_root}/{HEALTH}") and None
        client.on_message = lambda _client, _data, message: got.put(message.payload)
        client.connect(str(config.mqtt.host), config.mqtt.port, keepalive=30)
        client.loop_start()
        return dict(json.loads(got.get(timeout=timeout_s)))
    except (OSError, queue.Empty, ValueError):
        return None
    finally:
        if client is not None:
            client.disconnect()
            client.loop_stop()


def _client(config: Config) -> mqtt.Client:
    """A client of the configured broker; :class:`OSError` when its password or certificate cannot be read."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.connect_timeout = _GREETING_S
    if config.mqtt.username:
        secret = config.mqtt.password_file
        client.username_pw_set(config.mqtt.username, secret.read_text().strip() if secret else None)
    if config.mqtt.ca_file:
        client.tls_set(ca_certs=str(config.mqtt.ca_file))
    return client
