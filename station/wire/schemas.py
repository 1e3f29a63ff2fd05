"""The JSON Schemas of every payload, as they lie in the package (``station/schemas``)."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

#: Every schema there is: the MQTT payloads, the commands and their answer, the two kinds of line of a pose track.
NAMES = (
    "stride",
    "session",
    "cue",
    "state",
    "status",
    "health",
    "live",
    "log",
    "command",
    "result",
    "track-header",
    "track-frame",
)


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) called ``name``, one of :data:`NAMES`."""
    text = resources.files("station").joinpath("schemas", f"{name}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
