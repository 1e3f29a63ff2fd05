"""The power fails at any write of an update: at every replayed state the station has a whole release, and says so.

The same workload without its syncs is the control: it must be found corrupt, or this test could not fail.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from station.errors import UpdateError
from station.update import base, guard
from station.update import journal as journals
from station.update.layout import Layout
from station.update.services import Services
from tests.update.powerloss import MODES, Mode, NotHereError, WriteLog, logged_disk, mounted_image
from tests.update.toy import REPOSITORY

#: Some fifty seconds on a free machine; a busy one takes its time.
pytestmark = pytest.mark.timeout(1800)
STATES = 210
CONTROLS = 60


class Silent(Services):
    """No systemd in a disk image."""

    def _call(self, *words: str, may_fail: bool = False) -> str:
        return ""


@dataclass
class Recording:
    """What a workload wrote, what its releases contain, and after how many writes each was promised."""

    log: WriteLog
    truth: dict[str, dict[str, str]]
    acked: list[tuple[int, str]]

    def promised(self, writes: int) -> str | None:
        """The version that must be there, or a later one, after so many writes."""
        return next((version for count, version in reversed(self.acked) if count <= writes), None)


def record(folder: Path, how: str) -> Recording:
    try:
        with logged_disk(folder) as (mounted, log):
            environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
            done = subprocess.run(
                [sys.executable, "tests/update/powerloss_work.py", mounted / "hipline", folder, how],
                cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=900, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
    except NotHereError as error:
        pytest.skip(f"no disk that logs its writes here: {error}")
    log.read()
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("acked")]
    truth = json.loads((folder / "truth.json").read_text())
    return Recording(log, truth, [(int(count), version) for _, version, count in lines])


def faults(root: Path, recording: Recording, writes: int) -> Iterator[str]:
    """What is wrong with a station whose disk looks like this, once its guard has run as at every boot."""
    layout, promised = Layout(root), recording.promised(writes)
    if not root.exists() or (promised is None and layout.active() is None):
        if promised is not None:
            yield "all gone"
        return  # before the first release: nothing was promised
    for file in (layout.journal, layout.report):
        try:
            if file.exists():
                json.loads(file.read_text())
            elif promised is not None:
                yield f"{file.name} is gone"
        except ValueError:
            yield f"{file.name} is torn"
    try:
        guard.at_boot(layout, Silent(), lambda _line: None)
    except UpdateError as error:
        yield f"the guard gives up: {error}"
        return
    active = layout.active()
    if active is None:
        yield "no active release"
        return
    for path, sha256 in recording.truth[active].items():
        file = layout.release(active) / path
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
            yield f"{active} is not whole"
            return
    yield from faults_below(layout, active)
    order = [version for _, version in recording.acked]
    if promised is not None and active not in order[order.index(promised) :]:
        yield f"{active}, although {promised} was promised"


def faults_below(layout: Layout, active: str) -> Iterator[str]:
    """What is wrong with the guard and the updater's units."""
    if base.active(layout) is None:
        yield "guard and updater are not whole"
    elif journals.load(layout).step == "idle" and base.active(layout) != base.name_of(base.of_release(layout, active)):
        yield f"guard and updater are not those of {active}"


def replay(recording: Recording, folder: Path, states: int) -> tuple[Counter[str], list[str]]:
    chance, seen, found = random.Random(7), Counter[str](), list[str]()
    image = folder / "crash.img"
    for number in range(states):
        mode: Mode = MODES[number % len(MODES)]
        writes = chance.randrange(5, len(recording.log.entries) + 1)
        recording.log.state(writes, image, mode, chance)
        try:
            with mounted_image(image, folder / "crashed") as mounted:
                wrong = list(faults(mounted / "hipline", recording, writes))
        except NotHereError as error:
            wrong = [f"cannot be mounted: {error}"]
        seen["corrupt" if wrong else "good"] += 1
        found += [f"{mode} after {writes} writes: {fault}" for fault in wrong]
    return seen, found


def test_a_power_cut_at_any_write_leaves_a_whole_release(tmp_path: Path) -> None:
    recording = record(tmp_path, "sync")
    assert len(recording.acked) == 6
    assert sum(entry.flags & 1 for entry in recording.log.entries) > 50  # the syncs reached the disk
    seen, found = replay(recording, tmp_path, STATES)
    print(f"\nwith syncs: {dict(seen)} of {STATES} states")
    assert not found, "\n".join(found[:20])
    assert seen["good"] == STATES


def test_without_syncs_it_would_not(tmp_path: Path) -> None:
    seen, _ = replay(record(tmp_path, "nosync"), tmp_path, CONTROLS)
    print(f"\nwithout syncs: {dict(seen)} of {CONTROLS} states")
    assert seen["corrupt"] >= CONTROLS // 10, seen
