"""``station doctor``: what the station needs, each thing ok, warn or fail, with the mend.

``picture`` judges camera, focus, exposure, light and framing; ``machine`` everything that is no picture. While the
station runs, its camera is not ours to open: then the picture is judged by what the station itself publishes.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

from station.config import Config
from station.doctor import machine, picture
from station.doctor.finding import Finding
from station.engine.observer import PoseSource, load_pose
from station.engine.version import version
from station.errors import HiplineError

__all__ = ["Finding", "doctor", "examine"]


def doctor(config: Config, *, as_json: bool) -> int:
    """Print the findings as they come; 0 when nothing fails, 1 otherwise."""
    findings = []
    start_s = time.monotonic()
    for finding in examine(config):
        findings.append(finding)
        if not as_json:
            mend = f"   -> {finding.mend}" if finding.mend else ""
            print(f"{finding.verdict:4}  {finding.what:12} {finding.seen}{mend}", flush=True)
    failed = any(finding.verdict == "fail" for finding in findings)
    took_s = round(time.monotonic() - start_s, 1)
    if as_json:
        checks = [asdict(finding) for finding in findings]
        print(json.dumps({"ok": not failed, "took_s": took_s, "checks": checks}, indent=2))
    return int(failed)


def examine(config: Config) -> Iterator[Finding]:
    """All findings, one after the other."""
    yield Finding("versions", "ok", f"station {version()}, Python {platform.python_version()}, {platform.machine()}")
    running = machine.station_runs()
    pose: list[PoseSource] = []

    def load() -> Finding:
        pose.append(load_pose(config, lambda _line: None))
        return machine.models(config, pose[0])

    yield _guarded("model", load)
    yield from picture.findings(config, pose[0] if pose else None, running=running)
    yield _guarded("broker", lambda: machine.broker(config, running=running))
    yield machine.page(config)
    yield machine.disk()
    yield machine.clock()
    yield machine.heat()
    yield machine.throttling()
    yield machine.power()
    yield machine.verified()
    yield machine.update()


def _guarded(what: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except HiplineError as error:
        return Finding.of_error(what, error)
