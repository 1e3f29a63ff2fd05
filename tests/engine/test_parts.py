"""The small parts of the engine: mailbox, health, the word to systemd."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from station.errors import ConfigError, HiplineError, TrackError
from station.health import Rate, Supervisor, Timings, power_flags, rss_mb, temperature_c, throttled
from station.mailbox import Latest


def test_the_newest_wins_and_the_lost_are_counted() -> None:
    slot: Latest[int] = Latest()
    for number in range(5):
        slot.put(number)
    assert slot.take() == 4
    assert slot.lost == 4
    assert slot.take(timeout_s=0.01) is None
    slot.put(7)
    assert slot.take() == 7
    assert slot.lost == 4


def test_closing_wakes_the_taker_and_keeps_what_was_offered() -> None:
    slot: Latest[int] = Latest()
    taken: list[int | None] = []
    taker = threading.Thread(target=lambda: taken.append(slot.take()))
    taker.start()
    slot.close()
    taker.join(2)
    assert taken == [None]
    full: Latest[int] = Latest()
    full.put(1)
    full.close()
    full.put(2)
    assert full.closed
    assert full.take() == 1
    assert full.take() is None


def test_a_fast_producer_never_waits_for_a_slow_taker() -> None:
    slot: Latest[int] = Latest()
    got: list[int] = []

    def take_slowly() -> None:
        while (item := slot.take()) is not None:
            got.append(item)
            time.sleep(0.005)

    taker = threading.Thread(target=take_slowly)
    taker.start()
    start_s = time.monotonic()
    for number in range(2000):
        slot.put(number)
    took_s = time.monotonic() - start_s
    slot.close()
    taker.join(2)
    assert took_s < 1.0
    assert got == sorted(got)
    assert got[-1] == 1999
    assert len(got) + slot.lost == 2000


def test_percentiles_in_milliseconds() -> None:
    timings = Timings()
    assert timings.percentiles() is None
    for ms in range(1, 101):
        timings.add(ms / 1000)
    assert timings.percentiles() == {"p50": 50.5, "p95": 95.05}
    assert timings.percentiles(99) == {"p99": 99.01}


def test_timings_forget_the_old() -> None:
    timings = Timings(window=10)
    for _ in range(10):
        timings.add(1.0)
    for _ in range(10):
        timings.add(0.002)
    assert timings.percentiles() == {"p50": 2.0, "p95": 2.0}


def test_a_rate_is_counted_between_two_questions() -> None:
    now = [100.0]
    rate = Rate(clock=lambda: now[0])
    assert rate.since_last(0) is None
    now[0] += 5
    assert rate.since_last(150) == 30.0
    now[0] += 5
    assert rate.since_last(150) == 0.0


def test_the_machine_says_or_does_not_say(tmp_path: Path) -> None:
    zone, flags = tmp_path / "temp", tmp_path / "sys/devices/platform/soc/soc:firmware/get_throttled"
    flags.parent.mkdir(parents=True)
    assert temperature_c(zone) is None
    assert throttled(tmp_path) is None
    zone.write_text("61234\n")
    flags.write_text("50005\n")
    assert temperature_c(zone) == 61.234
    assert throttled(tmp_path) is True
    flags.write_text("50000\n")  # it happened since boot, it does not happen now
    assert throttled(tmp_path) is False
    assert power_flags(tmp_path) == 0x50000
    mb = rss_mb()
    assert mb is not None
    assert 5 < mb < 5000


@pytest.fixture
def notify(tmp_path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.settimeout(0.2)
    return listener


def _said(listener: socket.socket) -> list[str]:
    said = []
    try:
        while True:
            said.append(listener.recv(4096).decode())
    except TimeoutError:
        return said


def test_systemd_hears_ready_once_and_the_watchdog_only_with_frames(notify: socket.socket) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": notify.getsockname(), "WATCHDOG_USEC": "400000"})
    assert _said(notify) == []
    for _ in range(20):
        supervisor.frame_processed()
    assert _said(notify) == ["READY=1\nSTATUS=running", "WATCHDOG=1"]
    time.sleep(0.11)
    assert _said(notify) == []  # no frame, no word
    supervisor.frame_processed()
    assert _said(notify) == ["WATCHDOG=1"]
    supervisor.stopping("camera:\n gone")
    assert _said(notify) == ["STOPPING=1\nSTATUS=camera: gone"]
    notify.close()


def test_without_systemd_nothing_happens() -> None:
    Supervisor({}).frame_processed()
    Supervisor({"NOTIFY_SOCKET": "/nowhere/at/all"}).frame_processed()


def test_errors_are_one_line_with_an_exit_code() -> None:
    assert str(ConfigError("a\n  b")) == "a b"
    assert ConfigError("x").exit_code == TrackError("x").exit_code == 2
    assert HiplineError("x").exit_code == 1
