"""One connection to the broker, from CONNECT until it is lost: the only code that touches paho.

A :class:`Connection` is used up with its connection. The next one is a new paho client, so that nothing paho keeps (its
own resending above all) can send a message twice.
"""

from __future__ import annotations

import contextlib
import ipaddress
import random
import select
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from station.errors import BrokerError, ConfigError
from station.publish.sayings import Saying

CONNECT_TIMEOUT_S = 5.0
#: QoS 1 messages under way at once; the broker's receive maximum may be lower.
WINDOW = 20
_FAILURE = 0x80
NAMESAKE = "another client may use our name: give every station its own station.name"


@dataclass(frozen=True, slots=True)
class Link:
    """Where the broker is and who we are to it. ``root`` is ``hipline/v1/<gym>/<station>``.

    ``ca_file`` switches TLS on; the password file is read again at every connect (systemd may renew credentials).
    ``session_expiry_s`` is how long the broker keeps a command for us while we are away.
    """

    host: str
    port: int
    root: str
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    keepalive_s: int = 15
    session_expiry_s: int = 3600

    @property
    def client_id(self) -> str:
        """The same at every start, so that the broker knows us again."""
        return self.root.replace("/", "-")

    @property
    def is_loopback(self) -> bool:
        """Whether what we publish stays on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def tls(self) -> ssl.SSLContext | None:
        """The TLS context, ``None`` without ``ca_file``. :class:`ConfigError` when that file is no CA certificate."""
        if self.ca_file is None:
            return None
        try:
            return ssl.create_default_context(cafile=str(self.ca_file))
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"{self.ca_file}: mqtt.ca_file cannot be used ({error}): give a PEM certificate"
            ) from None

    def password(self) -> str | None:
        """The first line of the password file. :class:`ConfigError` when it cannot be read."""
        if self.password_file is None:
            return None
        try:
            return self.password_file.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.password_file}: mqtt.password_file cannot be read ({error})") from None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message that came in on a topic we subscribed to."""

    topic: str
    payload: bytes
    retained: bool
    response_topic: str | None
    correlation: bytes | None


class Waker:
    """Wakes a thread that waits for a socket, from any other thread."""

    def __init__(self) -> None:
        self.end, self._knock = socket.socketpair()
        self.end.setblocking(False)
        self._knock.setblocking(False)

    def wake(self) -> None:
        """End the wait, now or the next one."""
        with contextlib.suppress(OSError):  # it has been knocked often enough, or is closed
            self._knock.send(b"\0")

    def wait(self, timeout_s: float) -> None:
        """Wait for a knock, at most this long."""
        poll = select.poll()
        poll.register(self.end, select.POLLIN)
        if poll.poll(timeout_s * 1000):
            self.heard()

    def heard(self) -> None:
        """Take all knocks off."""
        with contextlib.suppress(BlockingIOError):
            while self.end.recv(4096):
                pass

    def close(self) -> None:
        """Release both sockets."""
        self.end.close()
        self._knock.close()


class Connection:
    """Connect to ``link`` with a last will, then call :meth:`turn` until it says ``False``."""

    def __init__(
        self,
        link: Link,
        will: Saying,
        *,
        subscribe: str,
        on_message: Callable[[Incoming], None],
        on_answer: Callable[[int, int, str], None],
    ) -> None:
        self._link = link
        self._on_message = on_message
        self._on_answer = on_answer
        self._subscribe = subscribe
        #: Set once the broker has said yes.
        self.accepted = False
        #: Why it said no, or why it ended.
        self.trouble: BrokerError | None = None
        self.window = WINDOW
        self.max_packet_bytes: int | None = None
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=link.client_id, protocol=mqtt.MQTTv5, reconnect_on_failure=False
        )
        client.max_inflight_messages_set(0)  # the window is ours, and so is the bound: paho's own queue stays empty
        client.max_queued_messages_set(4 * WINDOW)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.will_set(will.topic, will.payload, will.qos, will.retain)
        if (context := link.tls()) is not None:
            client.tls_set_context(context)
        if link.username is not None:
            client.username_pw_set(link.username, link.password())
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_publish = self._published
        client.on_message = self._message
        self._client = client

    def open(self) -> None:
        """Connect (up to :data:`CONNECT_TIMEOUT_S`); :class:`BrokerError` says why not. The yes comes later."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho left it without types
        properties.SessionExpiryInterval = self._link.session_expiry_s
        link = self._link
        try:
            self._client.connect(
                link.host, link.port, keepalive=link.keepalive_s, clean_start=False, properties=properties
            )
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or error
            raise BrokerError(f"broker {link}: TLS fails ({reason}): check mqtt.ca_file and mqtt.port") from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise BrokerError(
                f"broker {link} cannot be reached ({reason}): is it running, is mqtt.host right?"
            ) from None

    def turn(self, waker: Waker, timeout_s: float) -> bool:
        """Wait for the broker or the waker, then do what there is to do; ``False`` when the connection is over."""
        sock: Any = self._client.socket()
        if sock is None:
            return False
        hidden = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0  # decrypted already: poll does not see it
        poll = select.poll()
        poll.register(sock, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        poll.register(waker.end, select.POLLIN)
        ready = dict(poll.poll(0 if hidden else timeout_s * 1000))
        if waker.end.fileno() in ready:
            waker.heard()
        events = ready.get(sock.fileno(), 0)
        result = mqtt.MQTT_ERR_SUCCESS
        if events & ~select.POLLOUT or hidden:
            result = self._client.loop_read()
        if events & select.POLLOUT and result == mqtt.MQTT_ERR_SUCCESS:
            result = self._client.loop_write()
        if result == mqtt.MQTT_ERR_SUCCESS:
            result = self._client.loop_misc()
        return result == mqtt.MQTT_ERR_SUCCESS and self._client.socket() is not None

    @property
    def congested(self) -> bool:
        """Whether the socket has not taken yet what it was given: what may be dropped should wait for a newer one."""
        return bool(self._client.want_write())

    def publish(self, saying: Saying) -> int | None:
        """Send; the number that ``on_answer`` will name, ``None`` for QoS 0 or when the connection is over."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho left it without types
        if saying.expiry_s is not None:
            properties.MessageExpiryInterval = max(1, saying.expiry_s)
        if saying.correlation is not None:
            properties.CorrelationData = saying.correlation
        info = self._client.publish(saying.topic, saying.payload, saying.qos, saying.retain, properties)
        return info.mid if saying.qos > 0 and info.rc == mqtt.MQTT_ERR_SUCCESS else None

    def close(self) -> None:
        """Take leave, so that the broker does not publish the will; nothing, if the connection is over already."""
        self._client.disconnect()

    def _connected(
        self, client: mqtt.Client, _userdata: Any, _flags: Any, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            self.trouble = BrokerError(f"broker {self._link} refuses us ({code}): {_mend(code.value)}")
            return
        self.accepted = True
        self.window = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))
        self.max_packet_bytes = getattr(properties, "MaximumPacketSize", None)
        client.subscribe(self._subscribe, options=SubscribeOptions(qos=1))

    def _disconnected(
        self, _client: mqtt.Client, _userdata: Any, flags: Any, code: ReasonCode, _properties: Properties | None
    ) -> None:
        if self.trouble is not None:
            return
        if getattr(flags, "is_disconnect_packet_from_server", False):
            self.trouble = BrokerError(f"broker {self._link} ended the connection ({code}): {_mend(code.value)}")
        else:
            self.trouble = BrokerError(f"broker {self._link}: connection lost: trying again")

    def _published(
        self, _client: mqtt.Client, _userdata: Any, mid: int, code: ReasonCode, _properties: Properties
    ) -> None:
        self._on_answer(mid, code.value, str(code))

    def _message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return  # no name of ours
        found = message.properties
        self._on_message(
            Incoming(
                topic,
                bytes(message.payload),
                bool(message.retain),
                getattr(found, "ResponseTopic", None),
                getattr(found, "CorrelationData", None),
            )
        )


def _mend(code: int) -> str:
    if code in (0x86, 0x87, 0x8C):
        return "check mqtt.username and mqtt.password_file"
    if code == 0x84:
        return "it does not speak MQTT 5"
    if code == 0x8E:
        return NAMESAKE
    return "trying again"


def backoff_s(failures: int, *, refused: bool) -> float:
    """How long to wait before the next attempt: doubling to 30 s (refused: 5 s to 60 s), jittered.

    The jitter keeps a gym's stations from returning all at once when their broker does.
    """
    first, longest = (5.0, 60.0) if refused else (0.25, 30.0)
    return random.uniform(0.5, 1.0) * min(longest, first * 2.0 ** min(failures, 16))


def is_failure(code: int) -> bool:
    """Whether a reason code of MQTT 5 says no."""
    return code >= _FAILURE
