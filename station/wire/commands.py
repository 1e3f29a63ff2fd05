"""What the station may be told on ``cmd/<name>``, and how it answers.

Whoever may publish there is not trusted to be right: what is unknown or malformed is refused with a reason and changes
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from station.wire.jsonio import JsonObject, loads

#: A command is a few dozen bytes.
MAX_COMMAND_BYTES = 4_096
MAX_RESPONSE_TOPIC = 256

PROFILES = ("women", "men")
_SESSION = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Command:
    """A sound command: its ``name``, its ``args`` by name, and where and with what mark the answer is wanted."""

    name: str
    args: Mapping[str, Any]
    reply_to: str
    correlation: bytes | None = None


class RefusedError(ValueError):
    """Why a command is not obeyed: one line for the sender."""


def _profile(value: object) -> None:
    if value is not None and value not in PROFILES:
        raise RefusedError(f"profile must be one of {', '.join(PROFILES)}, or null")


def _session(value: object) -> None:
    if not isinstance(value, str) or not _SESSION.fullmatch(value):
        raise RefusedError("session must be the eight hexadecimal digits of a session")


#: Command → its keys: check and whether it must be there.
COMMANDS: Mapping[str, Mapping[str, tuple[Callable[[object], None], bool]]] = {
    "start": {"profile": (_profile, False)},
    "stop": {},
    "baseline": {},
    "erase": {"session": (_session, True)},
    "identify": {},
    "config-reload": {},
    "update-check": {},
}


def command_args(name: str, payload: bytes) -> dict[str, Any]:
    """The arguments of command ``name`` (an empty payload has none); :class:`RefusedError` says what is wrong."""
    keys = COMMANDS.get(name)
    if keys is None:
        raise RefusedError(f"unknown command: there are {', '.join(COMMANDS)}")
    if len(payload) > MAX_COMMAND_BYTES:
        raise RefusedError(f"longer than {MAX_COMMAND_BYTES} bytes")
    try:
        args = loads(payload.decode()) if payload.strip() else {}
    except ValueError:
        raise RefusedError("not JSON in UTF-8") from None
    if not isinstance(args, dict):
        raise RefusedError("must be a JSON object")
    for key in args:
        if key not in keys:
            raise RefusedError(f"unknown key: {name} takes {', '.join(keys) or 'none'}")
    for key, (check, needed) in keys.items():
        if key in args:
            check(args[key])
        elif needed:
            raise RefusedError(f"{key} is missing")
    return args


def reply_topic(root: str, name: str, response_topic: str | None) -> str:
    """Where the answer goes: the sender's response topic, if that is a topic we may answer on.

    Below our own root that is only a ``cmd/…/result``: nobody makes the station write its own state by asking.
    """
    usual = f"{root}/cmd/{name}/result"
    if not response_topic or len(response_topic) > MAX_RESPONSE_TOPIC or response_topic.startswith("$"):
        return usual
    if any(sign in response_topic for sign in "+#") or not response_topic.isprintable():
        return usual  # the broker would throw us out for publishing there
    ours = response_topic == root or response_topic.startswith(f"{root}/")
    mine = re.fullmatch(re.escape(root) + r"/cmd/[^/]+/result", response_topic)
    return usual if ours and not mine else response_topic


def result_json(ok: bool, reason: str | None = None, details: Mapping[str, Any] | None = None) -> JsonObject:
    """The answer to a command; ``reason`` says why not, ``details`` are the fields that some commands add."""
    return {"ok": ok, "reason": reason, **(details or {})}
