"""A release that crashes is left by the station itself, on an emulated aarch64 machine."""

from __future__ import annotations

import pytest

from . import cuts
from .machine import until
from .station import BAD, OLD, REPOSITORIES, SERVING, Place, journal, page, version_online

pytestmark = [pytest.mark.virtual, pytest.mark.timeout(2 * 3600)]


def test_a_release_that_crashes_is_rolled_back(place: Place) -> None:
    machine = place.start(SERVING)
    try:
        good, bad = REPOSITORIES
        machine.run(f"grep -q {good} /etc/station/*.toml && sed -i 's,{good},{bad},' /etc/station/*.toml")
        machine.run("systemctl set-property --runtime station-update.service CPUWeight=2000")
        machine.run("systemctl start --no-block station-update")
        until(lambda: machine.show("station-update", "ActiveState") in ("inactive", "failed"), 3600, "never ends", 5)
        said = journal(machine, "station-update", "station-rollback", lines=60)
        assert f"release {BAD}: installing" in said, said
        assert "station.service crashes" in said, said
        until(lambda: version_online(machine) == OLD and page(machine), 900, journal(machine), pause_s=2)
        assert cuts.step_of(machine) == "idle"
        found = cuts.look(machine)
        assert cuts.is_well(found), found
        assert found["active"] == OLD
        assert BAD not in machine.run("ls /var/lib/hipline/releases").split()
        print(f"\nback on {OLD}, {found['compared']} files of it whole: {said.splitlines()[-1]}")
    finally:
        machine.cut()
