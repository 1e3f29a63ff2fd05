"""Who gets a release first is fixed by names, the same everywhere, and spread evenly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from station.errors import UpdateError
from station.update import rings
from station.update.rings import Rollout, bucket, choose, in_ring

STATIONS = [f"gym-{gym}/tm-{number:02}" for gym in range(50) for number in range(40)]


def test_the_place_of_a_station_is_for_ever() -> None:
    """Written down once: another number would reshuffle every fleet in the middle of a rollout."""
    assert round(bucket("north/tm-01"), 3) == 67.446
    assert round(bucket("north/tm-02"), 3) == 46.163


@pytest.mark.parametrize("percent", [1, 10, 50, 90])
def test_a_share_of_the_stations_is_about_that_share(percent: int) -> None:
    rollout = Rollout("1.4.0", percent=percent)
    share = sum(in_ring(rollout, station) for station in STATIONS) / len(STATIONS) * 100
    assert abs(share - percent) < 3.5  # three sigma of 2000 draws


def test_nobody_leaves_the_ring_when_it_grows() -> None:
    before: set[str] = set()
    for percent in (0, 1, 10, 30, 100):
        ring = {station for station in STATIONS if in_ring(Rollout("1.4.0", percent=percent), station)}
        assert before <= ring
        before = ring
    assert before == set(STATIONS)


def test_who_runs_what() -> None:
    rollout = Rollout("1.4.0", stable="1.3.0", canary=("north/tm-01",))
    assert choose(rollout, "north/tm-01") == "1.4.0"
    assert choose(rollout, "north/tm-02") == "1.3.0"
    halted = Rollout("1.4.0", stable="1.3.0", canary=("north/tm-01",), percent=100, halt=True)
    assert choose(halted, "north/tm-01") == "1.3.0"
    assert choose(Rollout("1.4.0"), "north/tm-02") is None


def test_what_was_written_is_read_back() -> None:
    rollout = Rollout("1.4.0", "1.3.0", 30, ("a/b", "c/d"), True, "page stays black")
    assert rings.read(rings.write(rollout)) == rollout


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"version": "latest"}, "three numbers"),
        ({"version": None}, "version is no version"),
        ({"stable": 3}, "stable is no version"),
        ({"percent": 101}, "percent"),
        ({"percent": True}, "percent"),
        ({"percent": 1.5}, "percent"),
        ({"canary": "north/tm-01"}, "canary"),
        ({"canary": ["tm-01"]}, "not written gym/station"),
        ({"canary": ["../../x"]}, "not written gym/station"),
        ({"halt": "no"}, "halt"),
        ({"reason": 7}, "reason"),
        ({"format": "hipline.rollout/2"}, "format"),
    ],
)
def test_a_rollout_that_is_none_is_refused(change: dict[str, Any], fault: str) -> None:
    table = {**json.loads(rings.write(Rollout("1.4.0"))), **change}
    with pytest.raises(UpdateError, match=fault):
        rings.read(json.dumps(table).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[]", b"null", b"[" * 100_000])
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(UpdateError, match=r"^rollout/fleet\.json: "):
        rings.read(data)
