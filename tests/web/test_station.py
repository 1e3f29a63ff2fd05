"""From pixels to the screen: ``station run`` on the bundled clip, looked at in Chromium."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.web.stand import ask, free_port, until

pytestmark = pytest.mark.slow


class Station:
    """A whole station on a private broker."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.errors = (folder / "errors.txt").open("w+")
        command = [sys.executable, "-m", "station", "run", "--set", f"web.port={self.port}"]
        environment = {**os.environ, "STATE_DIRECTORY": str(folder)}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=self.errors)

    def answers(self) -> bool:
        assert self.process.poll() is None, Path(self.errors.name).read_text()
        try:
            return bool(ask(self, "/healthz").json["broker"])
        except OSError:
            return False


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    whole = Station(tmp_path)
    yield whole
    whole.process.send_signal(signal.SIGINT)
    assert whole.process.wait(20) in (0, 130)
    whole.errors.close()


@pytest.mark.timeout(300)
def test_the_runner_of_the_clip_is_on_the_screen(page: Page, station: Station, repository: Path) -> None:
    until(station.answers, 60)
    page.goto(f"http://127.0.0.1:{station.port}/")
    body = page.locator("body")
    expect(body).not_to_have_attribute("data-screen", "connecting")
    page.wait_for_function("() => document.getElementById('tip').dataset.t", timeout=60_000)
    before = float(page.locator("#tip").get_attribute("data-t") or 0)
    page.wait_for_function(f"() => Number(document.getElementById('tip').dataset.t) > {before + 2}", timeout=30_000)
    inked = "(e) => { const p = e.getContext('2d').getImageData(0, 0, e.width, e.height).data;" \
            " return p.filter((v, i) => i % 4 === 3 && v > 0).length; }"  # fmt: skip
    assert page.locator("#skeleton").evaluate(inked) > 500, "a skeleton is drawn"
    truth = json.loads((repository / "station/assets/runner.truth.json").read_text())
    cadence = next(float(value) for key, value in truth.items() if key.startswith("cadence"))
    page.wait_for_function(
        f"() => Math.abs(Number(document.querySelector('#cadence').dataset.value) - {cadence}) < 2", timeout=120_000
    )
