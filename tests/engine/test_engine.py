"""The engine with a fake camera, a known runner, the real kernel, the real publisher and a real mosquitto."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from station.engine.loop import Engine, Inbox
from station.engine.observer import Observer
from station.engine.outlet import Outlet
from station.errors import BrokerError, CameraError
from station.health import Supervisor
from station.outbox import Outbox
from station.publish import Link, Publisher
from station.session import Session, SessionSettings
from station.types import View
from tests.broker_fixture import Listener, Mosquitto, eventually
from tests.engine.conftest import KnownRunner
from tests.engine.fake_camera import FakeCamera

ROOT = "hipline/v1/gym/tm-07"


class Watched(Supervisor):
    """A supervisor that notes what it was told."""

    def __init__(self) -> None:
        super().__init__({})
        self.frames = 0
        self.reasons: list[str] = []

    def frame_processed(self) -> None:
        self.frames += 1

    def stopping(self, reason: str) -> None:
        self.reasons.append(reason)


@contextmanager
def publishing(broker: Mosquitto, folder: Path, inbox: Inbox | None = None) -> Iterator[Publisher]:
    folder.mkdir(exist_ok=True)
    outbox = Outbox(folder / "outbox.db")
    link = Link("127.0.0.1", broker.port, ROOT)
    publisher = Publisher(link, outbox, version="1", on_command=inbox.put if inbox else None)
    publisher.start()
    try:
        yield publisher
    finally:
        publisher.close()
        outbox.close()


def _engine(camera: FakeCamera, runner: KnownRunner, publisher: Publisher, view: View, **more: object) -> Engine:
    outlet = Outlet(publisher, view, "tm-07", live=True, versions={"app": "1"})
    return Engine(camera, Observer(runner, view), Session(view), publisher, outlet, **more)  # type: ignore[arg-type]


def test_strides_reach_a_subscriber_with_station_session_and_seq(
    mosquitto: Mosquitto, listen: Callable[..., Listener], runner: KnownRunner, view: View, tmp_path: Path
) -> None:
    listener = listen(mosquitto.port, f"{ROOT}/#")
    camera = FakeCamera(view, pace_s=0.006, ends_after=600)
    supervisor = Watched()
    with publishing(mosquitto, tmp_path) as publisher:
        engine = _engine(camera, runner, publisher, view, supervisor=supervisor)
        with pytest.raises(CameraError, match="ended"):
            engine.run()
    eventually(lambda: any(h.json["state"] == "offline" for h in listener.on("/status")))
    strides = [heard.json for heard in listener.on("/stride")]
    assert len(strides) >= 20
    assert {stride["station"] for stride in strides} == {"tm-07"}
    assert len({stride["session"] for stride in strides}) == 1
    assert len(strides[0]["session"]) == 8
    assert len({stride["seq"] for stride in strides}) == len(strides)
    assert all(stride["wall"].endswith("Z") for stride in strides)
    cadences = [s["metrics"]["cadence_spm"]["stride"] for s in strides if s["status"] == "ok"]
    assert sum(cadences) / len(cadences) == pytest.approx(165, abs=2)
    states = [heard.json["state"] for heard in listener.on("/state")]
    assert states[-1] == "camera_lost"
    assert supervisor.frames == engine.frames == len(runner.seen)
    assert supervisor.reasons == ["fake camera: ended; a station needs a live source"]
    assert camera.closed


def test_live_keeps_to_thirty_a_second_of_sensor_time(
    mosquitto: Mosquitto, listen: Callable[..., Listener], runner: KnownRunner, tmp_path: Path
) -> None:
    fast = View(1280, 720, 120.0)
    listener = listen(mosquitto.port, f"{ROOT}/live")
    camera = FakeCamera(fast, pace_s=0.005, ends_after=240)
    with publishing(mosquitto, tmp_path) as publisher:
        publisher.wait_connected(5)
        with pytest.raises(CameraError):
            _engine(camera, runner, publisher, fast).run()
    times = [heard.json["t"] for heard in listener.on("/live")]
    assert 20 <= len(times) <= 61
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 1 / 30 - 0.005
    assert set(listener.on("/live")[0].json["kp"]) >= {"left_hip", "right_hip"}


def test_live_does_not_leave_the_machine(
    mosquitto: Mosquitto, listen: Callable[..., Listener], runner: KnownRunner, view: View, tmp_path: Path
) -> None:
    listener = listen(mosquitto.port, f"{ROOT}/#")
    with publishing(mosquitto, tmp_path) as publisher:
        outlet = Outlet(publisher, view, "tm-07", live=False)
        camera = FakeCamera(view, pace_s=0.005, ends_after=60)
        with pytest.raises(CameraError):
            Engine(camera, Observer(runner, view), Session(view), publisher, outlet).run()
    eventually(lambda: listener.on("/state"))
    assert listener.on("/live") == []


def test_a_slow_pose_drops_old_frames_and_counts_them(
    mosquitto: Mosquitto, runner: KnownRunner, view: View, tmp_path: Path
) -> None:
    pause = threading.Event()

    class Slow(KnownRunner):
        def estimate(self, frame):  # type: ignore[no-untyped-def]
            pause.wait(0.03)
            return super().estimate(frame)

    slow = Slow(runner.poses)
    camera = FakeCamera(view, pace_s=0.003, ends_after=200)
    with publishing(mosquitto, tmp_path) as publisher:
        engine = _engine(camera, slow, publisher, view)
        with pytest.raises(CameraError):
            engine.run()
    assert engine.frames < 60
    assert slow.seen == sorted(slow.seen)
    assert slow.seen[-1] == 199  # the newest, always
    assert engine.frames + engine.frames_lost == 200


def test_a_camera_that_dies_ends_the_engine_with_its_reason(
    mosquitto: Mosquitto, listen: Callable[..., Listener], runner: KnownRunner, view: View, tmp_path: Path
) -> None:
    listener = listen(mosquitto.port, f"{ROOT}/state")
    supervisor = Watched()
    camera = FakeCamera(view, pace_s=0.005, dies_after=30)
    with publishing(mosquitto, tmp_path) as publisher, pytest.raises(CameraError, match="pulled out"):
        _engine(camera, runner, publisher, view, supervisor=supervisor).run()
    eventually(lambda: listener.heard and listener.heard[-1].json["state"] == "camera_lost")
    assert listener.heard[-1].json["since"].endswith("Z")
    assert supervisor.reasons == ["fake camera: pulled out"]


def test_a_camera_that_hangs_is_noticed_and_starves_the_watchdog(
    mosquitto: Mosquitto, runner: KnownRunner, view: View, tmp_path: Path
) -> None:
    camera = FakeCamera(view, pace_s=0.005, stalls_after=20)
    supervisor = Watched()
    with publishing(mosquitto, tmp_path) as publisher, pytest.raises(CameraError, match="no frame for"):
        _engine(camera, runner, publisher, view, supervisor=supervisor, stall_s=0.5).run()
    assert supervisor.frames == 20
    camera.close()


def test_stop_ends_it_without_an_error_and_closes_the_camera(
    mosquitto: Mosquitto, runner: KnownRunner, view: View, tmp_path: Path
) -> None:
    camera = FakeCamera(view, pace_s=0.005)
    with publishing(mosquitto, tmp_path) as publisher:
        engine = _engine(camera, runner, publisher, view)
        threading.Timer(0.5, engine.stop).start()
        engine.run()
    assert engine.frames > 20
    assert camera.closed
    assert not any(thread.name == "capture" for thread in threading.enumerate())


def test_a_bug_in_the_camera_thread_is_not_swallowed(
    mosquitto: Mosquitto, runner: KnownRunner, view: View, tmp_path: Path
) -> None:
    class Broken(FakeCamera):
        def read(self):  # type: ignore[no-untyped-def]
            raise ZeroDivisionError("a bug")

    with publishing(mosquitto, tmp_path) as publisher, pytest.raises(ZeroDivisionError):
        _engine(Broken(view), runner, publisher, view).run()


def test_the_tick_may_end_the_engine(mosquitto: Mosquitto, runner: KnownRunner, view: View, tmp_path: Path) -> None:
    def tick() -> None:
        raise BrokerError("mosquitto: ended")

    camera = FakeCamera(view, pace_s=0.005)
    with publishing(mosquitto, tmp_path) as publisher, pytest.raises(BrokerError):
        _engine(camera, runner, publisher, view, tick=tick).run()
    assert camera.closed


def test_the_frame_rate_does_not_suffer_from_a_broker_that_is_away(
    mosquitto: Mosquitto, runner: KnownRunner, view: View, tmp_path: Path
) -> None:
    processed = []
    for name in ("there", "away"):
        if name == "away":
            mosquitto.kill()
        with publishing(mosquitto, tmp_path / name) as publisher:
            engine = _engine(FakeCamera(view, pace_s=0.012, ends_after=250), runner, publisher, view)
            with pytest.raises(CameraError):
                engine.run()
            assert name == "there" or not publisher.stats().connected
        processed.append(engine.frames)
    there, away = processed
    assert away >= 0.85 * there


def test_health_says_rates_and_latencies(
    mosquitto: Mosquitto,
    listen: Callable[..., Listener],
    runner: KnownRunner,
    view: View,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("station.engine.loop.HEALTH_EVERY_S", 0.3)
    listener = listen(mosquitto.port, f"{ROOT}/health")
    camera = FakeCamera(view, pace_s=0.01, ends_after=150)
    with publishing(mosquitto, tmp_path) as publisher:
        publisher.wait_connected(5)
        with pytest.raises(CameraError):
            _engine(camera, runner, publisher, view).run()
    eventually(lambda: len(listener.heard) >= 2)
    health = listener.heard[-1].json
    assert 10 < health["fps_in"] <= 101
    assert 5 < health["fps_out"] <= health["fps_in"] + 5
    assert health["pose_ms"]["p50"] <= health["pose_ms"]["p95"]
    assert health["kernel_ms"]["p50"] > 0
    assert health["publish_ms"]["p50"] > 0
    assert health["rss_mb"] > 10
    assert health["camera"]["calibrated"] is True


@pytest.mark.parametrize(
    ("command", "payload", "ok"),
    [("identify", b"", True), ("update-check", b"", False), ("erase", b'{"session": "00000000"}', True)],
)
def test_commands_are_answered(
    mosquitto: Mosquitto,
    listen: Callable[..., Listener],
    runner: KnownRunner,
    view: View,
    tmp_path: Path,
    command: str,
    payload: bytes,
    ok: bool,
) -> None:
    listener = listen(mosquitto.port, f"{ROOT}/cmd/{command}/result")
    inbox = Inbox()
    with publishing(mosquitto, tmp_path, inbox) as publisher:
        publisher.wait_connected(5)
        engine = _engine(FakeCamera(view, pace_s=0.01), runner, publisher, view, inbox=inbox)
        thread = threading.Thread(target=engine.run)
        thread.start()
        for _ in range(10):  # the first may be earlier than the engine's subscription
            listener.client.publish(f"{ROOT}/cmd/{command}", payload, qos=1)
            with contextlib.suppress(pytest.fail.Exception):
                eventually(lambda: listener.heard, 1.0)
                break
        engine.stop()
        thread.join(5)
    assert listener.heard[0].json["ok"] is ok
    assert ok or listener.heard[0].json["reason"]


def test_a_session_started_and_stopped_by_command(
    mosquitto: Mosquitto, listen: Callable[..., Listener], runner: KnownRunner, view: View, tmp_path: Path
) -> None:
    listener = listen(mosquitto.port, f"{ROOT}/#")
    inbox = Inbox()
    with publishing(mosquitto, tmp_path, inbox) as publisher:
        publisher.wait_connected(5)
        outlet = Outlet(publisher, view, "tm-07", live=True, versions={"app": "1"})
        session = Session(view, SessionSettings(auto_start=False))
        camera = FakeCamera(view, pace_s=0.008)
        engine = Engine(camera, Observer(runner, view), session, publisher, outlet, inbox=inbox)
        thread = threading.Thread(target=engine.run)
        thread.start()
        eventually(lambda: engine.frames > 150)
        assert listener.on("/stride") == []  # nobody started a session
        listener.client.publish(f"{ROOT}/cmd/start", b'{"profile": "women"}', qos=1)
        eventually(lambda: len(listener.on("/stride")) >= 5, 30, "strides of the session")
        token = listener.on("/stride")[0].json["session"]
        listener.client.publish(f"{ROOT}/cmd/erase", f'{{"session": "{token}"}}'.encode(), qos=1)
        eventually(lambda: listener.on("/cmd/erase/result"))
        assert "running" in listener.on("/cmd/erase/result")[0].json["reason"]
        listener.client.publish(f"{ROOT}/cmd/stop", b"", qos=1)
        eventually(lambda: listener.on("/session"), 10, "the session's summary")
        engine.stop()
        thread.join(5)
    summary = listener.on("/session")[0].json
    assert summary["session"] == token
    assert summary["profile"] == "women"
    assert summary["versions"] == {"app": "1"}
    assert summary["strides"] >= 5
    assert summary["frames"]["dropped"] >= 0
    states = [(heard.json["state"], heard.json["session"]) for heard in listener.on("/state")]
    assert states[0] == ("idle", None)
    assert ("running", token) in states or ("warming_up", token) in states
