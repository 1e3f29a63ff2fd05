"""What the kernel says on its way to the publisher: session names, wall labels, what belongs to which session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from station.engine.outlet import Outlet
from station.types import (
    Cue,
    Curve,
    Live,
    MetricSummary,
    Pose,
    SessionSummary,
    State,
    Stride,
    StrideMetrics,
    View,
)

VIEW = View(1280, 720, 30.0)


class Door:
    """Notes what goes through it."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Mapping[str, Any]]] = []
        self.recorded: list[tuple[str, Mapping[str, Any]]] = []

    def say(self, topic: str, payload: Mapping[str, Any]) -> None:
        self.said.append((topic, payload))

    def record(self, topic: str, payload: Mapping[str, Any]) -> None:
        self.recorded.append((topic, payload))


def _stride(seq: int, end_s: float) -> StrideMetrics:
    return StrideMetrics(Stride(seq, end_s - 0.7, end_s, None, None, None, None), "rejected", ("gap",), {})


def _summary(start_s: float) -> SessionSummary:
    curve = Curve(np.zeros(101), np.zeros(101))
    metrics = {"cadence_spm": MetricSummary(170.0, 1.0, 0.4, 30, 0.1)}
    return SessionSummary(start_s, 60.0, "women", 80, {"gap": 2}, metrics, {}, {"obliquity": curve}, (), (), 1800)


def _outlet(now: list[float], live: bool = True) -> tuple[Outlet, Door]:
    door = Door()
    return Outlet(door, VIEW, "tm-07", live=live, versions={"app": "1"}, wall=lambda: now[0]), door


def test_without_a_word_from_the_kernel_the_state_is_idle_once() -> None:
    outlet, door = _outlet([0.0])
    outlet.emit((), 5.0)
    outlet.emit((), 5.1)
    assert [(topic, payload["state"], payload["session"]) for topic, payload in door.said] == [("state", "idle", None)]


def test_strides_outside_a_session_are_not_published() -> None:
    outlet, door = _outlet([0.0])
    outlet.emit((State("idle", 1.0), _stride(0, 1.0)), 1.0)
    assert door.recorded == []
    assert outlet.strides == 0


def test_every_session_has_its_own_random_name_and_its_own_strides() -> None:
    outlet, door = _outlet([0.0])
    outlet.emit((State("running", 1.0, session=1), _stride(0, 1.0)), 1.0)
    first = outlet.running
    outlet.emit((_stride(1, 2.0), State("summary", 2.0, session=1)), 2.0)
    outlet.emit((State("idle", 3.0),), 3.0)
    assert outlet.running is None
    outlet.emit((State("running", 4.0, session=2), _stride(0, 4.0)), 4.0)
    names = [payload["session"] for topic, payload in door.recorded if topic == "stride"]
    assert names[0] == names[1] == first
    assert names[2] == outlet.running != first
    assert all(len(name) == 8 and int(name, 16) >= 0 for name in names)
    other, _ = _outlet([0.0])
    other.emit((State("running", 1.0, session=1),), 1.0)
    assert other.running != first  # no two stations, and no two starts, share a name


def test_a_label_is_as_old_as_the_thing_it_labels_and_a_clock_step_moves_labels_only() -> None:
    now = [1_000_000_000.0]
    outlet, door = _outlet(now)
    outlet.emit((State("running", 100.0, session=1), _stride(0, 99.5)), 100.0)
    now[0] += 3600
    outlet.emit((_stride(1, 99.75),), 100.0)
    strides = [payload for topic, payload in door.recorded if topic == "stride"]
    assert strides[0]["wall"] == "2001-09-09T01:46:39.500Z"
    assert strides[1]["wall"] == "2001-09-09T02:46:39.750Z"
    assert [stride["end_s"] for stride in strides] == [99.5, 99.75]


def test_a_summary_carries_versions_and_the_frames_dropped_in_its_session() -> None:
    outlet, door = _outlet([1_000_000_000.0])
    outlet.emit((State("idle", 9.0),), 9.0, frames_lost=7)
    outlet.emit((State("running", 10.0, session=1),), 10.0, frames_lost=10)
    outlet.emit((_summary(10.0), State("idle", 70.0)), 70.0, frames_lost=13)
    [(topic, session)] = door.recorded
    assert topic == "session"
    assert session["versions"] == {"app": "1"}
    assert session["frames"] == {"seen": 1800, "dropped": 3}
    assert session["start"] == "2001-09-09T01:45:40.000Z"
    assert session["session"] == outlet.token


def test_a_cue_names_the_session() -> None:
    outlet, door = _outlet([0.0])
    cue = Cue(2.0, "belt_line_level", "left", "raise", "pelvic_drop_peak_left_deg", (3, 4))
    outlet.emit((State("running", 1.0, session=1), cue), 2.0)
    assert door.recorded[0][0] == "cue"
    assert door.recorded[0][1]["session"] == outlet.token


def test_live_goes_out_with_the_kernels_word_or_without() -> None:
    outlet, door = _outlet([0.0])
    outlet.emit((State("idle", 1.0), Live(1.0, None, 0.25, "left", 80.0)), 1.0, Pose.nobody())
    outlet.emit((), 1.01, Pose.nobody())  # too soon
    outlet.emit((), 1.04, Pose.nobody())
    live = [payload for topic, payload in door.said if topic == "live"]
    assert [(payload["t"], payload["phase"]) for payload in live] == [(1.0, 0.25), (1.04, None)]


def test_a_lost_camera_keeps_the_name_of_the_session_that_was_on() -> None:
    outlet, door = _outlet([0.0])
    outlet.emit((State("running", 1.0, session=1),), 1.0)
    outlet.camera_lost()
    assert door.said[-1][1]["state"] == "camera_lost"
    assert door.said[-1][1]["session"] == outlet.token
