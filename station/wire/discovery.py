"""Home Assistant's device discovery: one retained message from which it makes all entities of a station.

The topics behind the entities are those of ``docs/formats.md``; nothing is published twice for Home Assistant. The form
is that of Home Assistant 2024.11 and later (device discovery of its MQTT integration).
"""

from __future__ import annotations

from typing import Any, get_args

from station.types import StateName
from station.wire.jsonio import JsonObject
from station.wire.topics import HEALTH, STATE, STATUS, STRIDE

#: A reading of a runner is shown no longer than this after the last stride.
STRIDE_EXPIRES_S = 15
#: Three healths missed in a row.
HEALTH_EXPIRES_S = 20
_UPDATE_STATES = ("idle", "staged", "probation", "failed")


def discovery_json(root: str, gym: str, station: str, version: str) -> JsonObject:
    """The payload for :func:`station.wire.topics.discovery_topic`. ``root`` is ``hipline/v1/<gym>/<station>``."""
    entities = {**_presence(), **_runner(), **_machine()}
    name = f"hipline_{gym}_{station}"
    available = [{"topic": f"{root}/{STATUS}", "value_template": "{{ value_json.state }}"}]
    components: JsonObject = {}
    for key, entity in entities.items():
        topics = {what: f"{root}/{entity[what]}" for what in ("state_topic", "command_topic") if what in entity}
        # "Online" itself must not become unavailable when the station goes offline: that is its news.
        presence: JsonObject = {} if key == "online" else {"availability": available}
        components[key] = {**entity, **topics, **presence, "unique_id": f"{name}_{key}"}
    return {
        "device": {
            "identifiers": [name],
            "name": f"Treadmill {station}",
            "manufacturer": "Hipline",
            "model": "Treadmill station",
            "sw_version": version,
            "suggested_area": gym,
        },
        "origin": {"name": "hipline-station", "sw_version": version},
        "components": components,
        "qos": 1,
    }


def _presence() -> dict[str, dict[str, Any]]:
    return {
        "online": {
            "platform": "binary_sensor",
            "name": "Online",
            "state_topic": STATUS,
            "value_template": "{{ value_json.state }}",
            "payload_on": "online",
            "payload_off": "offline",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
        },
        "state": {
            "platform": "sensor",
            "name": "State",
            "state_topic": STATE,
            "value_template": "{{ value_json.state }}",
            "device_class": "enum",
            "options": list(get_args(StateName)),
            "icon": "mdi:run",
        },
        "version": {
            "platform": "sensor",
            "name": "Version",
            "state_topic": STATUS,
            "value_template": "{{ value_json.version }}",
            "entity_category": "diagnostic",
        },
        "update": {
            "platform": "sensor",
            "name": "Update",
            "state_topic": STATUS,
            "value_template": "{{ value_json['update'].state }}",
            "device_class": "enum",
            "options": list(_UPDATE_STATES),
            "entity_category": "diagnostic",
        },
        "identify": {
            "platform": "button",
            "name": "Identify",
            "command_topic": "cmd/identify",
            "payload_press": "{}",
            "device_class": "identify",
            "entity_category": "diagnostic",
        },
    }


def _metric(name: str, metric: str, unit: str | None, icon: str, precision: int) -> dict[str, Any]:
    """A metric of the stride: unknown while it is null, unavailable when no stride comes."""
    entity: dict[str, Any] = {
        "platform": "sensor",
        "name": name,
        "state_topic": STRIDE,
        "value_template": f"{{{{ value_json.metrics.{metric}.value }}}}",
        "state_class": "measurement",
        "suggested_display_precision": precision,
        "expire_after": STRIDE_EXPIRES_S,
        "icon": icon,
    }
    return entity if unit is None else {**entity, "unit_of_measurement": unit}


def _runner() -> dict[str, dict[str, Any]]:
    drop = "mdi:angle-acute"
    return {
        "cadence": _metric("Cadence", "cadence_spm", "steps/min", "mdi:shoe-print", 0),
        "drop_left": _metric("Pelvic drop left", "pelvic_drop_peak_left_deg", "°", drop, 1),
        "drop_right": _metric("Pelvic drop right", "pelvic_drop_peak_right_deg", "°", drop, 1),
        "drop_difference": _metric("Pelvic drop difference", "pelvic_drop_difference_deg", "°", drop, 1),
        "stability": _metric("Stability", "stability", None, "mdi:gauge", 0),
    }


def _machine() -> dict[str, dict[str, Any]]:
    reading = {"state_topic": HEALTH, "expire_after": HEALTH_EXPIRES_S, "entity_category": "diagnostic"}
    number = {**reading, "platform": "sensor", "state_class": "measurement"}
    return {
        "fps": {
            **number,
            "name": "Frame rate",
            "value_template": "{{ value_json.fps_out }}",
            "unit_of_measurement": "fps",
            "suggested_display_precision": 1,
            "icon": "mdi:filmstrip",
        },
        "temperature": {
            **number,
            "name": "Temperature",
            "value_template": "{{ value_json.temp_c }}",
            "device_class": "temperature",
            "unit_of_measurement": "°C",
            "suggested_display_precision": 0,
        },
        "outbox": {
            **number,
            "name": "Waiting records",
            "value_template": "{{ value_json.outbox }}",
            "icon": "mdi:tray-full",
        },
        "throttled": {
            **reading,
            "platform": "binary_sensor",
            "name": "Throttled",
            "value_template": "{{ value_json.throttled }}",
            "payload_on": "True",
            "payload_off": "False",
            "device_class": "problem",
        },
        "dirty": {
            **reading,
            "platform": "binary_sensor",
            "name": "Camera dirty",
            "value_template": "{{ value_json.camera.dirty }}",
            "payload_on": "True",
            "payload_off": "False",
            "device_class": "problem",
        },
    }
