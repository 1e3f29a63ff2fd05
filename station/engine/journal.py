"""The newest lines that the engine said or logged, for the setup page: on loopback only, like ``live``."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from station import wire

#: So many lines are kept, and so much of each.
LINES = 40
_MAX_CHARS = 240


class Journal(logging.Handler):
    """A handler of :mod:`logging` that keeps the tail; :meth:`note` takes what is printed instead."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        super().__init__(logging.INFO)
        self._wall = wall
        self._tail: deque[dict[str, str]] = deque(maxlen=LINES)
        self._guard = threading.Lock()
        self._news = False

    def note(self, text: str, level: str = "info") -> None:
        """Keep a line."""
        line = {"wall": wire.wall_label(self._wall()), "level": level, "text": " ".join(text.split())[:_MAX_CHARS]}
        with self._guard:
            self._tail.append(line)
            self._news = True

    def emit(self, record: logging.LogRecord) -> None:
        """What a logger says."""
        self.note(record.getMessage(), record.levelname.lower())

    def news(self) -> wire.JsonObject | None:
        """The payload of ``log`` when a line came since the last question."""
        with self._guard:
            if not self._news:
                return None
            self._news = False
            return {"lines": list(self._tail)}
