"""``hipline.stride/1``: one JSON object a stride, the same from a live run and from a replay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from station.types import Metric, Reason, Stride, StrideMetrics
from station.wire.jsonio import JsonObject, number, seconds

SCHEMA = "hipline.stride/1"
#: What a replay writes as station and as session.
REPLAY = "replay"

_EVENTS = ("left_contact_s", "left_off_s", "right_contact_s", "right_off_s")


def stride_json(metrics: StrideMetrics, station: str, session: str, wall: str | None = None) -> JsonObject:
    """The payload of one stride. ``wall`` is the label of its end in wall time, ``None`` in a replay."""
    stride = metrics.stride
    return {
        "schema": SCHEMA,
        "station": station,
        "session": session,
        "seq": int(stride.seq),
        "start_s": seconds(stride.start_s),
        "end_s": seconds(stride.end_s),
        "wall": wall,
        "events": {name: seconds(getattr(stride, name)) for name in _EVENTS},
        "metrics": {name: metric_json(metric) for name, metric in metrics.metrics.items()},
        "zones": {name: str(zone) for name, zone in metrics.zones.items()},
        "status": metrics.status,
        "reasons": [str(reason) for reason in metrics.reasons],
        "pooled": int(metrics.pooled),
    }


def metric_json(metric: Metric) -> JsonObject:
    """One entry of ``metrics``: ``value`` and ``ci95``, or ``value`` null and a ``reason``."""
    value = number(metric.value)
    entry: JsonObject = {"value": value}
    if value is None:
        entry["reason"] = str(metric.reason or Reason.LOW_CONFIDENCE)
    else:
        entry["ci95"] = number(metric.ci95)
    stride = number(metric.stride)
    if stride is not None:
        entry["stride"] = stride
    if metric.source is not None:
        entry["source"] = str(metric.source)
    if metric.parts is not None:
        entry["parts"] = {name: number(part) for name, part in metric.parts.items()}
    return entry


def stride_from_json(payload: Mapping[str, Any]) -> StrideMetrics:
    """The record behind a payload that fits ``schemas/stride.json`` (station, session, wall stay with it)."""
    stride = Stride(
        seq=payload["seq"],
        start_s=payload["start_s"],
        end_s=payload["end_s"],
        **{name: payload["events"][name] for name in _EVENTS},
    )
    return StrideMetrics(
        stride=stride,
        status=payload["status"],
        reasons=tuple(payload["reasons"]),
        metrics={name: _metric(entry) for name, entry in payload["metrics"].items()},
        zones=dict(payload["zones"]),
        pooled=payload.get("pooled", 0),
    )


def _metric(entry: Mapping[str, Any]) -> Metric:
    known = {key: entry[key] for key in ("value", "ci95", "stride", "reason", "source", "parts") if key in entry}
    return Metric(**known)
