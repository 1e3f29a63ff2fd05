"""``station doctor``: what the station needs, each thing ok, warn or fail, with the mend.

``picture`` judges camera, focus, exposure, light and framing, ``models`` the pose models, ``broker`` the broker,
``machine`` everything else. While the station runs, its camera is not ours to open: then the picture is judged by what
the station itself publishes. ``watch`` keeps the time: a check that hangs is named as late, and the others still tell.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from station.config import Config
from station.doctor.finding import Finding
from station.doctor.watch import LIMIT_S, Check, look, process_began_s

if TYPE_CHECKING:
    from station.engine.observer import PoseSource

__all__ = ["LIMIT_S", "Finding", "doctor", "examine"]

# Every check imports what it looks with in its own process and its own time: here nothing may be slow, or hang.
# ruff: noqa: PLC0415

#: How long each may take [s]; model and camera come one after the other, everything else beside them.
_MODEL_S, _CAMERA_S, _BROKER_S, _PAGE_S, _MACHINE_S = 6.0, 11.5, 8.0, 5.0, 4.0


def doctor(config: Config, *, as_json: bool) -> int:
    """Print the findings as they come; 0 when nothing fails, 1 otherwise; at most :data:`LIMIT_S` after the start."""
    findings = []
    began_s = process_began_s()
    for finding in examine(config, began_s):
        findings.append(finding)
        if not as_json:
            mend = f"   -> {finding.mend}" if finding.mend else ""
            print(f"{finding.verdict:4}  {finding.what:12} {finding.seen}{mend}", flush=True)
    failed = any(finding.verdict == "fail" for finding in findings)
    took_s = round(time.monotonic() - began_s, 1)
    if as_json:
        checks = [asdict(finding) for finding in findings]
        print(json.dumps({"ok": not failed, "took_s": took_s, "checks": checks}, indent=2))
    return int(failed)


def examine(config: Config, began_s: float) -> Iterator[Finding]:
    """All findings, one after the other, until :data:`LIMIT_S` after ``began_s`` (monotonic clock)."""
    starved = "end what else runs on this machine and look again; if it stays, try a restart"
    hangs = "the camera or its driver hangs: pull it off, put it back, look again; if it stays, switch off and on"
    broker = "does it run, is mqtt.port right (1883 plain, 8883 TLS with mqtt.ca_file)? restart it"
    disk = "the disk hangs: `dmesg` says why; another card, or its cable"
    eyes = _Eyes(config)
    groups = [
        [Check("versions", _MACHINE_S, _versions, starved)],
        [
            Check("model", _MODEL_S, eyes.model, starved, "fail"),
            Check("camera", _CAMERA_S, eyes.picture, hangs, "fail"),
        ],
        [Check("broker", _BROKER_S, lambda: _broker(config), broker, "fail")],
        [Check("page", _PAGE_S, lambda: _page(config), "restart it: systemctl restart station-web")],
        [Check("disk", _MACHINE_S, _machine("disk"), disk, "fail")],
        *([Check(one, _MACHINE_S, _machine(one), starved)] for one in ("clock", "temperature", "throttling", "power")),
        *([Check(one, _MACHINE_S, _machine(one), disk)] for one in ("verified", "update")),
    ]
    yield from look(groups, began_s)


class _Eyes:
    """Model and picture: the model that was tried also finds the runner in the picture."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._pose: PoseSource | None = None

    def model(self) -> Iterator[Finding]:
        from station.doctor import models

        wrong, self._pose = models.load(self._config)
        if wrong is not None:
            yield wrong
        elif self._pose is not None:
            yield models.models(self._config, self._pose)

    def picture(self) -> Iterator[Finding]:
        from station.doctor import machine, picture

        yield from picture.findings(self._config, self._pose, running=machine.station_runs())


def _versions() -> Iterator[Finding]:
    from station.engine.version import version

    yield Finding("versions", "ok", f"station {version()}, Python {platform.python_version()}, {platform.machine()}")


def _broker(config: Config) -> Iterator[Finding]:
    from station.doctor import broker, machine

    yield broker.broker(config, running=machine.station_runs())


def _page(config: Config) -> Iterator[Finding]:
    from station.doctor import machine

    yield machine.page(config)


def _machine(what: str) -> Callable[[], Iterator[Finding]]:
    def run() -> Iterator[Finding]:
        from station.doctor import machine

        yield machine.CHECKS[what]()

    return run
