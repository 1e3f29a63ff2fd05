"""A runner made of sine waves, who says on MQTT what the engine would say: for the page's tests and to try it by hand.

``python -m tests.web.runner --port 1883`` publishes a run in real time.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from station import wire
from station.metrics.table import bands

ROOT = "hipline/v1/gym/tm-07"
SESSION = "4f9c2b7e"
STRIDE_S = 0.706
_NULLS = {
    "rotation_range_deg": "not seen by this estimator",
    "tilt_mean_deg": "not seen by this estimator",
    "step_width_mm": "camera not calibrated",
}


def drop(value: float, ci95: float = 0.5, stride: float | None = None) -> dict[str, Any]:
    """An entry of a stride's ``metrics``."""
    return {"value": value, "ci95": ci95, "stride": value if stride is None else stride, "source": "fused"}


def stride(
    seq: int = 41,
    left: float | None = 5.8,
    right: float | None = 4.1,
    cadence: float | None = 170.0,
    stability: float | None = 87.0,
    reason: str = "waist_hidden",
    session: str = SESSION,
    last: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """A ``hipline.stride/1`` with the metrics the page reads; ``None`` = null with ``reason``."""
    last = last or (left or 0.0, right or 0.0)
    entries = {
        "pelvic_drop_peak_left_deg": (left, 0.5, last[0]),
        "pelvic_drop_peak_right_deg": (right, 0.6, last[1]),
        "cadence_spm": (cadence, 0.4, cadence or 0.0),
        "stability": (stability, None, stability or 0.0),
    }
    metrics: dict[str, Any] = {
        name: {"value": None, "reason": reason}
        if value is None
        else {"value": value, "ci95": ci95, "stride": own}
        for name, (value, ci95, own) in entries.items()
    }  # fmt: skip
    if stability is not None:
        metrics["stability"]["parts"] = {"level": stability + 5.0, "still": stability - 2.0, "even": stability - 3.0}
    metrics |= {name: {"value": None, "reason": why} for name, why in _NULLS.items()}
    return {
        "schema": "hipline.stride/1", "station": "tm-07", "session": session, "seq": seq,
        "start_s": seq * STRIDE_S, "end_s": (seq + 1) * STRIDE_S, "wall": "2026-11-22T10:00:00.123Z",
        "events": {"left_contact_s": seq * STRIDE_S, "left_off_s": None, "right_contact_s": None,
                   "right_off_s": None},
        "metrics": metrics,
        "zones": {name: zone(value) for name, (value, _, _) in list(entries.items())[:2] if value is not None},
        "status": "ok", "reasons": [],
    }  # fmt: skip


def zone(deg: float) -> str:
    """The plain zone of a peak drop (without its confidence interval, which the kernel has)."""
    return "green" if deg <= 6.0 else "amber" if deg <= 9.0 else "red"


def live(
    t: float, left: float = 5.8, right: float = 4.1, tilt: float | None = None, sway: float = 1.0
) -> dict[str, Any]:
    """What the engine says of one frame: a phase of the run cycle, seen from behind in a 1280 × 720 picture."""
    phase = (t / STRIDE_S) % 1.0
    wave = -math.sin(2 * math.pi * (phase + 0.04))
    obliquity = wave * (left if wave < 0 else right) * sway
    rotation = 8.0 * math.cos(2 * math.pi * phase) * sway
    return {
        "t": t,
        "kp": keypoints(phase, obliquity, sway),
        "pelvis": {"obliquity_deg": obliquity, "rotation_deg": rotation, "tilt_deg": tilt, "sd_deg": 0.9,
                   "source": "fused"},
        "phase": phase, "side": "left" if phase < 0.5 else "right", "stability": 87.0,
    }  # fmt: skip


def keypoints(phase: float, obliquity_deg: float, sway: float = 1.0) -> dict[str, list[float]]:
    """Twelve keypoints of a runner 2.4 m away."""
    x = 640.0 + 8.0 * math.sin(2 * math.pi * phase) * sway
    bounce = -9.0 * abs(math.sin(2 * math.pi * phase)) * sway
    points: dict[str, list[float]] = {}
    lean = math.radians(obliquity_deg)
    for side, sign, shift in (("left", -1.0, 0.0), ("right", 1.0, 0.5)):
        swing = 2 * math.pi * (phase + shift)
        lift = max(0.0, -math.sin(swing)) * sway
        hip = (x + sign * 34.0, 330.0 + bounce - sign * 34.0 * math.tan(lean))
        knee = (x + sign * (30.0 - 6.0 * lift), 430.0 + bounce - 18.0 * lift)
        ankle = (x + sign * (20.0 - 4.0 * lift), 545.0 - 130.0 * lift**1.4)
        points[f"{side}_shoulder"] = [x + sign * 62.0, 165.0 + bounce, 0.98]
        points[f"{side}_hip"] = [*hip, 0.97]
        points[f"{side}_knee"] = [*knee, 0.95]
        points[f"{side}_ankle"] = [*ankle, 0.94]
        points[f"{side}_heel"] = [ankle[0], ankle[1] + 22.0, 0.9]
        points[f"{side}_toe"] = [ankle[0] + sign * 9.0, ankle[1] + 34.0, 0.88]
    return points


def state(
    name: str,
    session: str | None = SESSION,
    prompt: str | None = None,
    profile: str | None = None,
    auto_start: bool = True,
) -> dict[str, Any]:
    """The ``state`` payload."""
    rules = wire.rules_json(bands(profile), auto_start=auto_start)
    return {"state": name, "session": session, "since": "2026-11-22T10:00:00.000Z", "prompt": prompt, **rules}


def cue(
    action: str = "raise", name: str = "belt_line_level", side: str | None = "left", metric: str | None = None
) -> dict[str, Any]:
    """The ``cue`` payload."""
    return {"session": SESSION, "cue": name, "side": side, "action": action,
            "metric": metric or "pelvic_drop_peak_left_deg", "because": [34, 35, 36, 38, 39, 40, 41]}  # fmt: skip


#: What six people who wore the tag said of the station's estimator.
VERIFIED = {"people": 6, "estimator": "fused", "gain": 0.91, "gain_sd": 0.12, "bias_sd_deg": 0.7, "scatter_deg": 1.4,
            "drop_error_deg": 0.8}  # fmt: skip


def session(name: str = SESSION) -> dict[str, Any]:
    """A ``hipline.session/1`` of a twenty-minute run whose left drop grows."""

    def entry(median: float, iqr: float, ci95: float, trend: float, source: str | None = None) -> dict[str, Any]:
        known = {"median": median, "iqr": iqr, "ci95": ci95, "n": 1654, "trend_per_min": trend}
        return known if source is None else {**known, "source": source}

    turn = [2 * math.pi * i / 100 for i in range(101)]
    curves = {
        "obliquity": {"mean": [-6.6 * math.sin(a) + 1.2 * math.sin(2 * a) for a in turn], "sd": [1.1] * 101},
        "rotation": {"mean": [7.5 * math.cos(a) for a in turn], "sd": [1.6] * 101},
        "sway": {"mean": [0.07 * math.sin(a + 0.4) for a in turn], "sd": [0.02] * 101},
        "pelvis_height": {"mean": [0.11 * math.cos(2 * a) for a in turn], "sd": [0.02] * 101},
    }
    return {
        "schema": "hipline.session/1", "station": "tm-07", "session": name, "start": "2026-11-22T10:00:00.000Z",
        "duration_s": 1204.0, "profile": None, "strides": 1654, "rejected": {"gap": 12, "walking": 31},
        "metrics": {
            "stability": entry(74.0, 9.0, 1.0, -0.6, "fused"),
            "cadence_spm": entry(169.4, 2.1, 0.3, -0.1),
            "pelvic_drop_peak_left_deg": entry(7.2, 1.6, 0.3, 0.08, "fused"),
            "pelvic_drop_peak_right_deg": entry(4.4, 1.3, 0.3, 0.01, "fused"),
            "pelvic_drop_difference_deg": entry(2.8, 1.4, 0.4, 0.07, "fused"),
            "sway_hw": entry(0.17, 0.04, 0.01, 0.0),
            "stride_time_cv_pct": entry(1.8, 0.6, 0.2, 0.0),
            "contact_time_left_ms": entry(251.0, 9.0, 2.0, 0.2),
            "contact_time_right_ms": entry(247.0, 9.0, 2.0, 0.2),
        },
        "zones": {"pelvic_drop_peak_left_deg": "amber", "pelvic_drop_peak_right_deg": "green",
                  "pelvic_drop_difference_deg": "amber", "sway_hw": "green", "stride_time_cv_pct": "green"},
        "curves": curves,
        "cues": [{"cue": "belt_line_level", "side": "left", "t_s": 412.0, "action": "raise",
                  "metric": "pelvic_drop_peak_left_deg", "before": 7.6, "after": 6.9, "answer": "better"}],
        "advice": ["side plank", "lateral band walks", "glute work"],
        "frames": {"seen": 36110, "dropped": 12},
        "versions": {"app": "0.1.0", "pose_model": "e9a5c5cb", "pelvis_model": None, "kernel": "0.1.0"},
        "verified": VERIFIED,
    }  # fmt: skip


STATUS = {
    "state": "online",
    "since": "2026-11-22T09:00:00.000Z",
    "version": "0.1.0",
    "update": {"state": "idle", "from": None, "to": None, "reason": None},
}
HEALTH = {
    "fps_in": 30.0, "fps_out": 29.8, "dropped": 3, "pose_ms": {"p50": 14.1, "p95": 19.8}, "pelvis_ms": None,
    "kernel_ms": {"p50": 0.6, "p95": 1.1}, "publish_ms": {"p50": 0.3, "p95": 0.9},
    "outbox": 0, "temp_c": 61.2, "throttled": False, "rss_mb": 212.0,
    "camera": {"light": 0.7, "blur": 0.1, "framing": 0.9, "dirty": False, "calibrated": True, "luma": 96.0,
               "flicker": 0.01, "hints": [], "exposure_ms": 4.0, "gain": 2.0, "lux": 420.0, "locked": True},
}  # fmt: skip


@dataclass
class Publisher:
    """The engine's voice: publishes under ``root`` and waits for the broker to have it."""

    port: int
    root: str = ROOT
    client: mqtt.Client = field(init=False)
    frames: deque[dict[str, Any]] = field(init=False, default_factory=lambda: deque(maxlen=1000))

    def __post_init__(self) -> None:
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.connect("127.0.0.1", self.port)
        self.client.loop_start()

    def say(self, topic: str, payload: Any, retain: bool | None = None) -> None:
        """Publish one payload as the formats ask (QoS and retained by topic); bytes go out as they are."""
        retained = topic in ("status", "state", "session", "log") if retain is None else retain
        body = payload if isinstance(payload, bytes) else json.dumps(payload)
        qos = 0 if topic in ("live", "health") else 1
        info = self.client.publish(f"{self.root}/{topic}", body, qos=qos, retain=retained)
        info.wait_for_publish(5)

    def run(self, seconds: float, left: float = 5.8, right: float = 4.1, rate_hz: float = 30.0, **how: Any) -> None:
        """Frames in real time."""
        begin = time.monotonic()
        while (now := time.monotonic()) - begin < seconds:
            self.frames.append(live(now, left, right, **how))
            self.say("live", self.frames[-1])
            time.sleep(1.0 / rate_hz)

    def close(self) -> None:
        """Leave."""
        self.client.disconnect()
        self.client.loop_stop()


def main() -> None:
    """Run for ever, a little worse every minute."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--root", default=ROOT)
    options = parser.parse_args()
    engine = Publisher(options.port, options.root)
    engine.say("status", STATUS)
    engine.say("state", state("running"))
    seq = 0
    while True:
        left = 5.0 + 3.5 * math.sin(seq / 40)
        engine.say("stride", stride(seq, left, 4.1, last=(left + math.sin(seq * 7) * 1.2, 4.1 + math.sin(seq * 5))))
        if seq % 40 == 20:
            engine.say("cue", cue())
        engine.run(STRIDE_S, left)
        seq += 1


if __name__ == "__main__":
    main()
