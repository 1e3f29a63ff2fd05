"""What the engine says, on its way to a terminal, a pipe or systemd's journal: whoever says it never waits."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TextIO

from station.engine.journal import Journal

log = logging.getLogger(__name__)
#: Texts that wait for a slow reader; what is said beyond that is lost, and counted.
MOST_WAITING = 500
#: At the end so long is waited for whoever reads [s].
LAST_WORDS_S = 2.0


class Words:
    """A stream to write to that a thread of its own empties into the real one.

    A pipe that nobody reads, or a journal on a disk that hangs, holds up that thread and nothing else. ``stream`` is
    asked for at every text: whoever replaces ``sys.stderr`` is heeded. A stream that is gone takes no more words.
    """

    def __init__(self, stream: Callable[[], TextIO]) -> None:
        self._stream = stream
        self._waiting: deque[str] = deque()
        self._changed = threading.Condition()
        self._closed = False
        #: Texts that were lost because too many waited.
        self.lost = 0
        self._lost_before = 0
        self._thread = threading.Thread(target=self._work, name="words", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        """Take a text; it is written soon. Never waits."""
        with self._changed:
            if len(self._waiting) >= MOST_WAITING or self._closed:
                self.lost += 1
            else:
                self._waiting.append(text)
                self._changed.notify()
        return len(text)

    def flush(self) -> None:
        """Nothing to do: every text is on its way."""

    def close(self, timeout_s: float = LAST_WORDS_S) -> None:
        """Take no more, and wait for what was said to be written; a reader who is slower than that misses it."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _next(self) -> str | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return self._waiting.popleft() if self._waiting else None

    def _work(self) -> None:
        while (text := self._next()) is not None:
            lost, self._lost_before = self.lost - self._lost_before, self.lost
            if lost:
                text = f"({lost} lines are missing here: whoever reads them was too slow)\n{text}"
            try:
                stream = self._stream()
                stream.write(text)
                stream.flush()
            except (OSError, ValueError):  # the reader is gone: the station has other things to do
                return


class Voice:
    """Where progress lines go: at first straight to standard output, while the engine runs without ever waiting."""

    words: Words | None = None


def say(line: str) -> None:
    """A progress line of ``station run``."""
    if Voice.words is None:
        print(line, flush=True)
    else:
        Voice.words.write(f"{line}\n")
    log.info("%s", line)


@contextlib.contextmanager
def spoken() -> Iterator[Journal]:
    """Log lines go to standard error, where systemd keeps them, and into the journal of the setup page.

    Nobody who logs or says something waits for whoever reads it: frames are being processed.
    """
    journal, errors, lines = Journal(), Words(lambda: sys.stderr), Words(lambda: sys.stdout)
    plain = logging.StreamHandler(errors)
    plain.setLevel(logging.WARNING)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    Voice.words = lines
    for handler in (journal, plain):
        root.addHandler(handler)
    try:
        yield journal
    finally:
        root.setLevel(level)
        for handler in (journal, plain):
            root.removeHandler(handler)
        Voice.words = None
        lines.close()
        errors.close()
