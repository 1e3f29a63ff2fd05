"""``cmd/config-reload``: the file is read again; what can change while the station runs does, the rest is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from station.config import Config, changed_keys
from station.engine.chores import Chore, Outcome
from station.session import SessionSettings

#: Tables whose keys hold from the next session on; all else (camera, models, broker, page) is built at the start.
LIVE_TABLES = ("session", "coach")


def session_settings(config: Config) -> SessionSettings:
    """What the kernel is told of the configuration."""
    return SessionSettings(config.session.start == "auto", config.session.profile, config.coach)


def reloader(running: Config, read: Callable[[], Config]) -> Chore:
    """A chore that compares what ``read`` finds with what is in force; ``running`` is what the station started with.

    A file that cannot be read or is wrong raises its :class:`~station.errors.ConfigError`, and nothing changes. The
    answer's ``applied`` are the keys that changed now, ``restart`` those that differ from what the station started with
    and wait for ``systemctl restart``.
    """
    in_force = running

    def reload() -> Outcome:
        nonlocal in_force
        found = read()
        keys = changed_keys(in_force, found)
        applied = [key for key in keys if key.partition(".")[0] in LIVE_TABLES]
        in_force = dataclasses.replace(in_force, session=found.session, coach=found.coach)
        details = {"applied": applied, "restart": [key for key in keys if key not in applied]}
        return Outcome(details=details, settings=session_settings(in_force) if applied else None)

    return reload
