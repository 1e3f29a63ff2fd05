"""The updater's word reaches ``status``, at birth and when it changes; the engine can ask for a look."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from station.engine import run as run_room
from station.engine.updates import UpdateBlock, UpdateNews, read_report, request_check
from station.errors import UpdateError
from station.outbox import Outbox
from station.publish import Link, Publisher
from tests.broker_fixture import Listener, Mosquitto, eventually

IDLE = {"state": "idle", "from": None, "to": None, "reason": None}
FAILED = {"state": "failed", "from": "1.1.0", "to": "1.0.0", "reason": "the page did not answer"}


def write(file: Path, block: UpdateBlock) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name("new")
    new.write_text(json.dumps({**block, "more": [1]}))
    new.replace(file)


def test_a_report_is_told_at_once_and_again_when_it_changes(tmp_path: Path) -> None:
    file, told = tmp_path / "report.json", list[UpdateBlock]()
    write(file, IDLE)
    news = UpdateNews(file, told.append, every_s=0.02)
    assert told == [IDLE]
    write(file, FAILED)
    eventually(lambda: len(told) > 1)
    news.close()
    assert told == [IDLE, FAILED]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"state": "odd"}', "\x00\x00"])
def test_a_damaged_report_is_no_report(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    assert read_report(tmp_path / "report.json") is None


def test_status_carries_it_at_birth_and_after(
    mosquitto: Mosquitto, listen: Callable[..., Listener], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIPLINE_ROOT", str(tmp_path))
    file = tmp_path / "update" / "report.json"
    write(file, {**IDLE, "state": "probation", "from": "1.0.0", "to": "1.1.0"})
    outbox = Outbox(None)
    publisher = Publisher(Link("127.0.0.1", mosquitto.port, "hipline/v1/gym/station"), outbox, version="1.1.0")
    news = run_room._update_news(publisher, None)
    listener = listen(mosquitto.port)
    publisher.start()
    eventually(lambda: listener.on("/status"))
    assert listener.on("/status")[0].json["update"]["state"] == "probation"
    write(file, FAILED)
    eventually(lambda: listener.on("/status")[-1].json["update"] == FAILED)
    assert listener.on("/status")[-1].json["state"] == "online"
    news.close()
    publisher.close()
    outbox.close()


def test_the_knock_is_a_file_that_systemd_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    request_check()
    assert (tmp_path / "update-check").exists()
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    with pytest.raises(UpdateError, match="not run by systemd"):
        request_check()
