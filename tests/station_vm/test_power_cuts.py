"""An aarch64 bundle is installed offline, updated, and cut off in the middle: it always comes back by itself."""

from __future__ import annotations

import os

import pytest

from . import cuts
from .station import NEW, OLD, Place

pytestmark = [pytest.mark.virtual, pytest.mark.timeout(6 * 3600)]

CUTS = int(os.environ.get("CUTS", "20"))
SEED = int(os.environ.get("SEED", "1"))


def test_the_update_is_committed_when_nothing_happens(place: Place) -> None:
    states = cuts.rehearse(place)
    assert states[-1]["step"] == "committed"
    assert {"staging", "probation"} <= {state["step"] for state in states}
    assert f"release {NEW}: committed" in cuts.log_of(place).read_text()


def test_after_every_power_cut_a_whole_release_serves(place: Place) -> None:
    found = cuts.run(place, CUTS, SEED)
    assert len(found) == CUTS
    lost = [one for one in found if not cuts.is_well(one)]
    versions = [one.get("version") for one in found]
    print(f"\n{len(found)} cuts, {len(lost)} lost; {versions.count(OLD)} came back old, {versions.count(NEW)} new")
    assert not lost
    assert versions.count(OLD), "no cut was early enough to come back on the old release: this proves half"
    assert versions.count(NEW), "no cut was late enough to come back on the new release: this proves half"
