"""A fleet without treadmills: N stations with the real outbox and publisher, and a receiver that keeps the books.

    python -m station.lab.fleet --port 1883 --stations 300 --seconds 60 --processes 2 --broker-pid 4711

Sessions come and go, links break and come back, every payload is a real one; only the runner is made up. The report
says what arrived, how late, and what it cost the broker. Exit code 1 when a stride is missing or out of order.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import multiprocessing
import os
import random
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from station import wire
from station.metrics.table import bands
from station.outbox import Outbox
from station.publish import Link, Publisher
from station.types import Cue, Curve, Metric, MetricSummary, SessionSummary, State, Stride, StrideMetrics
from station.wire import topics

GYM = "fleet"
ROOT = f"hipline/v1/{GYM}"
#: What every state says of how a session begins and which zones hold.
_RULES = wire.rules_json(bands(None), auto_start=True)
_METRICS: tuple[str, ...] = tuple(wire.schema("stride")["properties"]["metrics"]["required"])


@dataclass(frozen=True)
class Plan:
    """What to play. ``session_s`` and ``pause_s`` are means; ``outages`` is the mean number of cut links a station."""

    host: str = "127.0.0.1"
    port: int = 1883
    stations: int = 3
    seconds: float = 60.0
    processes: int = 1
    session_s: float = 30.0
    pause_s: float = 5.0
    outages: float = 0.0
    outage_s: float = 5.0
    drain_s: float = 60.0
    seed: int = 1


@dataclass
class Report:
    """What came of it. Latency is from record to receiver, in milliseconds, wherever the stride waited in between."""

    stations: int = 0
    strides: int = 0
    received: int = 0
    missing: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    strangers: int = 0
    messages: int = 0
    bytes: int = 0
    seconds: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    broker_cpu_pct: float | None = None
    broker_rss_mb: float | None = None
    stride_bytes: float | None = None
    lost: dict[str, Any] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Nothing missing, nothing out of order, nothing that nobody sent."""
        return self.received > 0 and not (self.missing or self.out_of_order or self.strangers)


# --- a runner who is not there ----------------------------------------------------------------------------------------


class Runner:
    """Strides with plausible numbers, a little different each time."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.stride_s = dice.uniform(0.62, 0.78)
        self._level = {name: dice.uniform(0.5, 9.0) for name in _METRICS}

    def stride(self, seq: int, start_s: float) -> StrideMetrics:
        """The next stride."""
        dice = self._dice
        length = self.stride_s * dice.gauss(1.0, 0.01)
        at = [start_s + length * share for share in (0.0, 0.36, 0.5, 0.86)]
        metrics = {
            name: Metric(value=level + dice.gauss(0, 0.05), ci95=0.4, stride=level + dice.gauss(0, 0.8), source="hips")
            for name, level in self._level.items()
        }
        metrics["cadence_spm"] = Metric(value=120 / self.stride_s, ci95=0.3, stride=120 / length)
        metrics["step_width_mm"] = Metric(reason="camera not calibrated")
        stride = Stride(seq, start_s, start_s + length, at[0], at[1], at[2], at[3])
        return StrideMetrics(stride, "ok", (), metrics, {"pelvic_drop_peak_left_deg": "green"})

    def summary(self, duration_s: float, strides: int) -> SessionSummary:
        """What is kept of the run."""
        phase = np.linspace(0, 2 * np.pi, 101)
        curves = {name: Curve(4 * np.sin(phase), np.full(101, 0.7)) for name in ("obliquity", "sway", "height")}
        metrics = {name: MetricSummary(level, 0.8, 0.2, strides, 0.01) for name, level in self._level.items()}
        zones = {"pelvic_drop_peak_left_deg": "green"}
        return SessionSummary(
            0.0, duration_s, None, strides, {"warming_up": 3}, metrics, zones, curves, (), ("side plank",), strides * 40
        )


class SimulatedStation:
    """One station: the real outbox and publisher behind a made-up runner."""

    def __init__(self, plan: Plan, number: int, folder: Path) -> None:
        self.name = f"tm-{number:03d}"
        self._plan = plan
        self._dice = random.Random(f"{plan.seed}/{number}")
        self._runner = Runner(self._dice)
        self._outbox = Outbox(folder / f"{self.name}.db")
        self._publisher: Publisher | None = None
        #: Session → how many strides were recorded in it (their seq run from 0).
        self.recorded: dict[str, int] = {}

    def connect(self) -> None:
        """Plug the link in."""
        root = f"{ROOT}/{self.name}"
        discovery = {topics.discovery_topic(self.name): wire.discovery_json(root, GYM, self.name, "0.0-fleet")}
        link = Link(self._plan.host, self._plan.port, root)
        self._publisher = Publisher(link, self._outbox, version="0.0-fleet", also=discovery)
        self._publisher.start()

    def disconnect(self) -> None:
        """Pull the link out, whatever is under way."""
        if self._publisher is not None:
            self._publisher.close(0.0)
        self._publisher = None

    @property
    def waiting(self) -> int:
        """Records that the broker has not accepted."""
        return self._outbox.stats().waiting

    def close(self) -> dict[str, Any]:
        """Say good-bye; returns what was lost."""
        if self._publisher is not None:
            self._publisher.close(5.0)
        self._outbox.close()
        return self._outbox.stats().said()

    def live(self) -> Iterator[float]:
        """The station's day: yields how long to wait until the next thing happens."""
        yield self._dice.uniform(0, self._plan.pause_s)
        while True:
            yield from self._session()
            yield self._dice.expovariate(1 / self._plan.pause_s)

    def _session(self) -> Iterator[float]:
        token = f"{self._dice.getrandbits(32):08x}"
        self._say(State("running", time.monotonic(), 1), token)
        begin_s, length_s = time.monotonic(), self._dice.expovariate(1 / self._plan.session_s)
        seq = 0
        while time.monotonic() - begin_s < length_s:
            yield self._runner.stride_s
            stride = self._runner.stride(seq, time.monotonic())
            self.recorded[token] = seq + 1
            self._record("stride", wire.stride_json(stride, self.name, token, wire.wall_label(time.time())))
            if seq % 40 == 20:
                cue = Cue(time.monotonic(), "belt_line_level", "left", "raise", "pelvic_drop_peak_left_deg", (seq,))
                self._record("cue", wire.cue_json(cue, token))
            seq += 1
        summary = self._runner.summary(length_s, seq)
        self._record("session", wire.session_json(summary, self.name, token, wire.wall_label(time.time())))
        self._say(State("idle", time.monotonic()), None)

    def healths(self) -> Iterator[float]:
        """Every 5 s, as the engine does."""
        yield self._dice.uniform(0, 5.0)
        while True:
            temperature = 55 + self._dice.gauss(0, 2)
            health = wire.health_json(fps_in=30.0, fps_out=29.9, dropped=2, outbox=self.waiting, temp_c=temperature)
            if self._publisher is not None:
                self._publisher.say("health", health)
            yield 5.0

    def outages(self) -> Iterator[float]:
        """The link breaks now and then."""
        while self._plan.outages > 0:
            yield self._dice.expovariate(self._plan.outages / self._plan.seconds)
            self.disconnect()
            yield self._dice.expovariate(1 / self._plan.outage_s)
            self.connect()

    def _record(self, kind: str, payload: dict[str, Any]) -> None:
        self._outbox.put(kind, str(payload["session"]), wire.dumps(payload).encode())

    def _say(self, state: State, token: str | None) -> None:
        if self._publisher is not None:
            self._publisher.say("state", wire.state_json(state, token, wire.wall_label(time.time()), _RULES))


def play(plan: Plan, numbers: Sequence[int], folder: Path) -> tuple[dict[tuple[str, str], int], dict[str, Any]]:
    """Play these stations; returns (station, session) → strides recorded, and what their outboxes lost."""
    stations = [SimulatedStation(plan, number, folder) for number in numbers]
    for station in stations:
        station.connect()
    _timetable([life for s in stations for life in (s.live(), s.healths(), s.outages())], plan.seconds)
    for station in stations:
        if station._publisher is None:  # an outage that would last beyond the end
            station.connect()
    until_s = time.monotonic() + plan.drain_s
    while any(station.waiting for station in stations) and time.monotonic() < until_s:
        time.sleep(0.1)
    lost = {station.name: said for station in stations if (said := station.close())}
    recorded = {(s.name, session): count for s in stations for session, count in s.recorded.items()}
    return recorded, lost


def _timetable(lives: Sequence[Iterator[float]], seconds: float) -> None:
    end_s = time.monotonic() + seconds
    heap = [(time.monotonic(), number) for number in range(len(lives))]
    while heap and heap[0][0] < end_s:
        due_s, number = heapq.heappop(heap)
        time.sleep(max(0.0, due_s - time.monotonic()))
        pause_s = next(lives[number], None)
        if pause_s is not None:
            heapq.heappush(heap, (time.monotonic() + pause_s, number))


# --- the receiver -----------------------------------------------------------------------------------------------------


class Receiver:
    """Hears every station, as a gym's archive would: session kept by the broker, duplicates dropped by identity."""

    def __init__(self, host: str, port: int) -> None:
        self.seen: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.duplicates = self.messages = self.bytes = 0
        self.late_ms: list[float] = []
        self.stride_bytes = 0
        self._known: set[tuple[str, str, int]] = set()
        self._ready = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="fleet-receiver", protocol=mqtt.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe([(f"{ROOT}/#", 1)])
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._message
        self._client.reconnect_delay_set(1, 1)
        keep = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho left it without types
        keep.SessionExpiryInterval = 3600
        self._client.connect(host, port, keepalive=15, clean_start=False, properties=keep)
        self._client.loop_start()
        if not self._ready.wait(10):
            raise RuntimeError(f"{host}:{port}: the broker does not let the receiver subscribe")

    def _message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        self.messages += 1
        self.bytes += len(message.payload) + len(message.topic)
        if not message.topic.endswith("/stride"):
            return
        payload = json.loads(message.payload)
        identity = (payload["station"], payload["session"], payload["seq"])
        if identity in self._known:
            self.duplicates += 1
            return
        self._known.add(identity)
        self.stride_bytes += len(message.payload)
        self.seen[identity[:2]].append(identity[2])
        self.late_ms.append((time.time() - datetime.fromisoformat(payload["wall"]).timestamp()) * 1000)

    def complete(self, recorded: dict[tuple[str, str], int]) -> bool:
        """Whether every recorded stride is here."""
        return all(len(self.seen.get(run, ())) >= count for run, count in recorded.items())

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()


def run(plan: Plan, *, broker_pid: int | None = None, meanwhile: Callable[[], None] = lambda: None) -> Report:
    """Play the plan against the broker and keep the books. ``meanwhile`` runs beside it, once (to break things)."""
    receiver = Receiver(plan.host, plan.port)
    mischief = threading.Thread(target=meanwhile, daemon=True)
    cpu_s, begin_s = _cpu_s(broker_pid), time.monotonic()
    recorded: dict[tuple[str, str], int] = {}
    lost: dict[str, Any] = {}
    shares = [list(range(first, plan.stations, plan.processes)) for first in range(plan.processes)]
    with tempfile.TemporaryDirectory(prefix="hipline-fleet-") as name:
        with multiprocessing.get_context("spawn").Pool(plan.processes) as pool:
            parts = [pool.apply_async(play, (plan, share, Path(name))) for share in shares]
            mischief.start()
            for part in parts:
                counts, said = part.get()
                recorded |= counts
                lost |= said
        mischief.join()
        until_s = time.monotonic() + plan.drain_s
        while not receiver.complete(recorded) and time.monotonic() < until_s:
            time.sleep(0.1)
    seconds = time.monotonic() - begin_s
    receiver.close()
    report = books(receiver, recorded)
    report.stations, report.seconds, report.lost = plan.stations, round(seconds, 1), lost
    after_s = _cpu_s(broker_pid)
    if cpu_s is not None and after_s is not None:
        report.broker_cpu_pct = round(100 * (after_s - cpu_s) / seconds, 1)
        report.broker_rss_mb = _rss_mb(broker_pid)
    return report


def books(receiver: Receiver, recorded: dict[tuple[str, str], int]) -> Report:
    """Compare what was recorded with what was received, in the order of first arrival."""
    report = Report(messages=receiver.messages, bytes=receiver.bytes, duplicates=receiver.duplicates)
    for identity, count in recorded.items():
        seqs = receiver.seen.get(identity, [])
        report.strides += count
        report.received += len(seqs)
        report.missing += count - len(set(seqs) & set(range(count)))
        report.out_of_order += sum(b < a for a, b in itertools.pairwise(seqs))
        report.strangers += len(set(seqs) - set(range(count)))
    report.strangers += sum(len(seqs) for run, seqs in receiver.seen.items() if run not in recorded)
    if receiver.late_ms:
        p50, p99 = np.percentile(receiver.late_ms, (50, 99))
        report.p50_ms, report.p99_ms, report.max_ms = (round(float(x), 1) for x in (p50, p99, max(receiver.late_ms)))
        report.stride_bytes = round(receiver.stride_bytes / len(receiver.late_ms), 1)
    return report


def _cpu_s(pid: int | None) -> float | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mb(pid: int | None) -> float | None:
    try:
        return round(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
    except OSError:
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: plays the plan and prints the report as JSON."""
    parser = argparse.ArgumentParser(description="Play a fleet of stations against a broker.")
    for name, kind in Plan.__annotations__.items():
        default = getattr(Plan, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, metavar=str(kind))
    parser.add_argument("--broker-pid", type=int, help="report CPU and memory of this process")
    options = vars(parser.parse_args(arguments))
    broker_pid = options.pop("broker_pid")
    report = run(Plan(**options), broker_pid=broker_pid)
    print(json.dumps(asdict(report), indent=1))
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
