"""What the doctor looks at of the machine: page, disk, clock, heat, power, updates."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from station.config import Config, state_dir
from station.doctor.finding import Finding
from station.health import power_flags, temperature_c
from station.update.layout import Layout

# Every check runs in a process of its own: what one of them alone needs, the others must not wait for.
# ruff: noqa: PLC0415

_HOT_C, _BURNING_C = 75.0, 84.0
_LOW_DISK_GB = 1.0
#: An estimator whose gain against the tag is off by more tells trends, not degrees.
_GAIN_OFF = 0.35
#: Bits of the firmware's word on power and heat; those of "since the start" lie 16 higher.
_UNDER_VOLTAGE, _CAPPED, _THROTTLED, _SOFT_LIMIT = 0x1, 0x2, 0x4, 0x8


def station_runs() -> bool:
    """Whether an engine holds this machine's state folder."""
    try:
        with (state_dir() / "engine.lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def page(config: Config) -> Finding:
    """Whether the page answers; while the station does not run, it need not."""
    import urllib.error
    import urllib.request

    host = "127.0.0.1" if config.web.host in ("0.0.0.0", "::") else config.web.host
    url = f"http://{f'[{host}]' if ':' in host else host}:{config.web.port}/"
    try:
        with urllib.request.urlopen(url, timeout=3.0) as answer:
            if b"hipline" in answer.read(20000).lower():
                return Finding("page", "ok", f"{url} answers")
            return Finding("page", "warn", f"{url} is some other program's page", "set web.port")
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        mend = "start it: `station run`, or as a service: systemctl start station-web"
        return Finding("page", "warn", f"{url}: {reason}", mend)


def disk() -> Finding:
    """Free space where strides are kept, and whether it can be written to."""
    folder = state_dir()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    seen = f"{free_gb:.1f} GB free at {folder}"
    if not os.access(existing, os.W_OK):
        return Finding("disk", "warn", f"{seen}, not writable for this user", "run the doctor as the station's user")
    if free_gb < _LOW_DISK_GB:
        return Finding("disk", "warn", seen, "free some space: strides are kept on disk until the broker has them")
    return Finding("disk", "ok", seen)


def clock() -> Finding:
    """Whether wall time is synchronised; only labels depend on it."""
    now = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    if Path("/run/systemd/timesync/synchronized").exists():
        return Finding("clock", "ok", f"{now}, synchronised")
    return Finding("clock", "warn", f"{now}, not known to be synchronised", "labels only: enable systemd-timesyncd")


def heat() -> Finding:
    """The processor's temperature."""
    celsius = temperature_c()
    if celsius is None:
        return Finding("temperature", "ok", "this machine has no thermometer")
    seen = f"{celsius:.0f} degrees C"
    if celsius > _BURNING_C:
        return Finding("temperature", "fail", seen, "it slows itself: fan or heat sink, out of the sun")
    if celsius > _HOT_C:
        return Finding("temperature", "warn", seen, "hot: give it a fan or a heat sink")
    return Finding("temperature", "ok", seen)


def throttling(flags: int | None = None) -> Finding:
    """Whether a Pi is, or since its start was, slowed down."""
    flags = power_flags() if flags is None else flags
    if flags is None:
        return Finding("throttling", "ok", "not told by this machine")
    slow = _CAPPED | _THROTTLED | _SOFT_LIMIT
    if flags & slow:
        return Finding("throttling", "fail", f"slowed down now (0x{flags:x})", "cool it; see also power")
    if flags >> 16 & slow:
        return Finding(
            "throttling", "warn", f"was slowed down since its start (0x{flags:x})", "cool it; see also power"
        )
    return Finding("throttling", "ok", "never slowed down since its start")


def power(flags: int | None = None) -> Finding:
    """Whether a Pi has, or since its start had, too little voltage."""
    flags = power_flags() if flags is None else flags
    mend = "the maker's own supply (27 W for a Pi 5, 15 W for a Pi 4), a short thick cable, no hub between"
    if flags is None:
        return Finding("power", "ok", "not told by this machine")
    if flags & _UNDER_VOLTAGE:
        return Finding("power", "fail", "voltage too low now", mend)
    if flags >> 16 & _UNDER_VOLTAGE:
        return Finding("power", "warn", "voltage was too low since its start", mend)
    return Finding("power", "ok", "voltage never too low since its start")


def verified() -> Finding:
    """What ``station verify`` found of the pelvis estimator on people who wore the reference tag."""
    from station.tag.record import load_all, said, trust

    found = trust(load_all())
    if found is None:
        return Finding("verified", "ok", "never against the reference tag: `station verify` tells how far to trust it")
    if found.gain is not None and abs(found.gain - 1.0) > _GAIN_OFF:
        mend = "check lens, light and mount; `station verify` again; until then trust trends, not degrees"
        return Finding("verified", "warn", said(found), mend)
    return Finding("verified", "ok", said(found))


def update(layout: Layout | None = None) -> Finding:
    """What the updater says of its last changeover."""
    layout = layout or Layout.here()
    try:
        report = json.loads(layout.report.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Finding("update", "ok", f"none was made here; active: {layout.active() or 'no release, a source tree'}")
    except (OSError, ValueError) as error:
        return Finding("update", "warn", f"{layout.report}: {error}", "journalctl -u station-update")
    state = report.get("state", "idle")
    seen = f"{state}; active: {layout.active() or 'no release'}"
    if state == "failed":
        where = f"{report.get('from')} to {report.get('to')}"
        return Finding(
            "update", "warn", f"{seen}; {where} failed: {report.get('reason')}", "journalctl -u station-update"
        )
    return Finding("update", "ok", seen)


#: By name, those that need nothing but the machine.
CHECKS: Mapping[str, Callable[[], Finding]] = {
    "disk": disk, "clock": clock, "temperature": heat, "throttling": throttling, "power": power, "verified": verified,
    "update": update,
}  # fmt: skip
