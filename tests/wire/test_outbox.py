"""The outbox: what is put comes out in order, bounded by rows and age, whatever the disk and the clock do."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from station.errors import OutboxError
from station.outbox import Outbox, Row
from tests.broker_fixture import eventually

ALL = {"stride": 0, "session": 0, "cue": 0}
DAY_S = 24 * 3600.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox.db"


@pytest.fixture
def make(file: Path) -> Iterator[Callable[..., Outbox]]:
    """Makes outboxes on ``file`` (closing the one before) and closes the last."""
    made: list[Outbox] = []

    def new(path: Path | None = file, **options: object) -> Outbox:
        if made:
            made[-1].close()
        made.append(Outbox(path, **options))  # type: ignore[arg-type]  # the tests know the options
        return made[-1]

    yield new
    for outbox in made:
        outbox.close()


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def rows(outbox: Outbox, after: Mapping[str, int] = ALL, limit: int = 100_000) -> list[Row]:
    """What waits, as the publisher would get it."""
    found: list[Row] = []
    done = threading.Event()

    def deliver(some: list[Row]) -> None:
        found.extend(some)
        done.set()

    outbox.fetch(after, limit, deliver)
    assert done.wait(10)
    return found


def payloads(outbox: Outbox) -> list[bytes]:
    return [row.payload for row in rows(outbox)]


def put(outbox: Outbox, *numbers: int, kind: str = "stride", session: str = "s") -> None:
    for number in numbers:
        while not outbox.put(kind, session, b"%d" % number):  # pragma: no branch
            time.sleep(0.01)


def test_in_order_and_across_restarts(make: Callable[..., Outbox]) -> None:
    outbox = make()
    put(outbox, *range(100))
    assert payloads(outbox) == [b"%d" % number for number in range(100)]
    outbox.settle(rows(outbox)[0].id, accepted=True)
    assert payloads(outbox)[0] == b"1"
    again = make()
    assert payloads(again) == [b"%d" % number for number in range(1, 100)]
    put(again, 100)
    assert payloads(again)[-1] == b"100"
    assert again.stats().waiting == 100


def test_a_kind_that_is_held_back_stays(make: Callable[..., Outbox]) -> None:
    outbox = make()
    put(outbox, 1, 2)
    put(outbox, 3, kind="session")
    assert [row.payload for row in rows(outbox, {"session": 0})] == [b"3"]
    first = rows(outbox)[0]
    assert [row.payload for row in rows(outbox, {"stride": first.id})] == [b"2"]
    assert rows(outbox, {}) == []


def test_nobody_else_may_read_the_file(make: Callable[..., Outbox], file: Path) -> None:
    put(make(), 1)
    eventually(file.exists)
    assert file.stat().st_mode & 0o077 == 0


def test_full_strides_go_first_and_oldest_first(make: Callable[..., Outbox]) -> None:
    outbox = make(max_rows=100)
    put(outbox, *range(5), kind="session")
    put(outbox, *range(200))
    eventually(lambda: outbox.stats().waiting <= 100)
    left = rows(outbox)
    assert [row.payload for row in left if row.kind == "session"] == [b"%d" % number for number in range(5)]
    strides = [int(row.payload) for row in left if row.kind == "stride"]
    assert strides == list(range(200 - len(strides), 200))
    stats = outbox.stats()
    assert stats.waiting == len(left) <= 100
    assert stats.lost["rows_full"] == 205 - len(left)
    assert stats.said() == {"rows_full": 205 - len(left)}


def test_full_what_was_sent_goes_before_what_waits(make: Callable[..., Outbox]) -> None:
    outbox = make(max_rows=100)
    put(outbox, *range(100))
    for row in rows(outbox)[50:]:
        outbox.settle(row.id, accepted=True)
    put(outbox, *range(100, 140))
    waiting = [*range(50), *range(100, 140)]
    eventually(lambda: payloads(outbox) == [b"%d" % number for number in waiting])
    assert outbox.stats().lost["rows_full"] == 0


def test_sessions_only_when_no_stride_is_left(make: Callable[..., Outbox]) -> None:
    outbox = make(max_rows=100)
    put(outbox, 0)
    put(outbox, *range(150), kind="session")
    eventually(lambda: outbox.stats().waiting <= 100)
    assert {row.kind for row in rows(outbox)} == {"session"}


def test_a_day_of_outage_stays_within_the_bound(make: Callable[..., Outbox], file: Path) -> None:
    """A stride every 0.7 s and a session every half hour; the clocks run 24 hours in some seconds."""
    monotonic, wall = Clock(0.0), Clock(1.7e9)
    outbox = make(max_rows=20_000, monotonic=monotonic, wall=wall)
    count = sessions = 0
    while monotonic.now_s < DAY_S:
        for _ in range(500):
            put(outbox, count)
            count += 1
            monotonic.now_s += 0.7
            wall.now_s += 0.7
        if monotonic.now_s // 1800 >= sessions:
            put(outbox, sessions, kind="session")
            sessions += 1
        rows(outbox, {"stride": 0}, 1)  # let it write
    left = rows(outbox)
    assert len(left) <= 20_000
    strides = [int(row.payload) for row in left if row.kind == "stride"]
    assert strides == list(range(count - len(strides), count))  # the oldest went, nothing else
    assert len([row for row in left if row.kind == "session"]) == sessions
    stats = outbox.stats()
    assert stats.waiting == len(left)
    assert stats.lost["rows_full"] + stats.lost["too_old"] == count + sessions - len(left)
    assert file.stat().st_size < 20_000 * 300


def test_age_ends_at_24_hours_for_strides_and_30_days_for_sessions(make: Callable[..., Outbox]) -> None:
    monotonic = Clock(0.0)
    outbox = make(monotonic=monotonic)
    put(outbox, 1)
    put(outbox, 2, kind="session")
    rows(outbox)
    monotonic.now_s = DAY_S - 1
    assert payloads(outbox) == [b"1", b"2"]
    monotonic.now_s = DAY_S + 61
    rows(outbox)
    assert payloads(outbox) == [b"2"]
    assert outbox.stats().lost["too_old"] == 1
    monotonic.now_s = 30 * DAY_S + 122
    rows(outbox)
    assert payloads(outbox) == []


@pytest.mark.parametrize("step_s", [365 * DAY_S, -365 * DAY_S])
def test_a_step_of_the_wall_clock_loses_nothing(make: Callable[..., Outbox], step_s: float) -> None:
    monotonic, wall = Clock(0.0), Clock(1.7e9)
    outbox = make(monotonic=monotonic, wall=wall)
    put(outbox, 1)
    rows(outbox)
    wall.now_s += step_s
    monotonic.now_s += 120.0
    put(outbox, 2)
    assert payloads(outbox) == [b"1", b"2"]
    again = make(monotonic=Clock(5.0), wall=wall)
    assert payloads(again) == [b"1", b"2"]
    assert 119 < again.age_s(rows(again)[0]) < 121


def test_erased_is_gone_from_the_disk(make: Callable[..., Outbox], file: Path) -> None:
    outbox = make()
    secret = os.urandom(200).hex().encode()
    assert outbox.put("stride", "victim", os.urandom(3000) + secret)  # too random to be compressed beyond recognition
    put(outbox, 1)
    rows(outbox)
    wal = file.with_name(file.name + "-wal")
    assert outbox.erase("victim").result(5) is True  # no summary is known: whatever is retained may be its own
    assert payloads(outbox) == [b"1"]
    assert outbox.stats().waiting == 1
    outbox.close()
    rest = file.read_bytes() + (wal.read_bytes() if wal.exists() else b"")
    assert b"victim" not in rest


def test_erasing_tells_whose_summary_came_last(make: Callable[..., Outbox]) -> None:
    outbox = make()
    put(outbox, 1, kind="session", session="one")
    put(outbox, 2, kind="session", session="two")
    assert outbox.erase("one").result(5) is False
    assert outbox.erase("two").result(5) is True


def test_what_a_dead_broker_had_accepted_waits_again(make: Callable[..., Outbox]) -> None:
    monotonic = Clock(0.0)
    outbox = make(monotonic=monotonic)
    put(outbox, 1, 2, 3)
    for row in rows(outbox):
        outbox.settle(row.id, accepted=True)
        rows(outbox)
        monotonic.now_s += 40.0
    assert payloads(outbox) == []
    # Now it is 120 s. A mark counts from when it was written down: 1 and 2 at 40 s, 3 at 120 s. Later is the safe side.
    outbox.rewind(60.0)
    assert payloads(outbox) == [b"3"]
    outbox.rewind(90.0)
    assert payloads(outbox) == [b"1", b"2", b"3"]
    assert outbox.stats().waiting == 3


def test_rewind_at_start_only_after_a_crash(make: Callable[..., Outbox], file: Path, tmp_path: Path) -> None:
    outbox = make()
    put(outbox, 1)
    outbox.settle(rows(outbox)[0].id, accepted=True)
    again = make()  # closes the first in good order
    again.rewind(60.0, after_crash_only=True)
    assert payloads(again) == []
    again.close()
    code = (
        "import os, sys, threading; from station.outbox import Outbox\n"
        f"box = Outbox({str(file)!r}); box.put('stride', 's', b'2'); done = threading.Event(); found = []\n"
        "box.fetch({'stride': 0}, 9, lambda rows: (found.extend(rows), done.set())); done.wait(5)\n"
        "box.settle(found[0].id, accepted=True); done.clear()\n"
        "box.rewind(0.0); box.fetch({'stride': 0}, 9, lambda rows: done.set()); done.wait(5); os._exit(9)\n"
    )
    repository = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=repository, check=False).returncode == 9
    third = make()
    third.rewind(60.0, after_crash_only=True)
    assert b"2" in payloads(third)


@pytest.mark.parametrize("spoil", [b"this is no database, and it is longer than a header" * 100, b""])
def test_a_corrupt_file_is_set_aside(make: Callable[..., Outbox], file: Path, spoil: bytes) -> None:
    put(make(), 1, 2)
    make(None)  # closes
    if spoil:
        file.write_bytes(spoil)
    else:
        whole = bytearray(file.read_bytes())
        whole[4096:] = os.urandom(len(whole) - 4096)  # the header is sound, the pages are not
        file.write_bytes(whole)
    outbox = make()
    put(outbox, 3)
    assert payloads(outbox) == [b"3"]
    (aside,) = file.parent.glob("outbox.db.corrupt-*")
    assert aside.stat().st_size > 0
    assert outbox.stats().corrupt == 1
    assert outbox.stats().said() == {"corrupt": 1}
    put(make(), 4)
    assert len(list(file.parent.glob("outbox.db.corrupt-*"))) == 1


def test_damage_found_while_running_is_set_aside(make: Callable[..., Outbox], file: Path) -> None:
    outbox = make()
    put(outbox, 1)
    rows(outbox)
    outbox.close()
    with sqlite3.connect(file) as db:
        db.execute("UPDATE rows SET payload = x'00'")
    db.close()
    again = make()
    assert payloads(again) == []
    put(again, 2)
    assert payloads(again) == [b"2"]
    assert again.stats().corrupt == 1


def test_a_database_of_someone_else_is_not_written_to(make: Callable[..., Outbox], file: Path) -> None:
    file.parent.mkdir()
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE precious (x)")
    db.close()
    outbox = make()
    put(outbox, 1)
    assert payloads(outbox) == [b"1"]
    (aside,) = file.parent.glob("outbox.db.corrupt-*")
    with sqlite3.connect(aside) as db:
        assert db.execute("SELECT count(*) FROM precious").fetchone() == (0,)
    db.close()


def test_a_second_process_is_kept_off_and_goes_on_in_memory(make: Callable[..., Outbox], file: Path) -> None:
    first = make()
    put(first, 1)
    assert payloads(first) == [b"1"]
    second = Outbox(file)
    try:
        put(second, 2)
        assert payloads(second) == [b"2"]
        assert "locked" in str(second.stats().trouble)
    finally:
        second.close()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Callable[[bool], None]]:
    """Switches a disk full on and off: no file of this process may grow beyond what an outbox has already."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def switch(on: bool) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024 if on else soft, hard))

    yield switch
    switch(False)
    signal.signal(signal.SIGXFSZ, before)


def test_disk_full_the_rows_go_on_in_memory_and_are_stored_later(
    make: Callable[..., Outbox], full_disk: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("station.outbox.RETRY_S", 0.2)
    outbox = make()
    full_disk(True)
    big = [os.urandom(4000) for _ in range(100)]
    for payload in big:
        outbox.put("stride", "s", payload)
        rows(outbox, ALL, 1)
    assert outbox.stats().trouble is not None
    assert payloads(outbox) == big  # nothing is lost, and the publisher gets them all the same
    with pytest.raises(OutboxError, match="cannot erase yet"):
        outbox.erase("other").result(5)
    full_disk(False)
    eventually(lambda: outbox.stats().trouble is None)
    assert payloads(make()) == big


def test_disk_gone_for_long_the_oldest_strides_are_lost_and_counted(
    make: Callable[..., Outbox], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("station.outbox.MAX_IN_MEMORY", 50)
    (tmp_path / "file").write_text("a file where the directory should be")
    outbox = make(tmp_path / "file" / "outbox.db")
    put(outbox, 0, kind="session")
    put(outbox, *range(1, 100))
    left = payloads(outbox)
    assert left == [b"0", *(b"%d" % number for number in range(51, 100))]
    assert outbox.stats().lost["disk"] == 50
    assert outbox.stats().trouble is not None


def test_a_disk_that_comes_back_takes_what_was_in_memory(
    make: Callable[..., Outbox], monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    monkeypatch.setattr("station.outbox.RETRY_S", 0.2)
    clock = Clock(0.0)
    before = make(monotonic=clock)
    put(before, 0, 1)
    before.settle(rows(before)[0].id, accepted=True)
    clock.now_s += 1000.0
    rows(before)
    clock.now_s += 1000.0
    make(None)
    good = file.rename(file.with_name("away"))
    file.mkdir()  # no database can be opened here
    outbox = make()
    put(outbox, 2)
    assert payloads(outbox) == [b"2"]
    file.rmdir()
    good.rename(file)
    eventually(lambda: outbox.stats().trouble is None)
    found = rows(outbox)
    assert [row.payload for row in found] == [b"1", b"2"]
    # Its clock went on where the file's had stopped: the ages are right, and a rewind does not bring back old times.
    assert [round(outbox.age_s(row), -2) for row in found] == [2000.0, 0.0]
    outbox.rewind(500.0)
    assert payloads(outbox) == [b"1", b"2"]
    assert payloads(make()) == [b"1", b"2"]


def test_more_notes_than_the_thread_can_read_are_refused_and_counted(
    make: Callable[..., Outbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("station.outbox.MAX_NOTES", 10)
    outbox = make()
    rows(outbox)
    busy, free = threading.Event(), threading.Event()

    def keep_busy(_: list[Row]) -> None:
        busy.set()
        free.wait(5)

    outbox.fetch(ALL, 1, keep_busy)
    busy.wait(5)
    assert [outbox.put("stride", "s", b"x") for _ in range(12)] == [True] * 10 + [False] * 2
    free.set()
    assert outbox.stats().lost["queue_full"] == 2
    assert len(payloads(outbox)) == 10


def test_in_memory_only(make: Callable[..., Outbox]) -> None:
    outbox = make(None)
    put(outbox, 1, 2)
    assert payloads(outbox) == [b"1", b"2"]
    assert outbox.stats().trouble is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 300 kB (needs root, as in a container)."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"may not mount a small disk: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_really_full_disk_and_a_read_only_one(
    make: Callable[..., Outbox], small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("station.outbox.RETRY_S", 0.2)
    outbox = make(small_disk / "outbox.db")
    ballast = small_disk / "ballast"
    rows(outbox)
    while True:
        try:
            with ballast.open("ab") as file:
                file.write(bytes(4096))
        except OSError:
            break
    big = [os.urandom(3000) for _ in range(60)]
    for payload in big:
        outbox.put("stride", "s", payload)
        rows(outbox, ALL, 1)
    assert "full" in str(outbox.stats().trouble)
    assert payloads(outbox) == big
    ballast.unlink()
    eventually(lambda: outbox.stats().trouble is None)

    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=False, capture_output=True)
    again = make(small_disk / "outbox.db")
    put(again, 1)
    assert payloads(again)[-1] == b"1"
