"""The hub alone: latest wins, nobody waits, nobody sees what is not theirs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from station.web.hub import Hub, Stream, TooManyStreamsError


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def frames(body: bytes) -> list[tuple[str, Any]]:
    found = []
    for part in body.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in part.splitlines() if ": " in line)
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_a_slow_viewer_gets_the_newest_and_the_rest_is_counted() -> None:
    hub = Hub()
    viewer = hub.open(trusted=False)
    for t in range(1000):
        hub.publish("live", {"t": t})
    assert [(name, json.loads(body)) for name, body in viewer.take(0)] == [("live", {"t": 999})]
    assert viewer.overwritten == 999
    assert viewer.take(0) == []


def test_a_stream_begins_with_everything_known_and_its_age() -> None:
    clock = Clock()
    hub = Hub(clock=clock)
    hub.publish("state", {"state": "running"})
    clock.now_s += 7.5
    stream = iter(Stream(hub, hub.open(trusted=False), 1.0, lambda: False))
    [(event, snapshot)] = frames(next(stream))
    assert event == "snapshot"
    assert snapshot["state"] == {"age_s": 7.5, "data": {"state": "running"}}
    assert snapshot["link"]["data"] == {"broker": False}


def test_news_between_opening_and_snapshot_is_not_lost() -> None:
    hub = Hub()
    viewer = hub.open(trusted=False)
    stream = iter(Stream(hub, viewer, 1.0, lambda: False))
    next(stream)
    hub.publish("cue", {"cue": "run_tall"})
    assert frames(next(stream)) == [("cue", {"cue": "run_tall"})]


def test_silence_beats() -> None:
    hub = Hub()
    stream = iter(Stream(hub, hub.open(trusted=False), 0.05, lambda: False))
    next(stream)
    assert frames(next(stream)) == [("beat", {})]


def test_a_visitor_who_hung_up_ends_the_stream_and_frees_the_place() -> None:
    hub = Hub(max_streams=1)
    stream = Stream(hub, hub.open(trusted=False), 0.05, lambda: True)
    assert len(list(stream)) == 1
    stream.close()
    assert hub.streams == 0
    hub.open(trusted=False)


def test_the_cap_refuses_and_counts() -> None:
    hub = Hub(max_streams=2)
    first = hub.open(trusted=True)
    hub.open(trusted=True)
    with pytest.raises(TooManyStreamsError):
        hub.open(trusted=True)
    assert hub.refused == 1
    hub.close(first)
    hub.close(first)
    hub.open(trusted=True)
    assert hub.streams == 2


def test_strangers_leave_two_places_to_the_treadmill() -> None:
    hub = Hub(max_streams=16)
    for _ in range(14):
        hub.open(trusted=False)
    with pytest.raises(TooManyStreamsError):
        hub.open(trusted=False)
    hub.open(trusted=True)
    hub.open(trusted=True)
    with pytest.raises(TooManyStreamsError):
        hub.open(trusted=True)


def test_the_report_goes_to_trusted_viewers_only() -> None:
    hub = Hub()
    stranger, trusted = hub.open(trusted=False), hub.open(trusted=True)
    hub.publish("report", {"token": "secret"})
    assert stranger.take(0) == []
    assert [name for name, _ in trusted.take(0)] == ["report"]
    assert b"secret" not in hub.snapshot(trusted=False)
    assert b"secret" in hub.snapshot(trusted=True)


def test_forgetting_tells_the_viewers() -> None:
    hub = Hub()
    hub.publish("stride", {"seq": 1})
    viewer = hub.open(trusted=False)
    hub.forget_runner()
    assert viewer.take(0) == [("stride", b"null")]
    assert b"stride" not in hub.snapshot(trusted=False)
    hub.forget_runner()
    assert viewer.take(0) == []


def test_an_unknown_event_is_a_bug() -> None:
    with pytest.raises(ValueError, match="frame"):
        Hub().publish("frame", {})


def test_nan_never_leaves() -> None:
    with pytest.raises(ValueError, match="JSON"):
        Hub().publish("live", {"t": float("nan")})
