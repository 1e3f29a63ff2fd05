"""Updates and a rollback on a disk that logs: the updater's own steps, nobody runs. Prints what is durable when.

    powerloss_work.py ROOT DISK sync|nosync

``nosync`` is the negative control: the same with every sync left out. A line ``acked VERSION WRITES`` says that the
updater considers VERSION active for good, and how many writes had reached the disk then.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path

from deploy.station import parts
from station.update import base, stage, switch
from station.update import journal as journals
from station.update import manifest as manifests
from station.update.journal import Journal
from station.update.layout import Layout
from tests.update.powerloss import WriteLog
from tests.update.toy import Toy

ROOT, DISK, HOW = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
UPDATES = 5


class Offline(Toy):
    """Releases only: nobody runs."""

    def __post_init__(self) -> None:
        self.layout = Layout(ROOT)
        self.layout.make()

    def sync_blobs(self) -> None:
        """As a download leaves them."""
        for blob in (*self.layout.blobs.iterdir(), self.layout.blobs):
            descriptor = os.open(blob, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


def contents(folder: Path) -> dict[str, str]:
    """Every file of a release by its hash."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> None:
    if HOW == "nosync":
        os.fsync = lambda _descriptor: None  # type: ignore[assignment]
        stage._sync_all = lambda folder: None
    scratch = DISK / "scratch"
    scratch.mkdir()
    log, toy, journal = WriteLog(DISK), Offline(scratch, None), Journal()  # type: ignore[arg-type]
    base.adopt(toy.layout, parts.base_files())  # as deploy/install does
    truth: dict[str, dict[str, str]] = {}
    for number in range(UPDATES):
        version = f"1.{number}.0"
        manifest = manifests.read(toy.release(version).read_bytes())
        toy.sync_blobs()
        active = toy.layout.active()
        journals.store(toy.layout, Journal("staging", active, version, previous=journal.previous))
        stage.stage(manifest, toy.layout, lambda _line: None)
        truth[version] = contents(toy.layout.release(version))
        (DISK / "truth.json").write_text(json.dumps(truth))
        journals.store(toy.layout, Journal("activating", active, version, previous=journal.previous))
        switch.activate(toy.layout, version)
        base.adopt(toy.layout, base.of_release(toy.layout, version))
        journal = journals.store(toy.layout, Journal(previous=active))
        print("acked", version, log.read(), flush=True)
        if HOW == "nosync":
            time.sleep(1.0)  # else nothing would be on its way to the disk at all
        switch.prune(toy.layout, journal)
        if number == 2:
            journal = switch.go_back(toy.layout, journal, "the other way too", lambda: None)
            print("acked", toy.layout.active(), log.read(), flush=True)
    if HOW == "nosync":
        time.sleep(6.0)  # the file system's own commit interval


if __name__ == "__main__":
    main()
