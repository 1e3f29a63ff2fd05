"""Records ↔ the formats of ``docs/formats.md``. Nobody else spells a name that leaves the station.

``track`` is the pose track, ``strides`` and ``messages`` are the MQTT payloads, ``topics`` their topics, ``schemas``
their JSON Schemas.
"""

from station.wire.discovery import discovery_json
from station.wire.jsonio import JsonObject, clean, dumps, loads
from station.wire.messages import (
    cue_json,
    health_json,
    live_json,
    rules_json,
    session_json,
    state_json,
    status_json,
    wall_label,
)
from station.wire.schemas import schema
from station.wire.strides import REPLAY, stride_from_json, stride_json
from station.wire.track import TrackWriter, mount_from_json, read_track

__all__ = [
    "REPLAY",
    "JsonObject",
    "TrackWriter",
    "clean",
    "cue_json",
    "discovery_json",
    "dumps",
    "health_json",
    "live_json",
    "loads",
    "mount_from_json",
    "read_track",
    "rules_json",
    "schema",
    "session_json",
    "state_json",
    "status_json",
    "stride_from_json",
    "stride_json",
    "wall_label",
]
