"""The gym's broker and the station's bridge to it, with the files of deploy/broker: real brokers, real TLS."""

from __future__ import annotations

import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from station.errors import BrokerError
from station.outbox import Outbox
from station.publish import Link, Publisher
from tests.broker_fixture import Listener, Mosquitto, eventually, free_port, listens

ROOT = "hipline/v1/gym"


class Gym:
    """A gym's broker folder, made by the real command, and its broker on free ports."""

    def __init__(self, program: Path, folder: Path, repository: Path) -> None:
        self.folder, self._script = folder, repository / "deploy" / "broker" / "gym.py"
        self.do("init", "--gym", "gym", "--host", "localhost", "--host", "127.0.0.1")
        self.port, self.web_port = free_port(), free_port()
        lines = (folder / "mosquitto.conf").read_text().splitlines()
        ports = {
            "listener 8883": f"listener {self.port} 127.0.0.1",
            "listener 8884": f"listener {self.web_port} 127.0.0.1",
        }
        self.broker = Mosquitto(program, folder / "run", *[ports.get(line, line) for line in lines], port=self.port)

    def do(self, *arguments: str, code: int = 0) -> str:
        command = [sys.executable, self._script, self.folder, *arguments]
        done = subprocess.run([str(a) for a in command], capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    def add_staff(self, name: str, *more: str) -> tuple[str, str]:
        words = self.do("add-staff", name, *more).split()
        return words[1], words[3]

    def add_station(self, name: str) -> tuple[str, str]:
        self.do("add-station", name)
        conf = (self.folder / "stations" / name / "hipline.conf").read_text()
        password = next(line.split()[1] for line in conf.splitlines() if line.startswith("remote_password"))
        return name, password

    def reload(self) -> None:
        assert self.broker.process is not None
        self.broker.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "ca.crt"))


class Client:
    """A client of the gym's broker that notes everything."""

    def __init__(self, gym: Gym, who: tuple[str, str] | None, *, web: bool = False) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.refused: list[str] = []
        self.answers: dict[int, int] = {}
        self.connected: str | None = None
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, transport="websockets" if web else "tcp",
            reconnect_on_failure=False,
        )  # fmt: skip
        self.client.tls_set_context(gym.tls)
        if who is not None:
            self.client.username_pw_set(*who)
        self.client.on_connect = self._connected
        self.client.on_disconnect = self._disconnected
        self.client.on_message = lambda _c, _u, message: self.heard.append((message.topic, bytes(message.payload)))
        self.client.on_publish = lambda _c, _u, mid, code, _p: self.answers.update({mid: code.value})
        port = gym.web_port if web else gym.port
        eventually(lambda: listens(port), what="the listener")  # that for browsers opens a little later
        self.client.connect("localhost", port)
        self.client.loop_start()
        eventually(lambda: self.connected is not None)

    def _connected(self, _client: mqtt.Client, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
        self.connected = str(code)

    def _disconnected(self, _client: mqtt.Client, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if self.connected == "Success":
            self.connected = f"ended: {code}"

    def may_write(self, topic: str) -> bool:
        mid = self.client.publish(topic, b"x", qos=1).mid
        eventually(lambda: mid in self.answers, what=f"an answer to {topic}")
        return self.answers[mid] < 0x80

    def subscribe(self, topic: str) -> None:
        done = threading.Event()
        self.client.on_subscribe = lambda *_: done.set()
        self.client.subscribe(topic, qos=1)
        assert done.wait(5)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def gym(mosquitto_path: Path, tmp_path: Path, repository: Path) -> Iterator[Gym]:
    made = Gym(mosquitto_path, tmp_path / "gym", repository)
    yield made
    made.broker.kill()


@pytest.fixture
def come_in(gym: Gym) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(who: tuple[str, str] | None, **how: Any) -> Client:
        made.append(Client(gym, who, **how))
        return made[-1]

    yield make
    for client in made:
        client.close()


def test_the_chain_stands_a_strict_check(gym: Gym) -> None:
    """Python 3.13 refuses what older ones let pass: a CA without its key usage, a server without its issuer's key."""
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca.crt", "server.crt"]
    done = subprocess.run(command, cwd=gym.folder, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "server.crt: OK", done.stdout + done.stderr


def test_who_may_come_in(gym: Gym, come_in: Callable[..., Client]) -> None:
    station = gym.add_station("tm-07")
    gym.broker.start()
    assert come_in(station).connected == "Success"
    assert come_in(None).connected == "Not authorized"
    assert come_in(("tm-07", "wrong")).connected == "Not authorized"
    assert come_in(("nobody", station[1])).connected == "Not authorized"


def test_a_station_keeps_to_its_own_topics(gym: Gym, come_in: Callable[..., Client]) -> None:
    seven, eight = gym.add_station("tm-07"), gym.add_station("tm-08")
    commander = gym.add_staff("boss", "--commands")
    gym.broker.start()
    mine, other, boss = come_in(seven), come_in(eight), come_in(commander)
    mine.subscribe("#")
    mine.subscribe(f"{ROOT}/tm-08/#")
    mine.subscribe(f"{ROOT}/+/cmd/+")
    mine.subscribe(f"{ROOT}/tm-07/cmd/+")
    for topic in ("status", "state", "stride", "session", "cue", "health", "link", "cmd/start/result"):
        assert mine.may_write(f"{ROOT}/tm-07/{topic}")
        assert not mine.may_write(f"{ROOT}/tm-08/{topic}")
        assert other.may_write(f"{ROOT}/tm-08/{topic}")
    for topic in (f"{ROOT}/tm-07/live", f"{ROOT}/tm-07/cmd/start", f"{ROOT}/tm-08/cmd/start", f"{ROOT}/status", "x"):
        assert not mine.may_write(topic)
    assert mine.may_write("homeassistant/device/tm-07/config")
    assert not mine.may_write("homeassistant/device/tm-08/config")
    assert boss.may_write(f"{ROOT}/tm-08/cmd/stop")
    assert boss.may_write(f"{ROOT}/tm-07/cmd/stop")
    eventually(lambda: mine.heard)
    time.sleep(0.2)
    assert {topic for topic, _ in mine.heard} == {f"{ROOT}/tm-07/cmd/stop"}


def test_staff_read_everything_and_write_nothing(gym: Gym, come_in: Callable[..., Client]) -> None:
    station = gym.add_station("tm-07")
    # A member of staff with the name of a station is no station.
    reader, namesake = gym.add_staff("anna"), gym.add_staff("tm-07")
    gym.broker.start()
    anna, pretender, mine = come_in(reader, web=True), come_in(namesake), come_in(station)
    anna.subscribe(f"{ROOT}/#")
    assert mine.may_write(f"{ROOT}/tm-07/stride")
    eventually(lambda: anna.heard == [(f"{ROOT}/tm-07/stride", b"x")])
    for topic in (f"{ROOT}/tm-07/status", f"{ROOT}/tm-07/cmd/stop", f"{ROOT}/anna/status", f"{ROOT}/staff/anna/status"):
        assert not anna.may_write(topic)
        assert not pretender.may_write(topic)


def test_a_revoked_station_is_thrown_out(gym: Gym, come_in: Callable[..., Client]) -> None:
    seven, eight = gym.add_station("tm-07"), gym.add_station("tm-08")
    gym.broker.start()
    thief, good = come_in(seven), come_in(eight)
    assert gym.broker.process is not None
    gym.do("--reload", str(gym.broker.process.pid), "revoke-station", "tm-07")
    eventually(lambda: str(thief.connected).startswith("ended"))
    assert come_in(seven).connected == "Not authorized"
    assert good.connected == "Success"
    assert not (gym.folder / "stations" / "tm-07").exists()
    again = gym.add_station("tm-07")
    assert again[1] != seven[1]
    gym.reload()
    assert come_in(again).connected == "Success"


def test_a_revoked_member_of_staff_reads_nothing(gym: Gym, come_in: Callable[..., Client]) -> None:
    boss = gym.add_staff("boss", "--commands")
    anna = gym.add_staff("anna")
    gym.do("revoke-staff", "boss")
    assert "staff+boss" not in (gym.folder / "rights.acl").read_text()
    gym.broker.start()
    assert come_in(boss).connected == "Not authorized"
    assert come_in(anna).connected == "Success"


def test_the_publisher_comes_in_over_tls_and_says_why_not(gym: Gym, tmp_path: Path) -> None:
    name, password = gym.add_station("tm-07")
    secret = tmp_path / "password"
    secret.write_text(password + "\n")
    gym.broker.start()

    def publisher(**changes: Any) -> Publisher:
        known: dict[str, Any] = {"username": name, "password_file": secret, "ca_file": gym.folder / "ca.crt"}
        link = Link("localhost", gym.port, f"{ROOT}/tm-07", **(known | changes))
        made = Publisher(link, outbox, version="1")
        made.start()
        return made

    outbox = Outbox(None)
    good = publisher()
    good.wait_connected(5)
    good.record("stride", {"session": "0", "seq": 1})
    eventually(lambda: good.stats().waiting == 0 and good.stats().published > 1)
    assert good.stats().refused == 0
    good.close()
    strange = tmp_path / "strange.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
         "-keyout", tmp_path / "strange.key", "-out", strange],
        check=True, capture_output=True,
    )  # fmt: skip
    for changes, why in (
        ({"ca_file": strange}, "TLS fails .*certificate.*: check mqtt.ca_file"),
        ({"ca_file": None}, "connection lost|does not answer|ended|reached"),
    ):
        bad = publisher(**changes)
        with pytest.raises(BrokerError, match=why):
            bad.wait_connected(1.0)
        bad.close(0.1)
    outbox.close()


class Station:
    """A station's broker with the configuration that ``add-station`` wrote, on a free port."""

    def __init__(self, program: Path, folder: Path, gym: Gym, name: str) -> None:
        bundle = gym.folder / "stations" / name
        self.port = free_port()
        conf = (bundle / "hipline.conf").read_text()
        for old, new in (
            ("listener 1883 127.0.0.1", f"listener {self.port} 127.0.0.1"),
            ("address localhost:8883", f"address localhost:{gym.port}"),
            ("/etc/mosquitto/certs/ca.crt", str(bundle / "ca.crt")),
            ("restart_timeout 1 30", "restart_timeout 1"),
        ):
            assert old in conf
            conf = conf.replace(old, new)
        # Debian's main file names it; the test has no Debian around it.
        conf = f"persistence_location {folder}/\n{conf}"
        self.broker = Mosquitto(program, folder, *conf.splitlines(), port=self.port)


def test_the_bridge_loses_nothing_over_outages_and_a_reboot(
    gym: Gym, mosquitto_path: Path, tmp_path: Path, come_in: Callable[..., Client]
) -> None:
    gym.add_station("tm-07")
    staff = gym.add_staff("anna")
    gym.broker.start()
    station = Station(mosquitto_path, tmp_path / "station", gym, "tm-07")
    station.broker.start()
    anna = come_in(staff)
    anna.subscribe(f"{ROOT}/#")
    outbox = Outbox(tmp_path / "outbox.db")
    publisher = Publisher(Link("127.0.0.1", station.port, f"{ROOT}/tm-07"), outbox, version="1")
    publisher.start()
    publisher.wait_connected(5)

    def strides(client: Client) -> list[int]:
        seen = [payload for topic, payload in client.heard if topic.endswith("/stride")]
        return list(dict.fromkeys(int(payload.split(b'"seq":')[1].rstrip(b"}")) for payload in seen))

    def run(*seqs: int) -> None:
        for seq in seqs:
            publisher.record("stride", {"session": "s", "seq": seq})

    try:
        eventually(lambda: (f"{ROOT}/tm-07/link", b"1") in anna.heard)
        run(1, 2, 3)
        publisher.say("live", {"t": 1})
        eventually(lambda: strides(anna) == [1, 2, 3])
        gym.broker.stop()
        run(4, 5, 6)
        eventually(lambda: publisher.stats().waiting == 0)
        station.broker.stop()  # a reboot, while the gym's broker is away
        run(7)
        station.broker.start()
        eventually(lambda: publisher.stats().connects == 2 and publisher.stats().waiting == 0)
        gym.broker.start()
        late = come_in(staff)
        late.subscribe(f"{ROOT}/#")
        run(8)
        eventually(lambda: 8 in strides(late), 20)
        # (Those before `late` subscribed went to nobody: the listener of the first connection is gone with its broker.)
        station.broker.kill()
        eventually(lambda: (f"{ROOT}/tm-07/link", b"0") in late.heard, 5, "the gym sees that the station is gone")
        assert not [topic for topic, _ in anna.heard + late.heard if topic.endswith("/live")]
    finally:
        publisher.close(0.5)
        outbox.close()
        station.broker.kill()


def test_what_queued_for_the_gym_survives_a_reboot_of_the_station(
    gym: Gym, mosquitto_path: Path, tmp_path: Path, come_in: Callable[..., Client]
) -> None:
    """A listener in the gym that keeps its session gets every stride, in order, though both brokers were restarted."""
    gym.add_station("tm-07")
    user, password = gym.add_staff("anna")
    gym.broker.start()
    station = Station(mosquitto_path, tmp_path / "station", gym, "tm-07")
    station.broker.start()
    heard: list[bytes] = []
    anna = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="anna", protocol=mqtt.MQTTv5)
    anna.tls_set_context(gym.tls)
    anna.username_pw_set(user, password)
    anna.on_message = lambda _c, _u, message: heard.append(bytes(message.payload))
    anna.on_connect = lambda client, *_: client.subscribe(f"{ROOT}/tm-07/stride", qos=1)
    anna.reconnect_delay_set(1, 1)
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    keep = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho left it without types
    keep.SessionExpiryInterval = 3600
    anna.connect("localhost", gym.port, clean_start=False, properties=keep)
    anna.loop_start()
    local = Listener(station.port, "none", name="sender")
    try:
        eventually(anna.is_connected)
        time.sleep(0.3)
        send = local.client.publish
        send(f"{ROOT}/tm-07/stride", b"1", qos=1).wait_for_publish(5)
        eventually(lambda: heard == [b"1"])
        gym.broker.stop()
        for number in (2, 3, 4):
            send(f"{ROOT}/tm-07/stride", b"%d" % number, qos=1).wait_for_publish(5)
        station.broker.stop()
        station.broker.start()
        gym.broker.start()
        eventually(lambda: list(dict.fromkeys(heard)) == [b"1", b"2", b"3", b"4"], 30)
    finally:
        anna.disconnect()
        anna.loop_stop()
        local.close()
        station.broker.kill()


def test_bad_input_is_one_line_and_exit_code_2(gym: Gym, tmp_path: Path) -> None:
    gym.add_station("tm-07")
    assert "is known already" in gym.do("add-station", "tm-07", code=2)
    assert "no name for a station" in gym.do("add-station", "../x", code=2)
    assert "no name for a station" in gym.do("add-station", "a#b", code=2)
    assert "not known: there are tm-07" in gym.do("revoke-station", "tm-08", code=2)
    assert "is one already" in gym.do("init", "--gym", "x", "--host", "y", code=2)
    gym.folder = tmp_path / "elsewhere"
    assert "make it with init" in gym.do("add-station", "tm-07", code=2)


def test_secrets_are_their_owners_only(gym: Gym) -> None:
    gym.add_station("tm-07")
    for name in ("ca.key", "server.key", "users", "stations/tm-07/hipline.conf"):
        assert (gym.folder / name).stat().st_mode & 0o077 == 0, name
    password = gym.add_station("tm-08")[1]
    assert password not in (gym.folder / "users").read_text()


def test_a_renewed_certificate_is_trusted_by_old_stations(gym: Gym, come_in: Callable[..., Client]) -> None:
    station = gym.add_station("tm-07")
    before = (gym.folder / "server.crt").read_bytes()
    gym.do("renew")
    assert (gym.folder / "server.crt").read_bytes() != before
    gym.broker.start()
    assert come_in(station).connected == "Success"
