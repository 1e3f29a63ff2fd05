"""The outbox's file: one SQLite table, owned by one thread. What the disk refuses comes out as ``sqlite3.Error``.

Durability, chosen for flash: WAL with ``synchronous=NORMAL``, so that a stride costs an append and no fsync; a power
cut may take the strides of the last seconds that had not been sent, never the file. A batch with a session summary in
it is written with ``synchronous=FULL``. ``secure_delete`` overwrites what is erased; ``locking_mode=EXCLUSIVE`` keeps a
second station process off the same queue.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

WAITING, SENT, REFUSED = 0, 1, 2

#: Stays 1 while a change only adds (tables, indexes, columns with a default): after a rollback the release before must
#: open what this one wrote. Columns are therefore named in every statement.
_VERSION = 1
_SCHEMA = """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE rows (
        id INTEGER PRIMARY KEY, kind TEXT NOT NULL, session TEXT NOT NULL, payload BLOB NOT NULL,
        state INTEGER NOT NULL, wall_s REAL NOT NULL, run_s REAL NOT NULL, done_run_s REAL
    );
    CREATE INDEX by_kind ON rows (kind, state, id);
    CREATE INDEX waiting ON rows (id) WHERE state = 0;
"""
#: Who goes first when there are too many rows: what was sent before what waits, sessions only after every stride.
POLICY = (
    ("cue", (SENT, REFUSED)),
    ("stride", (SENT, REFUSED)),
    ("cue", (WAITING,)),
    ("stride", (WAITING,)),
    ("session", (SENT, REFUSED)),
    ("session", (WAITING,)),
)


class NotOursError(sqlite3.DatabaseError):
    """A healthy database, but not an outbox of this version."""


@dataclass(frozen=True, slots=True)
class Row:
    """One message of record. ``wall_s`` and ``run_s`` are its birth in wall time and on the outbox's own clock."""

    id: int
    kind: str
    session: str
    payload: bytes
    wall_s: float
    run_s: float


class Store:
    """Opens (or creates) the file at ``path``; ``:memory:`` for a store that dies with the process."""

    def __init__(self, path: str) -> None:
        if path != ":memory:":
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # strides tell about health: nobody else reads them
        self._db = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        run = self._db.execute
        run("PRAGMA locking_mode=EXCLUSIVE")
        run("PRAGMA journal_mode=WAL").fetchone()
        run("PRAGMA synchronous=NORMAL")
        run("PRAGMA secure_delete=ON")
        damage = run("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise sqlite3.DatabaseError(f"database disk image is malformed: {damage}")
        version = run("PRAGMA user_version").fetchone()[0]
        tables = run("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version == 0 and tables == 0:
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise NotOursError(f"not an outbox of version {_VERSION}")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def write(
        self,
        rows: Iterable[Row],
        marks: Mapping[int, int],
        erased: Iterable[str],
        meta: Mapping[str, float],
        *,
        durable: bool = False,
    ) -> None:
        """All of it in one transaction, or none: new rows, new states by id, sessions to erase, numbers to remember."""
        run = self._db.execute
        if durable:
            run("PRAGMA synchronous=FULL")
        run("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                "INSERT OR IGNORE INTO rows (id, kind, session, payload, state, wall_s, run_s)"
                " VALUES (?, ?, ?, ?, 0, ?, ?)",
                ((r.id, r.kind, r.session, zlib.compress(r.payload, 1), r.wall_s, r.run_s) for r in rows),
            )
            done = meta["run_s"]
            self._db.executemany(
                "UPDATE rows SET state = ?, done_run_s = ? WHERE id = ?", ((s, done, id_) for id_, s in marks.items())
            )
            self._db.executemany("DELETE FROM rows WHERE session = ?", ((session,) for session in erased))
            self._db.executemany("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", meta.items())
            run("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                run("ROLLBACK")
            raise
        finally:
            if durable:
                run("PRAGMA synchronous=NORMAL")

    def scrub(self) -> None:
        """Leave nothing of erased rows in the write-ahead log either."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def meta(self, key: str, default: float) -> float:
        """A remembered number."""
        found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if found is None else float(found[0])

    def last_id(self) -> int:
        """The highest id ever given, 0 in a new store."""
        return max(int(self.meta("last_id", 0)), self._count("SELECT coalesce(max(id), 0) FROM rows"))

    def count(self) -> int:
        """Rows in the file."""
        return self._count("SELECT count(*) FROM rows")

    def waiting(self) -> int:
        """Rows that no broker has accepted yet."""
        return self._count("SELECT count(*) FROM rows WHERE state = 0")

    def newest_session(self) -> str | None:
        """Whose summary came last; ``None`` when there is none."""
        query = "SELECT session FROM rows WHERE kind = 'session' ORDER BY id DESC LIMIT 1"
        found = self._db.execute(query).fetchone()
        return None if found is None else str(found[0])

    def _count(self, query: str, values: tuple[object, ...] = ()) -> int:
        return int(self._db.execute(query, values).fetchone()[0])

    def unsent(self, after: Mapping[str, int], limit: int) -> list[Row]:
        """The oldest waiting rows, each kind only beyond its id in ``after``; kinds not named there are left out."""
        if not after:
            return []
        where = " OR ".join("(kind = ? AND id > ?)" for _ in after)
        values = [value for pair in after.items() for value in pair]
        found = self._db.execute(
            "SELECT id, kind, session, payload, wall_s, run_s FROM rows INDEXED BY waiting"
            f" WHERE state = 0 AND id > ? AND ({where}) ORDER BY id LIMIT ?",  # only ? is put in
            (min(after.values()), *values, limit),
        )
        try:
            return [
                Row(i, kind, session, zlib.decompress(blob), wall, run) for i, kind, session, blob, wall, run in found
            ]
        except zlib.error as error:
            raise sqlite3.DatabaseError(f"a payload is damaged: {error}") from None

    def rewind(self, since_run_s: float) -> int:
        """What was accepted since then (on the outbox's clock) waits again; returns how many."""
        return self._change("UPDATE rows SET state = 0 WHERE state = 1 AND done_run_s >= ?", (since_run_s,))

    def drop_old(self, kind: str, keep_s: float, run_s: float, wall_s: float) -> int:
        """Drop what is older than ``keep_s``; returns how many of those were waiting.

        What was sent ages by either clock; what waits ages only by the station's own running time, so that a wall clock
        that jumps ahead (a Pi has no battery for it) costs nothing.
        """
        old_run, old_wall = run_s - keep_s, wall_s - keep_s
        self._change(
            "DELETE FROM rows WHERE kind = ? AND state != 0 AND (run_s < ? OR wall_s < ?)", (kind, old_run, old_wall)
        )
        return self._change("DELETE FROM rows WHERE kind = ? AND state = 0 AND run_s < ?", (kind, old_run))

    def drop_excess(self, excess: int) -> int:
        """Drop ``excess`` rows by :data:`POLICY`, oldest first within each class; returns how many of them waited."""
        lost = 0
        for kind, states in POLICY:
            for state in states:
                if excess <= 0:
                    return lost
                oldest = "SELECT id FROM rows WHERE kind = ? AND state = ? ORDER BY id LIMIT ?"
                gone = self._change(f"DELETE FROM rows WHERE id IN ({oldest})", (kind, state, excess))
                excess -= gone
                lost += gone if state == WAITING else 0
        return lost

    def _change(self, statement: str, values: tuple[object, ...]) -> int:
        return self._db.execute(statement, values).rowcount


_LOGS = ("-wal", "-shm")


def set_aside(path: Path, stamp: int, keep: int = 3) -> Path:
    """Rename a broken outbox and its log to ``….corrupt-<stamp>``; returns the new name. The newest ``keep`` stay."""
    target = path.with_name(f"{path.name}.corrupt-{stamp}")
    number = 0
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.corrupt-{stamp}.{number}")
    for end in ("", *_LOGS):
        if (part := path.with_name(path.name + end)).exists():
            part.rename(target.with_name(target.name + end))
    for file in _set_aside(path)[:-keep]:
        _remove(file)
    return target


def forget_set_aside(path: Path, before_wall_s: float) -> None:
    """Remove what was set aside before then: nothing about a runner's health is kept longer than a summary."""
    for file in _set_aside(path):
        if file.stat().st_mtime < before_wall_s:
            _remove(file)


def _set_aside(path: Path) -> list[Path]:
    found = [file for file in path.parent.glob(f"{path.name}.corrupt-*") if not file.name.endswith(_LOGS)]
    return sorted(found, key=lambda file: file.stat().st_mtime)


def _remove(file: Path) -> None:
    for end in ("", *_LOGS):
        file.with_name(file.name + end).unlink(missing_ok=True)
