"""``station run``: camera, pose, broker, engine and page put together, and taken apart again in order."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from station import wire
from station.broker import PrivateBroker, start_child, stop_child
from station.camera import BUNDLED_CLIP, Camera, open_camera
from station.config import Config, WebConfig, state_dir
from station.engine.chores import Chore, Chores, update_check
from station.engine.loop import Engine, Inbox
from station.engine.observer import Observer, load_pose
from station.engine.outlet import Outlet
from station.engine.pelvis import PelvisEstimator, load_pelvis, verified
from station.engine.reload import session_settings
from station.engine.updates import UpdateNews, report_file
from station.engine.version import version
from station.engine.words import say, spoken
from station.errors import BrokerError, CameraError, ConfigError, HiplineError
from station.outbox import Outbox
from station.publish import Link, Publisher
from station.session import Session
from station.wire.topics import STATUS, discovery_topic

_LOOK_EVERY_S = 0.1
_RUNNING = "running  Ctrl-C stops everything"
#: A page that dies is started again, at most this often.
_WEB_RESTART_S = 10.0
_OTHER_PORTS = range(8081, 8100)


def run(
    config: Config,
    arguments: Sequence[str],
    *,
    web: bool,
    open_browser: bool = False,
    chores: Mapping[str, Chore] | None = None,
) -> int:
    """Run the station until SIGINT, SIGTERM or a failure; ``arguments`` (--config, --set) are passed to the page.

    ``chores`` do the commands that need more than the engine has (:mod:`station.engine.chores`), by name.

    Returns 0 after a signal. Raises a :class:`HiplineError` with the reason otherwise, after everything was stopped.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_only_one(state_dir()))
        journal = stack.enter_context(spoken())
        pose = load_pose(config, say)
        say(f"pose     BlazePose {config.pose.model}, {config.pose.threads} threads")
        broker = _broker(config, stack)
        host, port = (broker.host, broker.port) if broker else (str(config.mqtt.host), config.mqtt.port)
        passed_on = [*arguments, "--set", f"mqtt.host={host}", "--set", f"mqtt.port={port}"]
        page = Page(config, passed_on, open_browser=open_browser) if web else None
        if page is not None:
            page.start()
            stack.callback(page.stop)
        camera = open_camera(config.camera)
        clip = config.camera.source == "auto" and camera.name.startswith(str(BUNDLED_CLIP))
        say(f"camera   {camera.name}{'   (no camera attached: the bundled clip in a loop)' if clip else ''}")
        inbox = Inbox()
        outbox = Outbox(config.outbox.path or state_dir() / "outbox.db", config.outbox.max_rows)
        stack.callback(outbox.close)
        pelvis = load_pelvis(config, camera.view)
        say(f"pelvis   {pelvis.source}")
        publisher = Publisher(
            _link(config, host, port),
            outbox,
            version=version(),
            on_command=inbox.put,
            also=_discovery(config),
            verified=verified(pelvis),
        )
        stack.callback(publisher.close)
        stack.callback(_update_news(publisher, verified(pelvis)).close)
        session = Session(camera.view, session_settings(config))
        outlet = _outlet(config, camera, publisher, session, pelvis)
        engine = Engine(
            camera,
            Observer(pose, camera.view, pelvis),
            session,
            publisher,
            outlet,
            inbox=inbox,
            chores=Chores({"update-check": update_check, **(chores or {})}),
            journal=journal,
            tick=_watch(broker, page),
            say=say,
        )
        with _signals(engine.stop):
            publisher.start()
            _explain(config, host, port, private=broker is not None)
            if page is None:
                say(_RUNNING)
            try:
                engine.run()
            except CameraError as error:
                error.exit_code = 1  # it was there when we started: a failure, no bad input
                raise
        say(f"stopping after {engine.frames} frames ({engine.frames_lost} dropped) and {outlet.strides} strides")
    return 0


def _update_news(publisher: Publisher, found: Mapping[str, object] | None) -> UpdateNews:
    since = wire.wall_label(time.time())
    return UpdateNews(
        report_file(), lambda block: publisher.say(STATUS, wire.status_json("online", since, version(), block, found))
    )


def _outlet(config: Config, camera: Camera, publisher: Publisher, session: Session, pelvis: PelvisEstimator) -> Outlet:
    versions = {"app": version(), "pose_model": config.pose.model, "pelvis_model": pelvis.model or pelvis.source}
    local = is_loopback(config.mqtt.host or "127.0.0.1")

    def rules() -> wire.JsonObject:
        return wire.rules_json(session.bands, auto_start=session.settings.auto_start)

    return Outlet(
        publisher,
        camera.view,
        config.station.name,
        live=local,
        versions=versions,
        verified=verified(pelvis),
        rules=rules,
    )


def _discovery(config: Config) -> dict[str, wire.JsonObject]:
    station = config.station
    entities = wire.discovery_json(config.topic_root, station.gym, station.name, version())
    return {discovery_topic(station.name): entities}


def _link(config: Config, host: str, port: int) -> Link:
    mqtt = config.mqtt
    return Link(host, port, config.topic_root, mqtt.username, mqtt.password_file, mqtt.ca_file)


def _broker(config: Config, stack: contextlib.ExitStack) -> PrivateBroker | None:
    if config.mqtt.host is not None:
        return None
    return stack.enter_context(PrivateBroker(state_dir() / "broker"))


def _watch(broker: PrivateBroker | None, page: Page | None) -> Callable[[], None]:
    """What the engine does between frames: look after the processes beside it."""

    def tick() -> None:
        if broker is not None and not broker.alive:
            raise BrokerError(f"mosquitto: the private broker on port {broker.port} ended by itself; start again")
        if page is not None:
            page.look_after()

    return tick


class Page:
    """The web process beside the engine: its own process, which knows the broker and nothing of the camera."""

    def __init__(self, config: Config, arguments: Sequence[str], *, open_browser: bool = False) -> None:
        self._host = config.web.host
        self._port = _web_port(config)
        self._command = [sys.executable, "-m", "station", "web", *arguments, "--set", f"web.port={self._port}"]
        self._child: subprocess.Popen[bytes] | None = None
        self._open_browser = open_browser
        self._started_s = self._looked_s = 0.0
        self._announced = False

    @property
    def url(self) -> str:
        """Where this machine sees it."""
        host = "127.0.0.1" if self._host in ("0.0.0.0", "::", "localhost") else self._host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/"

    def start(self) -> None:
        """Start the process; it comes up while the engine does."""
        self._started_s = time.monotonic()
        # its words are progress of ours, but not on the way of a program that reads our output
        self._child = start_child(self._command, output=sys.stderr.fileno(), at_our_death=signal.SIGKILL)

    def stop(self) -> None:
        """Stop the process."""
        if self._child is not None:
            stop_child(self._child)

    def look_after(self) -> None:
        """Say where it is once it answers; start it again if it died. Never waits: frames are being processed."""
        now_s = time.monotonic()
        if self._child is None or now_s - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = now_s
        if self._child.poll() is not None:
            if now_s - self._started_s >= _WEB_RESTART_S:
                say(f"page     ended with code {self._child.returncode}; starting it again")
                self.start()
        elif not self._announced and self._answers():
            self._announced = True
            say(f"page     {self.url}{_lan_hint(self._host, self._port)}")
            say(_RUNNING)
            if self._open_browser:
                import webbrowser  # noqa: PLC0415 (slow, and hardly ever asked for)

                webbrowser.open(self.url)

    def _answers(self) -> bool:
        here = "127.0.0.1" if self.url.startswith("http://127.0.0.1") else self._host
        try:
            socket.create_connection((here, self._port), timeout=0.1).close()
        except OSError:
            return False
        return True


def _web_port(config: Config) -> int:
    """The configured port; the default one may be taken, then the next free one."""
    if _port_is_free(config.web.host, config.web.port):
        return config.web.port
    if config.web.port == WebConfig().port:
        for port in _OTHER_PORTS:
            if _port_is_free(config.web.host, port):
                return port
    raise ConfigError(f"{config.origin}: web.port = {config.web.port}: taken by another program; choose another")


def _port_is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _lan_hint(host: str, port: int) -> str:
    if is_loopback(host):
        return "   (this machine only; --set web.host=0.0.0.0 shows it to the network)"
    address = _lan_address()
    return f"   (from the network: http://{address}:{port}/)" if address else ""


def _lan_address() -> str | None:
    """The address of this machine towards the network; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1, routed nowhere
            return str(probe.getsockname()[0])
        except OSError:
            return None


def _explain(config: Config, host: str, port: int, *, private: bool) -> None:
    root = config.topic_root
    say(f"broker   {host}:{port}{' (private)' if private else ''}")
    say(f"watch    mosquitto_sub -h {host} -p {port} -t '{root}/#' -T '{root}/live' -v")


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine, by name or address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM end the engine in order; a second one ends it at once."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_signal(number: int, _frame: object) -> None:
        signal.signal(number, before[signal.Signals(number)])
        stop()

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Two engines on one outbox and one broker memory would mix their strides."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / "engine.lock").open("a+")
    except OSError as error:
        raise HiplineError(f"{folder}: the station cannot keep its data there ({error.strerror})") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HiplineError(
                f"{folder}: another station is running with this data; stop it, or give this one its own XDG_STATE_HOME"
            ) from None
        yield
