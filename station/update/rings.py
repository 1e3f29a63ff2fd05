"""Who gets a new release first: canaries by name, then a growing share of all stations, chosen by a stable hash.

Pure: the rollout that was signed and the station's own name in, the version this station should run out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from station.errors import UpdateError
from station.update.manifest import no_constant, sequence_of, unique_keys

FORMAT = "hipline.rollout/1"
#: The name of the rollout in the update repository; the delegated role ``rollout`` may sign nothing outside its folder.
TARGET = "rollout/fleet.json"
MAX_BYTES, MAX_CANARIES = 1 << 18, 2000
_STATION = re.compile(r"[A-Za-z0-9_-]{1,64}/[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Rollout:
    """Which version stations should run.

    ``version`` goes to the ``canary`` stations and to ``percent`` (0 to 100) of all; the others keep to ``stable``, the
    version before it, which is ``None`` before there was one. ``halt`` stops ``version`` everywhere: nobody starts on
    it any more; those who run it keep it. ``reason`` says why it is halted.
    """

    version: str
    stable: str | None = None
    percent: int = 0
    canary: tuple[str, ...] = ()
    halt: bool = False
    reason: str | None = None


def bucket(station: str) -> float:
    """Where a station (``<gym>/<station>``) lies between 0 and 100: evenly spread, and for ever the same."""
    digest = hashlib.sha256(f"hipline ring {station}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 * 100


def in_ring(rollout: Rollout, station: str) -> bool:
    """Whether the new version is meant for this station, halted or not."""
    return station in rollout.canary or bucket(station) < rollout.percent


def choose(rollout: Rollout, station: str) -> str | None:
    """The version ``station`` should run, or ``None`` if the rollout leaves it as it is."""
    return rollout.version if in_ring(rollout, station) and not rollout.halt else rollout.stable


def write(rollout: Rollout) -> bytes:
    """Canonical JSON."""
    payload = {
        "format": FORMAT,
        "version": rollout.version,
        "stable": rollout.stable,
        "percent": rollout.percent,
        "canary": sorted(rollout.canary),
        "halt": rollout.halt,
        "reason": rollout.reason,
    }
    return (json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=True) + "\n").encode()


def read(data: bytes, name: str = TARGET) -> Rollout:
    """The rollout in ``data``; every fault is an :class:`~station.errors.UpdateError` that begins with ``name``."""
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"is longer than {MAX_BYTES} bytes")
        table = json.loads(data.decode("utf-8"), object_pairs_hook=unique_keys, parse_constant=no_constant)
        if not isinstance(table, dict) or table.get("format") != FORMAT:
            raise ValueError(f'the format is not "{FORMAT}"')
        return Rollout(
            version=_version(table, "version"),
            stable=None if table.get("stable") is None else _version(table, "stable"),
            percent=_percent(table.get("percent")),
            canary=_canary(table.get("canary")),
            halt=_flag(table.get("halt")),
            reason=_reason(table.get("reason")),
        )
    except (ValueError, RecursionError, UpdateError) as error:
        raise UpdateError(f"{name}: {error}; nothing was installed") from None


def _version(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} is no version")
    sequence_of(value)
    return value


def _percent(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 100:
        raise ValueError("percent is not a whole number from 0 to 100")
    return value


def _canary(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_CANARIES:
        raise ValueError(f"canary is not a list of at most {MAX_CANARIES} stations")
    for station in value:
        check_station(station)
    return tuple(value)


def check_station(station: Any) -> None:
    """Raises ``ValueError`` unless ``station`` is written ``<gym>/<station>``."""
    if not isinstance(station, str) or not _STATION.fullmatch(station):
        raise ValueError(f"{str(station)[:60]!r} is not written gym/station")


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("halt is neither true nor false")
    return value


def _reason(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or len(value) > 500):
        raise ValueError("reason is not a short text")
    return value
