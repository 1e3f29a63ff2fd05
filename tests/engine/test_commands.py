"""Commands from the broker to the engine: the file read again, a disk that hangs, more commands than anybody sends."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from station import wire
from station.config import load
from station.engine.chores import Chores, Outcome, update_check
from station.engine.loop import Engine, Inbox
from station.engine.observer import Observer
from station.engine.outlet import Outlet
from station.engine.reload import reloader, session_settings
from station.errors import ConfigError, UpdateError
from station.session import Session
from station.types import View
from station.wire.commands import Command, RefusedError
from tests.broker_fixture import Listener, Mosquitto, eventually
from tests.engine.conftest import KnownRunner
from tests.engine.fake_camera import FakeCamera
from tests.engine.test_engine import ROOT, publishing

Listen = Callable[..., Listener]


class Station:
    """An engine that runs in a thread of its own, and its configuration file."""

    def __init__(self, listener: Listener, file: Path) -> None:
        self.listener, self.file = listener, file

    def ask(self, name: str, payload: bytes = b"") -> dict[str, object]:
        before = len(self.listener.on(f"/cmd/{name}/result"))
        self.listener.client.publish(f"{ROOT}/cmd/{name}", payload, qos=1)
        eventually(lambda: len(self.listener.on(f"/cmd/{name}/result")) > before, 10, f"an answer to {name}")
        answer: dict[str, object] = self.listener.on(f"/cmd/{name}/result")[-1].json
        return answer

    @property
    def state(self) -> dict[str, object]:
        state: dict[str, object] = self.listener.on("/state")[-1].json
        return state


@pytest.fixture
def station(mosquitto: Mosquitto, listen: Listen, runner: KnownRunner, view: View, tmp_path: Path) -> Iterator[Station]:
    file = tmp_path / "station.toml"
    file.write_text('[session]\nstart = "tap"\n')
    config = load(file)
    listener = listen(mosquitto.port, f"{ROOT}/#")
    inbox, session = Inbox(), Session(view, session_settings(config))
    with publishing(mosquitto, tmp_path, inbox) as publisher:

        def rules() -> wire.JsonObject:
            return wire.rules_json(session.bands, auto_start=session.settings.auto_start)

        outlet = Outlet(publisher, view, "tm-07", live=False, rules=rules)
        chores = Chores({"config-reload": reloader(config, lambda: load(file))})
        camera = FakeCamera(view, pace_s=0.02)
        engine = Engine(camera, Observer(runner, view), session, publisher, outlet, inbox=inbox, chores=chores)
        thread = threading.Thread(target=engine.run)
        publisher.wait_connected(5)
        thread.start()
        eventually(lambda: listener.on("/state"))
        try:
            yield Station(listener, file)
        finally:
            engine.stop()
            thread.join(5)


def test_a_file_read_again_changes_what_can_change_and_names_the_rest(station: Station) -> None:
    assert station.state["start"] == "tap"
    assert station.state["bands"]["pelvic_drop_peak_left_deg"] == [6.0, 9.0]  # type: ignore[index]
    assert station.ask("config-reload") == {"ok": True, "reason": None, "applied": [], "restart": []}
    station.file.write_text(
        '[session]\nprofile = "women"\n[coach]\nhold_s = 12\n[camera]\nfps = 60\n[web]\nhost = "0.0.0.0"\n'
    )
    assert station.ask("config-reload") == {
        "ok": True, "reason": None,
        "applied": ["session.start", "session.profile", "coach.hold_s"],
        "restart": ["camera.fps", "web.host"],
    }  # fmt: skip
    eventually(lambda: station.state["start"] == "auto", 5, "the new rule is published")
    assert station.state["bands"]["pelvic_drop_peak_left_deg"] == [7.0, 9.0]  # type: ignore[index]
    eventually(lambda: station.state["session"] is not None, 30, "a session began by itself")
    # What waits for a restart is named until then; what was applied is not named again.
    assert station.ask("config-reload")["restart"] == ["camera.fps", "web.host"]
    assert station.ask("config-reload")["applied"] == []


@pytest.mark.parametrize(
    ("text", "named"),
    [("[coach]\nhold_s = 1\n", "coach.hold_s = 1"), ("[coahc]\n", "coahc"), ("[session", "TOML"), (None, "no such")],
)
def test_a_bad_file_is_refused_in_one_line_and_changes_nothing(station: Station, text: str | None, named: str) -> None:
    before = station.state
    if text is None:
        station.file.unlink()
    else:
        station.file.write_text(text)
    answer = station.ask("config-reload")
    assert answer["ok"] is False
    reason = str(answer["reason"])
    assert named in reason
    assert station.file.name in reason
    assert "\n" not in reason
    assert set(answer) == {"ok", "reason"}
    assert station.state == before


def test_a_session_that_is_on_keeps_its_rules(view: View) -> None:
    session = Session(view, session_settings(load()))
    session.start(1.0, "women")
    session.adopt(session_settings(load(None, ["session.profile=men", "session.start=tap"])))
    assert session.bands["pelvic_drop_peak_left_deg"].green == 7.0
    session.stop(2.0)
    assert session.bands["pelvic_drop_peak_left_deg"].green == 7.0, "its summary is judged by what it ran under"
    session.start(70.0)
    assert session.bands["hip_adduction_left_deg"].green == 12.0


def ending(chores: Chores) -> Outcome:
    """The outcome of the chore under way."""
    found: list[tuple[Command, Outcome]] = []

    def done() -> bool:
        ended = chores.ended()
        if ended is not None:
            found.append(ended)
        return bool(found)

    eventually(done)
    return found[0][1]


def test_a_disk_that_hangs_holds_up_nothing_and_no_second_thread() -> None:
    release = threading.Event()

    def slow() -> Outcome:
        release.wait(10)
        return Outcome(details={"applied": ["coach.hold_s"]})

    chores = Chores({"config-reload": slow})
    command = Command("config-reload", {}, "answers")
    assert chores.begin(command) is None
    assert "under way" in str(chores.begin(command))
    assert chores.ended() is None
    release.set()
    assert ending(chores).details == {"applied": ["coach.hold_s"]}
    assert chores.ended() is None
    assert chores.begin(command) is None


def test_an_update_check_knocks_where_there_is_somebody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIPLINE_ROOT", str(tmp_path / "hipline"))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    with pytest.raises(UpdateError, match="no updater is installed here"):
        update_check()
    (tmp_path / "hipline" / "update").mkdir(parents=True)
    with pytest.raises(UpdateError, match="not run by systemd"):
        update_check()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    assert update_check() == Outcome()
    assert (tmp_path / "update-check").is_file()


def test_what_goes_wrong_in_a_chore() -> None:
    def refuses() -> Outcome:
        raise ConfigError("station.toml: mend it")

    def bug() -> Outcome:
        raise KeyError("a bug")

    chores = Chores({"config-reload": refuses, "update-check": bug})
    assert chores.begin(Command("config-reload", {}, "answers")) is None
    assert ending(chores).reason == "station.toml: mend it"
    assert chores.begin(Command("update-check", {}, "answers")) is None
    with pytest.raises(KeyError):
        eventually(chores.ended)
    assert "nobody" in str(chores.begin(Command("dance", {}, "answers")))


def test_more_commands_than_wait_are_refused_with_a_reason(
    mosquitto: Mosquitto, listen: Listen, tmp_path: Path
) -> None:
    listener = listen(mosquitto.port, f"{ROOT}/cmd/#")
    inbox = Inbox()
    with publishing(mosquitto, tmp_path, inbox) as publisher:  # no engine: nobody takes them out
        publisher.wait_connected(5)
        while not listener.on("/cmd/dance/result"):  # the first may be earlier than the subscription
            listener.client.publish(f"{ROOT}/cmd/dance", b"", qos=1)
            with contextlib.suppress(pytest.fail.Exception):
                eventually(lambda: listener.on("/cmd/dance/result"), 1.0)
        for _ in range(40):
            listener.client.publish(f"{ROOT}/cmd/stop", b"", qos=1)
        eventually(lambda: len(listener.on("/cmd/stop/result")) == 8, 10, "eight of forty find no room, and are told")
    assert {heard.json["ok"] for heard in listener.on("/cmd/stop/result")} == {False}
    assert "32 commands wait" in listener.on("/cmd/stop/result")[0].json["reason"]
    assert inbox.refused == 8
    with pytest.raises(RefusedError):
        inbox.put(Command("stop", {}, "answers"))
