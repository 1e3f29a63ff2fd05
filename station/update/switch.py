"""The changeover itself: one rename of a symlink; the way back; and what is thrown away afterwards.

Standard library only: the rollback that runs outside of every release uses this too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from station.errors import UpdateError
from station.update import base
from station.update import journal as journals
from station.update.failpoints import hit
from station.update.journal import Journal
from station.update.layout import Layout, sync_folder


def activate(layout: Layout, version: str) -> None:
    """Let ``current`` point at a complete release: at any instant it points at the old one or at this one.

    On return that is durable. Raises :class:`UpdateError` when the release is not complete; nothing has changed then.
    """
    if not layout.is_complete(version):
        raise UpdateError(f"release {version}: is not complete; nothing was switched")
    new = layout.root / ".current.new"
    try:
        new.unlink(missing_ok=True)
        new.symlink_to(Path("releases") / version)
        hit("switch.linked")
        new.replace(layout.current)
        hit("switch.renamed")
        sync_folder(layout.root)
        hit("switch.synced")
    except OSError as error:
        raise UpdateError(f"release {version}: {layout.current} cannot be switched ({error.strerror})") from None


def go_back(layout: Layout, journal: Journal, reason: str, restart: Callable[[], None]) -> Journal:
    """Leave the active release for the one before it; rerunnable at every point. ``restart`` restarts the services.

    Works during a changeover (back to where it came from) and after it (back to ``previous``). Raises
    :class:`UpdateError` when there is no complete release to go back to.
    """
    if journal.step != "returning":
        goal = journal.previous if journal.step in ("idle", "staging", "staged") else journal.source
        left = layout.active() if journal.step in ("idle", "staging", "staged") else journal.target
        if goal is None or not layout.is_complete(goal):
            raise UpdateError(f"release {left}: there is no complete release before it to go back to")
        previous = journal.previous if journal.previous not in (goal, left) else None
        journal = Journal("returning", goal, left, 0, reason, previous, journal.failed)
        journals.store(layout, journal)
    hit("return.begun")
    goal, left = str(journal.source), str(journal.target)
    activate(layout, goal)
    hit("return.switched")
    try:
        base.adopt(layout, base.of_release(layout, goal))
    except (UpdateError, OSError) as error:  # the way back matters more than what lies below it
        journal = replace(journal, reason=f"{journal.reason} (guard and updater stay as they are: {error})")
    restart()
    hit("return.restarted")
    journal = journals.store(layout, journal.giving_up(left, journal.reason or reason, goal))
    hit("return.written")
    prune(layout, journal)
    return journal


def prune(layout: Layout, journal: Journal) -> None:
    """Remove releases that are neither active nor of use to go back to, and blobs that no remaining release names."""
    keep = {layout.active(), journal.previous, journal.source, journal.target}
    for folder in layout.releases.glob("*"):
        if folder.name not in keep:
            (folder / "manifest.json").unlink(missing_ok=True)  # from now on nobody takes it for complete
            hit("prune.release")
            shutil.rmtree(folder, ignore_errors=True)
    base.prune(layout)
    shutil.rmtree(layout.work, ignore_errors=True)
    named = {sha256 for version in layout.complete() for sha256 in _hashes(layout, version)}
    for blob in layout.blobs.glob("*"):
        if blob.name not in named:
            hit("prune.blob")
            blob.unlink(missing_ok=True)


def _hashes(layout: Layout, version: str) -> set[str]:
    manifest = json.loads((layout.release(version) / "manifest.json").read_text(encoding="utf-8"))
    return {file["sha256"] for file in manifest["files"]}
