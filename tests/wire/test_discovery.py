"""Home Assistant's discovery: its form, and what a real Home Assistant makes of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from station import wire
from station.outbox import Outbox
from station.publish import Link, Publisher
from station.wire.topics import DELIVERY, discovery_topic
from tests.broker_fixture import Listener, Mosquitto, eventually

ROOT = "hipline/v1/gym/tm-07"
PAYLOADS = Path(__file__).parent / "payloads"
SAMPLES = {"status": "status-online", "state": "state-running", "stride": "stride-ok", "health": "health-pi"}


def components() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = wire.discovery_json(ROOT, "gym", "tm-07", "1.2.3")["components"]
    return found


def sample(topic: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((PAYLOADS / f"{SAMPLES[topic]}.json").read_text())
    return found


@pytest.mark.parametrize("key", components())
def test_every_entity_reads_a_topic_and_a_key_that_exist(key: str) -> None:
    entity = components()[key]
    if entity["platform"] == "button":
        assert entity["command_topic"] == f"{ROOT}/cmd/identify"
        return
    topic = entity["state_topic"].removeprefix(f"{ROOT}/")
    assert topic in DELIVERY
    names = re.findall(r"\w+", entity["value_template"].replace("value_json", ""))
    value: Any = sample(topic)
    for name in names:
        assert name in value
        # Jinja finds the dictionary's own method before the key: such a key needs brackets.
        assert not hasattr(dict, name) or f"['{name}']" in entity["value_template"]
        value = value[name]
    assert not isinstance(value, (dict, list))


def test_entities_are_told_apart_by_gym_and_station() -> None:
    ids = {entity["unique_id"] for entity in components().values()}
    elsewhere = wire.discovery_json("hipline/v1/north/tm-07", "north", "tm-07", "1")["components"]
    assert len(ids) == len(components())
    assert ids.isdisjoint(entity["unique_id"] for entity in elsewhere.values())


def test_offline_makes_all_but_the_presence_unavailable() -> None:
    for key, entity in components().items():
        assert ("availability" in entity) == (key != "online")


@pytest.fixture
def station(mosquitto: Mosquitto) -> Iterator[Publisher]:
    """A station that says the same again and again."""
    outbox = Outbox(None)
    discovery = {discovery_topic("tm-07"): wire.discovery_json(ROOT, "gym", "tm-07", "1.2.3")}
    publisher = Publisher(Link("127.0.0.1", mosquitto.port, ROOT), outbox, version="1.2.3", also=discovery)
    publisher.start()
    stop = threading.Event()

    def talk() -> None:
        while not stop.wait(0.3):
            publisher.say("state", sample("state"))
            publisher.say("health", sample("health"))
            publisher.record("stride", sample("stride"))

    thread = threading.Thread(target=talk)
    thread.start()
    yield publisher
    stop.set()
    thread.join()
    publisher.close(1.0)
    outbox.close()


def test_it_is_retained_and_said_again_to_a_broker_that_forgot(mosquitto: Mosquitto, station: Publisher) -> None:
    for name in ("first", "second"):
        eventually(lambda: station.stats().connected)
        listener = Listener(mosquitto.port, "homeassistant/#", name=name)
        heard = listener.heard
        eventually(heard.__len__)
        assert heard[0].topic == "homeassistant/device/tm-07/config"
        assert heard[0].json["device"]["sw_version"] == "1.2.3"
        listener.close()
        mosquitto.kill()
        (mosquitto.folder / "mosquitto.db").unlink(missing_ok=True)
        mosquitto.start()


@pytest.mark.slow
def test_a_real_home_assistant_makes_its_entities(mosquitto: Mosquitto, station: Publisher, tmp_path: Path) -> None:
    python = os.environ.get("HIPLINE_HOMEASSISTANT")
    if not python:
        pytest.skip("no Home Assistant: HIPLINE_HOMEASSISTANT names a Python that has homeassistant and paho-mqtt")
    device = "treadmill_tm_07"
    wanted = {
        f"binary_sensor.{device}_online": "on",
        f"binary_sensor.{device}_throttled": "off",
        f"sensor.{device}_state": "running",
        f"sensor.{device}_version": "1.2.3",
        f"sensor.{device}_update": "idle",
        f"sensor.{device}_cadence": "170.0",
        f"sensor.{device}_pelvic_drop_left": "5.8",
        f"sensor.{device}_stability": "71.5",
        f"sensor.{device}_frame_rate": "30.1",
        f"sensor.{device}_temperature": "61.2",
        f"sensor.{device}_waiting_records": "0",
    }
    script = Path(__file__).parent / "home_assistant.py"
    command = [python, script, tmp_path / "ha", mosquitto.port, *wanted]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    entities = json.loads(done.stdout)
    assert {name: entities[name]["state"] for name in wanted} == wanted
    # Null in the sample: unknown, never 0.
    assert entities[f"sensor.{device}_pelvic_drop_right"]["state"] == "unknown"
    assert entities[f"binary_sensor.{device}_camera_dirty"]["state"] == "unknown"
    assert entities[f"sensor.{device}_temperature"]["attributes"]["unit_of_measurement"] == "°C"
    assert len(entities) == len(components())
    for complaint in ("Invalid config", "Template", "Exception", "Error"):
        assert complaint not in done.stderr, done.stderr
