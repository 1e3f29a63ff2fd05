"""From exposure to whoever looks: the whole station, a real broker, real pages and a subscriber, at the camera's pace.

Times are of one clock: the camera notes when it gave out a frame of sensor time t, the subscriber and the pages when a
message about t reached them. A stride is late by what passed since the last contact that closes it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import paho.mqtt.client as mqtt
from av.video.frame import VideoFrame
from paho.mqtt.enums import CallbackAPIVersion

from station.bench.soak import Stalls
from station.bench.stages import source_of
from station.broker import PrivateBroker
from station.camera.video import VideoFile
from station.config import Config
from station.engine.loop import Engine
from station.engine.observer import Observer, load_pose
from station.engine.outlet import Outlet
from station.engine.pelvis import load_pelvis
from station.engine.reload import session_settings
from station.engine.run import Page
from station.health import rss_mb
from station.outbox import Outbox
from station.outbox.store import Store
from station.publish import Link, Publisher
from station.session import Session
from station.types import Frame, Mount
from station.wire import topics

#: A hindered broker is stopped for so long, so often; a hindered disk takes so long over each write [s].
BROKER_STOPS_S, BROKER_EVERY_S, DISK_TAKES_S = 0.2, 1.0, 0.1
#: What happens before is not counted: processes start, caches fill [s].
SETTLE_S = 5.0
_PAGE_UP_S = 60.0


class Tapped(VideoFile):
    """A live clip that remembers when each frame was given out; ``fps`` plays it at another pace than its own."""

    def __init__(self, path: Path, mount: Mount | None = None, fps: float | None = None) -> None:
        super().__init__(path, mount, live=True)
        self.exposed_s: dict[float, float] = {}  # monotonic time by sensor time, to the millisecond
        self._slower = 1.0
        if fps is not None:
            self._slower = self._view.fps / fps
            self._view = replace(self._view, fps=fps)
            if self._promised_s is not None:
                self._promised_s *= self._slower

    def read(self) -> Frame | None:
        """As :meth:`VideoFile.read`."""
        frame = super().read()
        if frame is not None:
            self.exposed_s[round(frame.t_s, 3)] = time.monotonic()
        return frame

    def _time_s(self, decoded: VideoFrame) -> float:
        return self._offset_s + (super()._time_s(decoded) - self._offset_s) * self._slower


class SlowDisk(Store):
    """An outbox on a disk that takes its time over every write."""

    def write(self, *args: Any, **more: Any) -> None:
        """As :meth:`Store.write`, later."""
        time.sleep(DISK_TAKES_S)
        super().write(*args, **more)


@contextlib.contextmanager
def _slow(broker: PrivateBroker) -> Iterator[None]:
    """The broker's process is stopped for a while, again and again."""
    over = threading.Event()

    def stutter() -> None:
        while not over.wait(BROKER_EVERY_S - BROKER_STOPS_S):
            os.kill(broker.pid, signal.SIGSTOP)
            over.wait(BROKER_STOPS_S)
            os.kill(broker.pid, signal.SIGCONT)

    thread = threading.Thread(target=stutter, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Heard:
    """When messages about which sensor time arrived, by kind; thread-safe appends."""

    def __init__(self) -> None:
        self.live: list[tuple[float, float]] = []
        self.strides: list[tuple[float, float]] = []
        self.cues: list[tuple[float, float]] = []

    def message(self, kind: str, body: bytes | bytearray | str) -> None:
        """A message that has just arrived."""
        now_s = time.monotonic()
        payload = json.loads(body) if body else None
        if not isinstance(payload, dict):
            return
        if kind == topics.LIVE:
            self.live.append((float(payload["t"]), now_s))
        elif kind == topics.STRIDE:
            self.strides.append((float(payload["end_s"]), now_s))
        elif kind == topics.CUE:
            self.cues.append((float(payload["t"]), now_s))


def measure(
    config: Config, seconds: float, pages: int, busy: int, *, fps: float | None = None, hinder: bool = False
) -> dict[str, Any]:
    """Milliseconds from exposure to a page and to a subscriber, and from stride's end and cue to both (p50, p95, p99).

    ``pages`` watch at the same time; ``busy`` processes do nothing but use the processor; ``fps`` plays the clip at
    another pace; with ``hinder`` broker and disk are slow (:data:`BROKER_STOPS_S` and what stands beside it).
    """
    load_before = os.getloadavg()[0]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hipline-bench-")))
        for _ in range(busy):
            stack.enter_context(_burning())
        broker = stack.enter_context(PrivateBroker(folder / "broker"))
        camera = Tapped(source_of(config), config.camera.mount, fps)
        pose, pelvis = load_pose(config, _say), load_pelvis(config, camera.view)
        at_broker = ("--set", f"mqtt.host={broker.host}", "--set", f"mqtt.port={broker.port}")
        page = Page(replace(config, mqtt=replace(config.mqtt, host=broker.host, port=broker.port)), at_broker)
        page.start()
        stack.callback(page.stop)
        outbox = Outbox(folder / "outbox.db", store=SlowDisk if hinder else Store)
        stack.callback(outbox.close)
        publisher = Publisher(Link(broker.host, broker.port, config.topic_root), outbox, version="bench")
        stack.callback(publisher.close)
        outlet = Outlet(publisher, camera.view, config.station.name, live=True)
        observer = Observer(pose, camera.view, pelvis)
        engine = Engine(
            camera,
            observer,
            Session(camera.view, session_settings(config)),
            publisher,
            outlet,
            tick=page.look_after,
            say=_say,
        )
        subscribed, shown = Heard(), [Heard() for _ in range(pages)]
        stack.callback(_subscriber(config, broker, subscribed).disconnect)
        publisher.start()
        for heard in shown:
            threading.Thread(target=_watch, args=(page.url, heard), daemon=True).start()
        threading.Timer(seconds + SETTLE_S, engine.stop).start()
        stalls = stack.enter_context(Stalls(time.thread_time))
        if hinder:
            stack.enter_context(_slow(broker))
        settled: list[int] = []

        def settle() -> None:
            settled.append(engine.frames_lost)
            stalls.forget()

        threading.Timer(SETTLE_S, settle).start()
        engine.run()
        lost = {kind: count for kind, count in outbox.stats().lost.items() if count}
        frame_ms = [observer.pose_times.percentiles(50, 95, 99), observer.pelvis_times.percentiles(50, 95, 99)]
    seen = [heard for heard in shown if heard.live]
    late = {
        "exposure to subscriber": _late_ms(camera.exposed_s, subscribed.live),
        "exposure to page": _late_ms(camera.exposed_s, [one for heard in seen for one in heard.live]),
        "stride end to subscriber": _late_ms(camera.exposed_s, subscribed.strides),
        "stride end to page": _late_ms(camera.exposed_s, [one for heard in seen for one in heard.strides]),
        "cue to subscriber": _late_ms(camera.exposed_s, subscribed.cues),
        "cue to page": _late_ms(camera.exposed_s, [one for heard in seen for one in heard.cues]),
    }
    return {
        "source": camera.name, "seconds": seconds, "pages": pages, "pages_served": len(seen), "busy": busy,
        "hindered": hinder, "load": [round(load_before, 1), round(os.getloadavg()[0], 1)], "records_lost": lost,
        "fps": camera.view.fps, "frames": engine.frames, "dropped": engine.frames_lost - settled[0],
        "dropped_before": settled[0], "rss_mb": rss_mb(),
        "gc_longest_ms": round(stalls.longest_ms, 2), "pose_ms": frame_ms[0], "pelvis_ms": frame_ms[1], "ms": late,
    }  # fmt: skip


def _late_ms(exposed_s: Mapping[float, float], heard: list[tuple[float, float]]) -> dict[str, float] | None:
    """Percentiles of what passed between a sensor time and the arrival of its message."""
    if not exposed_s or not heard:
        return None
    times = np.array(sorted(exposed_s.items()))
    settled = [(t, at) for t, at in heard if t >= times[0, 0] + SETTLE_S]
    if not settled:
        return None
    t, at = np.array(settled).T
    late = 1000 * (at - np.interp(t, times[:, 0], times[:, 1]))
    return {f"p{rank}": round(float(np.percentile(late, rank)), 1) for rank in (50, 95, 99)} | {"count": len(late)}


def _subscriber(config: Config, broker: PrivateBroker, heard: Heard) -> mqtt.Client:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    root = config.topic_root
    client.on_message = lambda _c, _d, message: heard.message(
        message.topic.removeprefix(root).lstrip("/"), message.payload
    )
    client.connect(broker.host, broker.port)
    client.subscribe(f"{root}/#", qos=1)
    client.loop_start()
    return client


def _watch(url: str, heard: Heard) -> None:
    """A page's stream, read until it ends."""
    give_up_s, at = time.monotonic() + _PAGE_UP_S, urlsplit(url)
    while time.monotonic() < give_up_s:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=10)
            connection.request("GET", "/events", headers={"Accept": "text/event-stream"})
            answer = connection.getresponse()
            if answer.status == 200:
                kind = ""
                for line in answer:
                    name, _, rest = line.decode().rstrip("\n").partition(": ")
                    if name == "event":
                        kind = rest
                    elif name == "data":
                        heard.message(kind, rest)
                return
        time.sleep(0.5)


@contextlib.contextmanager
def _burning() -> Iterator[None]:
    """A process that uses a processor for nothing."""
    burner = multiprocessing.get_context("spawn").Process(target=_burn, daemon=True)
    burner.start()
    try:
        yield
    finally:
        burner.terminate()
        burner.join()


def _burn() -> None:
    while True:
        pass


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def table(report: dict[str, Any]) -> str:
    """The delivery for people."""
    head = (
        "{source}: {frames} frames in {seconds:g} s, {dropped} dropped ({dropped_before} more before all had settled)"
    )
    head += (
        "; {pages_served} of {pages} pages served, {busy} busy processes beside{slow}; {rss_mb} MB, longest garbage "
    )
    head += "collection {gc_longest_ms} ms of CPU; load of the machine {load}, messages lost {records_lost}"
    slow = ", broker and disk slow" if report["hindered"] else ""
    lines = [head.format(slow=slow, **report), f"{'ms':28}{'p50':>9}{'p95':>9}{'p99':>9}{'of':>8}"]
    rows = {"pose": report["pose_ms"], "pelvis": report["pelvis_ms"]} | report["ms"]
    for name, values in rows.items():
        if values is None:
            lines.append(f"{name:28}        –")
            continue
        lines.append(
            f"{name:28}" + "".join(f"{values[rank]:9.1f}" for rank in ("p50", "p95", "p99"))
            + f"{values.get('count', ''):>8}"
        )  # fmt: skip
    return "\n".join(lines)
