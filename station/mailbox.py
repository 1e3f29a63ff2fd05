"""One slot between two threads: the newest item wins, what it replaced is counted."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """A slot for one item. :meth:`put` never waits and replaces an item nobody took; :meth:`take` waits for one.

    An old frame is worth less than a new one, so the *old* one is dropped; ``lost`` counts them.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._closed = False
        self.lost = 0

    def put(self, item: T) -> None:
        """Offer ``item``; after :meth:`close` it is dropped silently."""
        with self._changed:
            if self._closed:
                return
            if self._item is not None:
                self.lost += 1
            self._item = item
            self._changed.notify()

    def take(self, timeout_s: float | None = None) -> T | None:
        """The item in the slot, waiting up to ``timeout_s`` for one; ``None`` when none came or all is over.

        An item offered before :meth:`close` is still handed out.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed, timeout_s)
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """No more items will come: wakes whoever waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed
