"""The doctor's judgements one by one: what is said of a picture and of a Pi's word on power, heat and updates."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest

from station.config import Config, load
from station.doctor import machine, picture
from station.doctor.finding import Finding
from station.engine.observer import Observer
from station.types import View
from station.update.layout import Layout

from .conftest import KnownRunner
from .fake_camera import FakeCamera

GOOD: dict[str, Any] = {
    "light": 0.9, "blur": 0.1, "framing": 1.0, "dirty": False, "flicker": 0.01, "luma": 110.0, "hints": [],
    "exposure_ms": 3.9, "gain": 2.0, "lux": 410.0, "locked": True,
}  # fmt: skip


def judged(**changed: Any) -> dict[str, Finding]:
    seen = {**GOOD, **changed}
    found = [
        picture._focus(seen), picture._exposure(seen, 4.0), picture._light(seen), picture._framing(seen, posed=True),
    ]  # fmt: skip
    return {finding.what: finding for finding in found}


def test_a_good_picture() -> None:
    assert {finding.verdict for finding in judged().values()} == {"ok"}
    assert judged()["exposure"].seen == "3.9 ms, gain 2.0, held"
    assert judged()["light"].seen == "0.90 of 1, 410 lux"


@pytest.mark.parametrize(
    ("changed", "what", "mend"),
    [
        ({"light": 0.2, "hints": ["dark"]}, "light", "more light"),
        ({"hints": ["bright"]}, "light", "less light"),
        ({"blur": 0.8, "hints": ["blurred"]}, "focus", "focus on the runner's place"),
        ({"dirty": True, "hints": ["dirty"]}, "focus", "clean the lens"),
        ({"flicker": 0.2, "hints": ["flicker"]}, "exposure", "camera.mains_hz"),
        ({"exposure_ms": 9.0}, "exposure", "look again"),
        ({"gain": 14.0}, "exposure", "more light"),
        ({"framing": 0.3, "hints": ["feet_cut"]}, "framing", "pitch the camera down"),
        ({"framing": 0.3, "hints": ["runner_left"]}, "framing", "to the left"),
    ],
)
def test_each_fault_is_named_with_its_mend(changed: dict[str, Any], what: str, mend: str) -> None:
    found = judged(**changed)
    assert found[what].verdict == "warn"
    assert mend in found[what].mend
    assert all(finding.verdict == "ok" for name, finding in found.items() if name != what)


def test_what_nobody_stands_there_to_show_is_no_fault() -> None:
    found = judged(framing=None, blur=None, exposure_ms=None, gain=None, light=None)
    assert {finding.verdict for finding in found.values()} == {"ok"}
    assert "nobody" in found["framing"].seen


@pytest.mark.parametrize(
    ("flags", "throttling", "power"),
    [
        (0x0, "ok", "ok"),
        (0x50005, "fail", "fail"),
        (0x50000, "warn", "warn"),
        (0x80008, "fail", "ok"),
        (0x10000, "ok", "warn"),
        (0x20000, "warn", "ok"),
    ],
)
def test_the_firmwares_word(flags: int, throttling: str, power: str) -> None:
    assert machine.throttling(flags).verdict == throttling
    assert machine.power(flags).verdict == power


def test_the_state_of_updates(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert machine.update(layout).verdict == "ok"
    layout.make()
    report = {"state": "failed", "from": "1.0.0", "to": "1.1.0", "reason": "watchdog during probation"}
    layout.report.write_text(json.dumps(report))
    found = machine.update(layout)
    assert found.verdict == "warn"
    assert "1.0.0 to 1.1.0 failed: watchdog" in found.seen
    layout.report.write_text("{")
    assert machine.update(layout).verdict == "warn"


def test_a_camera_is_watched_until_its_exposure_is_held(view: View, runner: KnownRunner) -> None:
    camera = FakeCamera(view, pace_s=0.01)
    frames, look = picture._watch(camera, runner)
    assert 3 < len(frames) < picture._PATIENCE_S / 0.01
    assert all(frame.image.shape[0] == 1 for frame in frames)  # pictures are not held on to
    assert look.judgement.framing is not None
    assert Observer(runner, view).frames == 0


def test_a_station_that_runs_is_not_disturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert not machine.station_runs()
    (tmp_path / "hipline").mkdir()
    with (tmp_path / "hipline" / "engine.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert machine.station_runs()
        (only, *_) = picture.findings(Config(), None, running=True)
        assert (only.what, only.verdict) == ("camera", "warn")
        assert "stop it" in only.mend
    assert not machine.station_runs()


def test_the_page_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine.page(load(None, ["web.port=1"]))
    assert found.verdict == "warn"
    assert "systemctl start station-web" in found.mend
