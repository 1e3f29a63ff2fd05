"""``station verify``: a mis-scaled estimator is found out, and what was found stays and counts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import jsonschema
import numpy as np
import pytest

from station import wire
from station.__main__ import main
from station.doctor import machine
from station.engine.outlet import Outlet
from station.engine.pelvis import PelvisEstimator, verified
from station.engine.tag_first import Verified
from station.lab.analytic import run
from station.lab.project import Condition, observe, view_of
from station.lab.runner_spec import RunnerSpec
from station.metrics.measure import LASTING_SHARE
from station.publish.sayings import Sayings
from station.session import Session
from station.tag import TagEstimator
from station.tag.agreement import Agreement, Difference
from station.tag.record import Record, from_json, load_all, next_runner_deg, said, save, to_json, trust
from station.types import Frame, MetricSummary, PelvisReading, Pose, SessionSummary, State, View
from station.verify import Comparison, _guided, summary

DROP = "pelvic_drop_peak_left_deg"


@pytest.fixture(scope="module")
def wrong() -> Comparison:
    """A runner whose markerless estimator says 0.6 of the obliquity and 1.2 of the rotation, with noise."""
    what = Condition("verify", noise_px=0.5, fps=30.0, pelvis_sd_deg=0.0, seconds=(0.0, 24.0))
    rng = np.random.default_rng(4)
    comparison = Comparison(view_of(what))
    for seen in observe(run(RunnerSpec.random(11), 24.0, 3), what, 5):
        assert seen.pose is not None
        assert seen.pelvis is not None
        noisy = rng.normal(0, 1.0, 3)
        tag = replace(
            seen.pelvis,
            obliquity_deg=seen.pelvis.obliquity_deg + rng.normal(0, 0.2),
            rotation_deg=seen.pelvis.rotation_deg + rng.normal(0, 0.4),
            sd_obliquity_deg=0.2, sd_rotation_deg=0.4, source="tag",
        )  # fmt: skip
        said = replace(
            seen.pelvis,
            obliquity_deg=0.6 * seen.pelvis.obliquity_deg + noisy[0],
            rotation_deg=1.2 * seen.pelvis.rotation_deg + noisy[1],
            sd_obliquity_deg=1.0, sd_rotation_deg=1.0, source="fused",
        )  # fmt: skip
        comparison.add(seen.t_s, seen.pose, said, None if rng.uniform() < 0.05 else tag)
    comparison.finish()
    return comparison


def test_the_gain_of_a_mis_scaled_estimator_is_found(wrong: Comparison) -> None:
    angles = wrong.angles()
    assert angles["obliquity"].gain == pytest.approx(0.6, abs=0.05)
    assert angles["rotation"].gain == pytest.approx(1.2, abs=0.05)
    assert angles["obliquity"].scatter_deg == pytest.approx(1.0, abs=0.15)
    assert wrong.tag_seen == pytest.approx(0.95, abs=0.03)


def test_drop_of_each_side_is_compared_stride_by_stride(wrong: Comparison) -> None:
    metrics, strides = wrong.metrics()
    assert strides >= 10
    for side in ("left", "right"):
        found = metrics[f"pelvic_drop_peak_{side}_deg"]
        assert found.strides >= 10
    swing = metrics["obliquity_range_deg"]
    assert swing.mean < -1.0  # 0.6 of it is said
    assert metrics["rotation_range_deg"].mean > 0.0


def record(when: str = "2026-11-22T10:00:00Z", gain: float | None = 0.8, drop: float = 1.0) -> Record:
    told = Agreement(gain, 0.03, 0.4, 1.1, 0.9, 900)
    metrics = {f"pelvic_drop_peak_{side}_deg": Difference(drop, 0.2, 0.5, 30) for side in ("left", "right")}
    return Record(
        when, "tm-07", "fused", "abc", "large", 60.0, 1800, 0.98, 30,
        {"obliquity": told, "rotation": told, "tilt": Agreement(None, None, None, None, None, 0)}, metrics,
    )  # fmt: skip


def test_a_record_holds_numbers_only_and_reads_back(tmp_path: Path) -> None:
    path = save(record(), tmp_path / "verify")
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["format"] == "hipline.verify/1"
    assert from_json(content) == record()
    assert from_json(json.loads(json.dumps(to_json(record())))) == record()
    assert path.stat().st_size < 4000
    again = save(record(), tmp_path / "verify")  # two in one second: both are kept
    assert again != path
    assert len(load_all(tmp_path / "verify")) == 2


def test_records_that_are_broken_or_of_something_else_are_left_alone(tmp_path: Path) -> None:
    save(record(), tmp_path)
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    (tmp_path / "b.json").write_text('{"format": "other"}', encoding="utf-8")
    assert load_all(tmp_path) == (record(),)
    assert load_all(tmp_path / "none") == ()


def test_people_are_pooled_by_estimator(tmp_path: Path) -> None:
    people = (record(gain=0.7, drop=1.0), record(gain=0.9, drop=-2.0), record(gain=None, drop=2.0))
    found = trust(people)
    assert found is not None
    assert found.people == 3
    assert found.gain == pytest.approx(0.8)
    assert found.gain_sd == pytest.approx(math.sqrt(0.02))
    assert found.drop_error_deg == pytest.approx(math.sqrt(3.0))
    assert next_runner_deg(found) == pytest.approx(3.18 * math.sqrt(3.0))
    assert trust(people, "hips") is None
    assert trust(()) is None


def test_it_says_how_far_the_next_runner_can_be_off() -> None:
    """People whose drops are off by a known scatter: the next one lies within what is said, as often as is said."""
    rng = np.random.default_rng(5)
    for people, least, most in ((3, 0.92, 0.99), (6, 0.92, 0.99), (30, 0.92, 0.99)):
        inside = 0
        for _ in range(600):
            found = trust(tuple(record(drop=float(d)) for d in rng.normal(0, 1.2, people)))
            assert found is not None
            within = next_runner_deg(found)
            assert within is not None
            inside += abs(rng.normal(0, 1.2)) <= within
        assert least <= inside / 600 <= most
    two = trust((record(), record()))
    assert two is not None
    assert next_runner_deg(two) is None
    assert "least to speak for others" in said(two)


def test_an_error_that_lasts_widens_the_interval_of_every_drop_and_of_the_session() -> None:
    """What the records found is in the session's ``ci95``: no pooling of strides takes it away."""
    found = trust((record(drop=1.5),))
    what = Condition("verify", noise_px=0.5, fps=30.0, pelvis_sd_deg=0.5, seconds=(0.0, 15.0))
    frames = [seen for seen in observe(run(RunnerSpec.random(11), 15.0, 3), what, 5) if seen.pelvis is not None]

    class Plays:
        source = "fused"
        sees = True
        model: str | None = None

        def __init__(self) -> None:
            self._next = iter(frames)

        def read(self, frame: Frame, pose: Pose) -> PelvisReading:
            reading = next(self._next).pelvis
            assert reading is not None
            return reading

    def session_ci95(estimator: PelvisEstimator) -> float:
        session, blank = Session(view_of(what)), Frame(0.0, 0, np.zeros((4, 4, 3), np.uint8), "rgb")
        out: list[object] = []
        for seen in frames:
            assert seen.pose is not None
            out += session.feed(replace(seen, pelvis=estimator.read(blank, seen.pose)))
        out += session.finish()
        (summary,) = (x for x in out if isinstance(x, SessionSummary))
        ci95 = summary.metrics["pelvic_drop_peak_left_deg"].ci95
        assert ci95 is not None
        return ci95

    assert found is not None
    plain, checked = session_ci95(Plays()), session_ci95(Verified(Plays(), found))
    assert checked == pytest.approx(math.hypot(plain, 1.96 * LASTING_SHARE * 1.5), rel=0.15)


def test_status_health_and_session_carry_what_was_found() -> None:
    found = trust((record(), record(gain=0.6)))
    assert found is not None
    estimator = Verified(Sure(), found)
    told = verified(estimator)
    assert told is not None
    will = json.loads(Sayings("hipline/v1/gym/tm-07", "1", {}, told).will().payload)
    assert will["verified"] == told
    jsonschema.validate(will, wire.schema("status"))
    said_of: list[dict[str, Any]] = []

    class Door:
        def say(self, topic: str, payload: Mapping[str, Any]) -> None:
            del topic, payload

        def record(self, topic: str, payload: Mapping[str, Any]) -> None:
            assert topic == "session"
            said_of.append(dict(payload))

    for source in ("fused", "tag"):
        outlet = Outlet(Door(), View(1280, 720, 30.0), "tm-07", live=False, verified=told)
        drop = MetricSummary(5.0, 1.0, 0.5, 40, None, source=source)
        outlet.emit((State("running", 0.0, 1),), 0.0)
        outlet.emit((SessionSummary(0.0, 60.0, None, 40, {}, {DROP: drop}, {}, {}, (), (), 1800),), 60.0)
        jsonschema.validate(said_of[-1], wire.schema("session"))
        assert said_of[-1]["metrics"][DROP]["source"] == source
        assert said_of[-1]["verified"] == (told if source == "fused" else None)


def test_the_summary_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert main(["verify", "--summary"]) == 1
    assert "no record" in capsys.readouterr().err
    save(record())
    assert main(["verify", "--summary"]) == 0
    assert "1 person, estimator fused; gain 0.80" in capsys.readouterr().out
    lines: list[str] = []
    assert summary(as_json=True, write=lines.append) == 0
    assert json.loads(lines[0])[0]["drop_error_deg"] == pytest.approx(1.0)


def test_the_tag_is_not_checked_against_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--set", "pelvis.estimator=tag"]) == 2
    assert "pelvis.estimator" in capsys.readouterr().err


class Sure:
    source = "fused"
    sees = True
    model: str | None = None

    def read(self, frame: Frame, pose: Pose) -> PelvisReading:
        return PelvisReading(3.0, 1.0, math.nan, 0.6, 0.9, math.nan)


def test_what_was_found_widens_the_sd_and_nothing_else() -> None:
    found = trust((record(drop=0.8),))
    assert found is not None
    estimator = Verified(Sure(), found)
    frame = Frame(0.0, 0, np.zeros((4, 4, 3), np.uint8), "rgb")
    reading = estimator.read(frame, Pose.nobody())
    assert reading.sd_obliquity_deg == pytest.approx(1.0)
    assert (reading.obliquity_deg, reading.rotation_deg, reading.sd_rotation_deg) == (3.0, 1.0, 0.9)
    assert estimator.verified["people"] == 1


def test_the_doctor_says_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert "station verify" in machine.verified().seen
    save(record(gain=0.95))
    assert machine.verified().verdict == "ok"
    assert "gain 0.95" in machine.verified().seen
    for second in range(4):
        save(record(f"2026-11-23T10:00:0{second}Z", gain=0.3))
    assert machine.verified().verdict == "warn"
    assert machine.verified().mend


class Seen:
    """A tag that is seen from ``first_s`` on, but for a while."""

    def __init__(self, first_s: float, hidden: tuple[float, float] = (math.inf, math.inf)) -> None:
        self._first_s, self._hidden, self.seen_s = first_s, hidden, -math.inf

    def look(self, t_s: float) -> None:
        if t_s >= self._first_s and not self._hidden[0] <= t_s < self._hidden[1]:
            self.seen_s = t_s


def guided(tag: Seen, seconds: float, most_s: float = 120.0) -> float:
    """When the guided run lets go; every frame is looked at as it is passed on."""
    blank = np.zeros((4, 4, 3), np.uint8)
    source = (Frame(k / 10, k, blank, "rgb") for k in range(round(10 * most_s)))
    last = -1.0
    for frame in _guided(source, cast("TagEstimator", tag), seconds):
        tag.look(frame.t_s)
        last = frame.t_s
    return last


def test_the_guided_run_waits_for_the_tag_then_stands_runs_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    assert guided(Seen(first_s=25.0), seconds=30.0) == pytest.approx(55.0, abs=0.3)
    told = [line.removeprefix("verify: ") for line in capsys.readouterr().err.splitlines()]
    assert told[0].startswith("put the tag on")
    assert told[1:4] == ["no tag seen yet"] * 3
    assert [line.split(":")[0] for line in told[4:]] == ["tag seen", "now run at your usual pace until told", "done"]


def test_the_guided_run_tells_when_the_tag_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    guided(Seen(first_s=1.0, hidden=(10.0, 22.0)), seconds=30.0)
    told = capsys.readouterr().err
    assert 1 <= told.count("the tag is not seen") <= 2
