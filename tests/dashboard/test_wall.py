"""The staff's wall: the real Node-RED at the gym's real broker (TLS, read-only user), looked at in a real Chromium."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from station import wire
from station.lab.fleet import Runner
from station.outbox import Outbox
from station.publish import Link, Publisher
from tests.broker_fixture import Mosquitto, eventually, free_port, listens

PAYLOADS = Path(__file__).parents[1] / "wire" / "payloads"


@pytest.fixture(scope="session")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node: the dashboard's logic is tested where Node-RED can run (apt-get install nodejs npm)")
    return found


def test_the_logic_of_the_wall(node: str, repository: Path) -> None:
    folder = repository / "deploy" / "dashboard"
    done = subprocess.run([node, "--test", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "# fail 0" in done.stdout


@pytest.fixture
def gym(mosquitto_path: Path, tmp_path: Path, repository: Path) -> Iterator[dict[str, Any]]:
    """A gym's broker with three stations that run, and a member of staff for the dashboard."""
    folder, script = tmp_path / "gym", repository / "deploy" / "broker" / "gym.py"

    def do(*arguments: str) -> str:
        command = [sys.executable, str(script), str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    do("init", "--gym", "gym", "--host", "localhost")
    user, password = do("add-staff", "wall").split()[1::2]
    port, web_port = free_port(), free_port()
    conf = (folder / "mosquitto.conf").read_text().replace("listener 8883", f"listener {port} 127.0.0.1")
    lines = conf.replace("listener 8884", f"listener {web_port} 127.0.0.1").splitlines()
    names = ("tm-01", "tm-02", "tm-03")
    for name in names:
        do("add-station", name)
    broker = Mosquitto(mosquitto_path, folder / "run", *lines, port=port).start()
    stations = {}
    outboxes = [Outbox(None) for _ in names]
    for name, outbox in zip(names, outboxes, strict=True):
        bundle = (folder / "stations" / name / "hipline.conf").read_text()
        secret = tmp_path / f"{name}.password"
        secret.write_text(bundle.split("remote_password ")[1].split()[0])
        link = Link("localhost", port, f"hipline/v1/gym/{name}", name, secret, folder / "ca.crt")
        stations[name] = Publisher(link, outbox, version="1.4.0")
        stations[name].start()
        stations[name].wait_connected(10)
    yield {"port": port, "user": user, "password": password, "ca": folder / "ca.crt", "stations": stations}
    for publisher in stations.values():
        publisher.close(0.2)
    for outbox in outboxes:
        outbox.close()
    broker.kill()


@pytest.fixture
def wall(gym: dict[str, Any], node: str, repository: Path, tmp_path: Path) -> Iterator[str]:
    """Node-RED as install.sh makes it; the address of the wall."""
    folder = tmp_path / "dashboard"
    folder.mkdir()
    modules = os.environ.get("HIPLINE_DASHBOARD")  # a folder that install.sh has filled: saves a minute
    if modules:
        (folder / "node_modules").symlink_to(Path(modules) / "node_modules")
    subprocess.run([repository / "deploy" / "dashboard" / "install.sh", folder], check=True, timeout=600)
    port = free_port()
    environment = os.environ | {
        "HIPLINE_GYM": "gym", "HIPLINE_BROKER": "localhost", "HIPLINE_BROKER_PORT": str(gym["port"]),
        "HIPLINE_CA": str(gym["ca"]), "HIPLINE_USER": gym["user"], "HIPLINE_PASSWORD": gym["password"],
        "HIPLINE_DASHBOARD_PORT": str(port),
    }  # fmt: skip
    with (folder / "log").open("wb") as log:
        command = [node, "node_modules/node-red/red.js", "--settings", "settings.js", "--userDir", "."]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        eventually(lambda: listens(port), 90, "Node-RED listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
        print((folder / "log").read_text())


@pytest.fixture
def page(chromium_path: Path) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium_path), args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1920, "height": 1080})
        browser.close()


def run(publisher: Publisher, name: str, session: str, first: int, count: int) -> None:
    import random

    runner = Runner(random.Random(name))
    for seq in range(first, first + count):
        publisher.record("stride", wire.stride_json(runner.stride(seq, seq * 0.7), name, session, None))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_wall_in_a_browser(gym: dict[str, Any], wall: str, page: Page, tmp_path: Path) -> None:
    stations: dict[str, Publisher] = gym["stations"]
    health = json.loads((PAYLOADS / "health-pi.json").read_text())
    session = json.loads((PAYLOADS / "session-run.json").read_text())
    stations["tm-01"].say("state", {"state": "running", "session": "4f9c2b7e", "since": None, "prompt": None})
    session |= {"station": "tm-02", "session": "aaaa1111", "start": wire.wall_label(time.time())}
    stations["tm-02"].record("session", session)
    page.goto(f"{wall}/dashboard/gym")
    page.wait_for_selector(".station[data-station='tm-03']", timeout=60_000)
    for _ in range(3):  # three in a row: an alarm
        stations["tm-03"].say("health", health | {"camera": health["camera"] | {"dirty": True}, "temp_c": 84.0})
        stations["tm-01"].say("health", health)
        time.sleep(0.3)
    for second in range(3):
        run(stations["tm-01"], "tm-01", "4f9c2b7e", second * 8, 8)
        time.sleep(5.2)
    page.click(".station[data-station='tm-01']")
    page.wait_for_selector(".trend polyline", state="attached")  # (a flat line has no height to see)
    card = {name: page.inner_text(f".station[data-station='{name}']") for name in stations}
    assert "running" in card["tm-01"]
    assert "spm" in card["tm-01"]
    assert "camera dirty" in card["tm-03"]
    assert "hot" in card["tm-03"]
    assert "!" not in card["tm-02"]
    assert "aaaa" in page.inner_text("table")
    assert "aaaa1111" not in page.content()
    assert page.inner_text("header").split()[:4] == ["3", "online", "1", "running"]
    points = page.get_attribute(".trend polyline", "points") or ""
    assert len(points.split()) >= 2
    # Nothing is covered or cut off.
    for selector in ("header", ".station[data-station='tm-03'] .name", "h2", "table", ".hours"):
        for element in page.query_selector_all(selector):
            seen = "e => { const b = e.getBoundingClientRect(), x = b.x + b.width / 2, y = b.y + b.height / 2;"
            assert element.evaluate(seen + " return e.contains(document.elementFromPoint(x, y)) }"), selector
    page.screenshot(path=os.environ.get("HIPLINE_SCREENSHOT", str(tmp_path / "wall.png")))
    # Not wider than the screen, on a phone either.
    for width in (1920, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Who leaves is seen to leave.
    stations["tm-01"].close(1.0)
    page.wait_for_selector(".station[data-station='tm-01']:has-text('offline')", timeout=10_000)
    # An erased session goes.
    stations["tm-02"].erase("aaaa1111").result(5)
    page.wait_for_selector("table:not(:has-text('aaaa'))", timeout=10_000)
    # The editor and its interface are not there.
    assert page.request.get(f"{wall}/flows").status == 404
    assert page.request.get(f"{wall}/").status == 404
