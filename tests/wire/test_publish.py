"""The publisher against a real mosquitto that is down, killed, refusing, and back again."""

from __future__ import annotations

import multiprocessing
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from station.errors import BrokerError, ConfigError
from station.outbox import Outbox
from station.publish import Command, Link, Publisher
from tests.broker_fixture import Heard, Listener, Mosquitto, eventually, free_port

ROOT = "hipline/v1/gym/tm-07"
Listen = Callable[..., Listener]


def stride(seq: int, session: str = "4f9c2b7e") -> dict[str, Any]:
    return {"schema": "hipline.stride/1", "station": "tm-07", "session": session, "seq": seq}


class Station:
    """An outbox and a publisher; ``with`` closes both."""

    def __init__(self, port: int, path: Path | None, **link: Any) -> None:
        self.commands: list[Command] = []
        self.outbox = Outbox(path)
        where = Link("127.0.0.1", port, ROOT, **link)
        self.publisher = Publisher(where, self.outbox, version="1.2.3", on_command=self.commands.append)

    def strides(self, *seqs: int) -> None:
        for seq in seqs:
            assert self.publisher.record("stride", stride(seq))

    def __enter__(self) -> Station:
        self.publisher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.publisher.close(2.0)
        self.outbox.close()


@pytest.fixture
def station(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Station]:
    with Station(mosquitto.port, tmp_path / "outbox.db") as made:
        made.publisher.wait_connected(5)
        yield made


def seqs(messages: list[Heard], connection: int | None = None) -> list[int]:
    return [m.json["seq"] for m in messages if connection is None or m.connection == connection]


def once_in_order(messages: list[Heard]) -> list[int]:
    """What a receiver keeps: the first of each."""
    return list(dict.fromkeys(seqs(messages)))


def test_strides_arrive_once_and_in_order(mosquitto: Mosquitto, station: Station, listen: Listen) -> None:
    listener = listen(mosquitto.port)
    station.strides(*range(1, 201))
    eventually(lambda: len(listener.on("/stride")) >= 200)
    eventually(lambda: station.publisher.stats().waiting == 0)
    assert seqs(listener.on("/stride")) == list(range(1, 201))
    stats = station.publisher.stats()
    assert stats.publish_ms is not None
    assert 0 < stats.publish_ms["p50"] <= stats.publish_ms["p95"] < 5000


def test_broker_down_at_start_killed_in_the_middle_and_back(
    mosquitto: Mosquitto, tmp_path: Path, listen: Listen
) -> None:
    listener = listen(mosquitto.port)
    mosquitto.save()  # so that the listener's session survives what follows
    mosquitto.kill()
    with Station(mosquitto.port, tmp_path / "outbox.db") as station:
        station.strides(*range(1, 31))
        eventually(lambda: "cannot be reached" in str(station.publisher.trouble))
        assert listener.on("/stride") == []
        mosquitto.start()
        eventually(lambda: len(once_in_order(listener.on("/stride"))) >= 30, what="the first thirty")
        for seq in range(31, 131):
            station.strides(seq)
            if seq in (60, 90):
                mosquitto.kill()
            if seq in (75, 110):
                mosquitto.start()
            time.sleep(0.01)
        eventually(lambda: len(once_in_order(listener.on("/stride"))) >= 130, 20, what="all of them")
        eventually(lambda: station.publisher.stats().waiting == 0)
        # What the new broker hears again after a kill may still be on its way.
        time.sleep(0.5)
        messages = listener.on("/stride")
    assert once_in_order(messages) == list(range(1, 131))
    for connection in range(1, listener.connections + 1):
        heard = seqs(messages, connection)
        assert len(heard) == len(set(heard)), f"twice in connection {connection}"
        assert heard == sorted(heard)


@pytest.mark.parametrize("rewind_s", [150.0, 0.0])
def test_what_a_killed_broker_had_accepted_but_not_handed_on_arrives(
    mosquitto: Mosquitto, station: Station, listen: Listen, monkeypatch: pytest.MonkeyPatch, rewind_s: float
) -> None:
    monkeypatch.setattr("station.outbox.MARKS_WAIT_S", 0.0)
    monkeypatch.setattr("station.publish.records.REWIND_S", rewind_s)
    listener = listen(mosquitto.port, name="staff")
    mosquitto.save()
    listener.client.disconnect()
    listener.client.loop_stop()
    station.strides(1, 2, 3)
    eventually(lambda: station.publisher.stats().waiting == 0, what="accepted, for the absent subscriber")
    time.sleep(0.5)
    mosquitto.kill()  # and forgotten
    mosquitto.start()
    again = listen(mosquitto.port, name="staff")
    station.strides(4)
    eventually(lambda: 4 in seqs(again.on("/stride")))
    # Without the rewind they are gone: so it is the rewind that brings them.
    assert once_in_order(again.on("/stride")) == ([1, 2, 3, 4] if rewind_s else [4])


def test_records_survive_the_process(mosquitto: Mosquitto, tmp_path: Path, listen: Listen) -> None:
    mosquitto.kill()
    with Station(mosquitto.port, tmp_path / "outbox.db") as station:
        station.strides(1, 2, 3)
    mosquitto.start()
    listener = listen(mosquitto.port)
    with Station(mosquitto.port, tmp_path / "outbox.db") as station:
        station.strides(4)
        eventually(lambda: seqs(listener.on("/stride")) == [1, 2, 3, 4])


def test_saying_and_recording_never_wait(tmp_path: Path) -> None:
    with Station(free_port(), tmp_path / "outbox.db") as station:
        slowest_s = 0.0
        for seq in range(500):
            begin_s = time.perf_counter()
            station.publisher.say("live", {"t": seq})
            station.publisher.record("stride", stride(seq))
            slowest_s = max(slowest_s, time.perf_counter() - begin_s)
        assert slowest_s < 0.1  # a frame at 10 fps; some microseconds when nothing else runs
        eventually(lambda: station.publisher.stats().waiting == 500)
        assert station.publisher.stats().dropped == 499  # only the newest pose was kept


def test_birth_and_newest_state_at_every_connect(mosquitto: Mosquitto, station: Station, listen: Listen) -> None:
    station.publisher.say("state", {"state": "running", "session": "4f9c2b7e", "since": None, "prompt": None})
    first = listen(mosquitto.port, name="first")
    eventually(lambda: first.on("/state") and first.on("/status"))
    status = first.on("/status")[0]
    assert (status.json["state"], status.json["version"]) == ("online", "1.2.3")
    mosquitto.kill()
    station.publisher.say("state", {"state": "summary", "session": None, "since": None, "prompt": None})
    mosquitto.start()  # nothing was saved: a broker that remembers nothing
    eventually(lambda: station.publisher.stats().connects == 2)
    # who listened before hears it as it comes; only then is it the broker's to keep for the next
    eventually(lambda: any(said.connection == 2 and said.json["state"] == "summary" for said in first.on("/state")))
    second = listen(mosquitto.port, name="second")
    eventually(lambda: second.on("/state") and second.on("/status"))
    assert second.on("/state")[0].retained
    assert second.on("/state")[0].json["state"] == "summary"
    assert second.on("/status")[0].json["state"] == "online"


def test_close_says_offline_and_flushes(mosquitto: Mosquitto, tmp_path: Path, listen: Listen) -> None:
    listener = listen(mosquitto.port)
    with Station(mosquitto.port, tmp_path / "outbox.db") as station:
        station.publisher.wait_connected(5)
        station.strides(*range(1, 101))
    eventually(lambda: len(listener.on("/stride")) == 100)
    eventually(lambda: listener.on("/status")[-1].json["state"] == "offline")
    assert listener.on("/status")[-1].json["since"] is not None  # said by us, not by the will


def _victim(port: int) -> None:
    station = Station(port, None, keepalive_s=1)
    station.publisher.start()
    time.sleep(60)


def test_will_is_seen_after_kill_9(mosquitto: Mosquitto, listen: Listen) -> None:
    listener = listen(mosquitto.port)
    process = multiprocessing.get_context("spawn").Process(target=_victim, args=(mosquitto.port,), daemon=True)
    process.start()
    eventually(lambda: listener.on("/status"), 20)
    process.kill()
    killed_s = time.monotonic()
    eventually(lambda: listener.on("/status")[-1].json["state"] == "offline", 2.0)
    assert listener.on("/status")[-1].at_s - killed_s < 2.0


def test_a_refused_topic_waits_and_the_others_go_on(
    mosquitto_path: Path, tmp_path: Path, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("station.publish.records.HOLD_S", 0.3)
    acl = tmp_path / "acl"
    acl.write_text(f"topic read #\ntopic write {ROOT}/session\ntopic write {ROOT}/status\n")
    broker = Mosquitto(mosquitto_path, tmp_path / "b")
    with broker.config.open("a") as file:
        file.write(f"acl_file {acl}\n")
    broker.start()
    try:
        listener = listen(broker.port)
        with Station(broker.port, tmp_path / "outbox.db") as station:
            station.strides(1, 2, 3)
            station.publisher.record("session", {"session": "4f9c2b7e"})
            eventually(lambda: listener.on("/session"))
            eventually(lambda: station.publisher.stats().refused > 0)
            eventually(lambda: station.publisher.stats().waiting == 3, what="refused is not lost")
            assert station.publisher.stats().lost == {"refused stride": "Not authorized"}
            acl.write_text("topic readwrite #\n")
            assert broker.process is not None
            broker.process.send_signal(1)  # SIGHUP: read the access list again
            eventually(lambda: seqs(listener.on("/stride")) == [1, 2, 3])
            eventually(lambda: station.publisher.stats().waiting == 0)
            assert station.publisher.stats().lost == {}
    finally:
        broker.kill()


def test_wrong_password_is_told_from_a_broker_that_is_away(mosquitto_path: Path, tmp_path: Path) -> None:
    broker = Mosquitto(mosquitto_path, tmp_path / "b", port=free_port())
    broker.config.write_text(f"listener {broker.port} 127.0.0.1\nallow_anonymous false\n")
    broker.start()
    password = tmp_path / "password"
    password.write_text("wrong\n")
    try:
        refused = pytest.raises(BrokerError, match=r"refuses us \(Not authorized\): check mqtt.username")
        with Station(broker.port, None, username="tm-07", password_file=password) as station, refused:
            station.publisher.wait_connected(1.5)
        away = pytest.raises(BrokerError, match="cannot be reached")
        with Station(free_port(), None) as station, away:
            station.publisher.wait_connected(0.5)
    finally:
        broker.kill()


def test_a_missing_password_file_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere: mqtt.password_file cannot be read"):
        Station(1883, None, username="tm-07", password_file=tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"nowhere: mqtt.ca_file cannot be used"):
        Station(1883, None, ca_file=tmp_path / "nowhere")


def test_live_never_leaves_the_machine(tmp_path: Path) -> None:
    outbox = Outbox(None)
    publisher = Publisher(Link("192.0.2.1", 1883, ROOT), outbox, version="1")
    publisher.say("live", {"t": 1})
    publisher.say("live", {"t": 2})
    assert publisher.stats().dropped == 0  # the first would have been replaced by the second
    publisher.close()
    outbox.close()


def test_an_erased_session_is_gone_everywhere(mosquitto: Mosquitto, station: Station, listen: Listen) -> None:
    station.strides(1, 2)
    station.publisher.record("session", {"session": "4f9c2b7e"})
    before = listen(mosquitto.port, name="before")
    eventually(lambda: before.on("/session"))
    assert station.publisher.erase("4f9c2b7e").result(5)
    eventually(lambda: before.on("/session")[-1].payload == b"")
    assert not station.publisher.record("stride", stride(3))
    after = listen(mosquitto.port, name="after")
    eventually(lambda: after.on("/status"))
    assert after.on("/session") == []


def test_erasing_an_older_session_leaves_the_last_one(mosquitto: Mosquitto, station: Station, listen: Listen) -> None:
    listener = listen(mosquitto.port)
    for session in ("00000001", "00000002"):
        station.publisher.record("session", {"session": session})
    eventually(lambda: len(listener.on("/session")) == 2)
    assert not station.publisher.erase("00000001").result(5)
    time.sleep(0.3)
    assert [m.json["session"] for m in listener.on("/session")] == ["00000001", "00000002"]


def test_brokers_forget_strides_after_a_day(mosquitto: Mosquitto, station: Station, listen: Listen) -> None:
    listener = listen(mosquitto.port)
    station.strides(1)
    station.publisher.record("session", {"session": "4f9c2b7e"})
    station.publisher.say("health", {"fps_in": 30.0})
    eventually(lambda: listener.on("/stride") and listener.on("/session") and listener.on("/health"))
    assert 24 * 3600 - 60 < (listener.on("/stride")[0].expiry_s or 0) <= 24 * 3600
    assert 30 * 24 * 3600 - 60 < (listener.on("/session")[0].expiry_s or 0) <= 30 * 24 * 3600
    assert 0 < (listener.on("/health")[0].expiry_s or 0) <= 60
    assert listener.on("/status")[0].expiry_s is None


def test_a_command_waits_while_the_station_restarts(mosquitto: Mosquitto, tmp_path: Path, listen: Listen) -> None:
    with Station(mosquitto.port, None) as station:
        station.publisher.wait_connected(5)
        eventually(lambda: station.publisher.stats().published > 0)
    sender = listen(mosquitto.port)
    sender.client.publish(f"{ROOT}/cmd/erase", b'{"session": "4f9c2b7e"}', qos=1).wait_for_publish(5)
    with Station(mosquitto.port, None) as station:
        eventually(lambda: station.commands)
        assert station.commands[0].args == {"session": "4f9c2b7e"}


def test_a_server_that_does_not_answer_is_no_broker() -> None:
    told = pytest.raises(BrokerError, match="does not answer: is that port one of an MQTT broker")
    with socket.create_server(("127.0.0.1", 0)) as silent, Station(silent.getsockname()[1], None) as station, told:
        station.publisher.wait_connected(7)


def test_two_stations_of_one_name_are_told(mosquitto: Mosquitto) -> None:
    with Station(mosquitto.port, None) as one, Station(mosquitto.port, None) as two:
        seen: set[str] = set()

        def told() -> bool:
            seen.update(str(station.publisher.trouble) for station in (one, two))
            return any("another client may use our name" in trouble for trouble in seen)

        eventually(told, 30)


def test_a_broker_that_hangs_is_left_and_found_again(mosquitto: Mosquitto, tmp_path: Path, listen: Listen) -> None:
    listener = listen(mosquitto.port)
    with Station(mosquitto.port, tmp_path / "outbox.db", keepalive_s=1) as station:
        station.publisher.wait_connected(5)
        assert mosquitto.process is not None
        mosquitto.process.send_signal(signal.SIGSTOP)
        station.strides(1, 2, 3)
        eventually(lambda: not station.publisher.stats().connected, 10)
        mosquitto.process.send_signal(signal.SIGCONT)
        eventually(lambda: once_in_order(listener.on("/stride")) == [1, 2, 3], 20)
        eventually(lambda: station.publisher.stats().waiting == 0)


def test_a_broker_that_takes_and_never_answers_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("station.publish.publisher.ANSWER_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def welcome() -> None:
            for _ in range(2):
                client, _ = server.accept()
                client.recv(4096)
                client.send(bytes([0x20, 3, 0, 0, 0]))  # CONNACK: come in
                while client.recv(4096):
                    pass
                client.close()

        thread = threading.Thread(target=welcome)
        thread.start()
        with Station(server.getsockname()[1], None) as station:
            station.publisher.wait_connected(5)
            eventually(lambda: "no longer answers" in str(station.publisher.trouble))
            eventually(lambda: station.publisher.stats().connects == 2)
        thread.join(10)


def test_a_bug_in_the_station_does_not_pass_for_a_broker_in_trouble(mosquitto: Mosquitto) -> None:
    def buggy(_: Command) -> None:
        raise RuntimeError("a bug")

    outbox = Outbox(None)
    publisher = Publisher(Link("127.0.0.1", mosquitto.port, ROOT), outbox, version="1", on_command=buggy)
    crashed: list[str] = []
    before = threading.excepthook
    threading.excepthook = lambda args: crashed.append(str(args.exc_value))
    try:
        publisher.start()
        publisher.wait_connected(5)
        sender = Listener(mosquitto.port, "none", name="sender")
        sender.client.publish(f"{ROOT}/cmd/stop", b"", qos=1).wait_for_publish(5)
        eventually(lambda: crashed == ["a bug"])
        eventually(lambda: "has crashed" in str(publisher.trouble))
        sender.close()
    finally:
        threading.excepthook = before
        publisher.close(0.1)
        outbox.close()
