"""The publisher: a thread that connects for ever, and the door for all the others."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from station.errors import BrokerError, ConfigError
from station.outbox import Outbox, Row
from station.publish.connection import (
    CONNECT_TIMEOUT_S,
    NAMESAKE,
    Connection,
    Incoming,
    Link,
    Waker,
    backoff_s,
    is_failure,
)
from station.publish.records import Records
from station.publish.sayings import Saying, Sayings
from station.wire import dumps
from station.wire.commands import Command, RefusedError, command_args, reply_topic
from station.wire.topics import COMMANDS, DELIVERY, LOOPBACK_ONLY, command_name

#: A connection that lasted this long was a good one: the next attempt starts with the shortest wait.
GOOD_AFTER_S = 2.0
#: So many connections in a row that did not last are no accident.
CUT_SHORT = 3
#: A broker that takes a message and says nothing for so long has lost it: a new connection brings it again.
ANSWER_TIMEOUT_S = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LinkStats:
    """Counters since start. ``lost`` says what went missing and why, and is empty when nothing did.

    ``publish_ms`` has ``p50`` and ``p95`` of the newest times from sending to the broker's answer; ``None`` before any.
    """

    connected: bool
    connects: int
    published: int
    dropped: int
    refused: int
    waiting: int
    lost: Mapping[str, Any]
    publish_ms: Mapping[str, float] | None = None


class Publisher:
    """See :mod:`station.publish`. ``also`` maps complete topics to retained payloads said at every connect.

    ``verified``: what the records of ``station verify`` say, for ``status``.
    """

    def __init__(
        self,
        link: Link,
        outbox: Outbox,
        *,
        version: str,
        on_command: Callable[[Command], None] | None = None,
        also: Mapping[str, Mapping[str, Any]] | None = None,
        verified: Mapping[str, object] | None = None,
    ) -> None:
        link.tls(), link.password()  # a wrong file is told at the start, not in the log
        self._link = link
        self._outbox = outbox
        self._on_command = on_command
        self._waker = Waker()
        self._sayings = Sayings(link.root, version, also or {}, verified)
        self._records = Records(outbox, self._waker.wake)
        self._up = threading.Event()
        self._closing_at_s: float | None = None
        # The publisher's thread only (stats() reads plain numbers).
        self._under_way: dict[int, tuple[Row | Saying, float]] = {}
        self._answer_s: deque[float] = deque(maxlen=200)
        self._connects = self._published = self._refused = 0
        self._refusals: dict[str, str] = {}
        self._trouble: BrokerError | None = BrokerError(f"broker {link}: not tried yet")
        self._thread = threading.Thread(target=self._work, name="publish", daemon=True)

    # --- for any thread -----------------------------------------------------------------------------------------------

    @property
    def trouble(self) -> BrokerError | None:
        """Why there is no connection; ``None`` while there is one."""
        return self._trouble

    def start(self) -> None:
        """Begin to connect; a broker that is not there yet is waited for."""
        self._outbox.on_ready = self._records.look_again
        self._thread.start()

    def wait_connected(self, timeout_s: float) -> None:
        """Wait until the broker has accepted us; raises the present :attr:`trouble` after ``timeout_s``."""
        if not self._up.wait(timeout_s):
            raise self._trouble or BrokerError(f"broker {self._link}: no answer within {timeout_s:g} s")

    def say(self, topic: str, payload: Mapping[str, Any]) -> None:
        """Publish on a topic where only the newest counts: ``status``, ``state``, ``health``, ``live``, ``log``.

        The last two never leave the machine: they are dropped when the broker is not on loopback.
        """
        if DELIVERY[topic].recorded:
            raise ValueError(f"{topic} is a record: use record()")
        if topic not in LOOPBACK_ONLY or self._link.is_loopback:
            self._sayings.say(topic, payload)
            self._waker.wake()

    def record(self, topic: str, payload: Mapping[str, Any]) -> bool:
        """Keep and publish a record: ``stride``, ``session``, ``cue``. ``False``: it is lost, and counted."""
        if not DELIVERY[topic].recorded:
            raise ValueError(f"{topic} is no record: use say()")
        return self._records.put(topic, str(payload["session"]), dumps(payload).encode())

    def answer(
        self, command: Command, *, ok: bool, reason: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        """Answer a command where its sender wants it; ``details`` are fields that its answer has beside the usual."""
        self._sayings.answer(command, ok, reason, details)
        self._waker.wake()

    def erase(self, session: str) -> Future[bool]:
        """Forget a session here and, when it was the last one, on the broker. Stop the session before.

        The future is done when the disk has forgotten it, or fails with :class:`~station.errors.OutboxError`.
        """
        return self._records.erase(session)

    def stats(self) -> LinkStats:
        """Counters, now."""
        rows = self._outbox.stats()
        lost = rows.said()
        for topic, reason in dict(self._refusals).items():
            lost[f"refused {topic}"] = reason
        took_s = sorted(self._answer_s.copy())
        times = {f"p{p}": round(1000 * took_s[len(took_s) * p // 100], 3) for p in (50, 95)} if took_s else None
        dropped = self._sayings.dropped
        return LinkStats(
            self._up.is_set(), self._connects, self._published, dropped, self._refused, rows.waiting, lost, times
        )

    def close(self, timeout_s: float = 5.0) -> None:
        """Flush what can be flushed within ``timeout_s``, say offline, disconnect. The outbox stays open."""
        self._sayings.leave()
        self._records.look_again()
        self._closing_at_s = time.monotonic() + timeout_s
        self._waker.wake()
        if self._thread.ident is None:
            self._waker.close()
        else:
            self._thread.join(timeout_s + 1.0)
        self._outbox.on_ready = None

    # --- the publisher's thread ---------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._connect_for_ever()
        except BaseException:
            self._trouble = BrokerError(f"broker {self._link}: the publisher has crashed: see the log")
            raise
        finally:
            self._up.clear()
            self._waker.close()

    def _connect_for_ever(self) -> None:
        failures = cut_short = 0
        while not self._is_closing():
            began_s, connects = time.monotonic(), self._connects
            trouble = self._one_connection()
            lasted_s = time.monotonic() - began_s
            # Not every broker says why it throws out the older of two clients with one name.
            cut_short = cut_short + 1 if self._connects > connects and lasted_s < GOOD_AFTER_S else 0
            if cut_short >= CUT_SHORT:
                trouble = BrokerError(f"broker {self._link}: ends every connection at once: {NAMESAKE}")
            self._up.clear()
            if str(trouble) != str(self._trouble) and not self._is_closing():
                log.warning("%s", trouble)
            self._trouble = trouble
            failures = 0 if lasted_s > GOOD_AFTER_S else failures
            self._pause(backoff_s(failures, refused="refuses us" in str(trouble)))
            failures += 1

    def _is_closing(self) -> bool:
        return self._closing_at_s is not None

    def _pause(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while not self._is_closing() and (left_s := until_s - time.monotonic()) > 0:
            self._waker.wait(left_s)

    def _one_connection(self) -> BrokerError:
        try:
            connection = Connection(
                self._link,
                self._sayings.will(),
                subscribe=f"{self._link.root}/{COMMANDS}",
                on_message=self._message,
                on_answer=self._answered,
            )
            connection.open()
        except BrokerError as error:
            return error
        except ConfigError as error:  # a credential that vanished while we ran
            return BrokerError(str(error))
        connects = self._connects
        try:
            return self._talk(connection)
        finally:
            connection.close()
            if self._connects > connects:
                self._sayings.lost()
                self._records.lost()

    def _talk(self, connection: Connection) -> BrokerError:
        greeted, patient_until_s = False, time.monotonic() + CONNECT_TIMEOUT_S
        while connection.turn(self._waker, 0.05 if self._is_closing() else 1.0):
            now_s = time.monotonic()
            if not connection.accepted:
                if now_s > patient_until_s:
                    return BrokerError(f"broker {self._link} does not answer: is that port one of an MQTT broker?")
            else:
                if not greeted:
                    self._greet()
                    greeted = True
                self._send(connection)
                if self._under_way and next(iter(self._under_way.values()))[1] < now_s - ANSWER_TIMEOUT_S:
                    return BrokerError(f"broker {self._link} no longer answers what it is sent: trying again")
            if self._closing_at_s is not None and (self._flushed() or now_s > self._closing_at_s):
                return BrokerError(f"broker {self._link}: closed")
        return connection.trouble or BrokerError(f"broker {self._link}: connection lost: trying again")

    def _greet(self) -> None:
        """The broker has accepted us: forget the last connection, say who we are, start the records over."""
        self._connects += 1
        self._trouble = None
        self._under_way.clear()
        self._sayings.greet()
        self._records.greet()
        log.info("broker %s: connected", self._link)
        self._up.set()

    def _send(self, connection: Connection) -> None:
        for saying in self._sayings.take(connection.window - len(self._under_way)):
            self._put_under_way(connection, saying, saying)
        if connection.congested:  # what may be dropped waits for a newer one, records for their turn
            return
        for row in self._records.take(connection.window - len(self._under_way), connection.max_packet_bytes):
            topic, retain = f"{self._link.root}/{row.kind}", DELIVERY[row.kind].retained
            self._put_under_way(connection, Saying(topic, row.payload, 1, retain, self._records.expiry_s(row)), row)
        for saying in self._sayings.take_newest():
            connection.publish(saying)

    def _put_under_way(self, connection: Connection, saying: Saying, item: Row | Saying) -> None:
        number = connection.publish(saying)
        if number is not None:
            self._under_way[number] = (item, time.monotonic())

    def _answered(self, number: int, code: int, reason: str) -> None:
        item, sent_s = self._under_way.pop(number, (None, 0.0))
        accepted = not is_failure(code)
        self._published += accepted
        if item is None:
            return  # of QoS 0: written, nothing more is known
        self._answer_s.append(time.monotonic() - sent_s)
        kind = item.kind if isinstance(item, Row) else item.topic.removeprefix(f"{self._link.root}/")
        if accepted:
            self._refusals.pop(kind, None)
        else:
            self._refused += 1
            if self._refusals.get(kind) != reason:
                log.warning("broker %s refuses %s (%s): check its access list", self._link, kind, reason)
            self._refusals[kind] = reason
        if isinstance(item, Row):
            self._records.answered(item, accepted=accepted, code=code)

    def _flushed(self) -> bool:
        return self._sayings.empty and not self._under_way and self._records.idle

    def _message(self, message: Incoming) -> None:
        name = command_name(message.topic, self._link.root)
        if name is None or (message.retained and not message.payload):
            return
        command = Command(name, {}, reply_topic(self._link.root, name, message.response_topic), message.correlation)
        try:
            args = command_args(name, message.payload)
            if message.retained:
                raise RefusedError("a command must not be retained: it would be obeyed again at every connect")
            if self._on_command is None:
                raise RefusedError("this station takes no commands")
            self._on_command(Command(name, args, command.reply_to, command.correlation))
        except RefusedError as error:
            self.answer(command, ok=False, reason=str(error))
