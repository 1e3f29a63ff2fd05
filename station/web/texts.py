"""The string table for pages rendered here: the same file a language that the live page reads."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "static" / "strings"


class Texts:
    """Texts of one language, found by dotted path."""

    def __init__(self, language: str, table: dict[str, Any]) -> None:
        self.language = language
        self._table = table

    def __call__(self, path: str, **values: object) -> str:
        """The text at ``path`` with ``{name}`` filled; the path itself when the table lacks it."""
        node: Any = self._table
        for key in path.split("."):
            node = node.get(key) if isinstance(node, dict) else None
        text = node if isinstance(node, str) else path
        return re.sub(r"\{(\w+)\}", lambda match: str(values.get(match[1], match[0])), text)

    def words(self, group: str, key: str) -> str:
        """The text of ``key`` in ``group``; a name it does not know as plain words."""
        node = self._table.get(group)
        text = node.get(key) if isinstance(node, dict) else None
        return text if isinstance(text, str) else key.replace("_", " ").capitalize()

    def group(self, name: str) -> dict[str, Any]:
        """A whole group."""
        node = self._table.get(name)
        return node if isinstance(node, dict) else {}


def languages() -> tuple[str, ...]:
    """The languages there are."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.json")))


@cache
def texts(language: str | None) -> Texts:
    """The table of a language, English when there is none."""
    name = language if language in languages() else "en"
    return Texts(name, json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8")))
