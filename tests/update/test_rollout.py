"""Rings in a fleet: who is judged how; twenty stations at a real broker, a rollout that goes on, others that stop."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from deploy.ota import fleet, keyring, rollout
from deploy.ota.fleet import Broker, Fleet, Status, judge, place, status_of
from station.errors import BrokerError, UpdateError
from station.update import fetch, rings
from station.update.manifest import sequence_of
from station.update.rings import Rollout
from station.wire.messages import status_json
from tests.broker_fixture import Mosquitto, eventually
from tests.update.publisher import Publisher, files_of
from tests.update.server import Server, serving

ROLLOUT = Rollout("1.4.0", stable="1.3.0", canary=("n/a", "n/b"))
DONE = Status("n/a", True, "1.4.0")
OLD = Status("n/b", True, "1.3.0")


@pytest.mark.parametrize(
    ("status", "at"),
    [
        (DONE, "done"),
        (OLD, "waiting"),
        (replace(OLD, update="staged", to="1.4.0"), "busy"),
        (replace(DONE, update="probation", to="1.4.0"), "busy"),
        (replace(OLD, update="failed", to="1.4.0", reason="x"), "failed"),
        (replace(OLD, update="failed", to="1.3.5", reason="x"), "waiting"),
        (replace(OLD, online=False), "offline"),
        (replace(DONE, online=False), "offline"),
        (replace(OLD, online=False, update="failed", to="1.4.0"), "failed"),
        (replace(DONE, station="n/c"), "outside"),
    ],
)
def test_where_a_station_is(status: Status, at: str) -> None:
    assert place(ROLLOUT, status) == at


@pytest.mark.parametrize(
    ("statuses", "failures", "action", "reason"),
    [
        ([], 0, "wait", "n/a has never been heard of (and 1 more)"),
        ([DONE], 0, "wait", "n/b has never been heard of"),
        ([DONE, OLD], 0, "wait", "n/b is waiting"),
        ([DONE, replace(DONE, station="n/b")], 0, "advance", "all 2 stations of the ring run 1.4.0"),
        ([DONE, replace(OLD, online=False)], 0, "wait", "n/b is offline"),
        ([DONE, replace(OLD, update="failed", to="1.4.0", reason="black page")], 0, "halt", "n/b: black page"),
        ([DONE, replace(OLD, update="failed", to="1.4.0", reason="black page")], 1, "advance", "all 2"),
        (
            [DONE, replace(DONE, station="n/b"), replace(OLD, station="n/c", update="failed", to="1.4.0")],
            0,
            "advance",
            "",
        ),
    ],
)
def test_what_follows_from_it(statuses: Sequence[Status], failures: int, action: str, reason: str) -> None:
    verdict = judge(ROLLOUT, statuses, failures)
    assert verdict.action == action
    assert verdict.reason.startswith(reason)


def test_an_empty_ring_is_not_a_success() -> None:
    assert judge(Rollout("1.4.0", percent=0), [OLD]).action == "wait"


def test_the_stations_own_status_is_understood() -> None:
    """Made by the code that the station publishes with."""
    update = {"state": "failed", "from": "1.3.0", "to": "1.4.0", "reason": "no frame\nin 60 s"}
    payload = json.dumps(status_json("online", None, "1.3.0", update)).encode()
    assert status_of("hipline/v1/n/b/status", payload) == Status(
        "n/b", True, "1.3.0", "failed", "1.4.0", "no frame in 60 s"
    )
    for other in (b"", b"{", b"[]", b'{"state": "online"}', b'{"state": "online", "version": 1, "update": 7}'):
        assert status_of("hipline/v1/n/b/status", other) is None


def test_a_rollout_names_only_what_was_signed(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    publisher.release("1.4.0")
    with pytest.raises(UpdateError, match=r"release 6\.6\.6: not signed by the targets keys"):
        publisher.roll_out("6.6.6")
    with pytest.raises(UpdateError, match="not signed by the targets keys"):
        publisher.roll_out("1.4.0", stable="1.2.0")
    publisher.roll_out("1.4.0")
    assert rollout.current(publisher.repository) == Rollout("1.4.0", percent=100)


def test_what_the_others_keep_to() -> None:
    everywhere = Rollout("1.3.0", stable="1.2.0", percent=100)
    assert rollout.begin(None, "1.3.0", 0, ["n/a"]).stable is None
    assert rollout.begin(everywhere, "1.4.0", 0, ["n/a"]) == Rollout("1.4.0", "1.3.0", 0, ("n/a",))
    assert rollout.begin(replace(everywhere, percent=30), "1.4.0", 0, ["n/a"]).stable == "1.2.0"
    assert rollout.begin(replace(everywhere, halt=True), "1.4.0", 0, ["n/a"]).stable == "1.2.0"
    with pytest.raises(UpdateError, match=r"not newer than 1\.3\.0; stations never go back"):
        rollout.begin(everywhere, "1.3.0", 0, ["n/a"])


# --- twenty stations -------------------------------------------------------------------------------------------------

STATIONS = [f"north/tm-{number:02}" for number in range(20)]
CANARIES = ("north/tm-03", "north/tm-11")


class SimulatedStation:
    """A station that updates as the real one does up to the verified files; of the rest it has only the outcome.

    Its trust, its disk and its place in the rings are its own. A release with ``models/crash`` in it fails probation
    and is left, which is told in the retained status, as the station does.
    """

    def __init__(self, name: str, publisher: Publisher, url: str, folder: Path, broker: Mosquitto) -> None:
        self.name, self.folder = name, folder
        self._settings = publisher.settings(folder, url, station=name)
        self.version, self.tried = "1.3.0", set[str]()
        gym, station = name.split("/")
        self._topic = f"hipline/v1/{gym}/{station}/status"
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
        self._client.will_set(self._topic, json.dumps(status_json("offline", None, self.version)), 1, retain=True)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        self.tell("idle")

    def tell(self, state: str, to: str | None = None, reason: str | None = None) -> None:
        update = {"state": state, "from": self.version, "to": to, "reason": reason}
        self._client.publish(self._topic, json.dumps(status_json("online", None, self.version, update)), 1, retain=True)

    def timer(self) -> None:
        """What station-update.timer does."""
        sequence = sequence_of(self.version)
        available = fetch.check(replace(self._settings, sequence=sequence))
        if available is None or available.version in self.tried:
            return
        manifest = fetch.download(available, self.folder / "blobs", lambda _: None)
        self.tried.add(manifest.version)
        before, self.version = self.version, manifest.version
        self.tell("probation", manifest.version)
        if any(file.path == "models/crash" for file in manifest.files):
            self.version = before
            self.tell("failed", manifest.version, "service not ready within 60 s")
        else:
            self.tell("idle")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Gym:
    """Publisher, server, broker, twenty stations whose timers go off in turn, and somebody who watches."""

    def __init__(self, tmp_path: Path, broker: Mosquitto, server: Server, publisher: Publisher) -> None:
        self.publisher = publisher
        self.broker = Broker("127.0.0.1", broker.port, plain=True)
        self.stations = [
            SimulatedStation(name, publisher, server.url, tmp_path / name.replace("/", "-"), broker)
            for name in STATIONS
        ]
        self.faults: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._timers)

    def _timers(self) -> None:
        while not self._over.is_set():
            for station in self.stations:
                try:
                    station.timer()
                except UpdateError as error:
                    self.faults.append(str(error))
            self._over.wait(0.05)

    def watch(self, steps: Sequence[int]) -> int:
        """deploy/rollout watch, while the stations' timers go off."""
        self._thread.start()
        try:
            with Fleet(self.broker).listening() as stations:
                stations.settle()
                signers = dict(keyring.signers([self.publisher.keys]))
                return rollout.watch(self.publisher.repository, stations, signers, steps, 0, soak_s=0.2)
        finally:
            self._over.set()
            self._thread.join()

    def running(self, version: str) -> set[str]:
        return {station.name for station in self.stations if station.version == version}

    def close(self) -> None:
        for station in self.stations:
            station.close()


@pytest.fixture
def gym(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[Gym]:
    with ExitStack() as stack:
        publisher = Publisher(tmp_path / "publisher")
        publisher.publish("1.3.0", files_of("1.3.0", wheels=1, size=500))
        server = stack.enter_context(serving(publisher.place))
        gym = Gym(tmp_path, mosquitto, server, publisher)
        stack.callback(gym.close)
        yield gym


def test_a_good_release_goes_through_the_rings_to_all(gym: Gym, capsys: pytest.CaptureFixture[str]) -> None:
    gym.publisher.release("1.4.0", files_of("1.4.0", wheels=1, size=500))
    begun = rollout.begin(rollout.current(gym.publisher.repository), "1.4.0", 0, CANARIES)
    rollout.sign(gym.publisher.repository, begun, dict(keyring.signers([gym.publisher.keys])))
    assert gym.watch([10, 40, 100]) == 0
    assert gym.running("1.4.0") == set(STATIONS)
    assert gym.faults == []
    said = [line for line in capsys.readouterr().out.splitlines() if ": now " in line]
    assert said == ["1.4.0: now 10 %", "1.4.0: now 40 %", "1.4.0: now 100 %"]


def test_a_bad_release_stops_itself_at_the_canaries(gym: Gym) -> None:
    gym.publisher.release("1.4.0", {**files_of("1.4.0", wheels=1, size=500), "models/crash": b"!"})
    begun = rollout.begin(rollout.current(gym.publisher.repository), "1.4.0", 0, CANARIES)
    rollout.sign(gym.publisher.repository, begun, dict(keyring.signers([gym.publisher.keys])))
    assert gym.watch([10, 40, 100]) == 1
    halted = rollout.current(gym.publisher.repository)
    assert halted is not None
    assert halted.halt
    assert halted.percent == 0
    assert "service not ready within 60 s" in str(halted.reason)
    hit = {station.name for station in gym.stations if "1.4.0" in station.tried}
    assert hit
    assert hit <= set(CANARIES), "nobody but the canaries ever started on it"
    assert gym.running("1.3.0") == set(STATIONS), "and those went back"
    for station in gym.stations:
        station.timer()
    assert gym.running("1.4.0") == set(), "a halted release starts nowhere any more"


def test_a_release_that_fails_late_stops_in_its_ring(gym: Gym) -> None:
    """Good for the canaries, bad for one station of the next ring: the share does not grow beyond it."""
    bad = next(name for name in STATIONS if 10 < rings.bucket(name) < 40 and name not in CANARIES)
    gym.publisher.release("1.4.0", files_of("1.4.0", wheels=1, size=500))
    for station in gym.stations:
        if station.name == bad:
            station.timer = lambda station=station: fail_in_ring(station, gym)  # type: ignore[method-assign, misc]
    begun = rollout.begin(rollout.current(gym.publisher.repository), "1.4.0", 0, CANARIES)
    rollout.sign(gym.publisher.repository, begun, dict(keyring.signers([gym.publisher.keys])))
    assert gym.watch([10, 40, 100]) == 1
    ring = {name for name in STATIONS if rings.bucket(name) < 40} | set(CANARIES)
    assert gym.running("1.4.0") <= ring - {bad}
    assert gym.running("1.4.0") >= set(CANARIES)
    assert len(ring) < len(STATIONS)


def fail_in_ring(station: SimulatedStation, gym: Gym) -> None:
    now = rollout.current(gym.publisher.repository)
    if now is not None and rings.in_ring(now, station.name):
        station.tell("failed", now.version, "its screen stays black")


def test_status_shows_who_runs_what(gym: Gym, capsys: pytest.CaptureFixture[str]) -> None:
    gym.stations[3].version = "1.4.0"
    gym.stations[3].tell("idle")
    gym.stations[4].tell("failed", "1.4.0", "no camera")
    gym.publisher.release("1.4.0", files_of("1.4.0", wheels=1, size=500))
    gym.publisher.roll_out("1.4.0", stable="1.3.0", percent=0, canary=(STATIONS[3], STATIONS[4]))

    def shown() -> str:
        arguments = [str(gym.publisher.place), "--broker", "127.0.0.1", "--port", str(gym.broker.port), "--plain"]
        assert rollout.main(["status", *arguments]) == 0
        return capsys.readouterr().out

    text = shown()
    assert "1.4.0: 2 canaries, 0 % of all; others 1.3.0" in text
    assert "north/tm-03  online  1.4.0       done     idle" in text
    assert "north/tm-04  online  1.3.0       failed   failed 1.4.0 no camera" in text
    assert text.count("1.3.0       outside") == 18
    gym.stations[7]._client.loop_stop()
    gym.stations[7]._client.socket().close()  # type: ignore[union-attr]  # as the power would
    eventually(lambda: "north/tm-07  offline" in shown(), what="the will of tm-07")


def test_a_broker_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(BrokerError, match=r"127\.0\.0\.1:9: cannot be reached"),
        Fleet(Broker("127.0.0.1", 9, plain=True)).listening(),
    ):
        pass


def test_halt_resume_and_set_are_signatures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publisher = Publisher(tmp_path)
    publisher.release("1.4.0")
    keys = ["--keys", str(publisher.keys)]
    place = str(publisher.place)
    assert rollout.main(["start", place, "1.4.0", *keys]) == 2
    assert "nobody would get it" in capsys.readouterr().err
    assert rollout.main(["start", place, "1.4.0", "--canary", "tm-01", *keys]) == 2
    assert "is not written gym/station" in capsys.readouterr().err
    assert rollout.main(["start", place, "1.4.0", "--canary", "north/tm-01", *keys]) == 0
    settings = publisher.settings(tmp_path / "state")
    assert fetch.check(settings) is not None
    assert rollout.main(["halt", place, "--reason", "black page", *keys]) == 0
    assert fetch.check(settings) is None
    assert rollout.main(["resume", place, *keys]) == 0
    assert rollout.main(["set", place, "--percent", "30", *keys]) == 0
    assert rollout.main(["set", place, "--percent", "300", *keys]) == 2
    assert rollout.current(publisher.repository) == Rollout("1.4.0", None, 30, ("north/tm-01",))
    started_s = time.monotonic()
    assert rollout.main(["start", place, "1.4.0", "--percent", "5", *keys]) == 2
    assert time.monotonic() - started_s < 30
    assert fleet.judge(Rollout("1.4.0", percent=100), []).action == "wait"
