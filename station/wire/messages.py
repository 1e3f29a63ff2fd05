"""Every other MQTT payload: session, cue, state, status, live, health. Labels of wall time come in as text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from station.metrics.table import Band
from station.types import Cue, Live, PelvisSample, Pose, SessionSummary, State, View
from station.wire.jsonio import JsonObject, clean, number, seconds
from station.wire.track import keypoints_json

SESSION_SCHEMA = "hipline.session/1"

_UPDATE_IDLE: Mapping[str, str | None] = {"state": "idle", "from": None, "to": None, "reason": None}
_CAMERA_KEYS = ("light", "blur", "framing", "dirty", "calibrated")


def wall_label(unix_s: float) -> str:
    """Wall time (seconds since 1970, UTC) as the label of a payload, to the millisecond."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def session_json(
    summary: SessionSummary,
    station: str,
    session: str,
    start: str | None = None,
    *,
    versions: Mapping[str, str | None] | None = None,
    frames_dropped: int | None = None,
    verified: Mapping[str, object] | None = None,
) -> JsonObject:
    """The payload of a session that ended. ``start`` is its label in wall time, ``None`` in a replay.

    ``verified``: what ``station verify`` found of the estimator at work; ``None`` = never asked.
    """
    return {
        "schema": SESSION_SCHEMA,
        "station": station,
        "session": session,
        "start": start,
        "start_s": seconds(summary.start_s),
        "duration_s": seconds(summary.duration_s),
        "profile": summary.profile,
        "strides": int(summary.strides),
        "rejected": {str(reason): int(count) for reason, count in summary.rejected.items()},
        "metrics": {
            name: {
                "median": number(metric.median),
                "iqr": number(metric.iqr),
                "ci95": number(metric.ci95),
                "n": int(metric.n),
                "trend_per_min": number(metric.trend_per_min),
                **({} if metric.reason is None else {"reason": metric.reason}),
                **({} if metric.source is None else {"source": metric.source}),
            }
            for name, metric in summary.metrics.items()
        },
        "zones": {name: str(zone) for name, zone in summary.zones.items()},
        "curves": {
            name: {"mean": _curve(curve.mean.tolist()), "sd": _curve(curve.sd.tolist())}
            for name, curve in summary.curves.items()
        },
        "cues": [clean(cue) for cue in summary.cues],
        "advice": [str(advice) for advice in summary.advice],
        "frames": {"seen": int(summary.frames_seen), "dropped": frames_dropped},
        "versions": clean(dict(versions or {})),
        "verified": None if verified is None else clean(dict(verified)),
    }


def _curve(points: list[float]) -> list[float | None]:
    return [None if value is None else round(value, 5) for value in map(number, points)]


def cue_json(cue: Cue, session: str) -> JsonObject:
    """The payload of one cue; ``because`` are the ``seq`` of the strides behind it."""
    return {
        "session": session,
        "cue": cue.cue,
        "side": cue.side,
        "action": cue.action,
        "metric": cue.metric,
        "because": [int(seq) for seq in cue.because],
        "t": seconds(cue.t_s),
    }


def state_json(
    state: State, session: str | None, since: str | None, rules: Mapping[str, object] | None = None
) -> JsonObject:
    """The payload of the session's state. ``session`` is the token behind ``state.session``, ``since`` a wall label.

    ``rules`` (:func:`rules_json`) are those in force.
    """
    return {"state": state.name, "session": session, "since": since, "prompt": state.prompt, **(rules or {})}


def rules_json(bands: Mapping[str, Band], *, auto_start: bool) -> JsonObject:
    """How a session begins, and the zones of the one that is on (or would begin).

    ``bands``: metric → outer border of green, of amber. The second is the smaller one where smaller is worse; the
    difference and the symmetry count without sign.
    """
    return {
        "start": "auto" if auto_start else "tap",
        "bands": {name: [number(band.green), number(band.red)] for name, band in bands.items()},
    }


def status_json(
    state: Literal["online", "offline"],
    since: str | None,
    version: str,
    update: Mapping[str, str | None] | None = None,
    verified: Mapping[str, object] | None = None,
) -> JsonObject:
    """The payload of the station's presence; in a last will ``since`` is ``None``: nobody was there to read a clock.

    ``verified``: what ``station verify`` found of the estimator at work; ``None`` = never asked.
    """
    return {
        "state": state,
        "since": since,
        "version": version,
        "update": {**_UPDATE_IDLE, **(update or {})},
        "verified": None if verified is None else clean(dict(verified)),
    }


def live_json(live: Live, pose: Pose | None, view: View | None = None) -> JsonObject:
    """What the page draws: keypoints to a tenth of a pixel, and the size of the picture they lie in."""
    points = {} if pose is None else keypoints_json(pose)
    payload: JsonObject = {
        "t": seconds(live.t_s),
        "kp": {name: [round(x, 1), round(y, 1), round(score, 2)] for name, (x, y, score) in points.items()},
        "pelvis": None if live.pelvis is None else _pelvis(live.pelvis),
        "phase": number(live.phase),
        "side": live.side,
        "stability": number(live.stability),
    }
    if view is not None:
        payload["size"] = [view.width_px, view.height_px]
    return payload


def _pelvis(sample: PelvisSample) -> JsonObject:
    known: dict[str, Any] = {
        "obliquity_deg": number(sample.obliquity_deg),
        "rotation_deg": number(sample.rotation_deg),
        "tilt_deg": number(sample.tilt_deg),
        "sd_deg": number(sample.sd_obliquity_deg),
        "source": sample.source,
    }
    return known


def health_json(
    *,
    fps_in: float | None = None,
    fps_out: float | None = None,
    dropped: int | None = None,
    pose_ms: Mapping[str, float] | None = None,
    pelvis_ms: Mapping[str, float] | None = None,
    kernel_ms: Mapping[str, float] | None = None,
    publish_ms: Mapping[str, float] | None = None,
    outbox: int | None = None,
    lost: Mapping[str, object] | None = None,
    temp_c: float | None = None,
    throttled: bool | None = None,
    rss_mb: float | None = None,
    camera: Mapping[str, object] | None = None,
    degraded: Mapping[str, str | None] | None = None,
) -> JsonObject:
    """The payload of the station's own health; what is not known on this machine is null.

    ``…_ms`` hold ``p50`` and ``p95``; ``outbox`` counts the rows that wait for the broker; ``lost`` says what went
    missing and why (:meth:`station.outbox.OutboxStats.said`); ``camera`` has any of ``light``, ``blur``, ``framing``,
    ``dirty``, ``calibrated``, and whatever else the camera tells; ``degraded`` is ``step`` and ``cause``.
    """
    stages = {"pose_ms": pose_ms, "pelvis_ms": pelvis_ms, "kernel_ms": kernel_ms, "publish_ms": publish_ms}
    return {
        "fps_in": number(fps_in),
        "fps_out": number(fps_out),
        "dropped": dropped,
        **{
            name: None if ms is None else {key: number(ms.get(key)) for key in ("p50", "p95")}
            for name, ms in stages.items()
        },
        "outbox": outbox,
        "lost": clean(dict(lost or {})),
        "temp_c": number(temp_c),
        "throttled": throttled,
        "rss_mb": number(rss_mb),
        "camera": {**dict.fromkeys(_CAMERA_KEYS), **{key: clean(value) for key, value in (camera or {}).items()}},
        "degraded": {"step": "none", "cause": None} if degraded is None else dict(degraded),
    }
