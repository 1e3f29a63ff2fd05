"""What ``health`` says of picture and load, and that giving up work is carried out."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import jsonschema
import numpy as np
import pytest

from station.engine.observer import Observer
from station.engine.outlet import Outlet
from station.engine.vitals import Vitals
from station.publish import LinkStats
from station.types import Frame, View
from station.wire.schemas import schema

from .conftest import KnownRunner
from .fake_camera import FakeCamera


class Door:
    """Counts what goes out."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, topic: str, payload: Any) -> None:
        self.said.append(topic)

    def record(self, topic: str, payload: Any) -> None:
        self.said.append(topic)


class Bench:
    """An engine's parts without its threads, a clock and a thermometer of our own; 60 frames a second."""

    def __init__(self, runner: KnownRunner, view: View) -> None:
        self.now_s, self.celsius, self.lost_of_ten = 0.0, 55.0, 0
        self.door, self.runner, self.lines = Door(), runner, list[str]()
        self.observer = Observer(runner, view)
        self.outlet = Outlet(self.door, view, "tm-07", live=True)
        self.vitals = Vitals(
            FakeCamera(view), self.observer, self.outlet, say=self.lines.append, clock=lambda: self.now_s,
            temp_c=lambda: self.celsius, slowed=lambda: False,
        )  # fmt: skip
        self._grey = np.full((view.height_px * 3 // 2, view.width_px), 100, np.uint8)
        self._index = itertools.count()
        self._captured = self._lost = 0

    def five_seconds(self) -> dict[str, Any]:
        self.door.said.clear()
        self.runner.seen.clear()
        for tick in range(300):
            self.now_s += 1 / 60
            self._captured += 1
            if tick % 10 < self.lost_of_ten:
                self._lost += 1
                continue
            frame = Frame(self.now_s, next(self._index), self._grey, "yuv420")
            observation = self.observer.observe(frame)
            self.outlet.emit((), frame.t_s, observation.pose, self._lost)
            self.vitals.note(frame, observation.pose)
        link = LinkStats(connected=True, connects=1, published=0, dropped=0, refused=0, waiting=0, lost={})
        health: dict[str, Any] = self.vitals.health(self._captured, self._captured - self._lost, self._lost, link)
        jsonschema.validate(health, schema("health"))
        return health


@pytest.fixture
def bench(runner: KnownRunner, view: View) -> Bench:
    return Bench(runner, replace(view, fps=60.0))


def test_a_well_station_says_how_its_picture_is_and_gives_nothing_up(bench: Bench) -> None:
    health = bench.five_seconds()
    assert health["degraded"] == {"step": "none", "cause": None}
    assert len(bench.runner.seen) == 300
    assert bench.door.said.count("live") == pytest.approx(150, abs=3)
    camera = health["camera"]
    assert camera["light"] == pytest.approx((100 - 24) / (110 - 24), abs=0.01)
    assert camera["framing"] is not None
    assert (camera["exposure_ms"], camera["gain"], camera["locked"]) == (3.9, 2.0, True)
    assert camera["flicker"] == 0.0
    assert health["fps_in"] == pytest.approx(60, abs=0.5)


def test_a_hot_station_draws_less_then_poses_less_and_says_so(bench: Bench) -> None:
    bench.celsius = 84.0
    steps = [bench.five_seconds()["degraded"] for _ in range(6)]
    assert steps[-1] == {"step": "pose", "cause": "hot"}
    health = bench.five_seconds()
    assert len(bench.runner.seen) == 150
    assert bench.door.said.count("live") == pytest.approx(50, abs=3)
    assert health["fps_out"] == pytest.approx(60, abs=0.5)  # every frame still goes through the kernel
    assert any("hot: page 10 a second, pose on every second frame" in line for line in bench.lines)
    bench.celsius = 50.0
    for _ in range(27):
        last = bench.five_seconds()
    assert last["degraded"] == {"step": "none", "cause": None}
    assert len(bench.runner.seen) == 300


def test_a_slow_station_gives_up_by_what_it_drops(bench: Bench) -> None:
    bench.lost_of_ten = 3
    said = [bench.five_seconds()["degraded"]["step"] for _ in range(6)]
    assert said[0] == "none"
    assert said[-1] == "pose"
