"""Commands: sound ones reach the station and are answered where the sender asks; the rest changes nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import paho.mqtt.client as mqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from station import wire
from station.outbox import Outbox
from station.publish import Command, Link, Publisher
from station.wire.commands import COMMANDS, RefusedError, command_args, reply_topic
from station.wire.topics import command_name
from tests.broker_fixture import Listener, Mosquitto, eventually

ROOT = "hipline/v1/gym/tm-07"
Listen = Callable[..., Listener]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9) | st.just("0123abcd"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["profile", "session", "x"]), inner),
    max_leaves=4,
)


@given(st.sampled_from(sorted(COMMANDS)), anything)
def test_the_station_and_the_schema_agree_on_what_is_sound(name: str, payload: Any) -> None:
    definition = wire.schema("command")["$defs"][name]
    fits = jsonschema.Draft202012Validator(definition).is_valid(payload)
    try:
        command_args(name, json.dumps(payload).encode())
        accepted = True
    except RefusedError:
        accepted = False
    assert accepted == fits


def test_every_command_has_its_schema() -> None:
    assert set(wire.schema("command")["$defs"]) == set(COMMANDS)


@given(st.text(max_size=12) | st.sampled_from(sorted(COMMANDS)), st.binary(max_size=60))
def test_any_bytes_are_a_command_or_refused(name: str, payload: bytes) -> None:
    try:
        args = command_args(name, payload)
    except RefusedError as refused:
        args = {"why": str(refused)}
    assert isinstance(args, dict)
    assert name in COMMANDS or set(args) == {"why"}


@pytest.mark.parametrize(
    ("name", "payload", "why"),
    [
        (
            "dance",
            b"{}",
            "unknown command: there are start, stop, baseline, erase, identify, config-reload, update-check",
        ),
        ("start", b"{", "not JSON in UTF-8"),
        ("start", b"\xff", "not JSON in UTF-8"),
        ("start", b"[" * 4000, "not JSON in UTF-8"),
        ("start", b" " * 5000, "longer than 4096 bytes"),
        ("start", b"[]", "must be a JSON object"),
        ("start", b'{"profile": "children"}', "profile must be one of women, men, or null"),
        ("start", b'{"speed": 1}', "unknown key: start takes profile"),
        ("stop", b'{"now": true}', "unknown key: stop takes none"),
        ("erase", b"{}", "session is missing"),
        ("erase", b'{"session": "../../etc"}', "session must be the eight hexadecimal digits of a session"),
        ("erase", b'{"session": "4F9C2B7E"}', "session must be the eight hexadecimal digits of a session"),
    ],
)
def test_why_a_command_is_refused(name: str, payload: bytes, why: str) -> None:
    with pytest.raises(RefusedError) as refused:
        command_args(name, payload)
    assert str(refused.value) == why


def test_an_empty_payload_is_an_empty_object() -> None:
    assert command_args("stop", b"") == {}
    assert command_args("start", b"") == {}


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        (None, f"{ROOT}/cmd/stop/result"),
        ("", f"{ROOT}/cmd/stop/result"),
        ("staff/inbox", "staff/inbox"),
        (f"{ROOT}/cmd/stop/result", f"{ROOT}/cmd/stop/result"),
        (f"{ROOT}/state", f"{ROOT}/cmd/stop/result"),
        (f"{ROOT}/cmd/start", f"{ROOT}/cmd/stop/result"),
        (ROOT, f"{ROOT}/cmd/stop/result"),
        ("#", f"{ROOT}/cmd/stop/result"),
        ("a/+/b", f"{ROOT}/cmd/stop/result"),
        ("$SYS/broker", f"{ROOT}/cmd/stop/result"),
        ("staff/\x01", f"{ROOT}/cmd/stop/result"),
        ("x" * 300, f"{ROOT}/cmd/stop/result"),
    ],
)
def test_where_the_answer_goes(asked: str | None, used: str) -> None:
    assert reply_topic(ROOT, "stop", asked) == used


def test_the_name_in_the_topic() -> None:
    assert command_name(f"{ROOT}/cmd/stop", ROOT) == "stop"
    for topic in (f"{ROOT}/cmd/stop/result", f"{ROOT}/cmd/", f"{ROOT}/state", "cmd/stop", f"{ROOT}2/cmd/stop"):
        assert command_name(topic, ROOT) is None


class Obedient:
    """A station that notes its commands and obeys."""

    def __init__(self, port: int) -> None:
        self.commands: list[Command] = []
        self.outbox = Outbox(None)
        self.publisher = Publisher(Link("127.0.0.1", port, ROOT), self.outbox, version="1", on_command=self.obey)

    def obey(self, command: Command) -> None:
        self.commands.append(command)
        self.publisher.answer(command, ok=True)


@pytest.fixture
def station(mosquitto: Mosquitto) -> Iterator[Obedient]:
    made = Obedient(mosquitto.port)
    made.publisher.start()
    made.publisher.wait_connected(5)
    yield made
    made.publisher.close(1.0)
    made.outbox.close()


class Staff:
    """Sends commands as staff would, over MQTT 5."""

    def __init__(self, port: int) -> None:
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        up = threading.Event()
        self.client.on_connect = lambda *_: up.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert up.wait(5)

    def send(
        self,
        name: str,
        payload: bytes,
        *,
        answer_to: str | None = None,
        mark: bytes | None = None,
        retain: bool = False,
    ) -> None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho left it without types
        if answer_to is not None:
            properties.ResponseTopic = answer_to
        if mark is not None:
            properties.CorrelationData = mark
        self.client.publish(f"{ROOT}/cmd/{name}", payload, qos=1, retain=retain, properties=properties)


@pytest.fixture
def staff(mosquitto: Mosquitto) -> Iterator[Staff]:
    made = Staff(mosquitto.port)
    yield made
    made.client.disconnect()
    made.client.loop_stop()


def test_obeyed_and_answered(mosquitto: Mosquitto, station: Obedient, staff: Staff, listen: Listen) -> None:
    listener = listen(mosquitto.port)
    staff.send("start", b'{"profile": "women"}')
    eventually(lambda: listener.on("/cmd/start/result"))
    assert [(c.name, c.args) for c in station.commands] == [("start", {"profile": "women"})]
    answer = listener.on("/cmd/start/result")[0].json
    jsonschema.validate(answer, wire.schema("result"))
    assert answer == {"ok": True, "reason": None}


def test_the_answer_goes_to_the_response_topic_with_its_mark(
    mosquitto: Mosquitto, station: Obedient, staff: Staff, listen: Listen
) -> None:
    listener = listen(mosquitto.port)
    staff.send("stop", b"", answer_to="staff/inbox", mark=b"\x00\x01mark")
    staff.send("dance", b"", answer_to="staff/inbox", mark=b"second")
    eventually(lambda: len(listener.on("staff/inbox")) == 2)
    first, second = listener.on("staff/inbox")
    assert (first.json["ok"], first.correlation) == (True, b"\x00\x01mark")
    assert (second.json["ok"], second.correlation) == (False, b"second")
    assert second.json["reason"].startswith("unknown command")
    assert listener.on("/result") == []


def test_a_retained_command_is_not_obeyed(mosquitto: Mosquitto, staff: Staff, listen: Listen) -> None:
    staff.send("start", b"{}", retain=True)
    listener = listen(mosquitto.port)
    station = Obedient(mosquitto.port)
    station.publisher.start()
    eventually(lambda: listener.on("/cmd/start/result"))
    assert "must not be retained" in listener.on("/cmd/start/result")[0].json["reason"]
    assert station.commands == []
    station.publisher.close(1.0)
    station.outbox.close()


def test_hostile_commands_change_nothing(mosquitto: Mosquitto, station: Obedient, staff: Staff, listen: Listen) -> None:
    import random

    listener = listen(mosquitto.port)
    dice = random.Random(7)
    names = [*COMMANDS, "../state", "x" * 1000, "\N{PILE OF POO}", "Start", "start ", "results"]
    for _ in range(500):
        name = dice.choice(names)
        payload = dice.choice([b"", b"null", b"{}", b'{"profile": 3}', b"\x00", dice.randbytes(dice.randrange(5000))])
        if name in COMMANDS and payload in (b"", b"{}") and name != "erase":
            payload = b"0"
        # (A wildcard or a control character as response topic does not get past the broker.)
        topic = dice.choice([None, f"{ROOT}/state", f"{ROOT}/cmd/stop", "a" * 5000, "$SYS/x/y"])
        staff.send(name, payload, answer_to=topic, mark=dice.randbytes(8))
    staff.send("stop", b"", answer_to="done")
    eventually(lambda: listener.on("done"), 20)
    assert [command.name for command in station.commands] == ["stop"]
    assert station.publisher.trouble is None
    assert station.publisher.stats().connects == 1
    assert listener.on("tm-07/state") == []
    assert all(not answer.json["ok"] for answer in listener.on("/result"))
