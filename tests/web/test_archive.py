"""Sessions at rest: by token only, for their time only, gone when erased."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from station.web.archive import Archive

DAY_S = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def archive(tmp_path: Path, clock: Clock) -> Archive:
    return Archive(tmp_path / "deep" / "web.sqlite", clock=clock)


def test_a_session_is_found_by_its_token_and_by_no_other(archive: Archive) -> None:
    archive.keep("aaaa", {"session": "aaaa"})
    archive.keep("bbbb", {"session": "bbbb"})
    a, b = archive.mint("aaaa"), archive.mint("bbbb")
    assert archive.find(a) == {"session": "aaaa"}
    assert archive.find(b) == {"session": "bbbb"}
    assert archive.find("aaaa") is None
    assert archive.find("") is None
    assert len(a) >= 22
    assert a != archive.mint("aaaa")


def test_the_file_holds_no_token(archive: Archive, tmp_path: Path) -> None:
    archive.keep("aaaa", {"session": "aaaa"})
    token = archive.mint("aaaa")
    content = b"".join(file.read_bytes() for file in (tmp_path / "deep").iterdir())
    assert b"aaaa" in content
    assert token.encode() not in content
    assert (tmp_path / "deep" / "web.sqlite").stat().st_mode & 0o077 == 0


def test_a_token_lives_a_day(archive: Archive, clock: Clock) -> None:
    archive.keep("aaaa", {"session": "aaaa"})
    token = archive.mint("aaaa")
    clock.now_s += DAY_S - 1
    assert archive.find(token)
    clock.now_s += 2
    assert archive.find(token) is None


def test_a_session_lives_thirty_days(archive: Archive, clock: Clock, tmp_path: Path) -> None:
    archive.keep("old", {"session": "old", "word": "xyzzy"})
    clock.now_s += 29 * DAY_S
    archive.keep("new", {"session": "new"})
    archive.keep("old", {"session": "old", "word": "xyzzy"})  # the same again is no new session
    assert archive.prune() == 0
    clock.now_s += 1 * DAY_S
    token = archive.mint("old")
    assert archive.find(token) is None, "past its time it is not shown even before the broom came"
    assert archive.prune() == 1
    assert archive.find(archive.mint("new"))
    assert not archive.keep("old", {"session": "old"}), "a retained copy must not bring it back"
    assert b"xyzzy" not in b"".join(file.read_bytes() for file in (tmp_path / "deep").iterdir())


def test_erased_is_gone_from_the_file_and_stays_gone(archive: Archive, tmp_path: Path) -> None:
    archive.keep("aaaa", {"session": "aaaa", "word": "xyzzy"})
    token = archive.mint("aaaa")
    assert archive.erase("aaaa")
    assert not archive.erase("aaaa")
    assert archive.find(token) is None
    assert not archive.keep("aaaa", {"session": "aaaa"})
    assert b"xyzzy" not in b"".join(file.read_bytes() for file in (tmp_path / "deep").iterdir())


def test_it_survives_a_restart(tmp_path: Path) -> None:
    first = Archive(tmp_path / "web.sqlite")
    first.keep("aaaa", {"session": "aaaa"})
    token = first.mint("aaaa")
    first.close()
    assert Archive(tmp_path / "web.sqlite").find(token) == {"session": "aaaa"}


def test_nothing_is_written_without_a_path() -> None:
    archive = Archive(None)
    archive.keep("aaaa", {"session": "aaaa"})
    assert archive.find(archive.mint("aaaa"))


def test_a_file_that_is_no_database_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "web.sqlite").write_text("no database at all, but long enough to be looked at " * 20)
    with pytest.raises(sqlite3.DatabaseError):
        Archive(tmp_path / "web.sqlite")
