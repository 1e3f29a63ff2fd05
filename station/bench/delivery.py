"""From exposure to whoever looks: the whole station, a real broker, real pages and a subscriber, at the camera's pace.

Times are of one clock: the camera notes when it gave out a frame of sensor time t, the subscriber and the pages when a
message about t reached them. A stride is late by what passed since the last contact that closes it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import multiprocessing
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
from station.engine.run import Page
from station.health import rss_mb
from station.outbox import Outbox
from station.publish import Link, Publisher
from station.session import Session
from station.types import Frame
from station.wire import topics

#: What happens before is not counted: processes start, caches fill [s].
SETTLE_S = 5.0
_PAGE_UP_S = 60.0


class Tapped(VideoFile):
    """A live clip that remembers when each frame was given out."""

    def read(self) -> Frame | None:
        """As :meth:`VideoFile.read`."""
        frame = super().read()
        if frame is not None:
            self.exposed_s[round(frame.t_s, 3)] = time.monotonic()
        return frame

    @property
    def exposed_s(self) -> dict[float, float]:
        """Monotonic time by sensor time, to the millisecond."""
        times: dict[float, float] = self.__dict__.setdefault("_exposed_s", {})
        return times


class Heard:
    """When messages about which sensor time arrived, by kind; thread-safe appends."""

    def __init__(self) -> None:
        self.live: list[tuple[float, float]] = []
        self.strides: list[tuple[float, float]] = []

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


def measure(config: Config, seconds: float, pages: int, busy: int) -> dict[str, Any]:
    """Milliseconds from exposure to a page and to a subscriber, and from a stride's end to both (p50, p95, p99).

    ``pages`` watch at the same time; ``busy`` processes do nothing but use the processor.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hipline-bench-")))
        for _ in range(busy):
            stack.enter_context(_burning())
        broker = stack.enter_context(PrivateBroker(folder / "broker"))
        camera = Tapped(source_of(config), config.camera.mount, live=True)
        pose, pelvis = load_pose(config, _say), load_pelvis(config, camera.view)
        at_broker = ("--set", f"mqtt.host={broker.host}", "--set", f"mqtt.port={broker.port}")
        page = Page(replace(config, mqtt=replace(config.mqtt, host=broker.host, port=broker.port)), at_broker)
        page.start()
        stack.callback(page.stop)
        outbox = Outbox(folder / "outbox.db")
        stack.callback(outbox.close)
        publisher = Publisher(Link(broker.host, broker.port, config.topic_root), outbox, version="bench")
        stack.callback(publisher.close)
        outlet = Outlet(publisher, camera.view, config.station.name, live=True)
        observer = Observer(pose, camera.view, pelvis)
        engine = Engine(camera, observer, Session(camera.view), publisher, outlet, tick=page.look_after, say=_say)
        subscribed, shown = Heard(), [Heard() for _ in range(pages)]
        stack.callback(_subscriber(config, broker, subscribed).disconnect)
        publisher.start()
        for heard in shown:
            threading.Thread(target=_watch, args=(page.url, heard), daemon=True).start()
        threading.Timer(seconds + SETTLE_S, engine.stop).start()
        stalls = stack.enter_context(Stalls())
        engine.run()
        frame_ms = [observer.pose_times.percentiles(50, 95, 99), observer.pelvis_times.percentiles(50, 95, 99)]
    seen = [heard for heard in shown if heard.live]
    late = {
        "exposure to subscriber": _late_ms(camera.exposed_s, subscribed.live),
        "exposure to page": _late_ms(camera.exposed_s, [one for heard in seen for one in heard.live]),
        "stride end to subscriber": _late_ms(camera.exposed_s, subscribed.strides),
        "stride end to page": _late_ms(camera.exposed_s, [one for heard in seen for one in heard.strides]),
    }
    return {
        "source": camera.name, "seconds": seconds, "pages": pages, "pages_served": len(seen), "busy": busy,
        "frames": engine.frames, "dropped": engine.frames_lost, "rss_mb": rss_mb(),
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
    head = "{source}: {frames} frames, {dropped} dropped, in {seconds:g} s; {pages_served} of {pages} pages served, "
    head += "{busy} busy processes beside; {rss_mb} MB, longest garbage collection {gc_longest_ms} ms"
    lines = [head.format(**report), f"{'ms':28}{'p50':>9}{'p95':>9}{'p99':>9}{'of':>8}"]
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
