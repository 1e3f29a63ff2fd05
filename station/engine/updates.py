"""What the engine knows of updates: the updater's word for ``status``, and the knock that makes it look for one.

The updater is another process, run by systemd as another user. It writes ``update/report.json`` under its root; the
engine reads it at start and when it changes, on a thread of its own: no frame waits for that disk.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from station.errors import UpdateError

#: Where releases live, unless ``HIPLINE_ROOT`` says otherwise.
ROOT = Path("/var/lib/hipline")
#: The file in the engine's runtime directory that ``station-update.path`` watches.
REQUEST_FILE = "update-check"
#: What a report may say.
STATES = ("idle", "staged", "probation", "failed")
LOOK_EVERY_S = 2.0

UpdateBlock = Mapping[str, str | None]


def report_file(environment: Mapping[str, str] = os.environ) -> Path:
    """The updater's report under ``HIPLINE_ROOT``, or under :data:`ROOT`."""
    return Path(environment.get("HIPLINE_ROOT") or ROOT) / "update" / "report.json"


def read_report(file: Path) -> UpdateBlock | None:
    """The ``update`` block of ``status``: state, from, to, reason; ``None`` without a (sound) report."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        block = {key: None if found.get(key) is None else str(found[key]) for key in ("state", "from", "to", "reason")}
    except (OSError, ValueError, AttributeError):
        return None
    return block if block["state"] in STATES else None


class UpdateNews:
    """Calls ``tell`` with the report at the start and after every change, until closed."""

    def __init__(self, file: Path, tell: Callable[[UpdateBlock], None], every_s: float = LOOK_EVERY_S) -> None:
        self._file, self._tell, self._every_s = file, tell, every_s
        self._told: UpdateBlock | None = None
        self._closing = threading.Event()
        self._look()
        self._thread = threading.Thread(target=self._watch, name="update-news", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closing.set()
        self._thread.join(1.0)

    def _watch(self) -> None:
        while not self._closing.wait(self._every_s):
            self._look()

    def _look(self) -> None:
        block = read_report(self._file)
        if block is not None and block != self._told:
            self._told = block
            self._tell(block)


def request_check(folder: Path | None = None) -> None:
    """Ask the updater to look for a release now; returns at once, what comes of it is told in ``status``.

    Touches :data:`REQUEST_FILE` in ``folder`` (default: systemd's ``RuntimeDirectory=``). Raises :class:`UpdateError`
    where no systemd has made one: then nobody watches it.
    """
    if folder is None:
        runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
        if not runtime:
            raise UpdateError("update-check: this station is not run by systemd; run `station update apply` instead")
        folder = Path(runtime)
    try:
        (folder / REQUEST_FILE).write_text("check\n", encoding="utf-8")
    except OSError as error:
        raise UpdateError(f"{folder / REQUEST_FILE}: cannot be written ({error.strerror})") from None
