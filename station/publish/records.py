"""The outbox's rows on their way to the broker: in order, each once in a connection, a refused topic held back."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from station.outbox import Outbox, Row
from station.wire.topics import DELIVERY, SESSION

#: Longer than any of our brokers goes without writing its memory down (autosave_interval 60 and 120 s).
REWIND_S = 150.0
#: How long a topic rests that the access list refuses.
HOLD_S = 30.0
#: No broker will ever take these: topic name invalid, packet too large, payload format invalid.
HOPELESS = (0x90, 0x95, 0x99)
#: What an MQTT packet has beside its payload, at most, with topics as short as ours.
_PACKET_BYTES = 512
#: Two windows: the next rows are there before the last ones are answered.
_FETCH_ROWS = 40

_KINDS = tuple(kind for kind, delivery in DELIVERY.items() if delivery.recorded)


class Records:
    """Hands rows to the publisher's thread; ``wake`` is called from the outbox's thread when there are more."""

    def __init__(self, outbox: Outbox, wake: Callable[[], None]) -> None:
        self._outbox, self._wake = outbox, wake
        self._lock = threading.Lock()
        # Under the lock: what the outbox's thread brings.
        self._fetched: deque[Row] = deque()
        self._more, self._fetching, self._connection = True, False, 0
        self._erased: deque[str] = deque(maxlen=1000)
        # The publisher's thread only.
        self._sent_up_to: dict[str, int] = {}
        self._under_way: set[int] = set()
        self._held_until_s: dict[str, float] = {}
        self._lost_at_s: float | None = None

    def put(self, kind: str, session: str, payload: bytes) -> bool:
        """Keep a record; ``False``: it is lost and counted, or of a session that was erased."""
        return session not in self._erased and self._outbox.put(kind, session, payload)

    def erase(self, session: str) -> Future[bool]:
        """Forget a session in the outbox and, when its summary is the one retained, at the broker."""
        with self._lock:
            self._erased.append(session)

        def forget(done: Future[bool]) -> None:
            if done.exception() is None and done.result():
                # An empty retained message is how MQTT forgets; as a record it gets there even if it takes a day.
                self._outbox.put(SESSION, "", b"")

        future = self._outbox.erase(session)
        future.add_done_callback(forget)
        return future

    def look_again(self) -> None:
        """Rows wait, as far as anyone knows."""
        with self._lock:
            self._more = True
        self._wake()

    def greet(self) -> None:
        """A broker has accepted us: begin with the oldest row that waits."""
        self._sent_up_to = dict.fromkeys(_KINDS, 0)
        self._under_way.clear()
        self._held_until_s.clear()
        with self._lock:
            self._connection += 1
            self._fetched.clear()
            self._fetching, self._more = False, True
        if self._lost_at_s is None:
            self._outbox.rewind(REWIND_S, after_crash_only=True)
        else:
            self._outbox.rewind(REWIND_S + time.monotonic() - self._lost_at_s)

    def lost(self) -> None:
        """The connection is over; what was under way waits again."""
        self._lost_at_s = time.monotonic()

    def take(self, room: int, max_packet_bytes: int | None) -> list[Row]:
        """The next rows to send, at most ``room``; each must be :meth:`answered`."""
        self._end_holds()
        rows: list[Row] = []
        while len(rows) < room and (row := self._next()) is not None:
            if max_packet_bytes is not None and len(row.payload) + _PACKET_BYTES > max_packet_bytes:
                self._outbox.settle(row.id, accepted=False)
                continue
            self._sent_up_to[row.kind] = row.id
            self._under_way.add(row.id)
            rows.append(row)
        self._fetch()
        return rows

    def answered(self, row: Row, *, accepted: bool, code: int) -> None:
        """The broker took this row, or refused it with this reason code."""
        self._under_way.discard(row.id)
        if accepted or code in HOPELESS:
            self._outbox.settle(row.id, accepted=accepted)
            return
        # Not lost: somebody must mend the access list, then it goes on where it stopped.
        self._held_until_s[row.kind] = time.monotonic() + HOLD_S
        self._sent_up_to[row.kind] = min(self._sent_up_to[row.kind], row.id - 1)

    def expiry_s(self, row: Row) -> int | None:
        """How long brokers may still keep this row."""
        keep_s = DELIVERY[row.kind].keep_s
        return None if keep_s is None or not row.payload else int(max(1.0, keep_s - self._outbox.age_s(row)))

    @property
    def idle(self) -> bool:
        """Whether all that can be sent has been sent and answered."""
        with self._lock:
            return not (self._under_way or self._fetched or self._fetching or self._more)

    def _end_holds(self) -> None:
        now_s = time.monotonic()
        for kind in [kind for kind, until_s in self._held_until_s.items() if until_s <= now_s]:
            del self._held_until_s[kind]
            with self._lock:
                self._more = True

    def _next(self) -> Row | None:
        while True:
            with self._lock:
                if not self._fetched:
                    return None
                row = self._fetched.popleft()
                erased = row.session in self._erased
            seen = row.id <= self._sent_up_to[row.kind] or row.id in self._under_way
            if not (erased or seen or row.kind in self._held_until_s):
                return row

    def _fetch(self) -> None:
        after = {kind: id_ for kind, id_ in self._sent_up_to.items() if kind not in self._held_until_s}
        with self._lock:
            if not self._more or self._fetching or self._fetched or not after:
                return
            self._fetching, self._more = True, False
            connection = self._connection
        self._outbox.fetch(after, _FETCH_ROWS, lambda rows: self._deliver(connection, rows))

    def _deliver(self, connection: int, rows: list[Row]) -> None:
        with self._lock:
            if connection != self._connection:
                return  # asked for in a connection that is gone
            self._fetched.extend(rows)
            self._fetching = False
            self._more = self._more or len(rows) == _FETCH_ROWS
        self._wake()
