"""What the coach says is on the screen as soon as it is said, and for as long as it stands."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from station import wire
from station.config import load
from station.engine.loop import Engine
from station.engine.observer import Observer
from station.engine.outlet import Outlet
from station.engine.reload import session_settings
from station.lab.analytic import RunnerSpec, run
from station.lab.project import Condition, observe, view_of
from station.outbox import Outbox
from station.publish import Link, Publisher
from station.session import Session
from station.types import Frame, Observation
from station.web.server import WebServer
from tests.engine.fake_camera import FakeCamera
from tests.web import runner
from tests.web.runner import ROOT
from tests.web.stand import Broker, until

CONDITION = Condition(fps=30.0, pelvis_sd_deg=0.5)
#: A coach in a hurry: what it waits for is tested elsewhere, here only how long its words take.
EAGER = ("coach.warm_up_s=0", "coach.settle_s=0", "coach.cadence_first=false", "coach.max_interval_share=10")


class Known(Observer):
    """The observations themselves, frame by frame: this is about what comes after the pose."""

    def __init__(self, seen: list[Observation]) -> None:
        super().__init__(None, view_of(CONDITION))  # type: ignore[arg-type]  # no pose model is asked
        self._seen = seen

    def observe(self, frame: Frame) -> Observation:
        found = self._seen[frame.index % len(self._seen)]
        return Observation(frame.t_s, found.pose, found.pelvis)


class Paced(FakeCamera):
    """Frames on the clock: frame i at ``began_s`` + i / fps, as a sensor has them."""

    began_s = 0.0

    def read(self) -> Frame | None:
        self.began_s = self.began_s or time.time()
        time.sleep(max(0.0, self.began_s + self.given / self.view.fps - time.time()))
        return super().read()


@pytest.mark.timeout(180)
def test_a_cue_is_read_within_a_second_of_its_strides(
    page: Page, web: WebServer, broker: Broker, tmp_path: Path
) -> None:
    """From the contact that ends the stride to the words in the DOM: kernel, coach, broker, web process, browser."""
    view = view_of(CONDITION)
    seen = list(observe(run(RunnerSpec(obliquity_deg=((12.0, 3.1), (0.3, 0.5), (1.5, 1.0))), seconds=60.0), CONDITION))
    outbox = Outbox(tmp_path / "outbox.db")
    publisher = Publisher(Link("127.0.0.1", broker.port, ROOT), outbox, version="1")
    session = Session(view, session_settings(load(None, EAGER)))
    ends_s: dict[int, float] = {}

    class Noting(Outlet):
        def emit(self, outputs: tuple[Any, ...], *args: Any) -> None:
            ends_s.update({o.stride.seq: o.stride.end_s for o in outputs if hasattr(o, "stride")})
            super().emit(outputs, *args)

    outlet = Noting(publisher, view, "tm-07", live=True, rules=lambda: wire.rules_json(session.bands, auto_start=True))
    camera = Paced(view, start_s=0.0)
    engine = Engine(camera, Known(seen), session, publisher, outlet)
    publisher.start()
    publisher.wait_connected(5)
    page.goto(web.url)
    page.evaluate(
        """() => { window.read = []; new MutationObserver(() => {
          const cue = document.getElementById("cue");
          if (!cue.hidden && cue.dataset.action === "raise")
            read.push([(performance.timeOrigin + performance.now()) / 1000, cue.textContent.trim()]);
        }).observe(document.getElementById("cue"), { attributes: true, childList: true, subtree: true }); }"""
    )
    thread = threading.Thread(target=engine.run)
    thread.start()
    try:
        until(lambda: page.evaluate("() => read.length"), 60, "no cue in a minute of dropping")
        cue = web.hub.latest("cue")
    finally:
        engine.stop()
        thread.join(5)
        publisher.close()
        outbox.close()
    assert isinstance(cue, dict)
    at_s, text = page.evaluate("() => read[0]")
    newest = max(ends_s[seq] for seq in cue["because"])
    kernel_s, late_s = cue["t"] - newest, at_s - (camera.began_s + newest)
    print(f"cue read {late_s:.2f} s after its last stride ended, {kernel_s:.2f} s of it the kernel's fixed lag")
    assert text == "Belt line level"
    assert 0 < late_s <= 1.0, f"{kernel_s:.2f} s in the kernel, the rest on its way to the eye"


def test_a_cue_stands_until_the_coach_clears_it(page: Page, web: WebServer, engine: runner.Publisher) -> None:
    """The coach may be configured to let it stand for two minutes: the page does not know better."""
    engine.say("state", runner.state("running"))
    engine.say("stride", runner.stride())
    page.clock.install()
    page.goto(web.url)
    expect(page.locator("#cadence .value")).to_have_text("170")
    engine.say("cue", runner.cue())
    expect(page.locator("#cue")).to_be_visible()
    page.clock.fast_forward(110_000)
    engine.say("live", runner.live(1.0))
    expect(page.locator("#cue")).to_have_text("Belt line level")
    page.reload()
    expect(page.locator("#cue")).to_have_text("Belt line level")
    engine.say("cue", runner.cue("clear"))
    expect(page.locator("#cue")).to_be_hidden()
