"""What a newer release leaves behind, this one goes on with: data grow by additions, configuration is people's."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from station.outbox import Outbox
from station.outbox.store import Row, Store
from station.web.archive import Archive
from tests.broker_fixture import eventually
from tests.update.toy import REPOSITORY


def newer_release_was_here(path: Path) -> None:
    """What a release after this one may do to the outbox: add a column, an index, a table, a number to remember."""
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE rows ADD COLUMN priority INTEGER NOT NULL DEFAULT 0")
        db.execute("CREATE INDEX by_priority ON rows (priority)")
        db.execute("CREATE TABLE later (id INTEGER PRIMARY KEY)")
        db.execute("INSERT INTO meta (key, value) VALUES ('later', 1)")
        db.execute(
            "INSERT INTO rows (id, kind, session, payload, state, wall_s, run_s, priority)"
            " VALUES (100, 'stride', 'aa', x'789c0300000000010001', 0, 0, 0, 7)"  # an empty text, compressed
        )
    db.close()


def test_an_outbox_that_a_newer_release_wrote_is_opened_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    store = Store(str(path))
    store.write([Row(1, "stride", "aa", b"before", 0.0, 0.0)], {}, [], {"run_s": 0.0, "last_id": 1.0})
    store.close()
    newer_release_was_here(path)
    got = list[Row]()
    outbox = Outbox(path)
    assert outbox.put("stride", "aa", b"after")
    outbox.fetch({"stride": 0}, 10, got.extend)
    eventually(lambda: len(got) == 3)
    assert [row.payload for row in got] == [b"before", b"", b"after"]
    assert outbox.stats().corrupt == 0
    outbox.close()
    assert list(tmp_path.glob("*corrupt*")) == []


def test_an_archive_that_a_newer_release_wrote_is_opened_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    archive = Archive(path)
    archive.keep("aa", {"strides": 1})
    archive.close()
    with sqlite3.connect(path) as db:
        for table in ("sessions", "tokens", "erased"):
            db.execute(f"ALTER TABLE {table} ADD COLUMN later INTEGER NOT NULL DEFAULT 0")
    db.close()
    archive = Archive(path)
    assert archive.keep("bb", {"strides": 2})
    assert archive.find(archive.mint("aa")) == {"strides": 1}
    assert archive.find(archive.mint("bb")) == {"strides": 2}
    assert archive.erase("aa")
    assert not archive.keep("aa", {"strides": 1})
    archive.close()


@pytest.mark.parametrize(
    ("text", "line"),
    [("[camera]\nlens = 3\n", "unknown key camera.lens"), ("[camera\n", "not valid TOML")],
)
def test_a_release_that_cannot_read_this_stations_configuration_fails_its_self_test(
    tmp_path: Path, text: str, line: str
) -> None:
    """Before it is activated: nothing rewrites a person's file, so the release before still reads it afterwards."""
    config = tmp_path / "station.toml"
    config.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "station", "update", "self-test", "--config", config], cwd=REPOSITORY,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert line in done.stderr
    assert config.read_text() == text
