"""The journal of a changeover: one small file, replaced at once, from which any step can be taken up again.

Steps and what may be true of the disk at each::

    idle        the active release is committed; ``previous`` is kept to go back to
    staging     <to> is being built; what is there of it is worthless
    staged      <to> is complete and has passed its self-test; the active release is still <from>
    activating  the symlink points at either, both complete
    probation   the active release is <to>, not trusted yet; ``boots`` counts starts of the machine since
    returning   on the way back to <from>, because of ``reason``

Standard library only: the rollback that runs outside of every release uses this too.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from station.errors import UpdateError
from station.update.layout import Layout, write_file

Step = Literal["idle", "staging", "staged", "activating", "probation", "returning"]
#: So many failed versions are remembered.
_REMEMBERED = 20
#: What the status message calls each step.
_SAID: Mapping[Step, str] = {
    "idle": "idle", "staging": "idle", "staged": "staged", "activating": "staged", "probation": "probation",
    "returning": "probation",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Journal:
    """How far the changeover ``source`` → ``target`` has got.

    ``previous`` is what a rollback by hand goes back to. ``failed`` maps versions that were given up to their reasons:
    they are not tried again by themselves. ``trouble`` is the newest of those reasons, or why no release could be had;
    it is told until something succeeds.
    """

    step: Step = "idle"
    source: str | None = None
    target: str | None = None
    boots: int = 0
    reason: str | None = None
    previous: str | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    trouble: Mapping[str, str | None] | None = None

    def on_probation(self, active: str | None) -> bool:
        """Whether what runs (``active``) has yet to prove itself."""
        return self.step in ("activating", "probation") and active is not None and active == self.target

    def block(self) -> dict[str, str | None]:
        """The ``update`` block of the status message."""
        if self.step == "idle" and self.trouble is not None:
            return {"state": "failed", **self.trouble}
        return {"state": _SAID[self.step], "from": self.source, "to": self.target, "reason": self.reason}

    def giving_up(self, version: str, reason: str, active: str | None) -> Journal:
        """Idle again, ``version`` noted as one that failed, and told."""
        kept = {known: why for known, why in self.failed.items() if known != version}
        newest = dict([*kept.items(), (version, reason)][-_REMEMBERED:])
        previous = None if self.previous == version else self.previous
        return Journal(previous=previous, failed=newest, trouble={"from": active, "to": version, "reason": reason})

    def refusing(self, version: str | None, reason: str, active: str | None) -> Journal:
        """As it is, but with something to tell: nothing was changed, and it may be different next time."""
        return replace(self, trouble={"from": active, "to": version, "reason": reason})


def load(layout: Layout) -> Journal:
    """The journal; an idle one where there is none, or none that can be read.

    The file is replaced at once, so only a dying disk can make it unreadable.
    """
    try:
        found = json.loads(layout.journal.read_text(encoding="utf-8"))
        journal = Journal(**{key: found[key] for key in Journal.__slots__ if key in found})
        sound = journal.step in get_args(Step) and isinstance(journal.boots, int) and isinstance(journal.failed, dict)
    except (OSError, ValueError, TypeError):
        return Journal()
    return journal if sound else Journal()


def store(layout: Layout, journal: Journal, **details: Any) -> Journal:
    """Write the journal, then the report for others (with ``details``); returns the journal."""
    write_file(layout.journal, _bytes(asdict(journal)))
    tell(layout, journal, **details)
    return journal


def tell(layout: Layout, journal: Journal, **details: Any) -> None:
    """Write the report: the ``update`` block, when, and what more there is to say about it."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    active = {"active": layout.active(), "previous": journal.previous, "failed": dict(journal.failed)}
    write_file(layout.report, _bytes({**journal.block(), "at": stamp, **active, **details}))


@contextlib.contextmanager
def only_one(layout: Layout, wait_s: float = 0.0) -> Iterator[None]:
    """One changer at a time; the lock goes with its process. :class:`UpdateError` when another has it for longer."""
    layout.make()
    with layout.lock.open("a") as lock:
        until_s = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until_s:
                    raise UpdateError(f"{layout.lock}: another update is under way; wait for it") from None
                time.sleep(0.2)
        yield


def _bytes(table: Mapping[str, Any]) -> bytes:
    return (json.dumps(table, indent=1, ensure_ascii=True) + "\n").encode()
