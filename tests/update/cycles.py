"""Updates that stay and updates that are left again, in turn, in one process; prints the disk use after each pair."""

from __future__ import annotations

import sys
from pathlib import Path

from station.update import base, stage, switch
from station.update import journal as journals
from station.update import manifest as manifests
from station.update.journal import Journal
from station.update.layout import Layout

FOLDER, CYCLES = Path(sys.argv[1]), int(sys.argv[2])


def main() -> None:
    # the toys find their places in the environment that the test gave us
    from tests.update.toy import Toy

    class Offline(Toy):
        """Releases only: nobody runs."""

        def __post_init__(self) -> None:
            self.layout = Layout(self.folder / "hipline")
            self.layout.make()

    FOLDER.mkdir()
    toy = Offline(FOLDER, None)  # type: ignore[arg-type]
    journal = Journal()
    for number in range(2 * CYCLES):
        version = f"1.{number}.0"
        manifest = manifests.read(toy.release(version).read_bytes())
        active = toy.layout.active()
        journals.store(toy.layout, Journal("staging", active, version, previous=journal.previous))
        stage.stage(manifest, toy.layout, lambda _line: None)
        switch.activate(toy.layout, version)
        base.adopt(toy.layout, base.of_release(toy.layout, version))
        journal = journals.store(toy.layout, Journal(previous=active))
        switch.prune(toy.layout, journal)
        if number % 2 == 1:
            journal = switch.go_back(toy.layout, journal, "every second one", lambda: None)
            used = sum(path.stat().st_size for path in toy.layout.root.rglob("*") if path.is_file())
            print(f"after {number}: {used} bytes")


if __name__ == "__main__":
    main()
