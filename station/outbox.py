from __future__ import annotations

from pathlib import Path


class Outbox:
    """Queue of record (being written)."""

    def __init__(self, path: str | Path | None, max_rows: int = 100_000) -> None:
        self.path = path
