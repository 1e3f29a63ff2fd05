"""Killed at every named place of an update or of the way back: what comes up is whole, old or new, and serves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from station.update.failpoints import NAMES
from tests.broker_fixture import Mosquitto
from tests.update.toy import Toy

RETURN = tuple(name for name in NAMES if name.startswith("return."))
BASE = tuple(name for name in NAMES if name.startswith("base."))
#: The journal is written many times: its places are tried at the first time and at later ones.
FORWARD = (
    *(name for name in NAMES if name not in RETURN),
    *(
        pytest.param(f"{name}:{n}", marks=pytest.mark.slow)
        for name in ("write.begun", "write.synced", "write.renamed")
        for n in (4, 8, 10)
    ),
)
#: Seconds each on a free machine; a busy one takes its time.
pytestmark = pytest.mark.timeout(900)


class Versions:
    """A station and its next version number: one station goes through all of it."""

    def __init__(self, toy: Toy) -> None:
        self.toy = toy
        self._numbers = itertools.count(1)

    def next(self) -> str:
        return f"1.{next(self._numbers)}.0"


@pytest.fixture(scope="module")
def station(mosquitto_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versions]:
    folder = tmp_path_factory.mktemp("station")
    broker = Mosquitto(mosquitto_path, folder / "mosquitto").start()
    toy = Toy(folder, broker)
    versions = Versions(toy)
    for _ in range(3):  # so that there is something to prune
        done = toy.update(toy.release(versions.next()))
        assert done.returncode == 0, done.stderr
    yield versions
    toy.power_off()
    broker.kill()


@pytest.mark.parametrize("failpoint", FORWARD)
def test_an_update_that_is_cut_off_ends_whole_and_is_taken_up_again(station: Versions, failpoint: str) -> None:
    toy, old, new = station.toy, station.toy.layout.active(), station.next()
    manifest = toy.release(new)
    died = toy.update(manifest, failpoint=failpoint)
    assert died.returncode == -9, f"the failpoint was not passed: {died.stderr}"
    toy.power_off()
    toy.power_on()
    assert toy.serves() in (old, new)
    assert toy.updater in (old, new)  # and whole
    again = toy.update(manifest)
    assert again.returncode == 0, again.stderr
    assert toy.serves() == new
    assert (toy.journal.step, toy.journal.previous) == ("idle", old)
    assert toy.updater == new


@pytest.mark.parametrize("failpoint", RETURN)
def test_a_way_back_that_is_cut_off_is_gone_to_its_end(station: Versions, failpoint: str) -> None:
    toy, old, bad = station.toy, station.toy.layout.active(), station.next()
    manifest = toy.release(bad, "crash")
    died = toy.update(manifest, failpoint=failpoint)
    assert died.returncode == -9, f"the failpoint was not passed: {died.stderr}"
    toy.power_off()
    toy.power_on()
    assert toy.serves() == toy.updater == old
    assert "crashes" in toy.journal.failed[bad]
    assert toy.report["state"] == "failed"
    refused = toy.update(manifest)
    assert refused.returncode == 1
    assert "was tried and left" in refused.stderr
    assert toy.serves() == old


@pytest.mark.parametrize("failpoint", RETURN)
def test_the_guard_cut_off_at_boot_is_gone_on_with_at_the_next(station: Versions, failpoint: str) -> None:
    """Two boots of grace, then back: killed on the way, it gets there at the boot after."""
    toy, old, bad = station.toy, station.toy.layout.active(), station.next()
    assert toy.update(toy.release(bad), failpoint="probation.begun").returncode == -9
    for _ in range(2):
        toy.power_off()
        toy.power_on()
        assert toy.serves() == bad
    toy.power_off()
    died = toy.guard("--boot", failpoint=failpoint)
    assert died.returncode == -9, died.stderr
    toy.power_on()
    assert toy.serves() == toy.updater == old
    assert "within 2 boots" in toy.journal.failed[bad]


@pytest.mark.parametrize("failpoint", [*RETURN, *BASE])
def test_a_way_back_by_hand_that_is_cut_off_is_gone_to_its_end(station: Versions, failpoint: str) -> None:
    """From a release that was committed: its guard and its updater go with it."""
    toy, old, new = station.toy, station.toy.layout.active(), station.next()
    assert toy.update(toy.release(new)).returncode == 0
    assert toy.updater == new
    died = toy.guard("--reason", "by hand", failpoint=failpoint)
    assert died.returncode == -9, died.stderr
    toy.power_off()
    toy.power_on()
    assert toy.serves() == toy.updater == old
    assert toy.journal.failed[new] == "by hand"
