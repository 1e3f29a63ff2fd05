"""The keys in the QR code of the idle screen: whoever stands before it may start a run by phone."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable

#: A key is shown for this long, and good for as long again: who has just scanned it may take that time to choose.
KEY_S = 600.0


class StartKeys:
    """The key on the screen and the one before it. A key starts one run; whoever scanned it then has nothing left."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: list[tuple[str, float]] = []

    def offer(self) -> str:
        """The key to show now."""
        with self._lock:
            now_s = self._clock()
            self._keys = [(key, since_s) for key, since_s in self._keys if now_s - since_s < 2 * KEY_S]
            if not self._keys or now_s - self._keys[-1][1] >= KEY_S:
                self._keys.append((secrets.token_urlsafe(9), now_s))
            return self._keys[-1][0]

    def good(self, key: str) -> bool:
        """Whether a run may be started with it."""
        with self._lock:
            return any(key == known and self._clock() - since_s < 2 * KEY_S for known, since_s in self._keys)

    def withdraw(self) -> None:
        """A run has begun, whoever began it: no key of before it is good any more."""
        with self._lock:
            self._keys.clear()
