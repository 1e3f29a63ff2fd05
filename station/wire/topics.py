"""The topics below ``hipline/v1/<gym>/<station>/``: how each is published, and for how long brokers may keep it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

STATUS = "status"
STATE = "state"
STRIDE = "stride"
SESSION = "session"
CUE = "cue"
HEALTH = "health"
LIVE = "live"
LOG = "log"
COMMANDS = "cmd/+"

DAY_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a topic is published.

    ``keep_s`` bounds how long outbox and brokers may hold a message (``None``: no end); what is ``recorded`` goes
    through the outbox, so that nothing of it is lost.
    """

    qos: int
    retained: bool
    recorded: bool = False
    keep_s: int | None = None


#: Raw strides are kept 24 hours, summaries 30 days: what can tell about a person's health does not lie about.
DELIVERY: Mapping[str, Delivery] = {
    STATUS: Delivery(qos=1, retained=True),
    STATE: Delivery(qos=1, retained=True),
    STRIDE: Delivery(qos=1, retained=False, recorded=True, keep_s=DAY_S),
    SESSION: Delivery(qos=1, retained=True, recorded=True, keep_s=30 * DAY_S),
    CUE: Delivery(qos=1, retained=False, recorded=True, keep_s=DAY_S),
    HEALTH: Delivery(qos=0, retained=False, keep_s=60),
    LIVE: Delivery(qos=0, retained=False, keep_s=1),
    LOG: Delivery(qos=1, retained=True),
}
#: Never published where it could leave the machine.
LOOPBACK_ONLY = frozenset({LIVE, LOG})


def command_name(topic: str, root: str) -> str | None:
    """The ``<name>`` of ``<root>/cmd/<name>``; ``None`` when the topic is something else."""
    start = f"{root}/cmd/"
    name = topic.removeprefix(start)
    return name if topic.startswith(start) and name and "/" not in name else None


def discovery_topic(station: str) -> str:
    """Where Home Assistant looks for the description of a device; outside the station's root."""
    return f"homeassistant/device/{station}/config"
