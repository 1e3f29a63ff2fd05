"""Payloads: every one fits its schema, old ones still do, records survive the way out and back."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from station import wire
from station.types import Cue, Live, Metric, Pose, SessionSummary, State, Stride, StrideMetrics, View
from station.wire.messages import wall_label
from station.wire.schemas import NAMES
from station.wire.topics import DELIVERY
from tests.wire.records import METRICS, cues, lives, poses, states, strides, summaries, tokens

PAYLOADS = Path(__file__).parent / "payloads"


def fits(payload: Any, name: str) -> Any:
    """The payload as a receiver sees it, after it was held against its schema."""
    seen = json.loads(wire.dumps(payload))
    jsonschema.validate(seen, wire.schema(name), cls=jsonschema.Draft202012Validator)
    return seen


@pytest.mark.parametrize("name", NAMES)
def test_the_schemas_are_schemas(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(wire.schema(name))


def test_every_topic_has_its_schema() -> None:
    assert set(DELIVERY) <= set(NAMES)


def test_the_stride_schema_wants_every_metric_of_the_table(repository: Path) -> None:
    table = (repository / "docs" / "metrics.md").read_text().split("## Per stride")[1].split("`stability` must")[0]
    rows = [line.strip("|").split("|")[0] for line in table.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([^`…]+)`", row)]
    right = [name for name in METRICS if name not in named]
    # What the table only abbreviates ("…_right_ms", "…_mm") is the other side, or the other unit, of a name it spells.
    assert all("_right" in name or name.endswith("_mm") for name in right)
    assert set(named) <= set(METRICS)
    assert len(METRICS) == sum(len(re.findall(r"`[^`]+`", row)) for row in rows)


@settings(max_examples=50)
@given(strides(), tokens)
def test_a_stride_goes_out_and_comes_back(stride: StrideMetrics, session: str) -> None:
    seen = fits(wire.stride_json(stride, "tm-07", session, "2026-11-22T10:00:00.123Z"), "stride")
    assert list(seen)[:7] == ["schema", "station", "session", "seq", "start_s", "end_s", "wall"]
    again = wire.stride_from_json(seen)
    assert again.stride == stride.stride
    assert (again.status, again.reasons, again.zones) == (stride.status, stride.reasons, stride.zones)
    for name, metric in stride.metrics.items():
        back = again.metrics[name]
        assert back.reason == metric.reason
        assert (back.value is None) == (metric.value is None)
        assert metric.value is None or back.value == pytest.approx(metric.value, rel=1e-6)
    # What has been rounded once stays as it is: a payload can be read and written again.
    assert wire.stride_json(again, "tm-07", session, "2026-11-22T10:00:00.123Z") == seen


def test_nan_is_null_with_a_reason() -> None:
    stride = StrideMetrics(
        Stride(1, 0.0, 0.7, 0.0, 0.2, 0.3, 0.5),
        "ok",
        (),
        {name: Metric(value=math.nan, ci95=math.inf, stride=math.nan) for name in METRICS},
    )
    seen = fits(wire.stride_json(stride, "replay", "replay", None), "stride")
    assert seen["metrics"]["cadence_spm"] == {"value": None, "reason": "low_confidence"}
    stride = StrideMetrics(stride.stride, "ok", (), {name: Metric(value=170.0, ci95=math.nan) for name in METRICS})
    seen = fits(wire.stride_json(stride, "replay", "replay", None), "stride")
    assert seen["metrics"]["cadence_spm"] == {"value": 170.0, "ci95": None}


def test_seven_digits_of_a_value_and_microseconds_of_a_time() -> None:
    metrics = {name: Metric(value=171.23456789, ci95=0.1) for name in METRICS}
    stride = StrideMetrics(Stride(1, 86400.123456789, 86401.0, 1.0, 2.0, 3.0, 4.0), "ok", (), metrics)
    seen = fits(wire.stride_json(stride, "replay", "replay", None), "stride")
    assert seen["metrics"]["cadence_spm"]["value"] == 171.2346
    assert seen["start_s"] == 86400.123457


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: p["metrics"].pop("cadence_spm"),
        lambda p: p["metrics"].update(cadence_spm={"value": None}),
        lambda p: p["metrics"].update(cadence_spm={"value": 1.0}),
        lambda p: p.update(session="not-a-token"),
        lambda p: p.update(status="rejected", reasons=["gap"]),
        lambda p: p.update(status="perfect"),
        lambda p: p["events"].update(left_off_s=None),
        lambda p: p.update(reasons=["because"]),
        lambda p: p.pop("wall"),
        lambda p: p.update(zones={"cadence_spm": "blue"}),
    ],
)
def test_the_stride_schema_refuses_what_is_wrong(spoil: Any) -> None:
    payload = json.loads((PAYLOADS / "stride-ok.json").read_text())
    fits(payload, "stride")
    spoil(payload)
    with pytest.raises(jsonschema.ValidationError):
        fits(payload, "stride")


@settings(max_examples=30)
@given(summaries, tokens, st.none() | st.integers(0, 10**6))
def test_sessions_fit(summary: SessionSummary, session: str, dropped: int | None) -> None:
    versions = {"app": "1.2.3", "pose_model": None}
    payload = wire.session_json(summary, "tm-07", session, wall_label(0.0), versions=versions, frames_dropped=dropped)
    seen = fits(payload, "session")
    assert seen["start"] == "1970-01-01T00:00:00.000Z"
    assert seen["frames"] == {"seen": summary.frames_seen, "dropped": dropped}


@given(cues, tokens)
def test_cues_fit(cue: Cue, session: str) -> None:
    assert fits(wire.cue_json(cue, session), "cue")["because"] == list(cue.because)


@given(states, st.none() | tokens)
def test_states_fit(state: State, session: str | None) -> None:
    assert fits(wire.state_json(state, session, wall_label(1e9)), "state")["state"] == state.name


@given(lives, st.none() | poses())
def test_live_fits(live: Live, pose: Pose | None) -> None:
    seen = fits(wire.live_json(live, pose, View(1280, 720, 30.0)), "live")
    assert seen["size"] == [1280, 720]
    assert len(seen["kp"]) == (0 if pose is None else int(np.isfinite(pose.xy_px[:, 0]).sum()))


def test_status_and_health_fit() -> None:
    fits(wire.status_json("offline", None, "1.4.0"), "status")
    fits(wire.status_json("online", wall_label(1.0), "1.4.0", {"state": "staged", "to": "1.5.0"}), "status")
    empty = fits(wire.health_json(), "health")
    assert empty["temp_c"] is None
    full = wire.health_json(
        fps_in=30.0, fps_out=29.9, dropped=3, pose_ms={"p50": 20.1, "p95": 31.0}, outbox=2, lost={"rows_full": 7},
        temp_c=61.5, throttled=False, rss_mb=312.0, camera={"light": 0.7, "dirty": False},
    )  # fmt: skip
    seen = fits(full, "health")
    assert seen["camera"] == {"light": 0.7, "blur": None, "framing": None, "dirty": False, "calibrated": None}


@pytest.mark.parametrize("file", sorted(PAYLOADS.glob("*.json")), ids=lambda file: file.stem)
def test_payloads_of_earlier_releases_still_fit(file: Path) -> None:
    """Files are added here, never changed: what once was sent must stay readable under the same version."""
    payload = json.loads(file.read_text())
    fits(payload, file.stem.split("-")[0])
    if file.stem.startswith("stride"):
        stride = wire.stride_from_json(payload)
        assert stride.stride.seq == payload["seq"]


def test_there_are_old_payloads_of_every_topic() -> None:
    assert {file.stem.split("-")[0] for file in PAYLOADS.glob("*.json")} == set(DELIVERY)
