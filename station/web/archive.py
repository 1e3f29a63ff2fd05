"""Finished sessions, kept for their runners: own SQLite, 30 days, erasable at any moment.

A session is reached through a random token only; of the token just its hash is stored, so the file alone opens nothing.
An erased session leaves its (hashed) name for a while, so that a retained copy on the broker cannot bring it back.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_DAY_S = 86_400.0
#: A newer release may only add to this: after a rollback the one before must go on with what it finds.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (session TEXT PRIMARY KEY, received_s REAL NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS tokens (hash TEXT PRIMARY KEY, session TEXT NOT NULL, expires_s REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS erased (hash TEXT PRIMARY KEY, at_s REAL NOT NULL) STRICT;
"""


class Archive:
    """Sessions by token. Thread-safe. ``path`` ``None`` keeps them in memory; ``clock`` is wall time in seconds."""

    def __init__(
        self,
        path: Path | None,
        retention_days: float = 30.0,
        token_hours: float = 24.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._retention_s, self._token_s, self._clock = retention_days * _DAY_S, token_hours * 3600.0, clock
        self._lock = threading.Lock()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
        self._db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA secure_delete = ON")
        self._db.executescript(_SCHEMA)

    def keep(self, session: str, body: dict[str, Any]) -> bool:
        """Store a session (again = the newer body, the first date); False when it was erased before."""
        with self._lock, self._db:
            if self._db.execute("SELECT 1 FROM erased WHERE hash = ?", (_hash(session),)).fetchone():
                return False
            self._db.execute(
                "INSERT INTO sessions (session, received_s, body) VALUES (?, ?, ?)"
                " ON CONFLICT (session) DO UPDATE SET body = excluded.body",
                (session, self._clock(), json.dumps(body, allow_nan=False)),
            )
            return True

    def mint(self, session: str) -> str:
        """A new token for a session: 128 random bits, short-lived."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._db.execute(
                "INSERT INTO tokens (hash, session, expires_s) VALUES (?, ?, ?)",
                (_hash(token), session, self._clock() + self._token_s),
            )
        return token

    def find(self, token: str) -> dict[str, Any] | None:
        """The session behind a token; ``None`` when there is none (any more)."""
        with self._lock:
            row = self._db.execute(
                "SELECT body FROM tokens JOIN sessions USING (session) WHERE hash = ? AND expires_s > ?"
                " AND received_s > ?",
                (_hash(token), self._clock(), self._clock() - self._retention_s),
            ).fetchone()
        return json.loads(row[0]) if row else None

    def erase(self, session: str) -> bool:
        """Remove a session and its tokens for good; True when there was one."""
        with self._lock, self._db:
            gone = self._db.execute("DELETE FROM sessions WHERE session = ?", (session,)).rowcount
            self._db.execute("DELETE FROM tokens WHERE session = ?", (session,))
            self._db.execute(
                "INSERT OR REPLACE INTO erased (hash, at_s) VALUES (?, ?)", (_hash(session), self._clock())
            )
        self._truncate_log()
        return gone > 0

    def prune(self) -> int:
        """Remove what is past its time; how many sessions went."""
        now_s = self._clock()
        with self._lock, self._db:
            old = self._db.execute(
                "SELECT session FROM sessions WHERE received_s <= ?", (now_s - self._retention_s,)
            ).fetchall()
            for (session,) in old:
                self._db.execute("DELETE FROM sessions WHERE session = ?", (session,))
                self._db.execute("DELETE FROM tokens WHERE session = ?", (session,))
                self._db.execute("INSERT OR REPLACE INTO erased (hash, at_s) VALUES (?, ?)", (_hash(session), now_s))
            self._db.execute("DELETE FROM tokens WHERE expires_s <= ?", (now_s,))
            self._db.execute("DELETE FROM erased WHERE at_s <= ?", (now_s - 3 * self._retention_s,))
        if old:
            self._truncate_log()
        return len(old)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _truncate_log(self) -> None:
        with self._lock:  # else what was erased lives on in the write-ahead log
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
