"""Commands that read a disk: done beside the frame path, one at a time, answered at the next frame after."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from station.engine.updates import report_file, request_check
from station.errors import HiplineError, UpdateError
from station.session import SessionSettings
from station.wire.commands import Command


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a chore ended: ``reason`` when it was not done, ``details`` for the answer when it was.

    ``settings`` are what the session shall go by from now on; ``None`` = nothing changes.
    """

    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    settings: SessionSettings | None = None


#: Does what a command asks for and may take its time; a :class:`HiplineError` is its reason for not doing it.
Chore = Callable[[], Outcome]


def update_check() -> Outcome:
    """Knock at the updater's door; what it finds is told in ``status``. An error where there is no updater."""
    home = report_file().parent
    if not home.is_dir():
        raise UpdateError(f"update-check: no updater is installed here ({home} is not there)")
    request_check()
    return Outcome()


class Chores:
    """The chores there are, by name of the command. One at a time: a slow disk must not pile up threads."""

    def __init__(self, known: Mapping[str, Chore] | None = None) -> None:
        self._known = known or {}
        self._lock = threading.Lock()
        self._command: Command | None = None
        self._ended: Outcome | BaseException | None = None

    def begin(self, command: Command) -> str | None:
        """Start on a command; a reason when it is not started."""
        chore = self._known.get(command.name)
        if chore is None:
            return f"this station has nobody to do {command.name}"
        with self._lock:
            if self._command is not None:
                return f"{self._command.name} is still under way: try again in a moment"
            self._command = command
        threading.Thread(target=self._work, args=(chore,), name=command.name, daemon=True).start()
        return None

    def ended(self) -> tuple[Command, Outcome] | None:
        """The command that is done since the last question; a bug in a chore is raised here."""
        with self._lock:
            command, ended = self._command, self._ended
            if command is None or ended is None:
                return None
            self._command = self._ended = None
        if isinstance(ended, BaseException):
            raise ended
        return command, ended

    def _work(self, chore: Chore) -> None:
        ended: Outcome | BaseException
        try:
            ended = chore()
        except HiplineError as error:
            ended = Outcome(reason=str(error))
        except Exception as error:  # not handled here: the frame loop raises it again
            ended = error
        with self._lock:
            self._ended = ended
