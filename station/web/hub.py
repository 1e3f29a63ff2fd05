"""The latest of every topic, and the viewers who want to hear of it.

A viewer that reads slowly or not at all costs nothing: each has one slot per event name, the newest wins, and what was
overwritten is counted, not kept. Nothing here waits for a viewer.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

#: Events that a page may receive. ``link`` tells whether this process reaches the broker; ``summary`` is the
#: short form of a finished session. For trusted viewers only: ``report`` says where the whole of it is, ``start``
#: where a phone may start one, ``log`` is the engine's.
EVENTS = ("link", "status", "state", "health", "stride", "cue", "live", "summary", "report", "start", "log")
TRUSTED_ONLY = frozenset({"report", "start", "log"})
_RESERVED = 2
_NOT_REPLAYED_WHEN_IDLE = ("stride", "cue", "live")


class TooManyStreamsError(Exception):
    """The cap on streams is reached; the visitor may come back later."""


@dataclass(slots=True)
class Viewer:
    """One open stream: its slots, and whether it may see ``report``."""

    trusted: bool
    slots: dict[str, bytes] = field(default_factory=dict)
    ready: threading.Condition = field(default_factory=threading.Condition)
    overwritten: int = 0
    closed: bool = False

    def offer(self, event: str, body: bytes) -> None:
        """Put the newest body of an event into its slot."""
        if event in TRUSTED_ONLY and not self.trusted:
            return
        with self.ready:
            self.overwritten += event in self.slots
            self.slots[event] = body
            self.ready.notify()

    def take(self, timeout_s: float) -> list[tuple[str, bytes]]:
        """Wait for news up to ``timeout_s``; empty = none came (time for a heartbeat)."""
        with self.ready:
            if not self.slots and not self.closed:
                self.ready.wait(timeout_s)
            news = list(self.slots.items())
            self.slots.clear()
            return news


@dataclass(frozen=True, slots=True)
class _Kept:
    body: bytes
    at_s: float


class Hub:
    """Keeps the latest body per event and hands every change to the viewers. Thread-safe."""

    def __init__(self, max_streams: int = 16, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._max_streams = max_streams
        self._lock = threading.Lock()
        self._latest: dict[str, _Kept] = {}
        self._viewers: list[Viewer] = []
        self.refused = 0
        self.publish("link", {"broker": False})

    def publish(self, event: str, payload: object) -> None:
        """Make ``payload`` the latest of ``event`` and offer it to every viewer."""
        if event not in EVENTS:
            raise ValueError(f"no such event: {event}")
        body = json.dumps(payload, separators=(",", ":"), allow_nan=False).encode()
        with self._lock:
            self._latest[event] = _Kept(body, self._clock())
            viewers = tuple(self._viewers)
        for viewer in viewers:
            viewer.offer(event, body)

    def forget(self, *events: str) -> None:
        """Drop the latest of these events and tell the viewers with ``null``."""
        with self._lock:
            gone = [event for event in events if self._latest.pop(event, None)]
            viewers = tuple(self._viewers)
        for event in gone:
            for viewer in viewers:
                viewer.offer(event, b"null")

    def forget_runner(self) -> None:
        """Drop everything that belongs to the runner who just left (two runners never share data)."""
        self.forget(*_NOT_REPLAYED_WHEN_IDLE)

    def latest(self, event: str) -> object | None:
        """The latest payload of an event, or ``None``."""
        with self._lock:
            kept = self._latest.get(event)
        return json.loads(kept.body) if kept else None

    def snapshot(self, trusted: bool) -> bytes:
        """Everything known, as one JSON object: event → {"age_s", "data"}; the first thing a new stream is sent."""
        now_s = self._clock()
        with self._lock:
            kept = [(event, item) for event, item in self._latest.items() if trusted or event not in TRUSTED_ONLY]
        parts = (
            b'"%s":{"age_s":%.3f,"data":%s}' % (event.encode(), now_s - item.at_s, item.body) for event, item in kept
        )
        return b"{" + b",".join(parts) + b"}"

    def open(self, trusted: bool) -> Viewer:
        """Register a viewer; :class:`TooManyStreamsError` when the cap is reached.

        Two places are kept for trusted viewers: strangers must not be able to blank the screen at the treadmill.
        """
        cap = self._max_streams if trusted else max(1, self._max_streams - _RESERVED)
        with self._lock:
            if len(self._viewers) >= cap:
                self.refused += 1
                raise TooManyStreamsError
            viewer = Viewer(trusted)
            self._viewers.append(viewer)
            return viewer

    def close(self, viewer: Viewer) -> None:
        """Forget a viewer; harmless when it is already gone."""
        with viewer.ready:
            viewer.closed = True
            viewer.ready.notify()
        with self._lock:
            if viewer in self._viewers:
                self._viewers.remove(viewer)

    def close_all(self) -> None:
        """Let every stream end (shutdown)."""
        with self._lock:
            viewers = tuple(self._viewers)
        for viewer in viewers:
            self.close(viewer)

    @property
    def streams(self) -> int:
        """How many streams are open."""
        with self._lock:
            return len(self._viewers)


class Stream:
    """One viewer's stream as server-sent events: a snapshot, then news, a ``beat`` when there is none.

    ``gone`` tells whether the visitor has hung up; it is asked at every wake, so that a dead one frees its place.
    """

    def __init__(self, hub: Hub, viewer: Viewer, heartbeat_s: float, gone: Callable[[], bool]) -> None:
        self._hub, self._viewer, self._heartbeat_s, self._gone = hub, viewer, heartbeat_s, gone

    def __iter__(self) -> Iterator[bytes]:
        yield b"retry: 1000\n\n" + _frame("snapshot", self._hub.snapshot(self._viewer.trusted))
        quiet_s = 0.0
        wake_s = min(1.0, self._heartbeat_s)
        while not (self._viewer.closed or self._gone()):
            news = self._viewer.take(wake_s)
            if news:
                quiet_s = 0.0
                yield b"".join(_frame(event, body) for event, body in news)
                continue
            quiet_s += wake_s
            if quiet_s >= self._heartbeat_s:
                quiet_s = 0.0
                yield _frame("beat", b"{}")

    def close(self) -> None:
        """Called by the WSGI server when the response ends, however it ends."""
        self._hub.close(self._viewer)


def _frame(event: str, body: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event.encode(), body)
