"""The queue of record for strides, sessions and cues: nothing of them is lost while the broker is away.

:meth:`Outbox.put` and its sisters only leave a note for the outbox's own thread, so no frame waits for a disk. That
thread alone touches the SQLite file (:mod:`station.outbox.store`): it stores first, then tells the publisher that rows
wait, and marks a row sent only when the broker has accepted it.

Bounds, and what is dropped at each (every drop is counted in :attr:`OutboxStats.lost`):

- notes that the thread has not read yet: :data:`MAX_NOTES`; a further record is not taken (``queue_full``);
- rows in the file: ``max_rows``; first what was sent, then waiting strides, oldest first; a session only when no stride
  is left (``rows_full``);
- age: 24 h for strides and cues, 30 days for sessions (``too_old``);
- rows in memory while the disk refuses them: :data:`MAX_IN_MEMORY`, same order (``disk``). They are sent all the same,
  and stored when the disk is back.

A file that is no sound database is set aside as ``….corrupt-<time>``, counted, and a new one begun.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

from station.errors import OutboxError
from station.outbox.store import POLICY, REFUSED, SENT, WAITING, NotOursError, Row, Store, forget_set_aside, set_aside
from station.wire.topics import DELIVERY

__all__ = ["MAX_IN_MEMORY", "MAX_NOTES", "Outbox", "OutboxStats", "Row"]

MAX_NOTES = 2_000
MAX_IN_MEMORY = 2_000
#: Marks ("sent") wait this long for a new row to share a write with; lost in a crash they cost a message sent twice.
MARKS_WAIT_S = 2.0
#: How long the disk is left alone after it refused, and how often old rows are looked for.
RETRY_S = 15.0
PRUNE_S = 60.0

KEEP_S: Mapping[str, float] = {
    kind: float(delivery.keep_s) for kind, delivery in DELIVERY.items() if delivery.recorded and delivery.keep_s
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """What the outbox has to say: rows ``waiting``, what was ``lost`` and why, ``trouble`` with the disk, if any."""

    waiting: int
    refused: int
    corrupt: int
    lost: Mapping[str, int] = field(default_factory=dict)
    trouble: str | None = None

    def said(self) -> dict[str, int | str]:
        """For the health message: only what is worth saying; empty when all is well."""
        found: dict[str, int | str] = {name: count for name, count in self.lost.items() if count}
        if self.refused:
            found["refused"] = self.refused
        if self.corrupt:
            found["corrupt"] = self.corrupt
        if self.trouble:
            found["trouble"] = self.trouble
        return found


class Outbox:
    """Opens the file at ``path`` (``None``: in memory only) and starts its thread. No method but ``close`` waits.

    ``monotonic`` and ``wall`` are the clocks, in seconds; ``keep_s`` maps each kind to its age bound; ``store`` opens
    the file.
    """

    def __init__(
        self,
        path: str | Path | None,
        max_rows: int = 100_000,
        *,
        keep_s: Mapping[str, float] = KEEP_S,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        store: Callable[[str], Store] = Store,
    ) -> None:
        self._open_store = store
        self._path = None if path is None else Path(path)
        self._max_rows = max_rows
        self._keep_s = keep_s
        self._monotonic = monotonic
        self._wall = wall
        #: Called on the outbox's thread whenever rows began to wait.
        self.on_ready: Callable[[], None] | None = None
        self._notes: deque[Callable[[], None]] = deque()
        self._records_noted = 0
        self._wake = threading.Condition()
        self._closing = False
        # From here on: touched by the outbox's thread only (stats() reads plain numbers).
        self._store: Store | None = None
        self._unstored: dict[int, Row] = {}
        self._marks: dict[int, int] = {}
        self._erase: dict[str, list[Future[bool]]] = {}
        self._lost = Counter(dict.fromkeys(("queue_full", "rows_full", "too_old", "disk"), 0))
        self._refused = self._corrupt = self._waiting = self._rows = self._last_id = 0
        self._trouble: str | None = None
        self._acquainted, self._clean_before = False, True
        self._run_base_s, self._opened_at_s = 0.0, monotonic()
        self._retry_at_s = self._prune_at_s = self._marks_at_s = 0.0
        self._fresh = False
        self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)
        self._thread.start()

    # --- for any thread -----------------------------------------------------------------------------------------------

    def put(self, kind: str, session: str, payload: bytes) -> bool:
        """Keep a message until it is accepted. ``False``: too many were not read yet, this one is lost and counted."""
        with self._wake:
            if self._records_noted >= MAX_NOTES or self._closing:
                self._lost["queue_full"] += 1
                return False
            self._records_noted += 1
            born = self._wall()
            self._notes.append(lambda: self._take(kind, session, payload, born))
            self._wake.notify()
        return True

    def settle(self, row_id: int, *, accepted: bool) -> None:
        """The broker accepted this row, or will never (``accepted=False``: malformed or too large for it)."""
        self._note(lambda: self._mark(row_id, SENT if accepted else REFUSED))

    def fetch(self, after: Mapping[str, int], limit: int, deliver: Callable[[list[Row]], None]) -> None:
        """Hand up to ``limit`` waiting rows to ``deliver`` on the outbox's thread, oldest first.

        Each kind only beyond its id in ``after``; kinds that are not in it are held back.
        """
        wanted = dict(after)
        self._note(lambda: deliver(self._unsent(wanted, limit)), last=True)

    def rewind(self, seconds: float, *, after_crash_only: bool = False) -> None:
        """Let what was accepted within the last ``seconds`` wait again.

        For a broker that died: what it had accepted but not handed on or written down died with it. Receivers drop by
        (station, session, seq) what they see twice. ``after_crash_only``: only if the last run did not end cleanly.
        """
        self._note(lambda: self._rewind(seconds, after_crash_only))

    def erase(self, session: str) -> Future[bool]:
        """Forget every row of a session, on disk too; ``True`` when no later session's summary is known.

        The future fails with :class:`OutboxError` while the disk refuses; the erasure is then done when it is back.
        """
        done: Future[bool] = Future()
        self._note(lambda: self._erase.setdefault(session, []).append(done))
        return done

    def age_s(self, row: Row) -> float:
        """How long ago the row was put, on the outbox's own clock: no step of the wall clock makes it expire."""
        return self._run_s() - row.run_s

    def stats(self) -> OutboxStats:
        """Counters, now."""
        return OutboxStats(self._waiting, self._refused, self._corrupt, dict(self._lost), self._trouble)

    def close(self, timeout_s: float = 5.0) -> None:
        """Store what was put, then let go of the file; gives up waiting after ``timeout_s``."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout_s)

    def _note(self, note: Callable[[], None], *, last: bool = False) -> None:
        # `last`: after the writes of this round. A fetch must see what was put before it.
        with self._wake:
            self._notes.append((lambda: self._afterwards.append(note)) if last else note)
            self._wake.notify()

    # --- the outbox's thread ------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._read_notes()
        except BaseException:
            self._trouble = "the outbox has crashed: see the log"
            raise

    def _read_notes(self) -> None:
        self._afterwards: list[Callable[[], None]] = []
        self._open()
        closing = False
        while not closing:
            with self._wake:
                if not self._notes and not self._closing:
                    self._wake.wait(self._pause_s())
                notes, closing = list(self._notes), self._closing
                self._notes.clear()
                self._records_noted = 0
            for note in notes:
                note()
            self._save(closing)
            afterwards, self._afterwards = self._afterwards, []
            for note in afterwards:
                note()
            if self._fresh and self.on_ready is not None:
                self._fresh = False
                self.on_ready()
        if self._store is not None:
            self._store.close()

    def _pause_s(self) -> float:
        due = [self._prune_at_s, self._marks_at_s if self._marks else self._prune_at_s]
        if self._trouble is not None:
            due = [self._retry_at_s]
        return max(0.01, min(due) - self._monotonic())

    def _run_s(self) -> float:
        """The outbox's own clock: seconds of running time since the file was made. No wall clock can step it."""
        return self._run_base_s + self._monotonic() - self._opened_at_s

    def _take(self, kind: str, session: str, payload: bytes, wall_s: float) -> None:
        self._last_id += 1
        self._unstored[self._last_id] = Row(self._last_id, kind, session, payload, wall_s, self._run_s())
        self._waiting += 1
        self._fresh = True
        while len(self._unstored) > MAX_IN_MEMORY:
            if sent := next((i for i in self._unstored if i in self._marks), None):
                del self._unstored[sent], self._marks[sent]
                continue
            order = [kind for kind, states in POLICY if WAITING in states]
            oldest = min(self._unstored.values(), key=lambda row: (order.index(row.kind), row.id))
            del self._unstored[oldest.id]
            self._waiting -= 1
            self._lost["disk"] += 1

    def _mark(self, row_id: int, state: int) -> None:
        self._waiting = max(0, self._waiting - 1)
        self._refused += state == REFUSED
        if not self._marks:
            self._marks_at_s = self._monotonic() + MARKS_WAIT_S
        self._marks[row_id] = state

    def _unsent(self, after: Mapping[str, int], limit: int) -> list[Row]:
        rows: list[Row] = []
        if self._store is not None:
            try:
                found = self._store.unsent(after, limit + len(self._marks))
                rows = [row for row in found if row.id not in self._marks]
            except sqlite3.Error as error:
                self._refuse(error)
        rows += [
            row for row in self._unstored.values() if row.id > after.get(row.kind, row.id) and row.id not in self._marks
        ]
        return sorted(rows, key=lambda row: row.id)[:limit]

    def _rewind(self, seconds: float, after_crash_only: bool) -> None:
        if after_crash_only and self._clean_before:
            return
        self._save(closing=False, all_marks=True)
        if self._store is None:
            return
        try:
            again = self._store.rewind(self._run_s() - seconds)
        except sqlite3.Error as error:
            self._refuse(error)
            return
        self._waiting += again
        self._fresh = self._fresh or again > 0

    # --- the disk -----------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        path = self._path
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._store = self._open_store(":memory:" if path is None else str(path))
            store = self._store
            self._last_id = max(self._last_id, store.last_id())
            if not self._acquainted:
                self._acquaint(store)
            self._rows = store.count()
            self._waiting = store.waiting() + len(self._unstored)
            self._fresh = self._waiting > 0
            self._trouble = None
        except (sqlite3.Error, OSError) as error:
            self._refuse(error)
            # Rows get numbers beyond any that the file can hold, so that they find their place when it opens later.
            self._last_id = max(self._last_id, int(self._wall() * 1000), 1 << 40)

    def _acquaint(self, store: Store) -> None:
        """Go on where the last process stopped, also when the file could not be opened at first."""
        self._acquainted = True
        self._run_base_s = store.meta("run_s", 0.0)
        self._clean_before = bool(store.meta("clean", 1.0))
        self._unstored = {i: replace(row, run_s=row.run_s + self._run_base_s) for i, row in self._unstored.items()}

    def _save(self, closing: bool, *, all_marks: bool = False) -> None:
        now = self._monotonic()
        if self._trouble is not None and not (closing or now >= self._retry_at_s):
            self._fail_erasures()
            return
        if self._store is None:
            self._open()
        marks_due = closing or all_marks or now >= self._marks_at_s
        work = self._unstored or (self._marks and marks_due) or self._erase or now >= self._prune_at_s or closing
        if self._store is None or not work:
            self._fail_erasures()
            return
        try:
            self._write(self._store, closing)
            self._prune(self._store, now)
            if self._trouble is not None:
                log.warning("outbox %s: the disk takes rows again", self._path)
            self._trouble = None
        except (sqlite3.Error, OSError) as error:
            self._refuse(error)
            self._fail_erasures()

    def _write(self, store: Store, closing: bool) -> None:
        rows = list(self._unstored.values())
        meta = {"run_s": self._run_s(), "clean": float(closing), "last_id": float(self._last_id)}
        newest = next((r.session for r in reversed(rows) if r.kind == "session"), None) if self._erase else None
        newest = newest or (store.newest_session() if self._erase else None)
        store.write(rows, self._marks, self._erase, meta, durable=closing or any(r.kind == "session" for r in rows))
        self._rows += len(rows)
        self._unstored.clear()
        self._marks.clear()
        self._waiting = store.waiting()
        if self._erase:
            store.scrub()
            self._rows = store.count()
            erased, self._erase = self._erase, {}
            for session, waiting in erased.items():
                for done in (future for future in waiting if not future.done()):
                    done.set_result(newest in (None, session))

    def _prune(self, store: Store, now: float) -> None:
        lost = {"too_old": 0, "rows_full": 0}
        if now >= self._prune_at_s:
            self._prune_at_s = now + PRUNE_S
            for kind, keep_s in self._keep_s.items():
                lost["too_old"] += store.drop_old(kind, keep_s, self._run_s(), self._wall())
            self._rows = store.count()
            if self._path is not None:
                forget_set_aside(self._path, self._wall() - max(self._keep_s.values(), default=0.0))
        if self._rows > self._max_rows:
            # A hundredth more than needed, so that a full outbox does not pay for this at every stride.
            excess = self._rows - self._max_rows + self._max_rows // 100
            lost["rows_full"] += store.drop_excess(excess)
            self._rows = store.count()
        for why, count in lost.items():
            if count:
                self._lost[why] += count
                self._waiting = store.waiting()
                log.warning("outbox %s: %d waiting rows dropped (%s)", self._path, count, why)

    def _refuse(self, error: sqlite3.Error | OSError) -> None:
        """The disk said no: set a broken file aside, else go on in memory and try again later."""
        broken = type(error) in (sqlite3.DatabaseError, NotOursError)
        if not broken and not isinstance(error, (sqlite3.OperationalError, OSError)):
            raise error  # a bug of ours: no disk does that
        if broken and self._store is not None:
            self._store.close()
            self._store = None
        if broken and self._path is not None:
            what = "not an outbox of this version" if isinstance(error, NotOursError) else "corrupt"
            try:
                aside = set_aside(self._path, int(self._wall()))
            except OSError as refused:
                error = refused
            else:
                self._corrupt += 1
                self._marks.clear()
                log.error("outbox %s: %s (%s), set aside as %s", self._path, what, error, aside.name)
                self._retry_at_s = self._monotonic()
                self._open()
                return
        if self._trouble is None:
            log.error("outbox %s: %s: strides are kept in memory until the disk takes them again", self._path, error)
        self._trouble = str(error)
        self._retry_at_s = self._monotonic() + RETRY_S

    def _fail_erasures(self) -> None:
        for done in (future for futures in self._erase.values() for future in futures):
            if not done.done():
                done.set_exception(
                    OutboxError(f"{self._path}: cannot erase yet ({self._trouble}): done when the disk is back")
                )
