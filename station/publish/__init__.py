"""The way out: MQTT 5 to one broker, on a thread of its own. No call here waits for network or disk.

    outbox = Outbox(path, max_rows=config.outbox.max_rows)          # station.outbox
    publisher = Publisher(Link(host, port, root=config.topic_root), outbox, version="0.1.0", on_command=inbox.put)
    publisher.start()                                               # connects, and reconnects for ever
    publisher.say("state", wire.state_json(...))                    # status, state, health, live: the newest counts
    publisher.record("stride", wire.stride_json(...))               # stride, session, cue: outbox first, then QoS 1
    publisher.answer(command, ok=True)                              # commands come in through on_command
    publisher.erase("4f9c2b7e")                                     # forget a session: outbox and retained message
    publisher.stats()                                               # counters for health
    publisher.close(timeout_s=5)                                    # flushes within the bound, says offline
    outbox.close()

``publisher.trouble`` is the :class:`~station.errors.BrokerError` that keeps it from being connected, or ``None``;
``publisher.wait_connected(timeout_s)`` raises it. ``on_command`` is called on the publisher's thread with a sound
:class:`Command` and must not wait: put it in a queue, and answer when it is done.

What happens to a message when the broker is away, or dies:

- ``live`` and ``health`` (QoS 0): only the newest of each is kept for the next chance; the rest is dropped and counted.
- ``status`` and ``state`` (retained): the newest is published again at every connect.
- ``stride``, ``session``, ``cue``: every one waits in the outbox until a broker accepts it, in order, at most
  :data:`~station.publish.connection.WINDOW` under way. A broker that is killed takes with it what it had accepted and
  not yet handed on or written down; so after every lost connection the last :data:`REWIND_S` seconds before it are
  sent once more, and receivers drop what they know by (station, session, seq).
- A record that the broker's access list refuses keeps waiting; its topic is tried again every :data:`HOLD_S` seconds.
"""

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
from station.wire import dumps, status_json, wall_label
from station.wire.commands import Command, RefusedError, command_args, reply_topic, result_json
from station.wire.topics import COMMANDS, DELIVERY, LIVE, SESSION, STATUS, command_name

__all__ = ["Command", "Link", "LinkStats", "Publisher"]

#: Longer than any of our brokers goes without writing its memory down (autosave_interval 60 and 120 s).
REWIND_S = 150.0
HOLD_S = 30.0
#: Messages of QoS 1 that are not records (states, answers), waiting for their turn.
MAX_SAYINGS = 256
ANSWER_EXPIRY_S = 60
#: A connection that lasted this long was a good one: the next attempt starts with the shortest wait.
GOOD_AFTER_S = 2.0
#: So many connections in a row that did not last are no accident.
CUT_SHORT = 3
#: No broker will ever take these: topic name invalid, packet too large, payload format invalid.
_HOPELESS = (0x90, 0x95, 0x99)

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


@dataclass(frozen=True, slots=True)
class _Saying:
    """A message that is no record; ``topic`` is complete."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    expiry_s: int | None = None
    correlation: bytes | None = None


class Publisher:
    """See the head of this module. ``also`` maps complete topics to retained payloads said at every connect."""

    def __init__(
        self,
        link: Link,
        outbox: Outbox,
        *,
        version: str,
        on_command: Callable[[Command], None] | None = None,
        also: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        link.tls(), link.password()  # a wrong file is told at the start, not in the log
        self._link = link
        self._outbox = outbox
        self._version = version
        self._on_command = on_command
        self._also = {topic: dumps(payload).encode() for topic, payload in (also or {}).items()}
        self._waker = Waker()
        self._lock = threading.Lock()
        self._up = threading.Event()
        self._closing_at_s: float | None = None
        # Under the lock: what other threads hand over.
        self._sayings: deque[_Saying] = deque()
        self._newest: dict[str, _Saying] = {}
        self._retained: dict[str, _Saying] = {}
        self._status: Mapping[str, Any] | None = None
        self._fetched: deque[Row] = deque()
        self._more, self._fetching, self._generation = True, False, 0
        self._greeted = False
        self._erased: deque[str] = deque(maxlen=1000)
        # The publisher's thread only.
        self._under_way: dict[int, tuple[Row | _Saying, float]] = {}
        self._answer_s: deque[float] = deque(maxlen=200)
        self._sent_up_to: dict[str, int] = {}
        self._held: dict[str, float] = {}
        self._lost_at_s: float | None = None
        self._connects = self._published = self._dropped = self._refused = 0
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
        self._outbox.on_ready = self._rows_wait
        self._thread.start()

    def wait_connected(self, timeout_s: float) -> None:
        """Wait until the broker has accepted us; raises the present :attr:`trouble` after ``timeout_s``."""
        if not self._up.wait(timeout_s):
            raise self._trouble or BrokerError(f"broker {self._link}: no answer within {timeout_s:g} s")

    def say(self, topic: str, payload: Mapping[str, Any]) -> None:
        """Publish on a topic where only the newest counts: ``status``, ``state``, ``health``, ``live``.

        ``live`` never leaves the machine: it is dropped when the broker is not on loopback.
        """
        delivery = DELIVERY[topic]
        if delivery.recorded:
            raise ValueError(f"{topic} is a record: use record()")
        if topic == LIVE and not self._link.is_loopback:
            return
        full = f"{self._link.root}/{topic}"
        expiry_s = None if delivery.retained else delivery.keep_s
        saying = _Saying(full, dumps(payload).encode(), delivery.qos, delivery.retained, expiry_s)
        with self._lock:
            if topic == STATUS:
                self._status = dict(payload)
            if delivery.retained:
                self._retained[full] = saying
            if delivery.qos == 0:
                self._dropped += full in self._newest
                self._newest[full] = saying
            elif self._greeted:
                self._queue(saying)
        self._waker.wake()

    def record(self, topic: str, payload: Mapping[str, Any]) -> bool:
        """Keep and publish a record: ``stride``, ``session``, ``cue``. ``False``: it is lost, and counted."""
        if not DELIVERY[topic].recorded:
            raise ValueError(f"{topic} is no record: use say()")
        session = str(payload["session"])
        return session not in self._erased and self._outbox.put(topic, session, dumps(payload).encode())

    def answer(self, command: Command, *, ok: bool, reason: str | None = None) -> None:
        """Answer a command where its sender wants it."""
        payload = dumps(result_json(ok, reason)).encode()
        with self._lock:
            self._queue(_Saying(command.reply_to, payload, 1, False, ANSWER_EXPIRY_S, command.correlation))
        self._waker.wake()

    def erase(self, session: str) -> Future[bool]:
        """Forget a session here and, when it was the last one, on the broker. Stop the session before.

        The future is done when the disk has forgotten it, or fails with :class:`~station.errors.OutboxError`.
        """
        with self._lock:
            self._erased.append(session)
        done = self._outbox.erase(session)
        done.add_done_callback(self._clear_retained)
        return done

    def stats(self) -> LinkStats:
        """Counters, now."""
        rows = self._outbox.stats()
        lost = rows.said()
        for topic, reason in dict(self._refusals).items():
            lost[f"refused {topic}"] = reason
        took_s = sorted(self._answer_s.copy())
        times = {f"p{p}": round(1000 * took_s[len(took_s) * p // 100], 3) for p in (50, 95)} if took_s else None
        return LinkStats(
            self._up.is_set(), self._connects, self._published, self._dropped, self._refused, rows.waiting, lost, times
        )

    def close(self, timeout_s: float = 5.0) -> None:
        """Flush what can be flushed within ``timeout_s``, say offline, disconnect. The outbox stays open."""
        offline = self._presence("offline", wall_label(time.time()))
        with self._lock:
            self._queue(_Saying(f"{self._link.root}/{STATUS}", offline, 1, True))
            self._more = True
            self._closing_at_s = time.monotonic() + timeout_s
        self._waker.wake()
        if self._thread.ident is None:
            self._waker.close()
        else:
            self._thread.join(timeout_s + 1.0)
        self._outbox.on_ready = None

    def _queue(self, saying: _Saying) -> None:
        if len(self._sayings) >= MAX_SAYINGS:
            self._sayings.popleft()
            self._dropped += 1
        self._sayings.append(saying)

    def _presence(self, state: Any, since: str | None) -> bytes:
        known = self._status or {}
        return dumps(status_json(state, since, self._version, known.get("update"))).encode()

    # --- called on the outbox's thread --------------------------------------------------------------------------------

    def _rows_wait(self) -> None:
        with self._lock:
            self._more = True
        self._waker.wake()

    def _deliver(self, generation: int, asked: int, rows: list[Row]) -> None:
        with self._lock:
            if generation == self._generation:
                self._fetched.extend(rows)
                self._fetching = False
                self._more = self._more or len(rows) == asked
        self._waker.wake()

    def _clear_retained(self, done: Future[bool]) -> None:
        if done.exception() is None and done.result():
            self._outbox.put(
                SESSION, "", b""
            )  # an empty retained message is how MQTT forgets; as a record it gets there

    # --- the publisher's thread ---------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._connect_for_ever()
        except BaseException:
            self._up.clear()
            self._trouble = BrokerError(f"broker {self._link}: the publisher has crashed: see the log")
            raise
        finally:
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
            refused = "refuses us" in str(trouble)
            self._up.clear()
            if str(trouble) != str(self._trouble) and not self._is_closing():
                log.warning("%s", trouble)
            self._trouble = trouble
            failures = 0 if lasted_s > GOOD_AFTER_S else failures
            self._pause(backoff_s(failures, refused=refused))
            failures += 1

    def _is_closing(self) -> bool:
        return self._closing_at_s is not None

    def _pause(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while not self._is_closing() and (left_s := until_s - time.monotonic()) > 0:
            self._waker.end.settimeout(left_s)
            try:
                self._waker.end.recv(4096)
            except TimeoutError:
                break
        self._waker.end.setblocking(False)

    def _one_connection(self) -> BrokerError:
        will = (f"{self._link.root}/{STATUS}", self._presence("offline", None))
        try:
            connection = Connection(
                self._link,
                will,
                subscribe=f"{self._link.root}/{COMMANDS}",
                on_message=self._message,
                on_answer=self._answered,
            )
            connection.open()
        except BrokerError as error:
            return error
        except ConfigError as error:  # a credential that vanished while we ran
            return BrokerError(str(error))
        try:
            return self._talk(connection)
        finally:
            with self._lock:
                self._lost_at_s = time.monotonic() if self._greeted else self._lost_at_s
                self._greeted = False

    def _talk(self, connection: Connection) -> BrokerError:
        patient_until_s = time.monotonic() + CONNECT_TIMEOUT_S
        while connection.turn(self._waker, 0.05 if self._is_closing() else 1.0):
            now_s = time.monotonic()
            if not connection.accepted:
                if now_s > patient_until_s:
                    return BrokerError(f"broker {self._link} does not answer: is that port one of an MQTT broker?")
            else:
                if not self._greeted:
                    self._greet()
                self._send(connection)
            if self._closing_at_s is not None and (self._flushed() or now_s > self._closing_at_s):
                connection.close()
                return BrokerError(f"broker {self._link}: closed")
        return connection.trouble or BrokerError(f"broker {self._link}: connection lost: trying again")

    def _greet(self) -> None:
        """The broker has accepted us: forget the last connection, say who we are, start the records over."""
        self._connects += 1
        self._trouble = None
        self._under_way.clear()
        self._held.clear()
        self._sent_up_to = {topic: 0 for topic, delivery in DELIVERY.items() if delivery.recorded}
        status = f"{self._link.root}/{STATUS}"
        birth = self._presence("online", wall_label(time.time()))
        with self._lock:
            self._greeted = True
            self._generation += 1
            self._fetched.clear()
            self._fetching, self._more = False, True
            answers = [s for s in self._sayings if not s.retain]
            leaving = [s for s in self._sayings if self._is_closing() and s.topic == status]
            also = [_Saying(topic, payload, 1, True) for topic, payload in self._also.items()]
            states = [s for topic, s in self._retained.items() if topic != status]
            self._sayings = deque([_Saying(status, birth, 1, True), *also, *states, *answers, *leaving])
        if self._connects == 1:
            self._outbox.rewind(REWIND_S, after_crash_only=True)
        else:
            self._outbox.rewind(REWIND_S + time.monotonic() - (self._lost_at_s or time.monotonic()))
        log.info("broker %s: connected", self._link)
        self._up.set()

    def _send(self, connection: Connection) -> None:
        with self._lock:
            newest = [] if connection.congested else list(self._newest.values())
            if newest:
                self._newest.clear()
            room = connection.window - len(self._under_way)
            sayings = [self._sayings.popleft() for _ in range(min(room, len(self._sayings)))]
        for saying in sayings:
            self._put_under_way(connection, saying, saying.topic, saying.payload, saying)
        self._send_records(connection)
        for saying in newest:
            connection.publish(saying.topic, saying.payload, qos=0, retain=False, expiry_s=saying.expiry_s)

    def _send_records(self, connection: Connection) -> None:
        now_s = time.monotonic()
        for kind in [kind for kind, until_s in self._held.items() if until_s <= now_s]:
            del self._held[kind]
            self._rows_wait()
        while len(self._under_way) < connection.window and not connection.congested:
            with self._lock:
                row = self._fetched.popleft() if self._fetched else None
                erased = row is not None and row.session in self._erased
            if row is None:
                break
            if erased or row.kind in self._held or row.id <= self._sent_up_to[row.kind]:
                continue
            if connection.max_packet_bytes and len(row.payload) + 512 > connection.max_packet_bytes:
                self._refusals[row.kind] = "larger than the broker takes"
                self._outbox.settle(row.id, accepted=False)
                continue
            self._sent_up_to[row.kind] = row.id
            delivery = DELIVERY[row.kind]
            saying = _Saying(f"{self._link.root}/{row.kind}", row.payload, 1, delivery.retained, self._expiry_s(row))
            self._put_under_way(connection, saying, saying.topic, row.payload, row)
        self._fetch(connection.window)

    def _fetch(self, window: int) -> None:
        after = {kind: id_ for kind, id_ in self._sent_up_to.items() if kind not in self._held}
        with self._lock:
            if not self._more or self._fetching or self._fetched or not after:
                return
            self._fetching, self._more = True, False
            generation = self._generation
        limit = 2 * window
        self._outbox.fetch(after, limit, lambda rows: self._deliver(generation, limit, rows))

    def _expiry_s(self, row: Row) -> int | None:
        keep_s = DELIVERY[row.kind].keep_s
        return None if keep_s is None or not row.payload else int(max(1.0, keep_s - self._outbox.age_s(row)))

    def _put_under_way(
        self, connection: Connection, saying: _Saying, topic: str, payload: bytes, item: Row | _Saying
    ) -> None:
        mid = connection.publish(
            topic,
            payload,
            qos=saying.qos,
            retain=saying.retain,
            expiry_s=saying.expiry_s,
            correlation=saying.correlation,
        )
        if mid is not None and saying.qos > 0:
            self._under_way[mid] = (item, time.monotonic())

    def _answered(self, mid: int, code: int, reason: str) -> None:
        self._published += 1
        if mid not in self._under_way:
            return
        item, sent_s = self._under_way.pop(mid)
        self._answer_s.append(time.monotonic() - sent_s)
        kind = item.kind if isinstance(item, Row) else item.topic.removeprefix(f"{self._link.root}/")
        if not is_failure(code):
            self._refusals.pop(kind, None)
            if isinstance(item, Row):
                self._outbox.settle(item.id, accepted=True)
            return
        self._published -= 1
        self._refused += 1
        if self._refusals.get(kind) != reason:
            log.warning("broker %s refuses %s (%s): check its access list", self._link, kind, reason)
        self._refusals[kind] = reason
        if not isinstance(item, Row):
            return
        if code in _HOPELESS:
            self._outbox.settle(item.id, accepted=False)
            return
        self._held[kind] = time.monotonic() + HOLD_S
        self._sent_up_to[kind] = min(self._sent_up_to[kind], item.id - 1)
        with self._lock:
            self._more = True

    def _flushed(self) -> bool:
        with self._lock:
            return not (self._sayings or self._under_way or self._fetched or self._fetching or self._more)

    # --- commands -----------------------------------------------------------------------------------------------------

    def _message(self, message: Incoming) -> None:
        name = command_name(message.topic, self._link.root)
        if name is None:
            return
        reply_to = reply_topic(self._link.root, name, message.response_topic)
        command = Command(name, {}, reply_to, message.correlation)
        try:
            args = command_args(name, message.payload)
            if message.retained:
                raise RefusedError("a command must not be retained: it would be obeyed again at every connect")
            if self._on_command is None:
                raise RefusedError("this station takes no commands")
        except RefusedError as error:
            if message.payload or not message.retained:
                self.answer(command, ok=False, reason=str(error))
            return
        self._on_command(Command(name, args, reply_to, message.correlation))
