"""MQTT in, hub out: subscribes to the station's topics on loopback and sends the few commands the page has."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from station.web.archive import Archive
from station.web.hub import Hub
from station.web.settings import WebSettings
from station.web.startkeys import StartKeys

log = logging.getLogger(__name__)

#: Largest accepted payload in bytes; ``session`` carries five curves, everything else is short.
_MAX_BYTES = {"session": 512_000, "stride": 32_000, "live": 16_000, "log": 16_000}
_MAX_OTHER_BYTES = 8_000
_QOS = {"live": 0, "health": 0}
_TOPICS = ("status", "state", "stride", "session", "cue", "health", "live", "log", "cmd/erase")
#: What the summary screen shows of a session; everything else stays behind the report's token.
_SUMMARY_METRICS = ("stability", "cadence_spm", "pelvic_drop_peak_left_deg", "pelvic_drop_peak_right_deg")
COMMANDS = frozenset({"start", "stop", "baseline", "erase"})


class Feed:
    """One MQTT client. ``start`` never fails on an absent broker: it keeps trying and the page says so."""

    def __init__(self, settings: WebSettings, hub: Hub, archive: Archive, url: Callable[[str], str]) -> None:
        self._settings, self._hub, self._archive, self._url = settings, hub, archive, url
        self.start_keys = StartKeys()
        self.ignored = 0
        self._session: dict[str, Any] | None = None
        self._token: tuple[str, str] | None = None
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        client.max_queued_messages_set(50)
        client.reconnect_delay_set(min_delay=1, max_delay=5)
        if settings.broker_username:
            client.username_pw_set(settings.broker_username, settings.broker_password)
        client.on_connect, client.on_disconnect, client.on_message = self._connected, self._lost, self._heard
        self._client = client

    def start(self) -> None:
        """Connect in the background."""
        self._client.connect_async(self._settings.broker_host, self._settings.broker_port, keepalive=10)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect and end the network thread."""
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def connected(self) -> bool:
        """Whether the broker accepted us and the connection stands."""
        return self._client.is_connected()

    def command(self, name: str, payload: dict[str, object]) -> bool:
        """Publish ``cmd/<name>``; False when the broker is not reached (a command must not arrive minutes later)."""
        if name not in COMMANDS:
            raise ValueError(f"no such command: {name}")
        if not self.connected:
            return False
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.MessageExpiryInterval = 5
        info = self._client.publish(
            f"{self._settings.root}/cmd/{name}", json.dumps(payload), qos=1, retain=False, properties=properties
        )
        return info.rc == mqtt.MQTT_ERR_SUCCESS

    # --- callbacks of the network thread ------------------------------------------------------------------------------

    def _connected(
        self, client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            log.error("the broker refuses the page: %s", reason)
            self._hub.publish("link", {"broker": False, "reason": str(reason)})
            return
        client.subscribe([(f"{self._settings.root}/{name}", SubscribeOptions(qos=_QOS.get(name, 1)))
                          for name in _TOPICS])  # fmt: skip
        self._hub.publish("link", {"broker": True})

    def _lost(self, _client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if reason.is_failure:  # otherwise it is our own good-bye
            log.warning("connection to the broker lost: %s", reason)
        self._hub.publish("link", {"broker": False})
        self._hub.forget("live")

    def _heard(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        name = message.topic.removeprefix(self._settings.root + "/")
        if not message.payload:
            if name == "session":
                self._session_cleared()
            return
        payload = _object(bytes(message.payload), _MAX_BYTES.get(name, _MAX_OTHER_BYTES))
        if payload is None:
            self.ignored += 1
            return
        if name == "session":
            self._session_ended(payload)
        elif name == "cmd/erase":
            self._archive.erase(str(payload.get("session")))
        elif name == "state":
            self._state(payload)
        elif name not in ("stride", "cue") or self._of_this_runner(payload):
            self._hub.publish(name, payload)
            if name == "health":
                self._offer_start()

    # --- what a message means -----------------------------------------------------------------------------------------

    def _of_this_runner(self, payload: dict[str, Any]) -> bool:
        """Whether a stride or cue is of the session that runs: after a crash the station sends its last ones again."""
        state = self._hub.latest("state")
        return not isinstance(state, dict) or state.get("session") == payload.get("session")

    def _state(self, payload: dict[str, Any]) -> None:
        before = self._hub.latest("state")
        if isinstance(before, dict) and before.get("session") != payload.get("session"):
            self._hub.forget_runner()
        self._hub.publish("state", payload)
        self._show_summary()
        self._offer_start()

    def _offer_start(self) -> None:
        """On the idle screen, a code to start with by phone; a new one now and then (``health`` comes every 5 s)."""
        state = self._hub.latest("state")
        if not isinstance(state, dict) or state.get("state") != "idle":
            self.start_keys.withdraw()
            self._hub.forget("start")
            return
        key, shown = self.start_keys.offer(), self._hub.latest("start")
        if self._settings.reachable and (not isinstance(shown, dict) or shown.get("key") != key):
            self._hub.publish("start", {"key": key})

    def start_url(self, key: str) -> str:
        """Where a phone may start a run."""
        return self._url(f"go/{key}")

    def _session_ended(self, payload: dict[str, Any]) -> None:
        session = payload.get("session")
        if not isinstance(session, str) or not self._archive.keep(session, payload):
            self.ignored += 1
            return
        self._session = payload
        self._show_summary()

    def _session_cleared(self) -> None:
        if self._session is not None:
            self._archive.erase(str(self._session["session"]))
        self._session = self._token = None
        self._hub.forget("summary", "report")

    def forget_session(self, session: str) -> None:
        """Drop a session that was erased here, and ask the engine to clear it everywhere."""
        if self._session is not None and self._session["session"] == session:
            self._session = self._token = None
            self._hub.forget("summary", "report")
        self.command("erase", {"session": session})

    def _show_summary(self) -> None:
        """The short form of the session on the screen, only while its runner stands before it."""
        state = self._hub.latest("state")
        before = state if isinstance(state, dict) and state.get("state") == "summary" else {}
        if self._session is None or self._session["session"] != before.get("session"):
            self._hub.forget("summary", "report")
            return
        session = str(self._session["session"])
        if self._token is None or self._token[0] != session:
            self._token = (session, self._archive.mint(session))
        self._hub.publish("summary", summary_of(self._session))
        self._hub.publish("report", {"session": session, "url": self._url(f"s/{self._token[1]}"),
                                     "token": self._token[1]})  # fmt: skip


def summary_of(session: dict[str, Any]) -> dict[str, Any]:
    """The few numbers of a ``hipline.session/1`` that the screen shows to whoever stands before it."""
    metrics = session.get("metrics")
    zones = session.get("zones")
    metrics = metrics if isinstance(metrics, dict) else {}
    zones = zones if isinstance(zones, dict) else {}
    return {
        "session": session.get("session"),
        "duration_s": session.get("duration_s"),
        "strides": session.get("strides"),
        "metrics": {name: metrics[name] for name in _SUMMARY_METRICS if isinstance(metrics.get(name), dict)},
        "zones": {name: zones[name] for name in _SUMMARY_METRICS if name in zones},
    }


def _object(payload: bytes, max_bytes: int) -> dict[str, Any] | None:
    """The JSON object of a payload; ``None`` when it is too long, no object, or holds a number JSON does not know."""
    if len(payload) > max_bytes:
        return None
    try:
        value = json.loads(payload, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is out of range")
    return value
