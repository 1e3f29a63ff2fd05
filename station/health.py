"""How the station itself is doing: rates, latencies, temperature, throttling, memory; and the word to systemd."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

#: How many of the newest durations a percentile is taken over: a quarter of a minute at 30 fps.
WINDOW = 450


class Timings:
    """The newest durations of one stage, in milliseconds."""

    def __init__(self, window: int = WINDOW) -> None:
        self._ms: deque[float] = deque(maxlen=window)

    def add(self, seconds: float) -> None:
        """Note one duration, given in seconds."""
        self._ms.append(seconds * 1000.0)

    @property
    def newest_s(self) -> float:
        """The last duration noted, in seconds; 0 before the first."""
        return self._ms[-1] / 1000.0 if self._ms else 0.0

    def percentiles(self, *ranks: int) -> dict[str, float] | None:
        """``{"p50": …, "p95": …}`` for ``ranks`` (default 50 and 95), in milliseconds; ``None`` before the first."""
        if not self._ms:
            return None
        wanted = ranks or (50, 95)
        values = np.percentile(np.fromiter(self._ms, dtype=float), wanted)
        return {f"p{rank}": round(float(value), 3) for rank, value in zip(wanted, values, strict=True)}


class Rate:
    """Events a second since it was last asked."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since_s = clock()
        self._count_then = 0

    def since_last(self, count: int) -> float | None:
        """The mean rate since the previous call, given the running ``count``; ``None`` if no time has passed."""
        now_s = self._clock()
        elapsed_s, self._since_s = now_s - self._since_s, now_s
        events, self._count_then = count - self._count_then, count
        return round(events / elapsed_s, 2) if elapsed_s > 0 else None


def temperature_c(zone: Path = Path("/sys/class/thermal/thermal_zone0/temp")) -> float | None:
    """Temperature of the processor in °C; ``None`` where the machine does not say."""
    try:
        return int(zone.read_text()) / 1000.0
    except (OSError, ValueError):
        return None


#: Where the firmware of a Raspberry Pi says how power and heat are: the path differs from board to board.
_FLAGS = ("sys/devices/platform/soc*/*firmware/get_throttled", "sys/devices/platform/*firmware/get_throttled")


def power_flags(root: Path = Path("/")) -> int | None:
    """The firmware's word on power and heat (that of ``vcgencmd get_throttled``); ``None`` elsewhere.

    Bits 0 to 3: voltage too low, frequency capped, throttled, soft limit of temperature; 16 to 19: since the start.
    """
    for flags in (path for pattern in _FLAGS for path in root.glob(pattern)):
        try:
            return int(flags.read_text().strip(), 16)
        except (OSError, ValueError):
            continue
    return None


def throttled(root: Path = Path("/")) -> bool | None:
    """Whether a Raspberry Pi is slowed right now by heat or low voltage; ``None`` elsewhere."""
    flags = power_flags(root)
    return None if flags is None else bool(flags & 0xF)


def rss_mb(statm: Path = Path("/proc/self/statm")) -> float | None:
    """Resident memory of this process in MB; ``None`` where /proc is absent."""
    try:
        return round(int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
    except (OSError, ValueError, IndexError):
        return None


class Supervisor:
    """sd_notify without a library: tells systemd that we are ready, alive, stopping. Elsewhere it does nothing.

    The engine calls :meth:`frame_processed` after each *new* frame and nowhere else, so that a hung camera or
    interpreter starves the watchdog and is killed.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # a leading @ stands for the zero byte of an abstract socket
        self._address = "\0" + address[1:] if address.startswith("@") else address
        watchdog_us = environment.get("WATCHDOG_USEC", "")
        self._every_s = int(watchdog_us) / 1e6 / 4 if watchdog_us.isdigit() else 1.0
        self._fed_s = float("-inf")
        self._ready = False

    def frame_processed(self) -> None:
        """A new frame went all the way: ready the first time, then the watchdog four times per period at most."""
        now_s = time.monotonic()
        if not self._ready:
            self._ready = True
            self._send("READY=1\nSTATUS=running")
        if now_s - self._fed_s >= self._every_s:
            self._fed_s = now_s
            self._send("WATCHDOG=1")

    def stopping(self, reason: str) -> None:
        """We are going down, and why: kept in ``systemctl status``."""
        self._send(f"STOPPING=1\nSTATUS={' '.join(reason.split())}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
                notify.sendto(message.encode(), self._address)
        except OSError:
            pass  # a supervisor that went away cannot be told anything; frames matter more
