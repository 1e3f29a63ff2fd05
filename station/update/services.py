"""The station's services as systemd runs them: restarted at a changeover, watched during probation.

Standard library only: the rollback that runs outside of every release uses this too.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

from station.errors import UpdateError

ENGINE, PAGE = "station.service", "station-web.service"
UPDATER = "station-update.service"
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class UnitState:
    """``active`` is systemd's ActiveState; ``restarts`` how often it was started again by itself since it was asked."""

    active: str
    restarts: int
    result: str

    @property
    def is_up(self) -> bool:
        """Whether it runs; a service of Type=notify has said that it is ready."""
        return self.active == "active"


class Services:
    """systemd's, through ``systemctl`` (``HIPLINE_SYSTEMCTL`` names another program with the same words)."""

    def __init__(self, units: tuple[str, ...] = (ENGINE, PAGE), program: str | None = None) -> None:
        self.units = units
        self._program = program or os.environ.get("HIPLINE_SYSTEMCTL") or "systemctl"

    def reload(self) -> None:
        """Read the units again: they are links into the active release."""
        self._call("daemon-reload")

    def restart(self) -> None:
        """Start everything anew from the active release; returns before it is up. What gave up gets a new chance."""
        self.reload()
        self._call("reset-failed", *self.units, may_fail=True)  # units that never failed are not known to it
        self._call("restart", "--no-block", *self.units)

    def start_updater(self) -> None:
        """Let the updater go on with what the journal says, after this boot's other jobs."""
        self._call("start", "--no-block", UPDATER)

    def stop_updater(self) -> None:
        """End an updater that judges a release, before somebody else decides."""
        self._call("stop", UPDATER, may_fail=True)

    def takes(self, unit: str) -> bool:
        """Whether systemd has read this unit and finds nothing wrong with it."""
        return self._call("show", unit, "--property=LoadState").strip() == "LoadState=loaded"

    def state(self, unit: str) -> UnitState:
        """How a unit is doing."""
        text = self._call("show", unit, "--property=ActiveState,NRestarts,Result")
        found = dict(line.partition("=")[::2] for line in text.splitlines())
        restarts = found.get("NRestarts", "")
        return UnitState(
            found.get("ActiveState", "unknown"), int(restarts) if restarts.isdigit() else 0, found.get("Result", "")
        )

    def _call(self, *words: str, may_fail: bool = False) -> str:
        try:
            done = subprocess.run(
                [self._program, *words], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UpdateError(f"{self._program} {words[0]}: {error}; is this machine run by systemd?") from None
        if done.returncode and not may_fail:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise UpdateError(f"{self._program} {' '.join(words)}: {last}")
        return done.stdout
