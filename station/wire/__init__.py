"""Records ↔ the formats of ``docs/formats.md``. Nobody else spells a name that leaves the station.

``track`` is the pose track, ``strides`` and ``messages`` are the MQTT payloads, ``topics`` their topics, ``commands``
what the station is told, ``discovery`` how Home Assistant learns of it. ``station/schemas`` holds the JSON Schemas.
"""

from station.wire.jsonio import dumps, loads
from station.wire.track import TrackWriter, read_track

__all__ = ["TrackWriter", "dumps", "loads", "read_track"]
