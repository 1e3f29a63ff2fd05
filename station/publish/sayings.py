"""What is said and not recorded: presence, states, answers, health, poses. Only the newest of each counts."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from station.wire import dumps, status_json, wall_label
from station.wire.commands import Command, result_json
from station.wire.topics import DELIVERY, STATUS

#: Messages of QoS 1 that wait for their turn; the oldest goes when there are more.
MAX_SAYINGS = 256
ANSWER_EXPIRY_S = 60


@dataclass(frozen=True, slots=True)
class Saying:
    """A message ready to go; ``topic`` is complete."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    expiry_s: int | None = None
    correlation: bytes | None = None


class Sayings:
    """Filled by any thread, emptied by the publisher's. ``root`` is that of the topics; the rest: see the publisher."""

    def __init__(
        self,
        root: str,
        version: str,
        also: Mapping[str, Mapping[str, Any]],
        verified: Mapping[str, object] | None = None,
    ) -> None:
        self._root, self._version, self._verified = root, version, verified
        self._also = [Saying(topic, dumps(payload).encode(), 1, True) for topic, payload in also.items()]
        self._lock = threading.Lock()
        self._queue: deque[Saying] = deque()
        self._newest: dict[str, Saying] = {}
        self._retained: dict[str, Saying] = {}
        self._update: Any = None
        self._open = False
        #: Messages that a newer one replaced, or that found no room.
        self.dropped = 0

    def say(self, topic: str, payload: Mapping[str, Any]) -> None:
        """Take a message on a topic of :data:`~station.wire.topics.DELIVERY`."""
        delivery = DELIVERY[topic]
        expiry_s = None if delivery.retained else delivery.keep_s
        full = f"{self._root}/{topic}"
        saying = Saying(full, dumps(payload).encode(), delivery.qos, delivery.retained, expiry_s)
        with self._lock:
            if topic == STATUS:
                self._update = payload.get("update")
            if delivery.retained:
                self._retained[full] = saying
            if delivery.qos == 0:
                self.dropped += full in self._newest
                self._newest[full] = saying
            elif self._open:
                self._append(saying)

    def answer(self, command: Command, ok: bool, reason: str | None, details: Mapping[str, Any] | None) -> None:
        """Take the answer to a command."""
        payload = dumps(result_json(ok, reason, details)).encode()
        with self._lock:
            self._append(Saying(command.reply_to, payload, 1, False, ANSWER_EXPIRY_S, command.correlation))

    def leave(self) -> None:
        """Take the good-bye, which is the last thing said."""
        with self._lock:
            self._append(self._presence("offline", wall_label(time.time())))

    def will(self) -> Saying:
        """What the broker says when we are gone without a good-bye. Nobody was there to look at a clock."""
        return self._presence("offline", None)

    def greet(self) -> None:
        """A broker has accepted us: say first who we are and how things stand, then the answers that were waiting."""
        birth = self._presence("online", wall_label(time.time()))
        with self._lock:
            self._open = True
            states = [saying for saying in self._retained.values() if saying.topic != birth.topic]
            # Of the retained ones only a good-bye can be in the queue: nothing else is queued while there is nobody.
            self._queue = deque([birth, *self._also, *states, *self._queue])

    def lost(self) -> None:
        """The connection is over: states that were queued are said anew at the next one."""
        with self._lock:
            self._open = False
            self._queue = deque(saying for saying in self._queue if not saying.retain)

    def take(self, room: int) -> list[Saying]:
        """The oldest of QoS 1, at most ``room``."""
        with self._lock:
            return [self._queue.popleft() for _ in range(min(room, len(self._queue)))]

    def take_newest(self) -> list[Saying]:
        """The newest of each topic of QoS 0."""
        with self._lock:
            newest = list(self._newest.values())
            self._newest.clear()
        return newest

    @property
    def empty(self) -> bool:
        """Whether nothing of QoS 1 waits."""
        with self._lock:
            return not self._queue

    def _append(self, saying: Saying) -> None:
        if len(self._queue) >= MAX_SAYINGS:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(saying)

    def _presence(self, state: Literal["online", "offline"], since: str | None) -> Saying:
        payload = status_json(state, since, self._version, self._update, self._verified)
        return Saying(f"{self._root}/{STATUS}", dumps(payload).encode(), 1, True)
