"""A real broker, the real web server in a thread of its own, a real browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from station.web.server import WebServer
from station.web.settings import WebSettings
from tests.web.runner import ROOT, STATUS, Publisher
from tests.web.stand import Broker, until

CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb",
    "--font-render-hinting=none", "--disable-lcd-text",
]  # fmt: skip
PIN = "271828"
# What is waited for comes at once on an idle machine: the bound is for hanging, not for speed.
expect.set_options(timeout=30_000)


@pytest.fixture
def broker(tmp_path: Path, mosquitto_path: Path) -> Iterator[Broker]:
    private = Broker(mosquitto_path, tmp_path)
    private.start()
    yield private
    private.stop()


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> WebSettings:
    return WebSettings(
        port=0, broker_port=broker.port, root=ROOT, station="tm-07", database=tmp_path / "web.sqlite",
        heartbeat_s=1.0, requests_per_s=500.0, pin=PIN, public_url="http://treadmill.gym:8080",
    )  # fmt: skip


@pytest.fixture
def serve() -> Iterator[Callable[[WebSettings], WebServer]]:
    """Start web servers that end with the test."""
    started: list[tuple[WebServer, threading.Thread]] = []

    def start(wanted: WebSettings) -> WebServer:
        server = WebServer(wanted)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        started.append((server, thread))
        until(lambda: server.feed.connected)
        return server

    yield start
    for server, thread in started:
        server.stop()
        thread.join(10)
        assert not thread.is_alive(), "the web server did not end"


@pytest.fixture
def web(settings: WebSettings, serve: Callable[[WebSettings], WebServer]) -> WebServer:
    return serve(settings)


@pytest.fixture
def engine(broker: Broker) -> Iterator[Publisher]:
    publisher = Publisher(broker.port)
    publisher.say("status", STATUS)
    yield publisher
    publisher.close()


@pytest.fixture(scope="session")
def browser(chromium_path: Path) -> Iterator[Browser]:
    """One real Chromium for all tests of this folder."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path, headless=True, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A kiosk-sized page; a script error or a blocked resource fails the test."""
    context = browser.new_context(viewport={"width": 1920, "height": 1080}, color_scheme="dark", locale="en-GB")
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)
    yield opened
    context.close()
    assert not faults, faults


AXE = "axe-core@4.14.1"


@pytest.fixture(scope="session")
def axe(repository: Path) -> str:
    """The source of axe-core, fetched once by npm into the repository's cache."""
    folder = repository / ".cache" / "npm" / AXE.replace("@", "-")
    source = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not source.is_file():
        npm = shutil.which("npm")
        if npm is None:
            if os.environ.get("CI"):
                pytest.fail("npm is not installed: CI needs it for axe-core")
            pytest.skip("npm is not installed: axe-core cannot be fetched")
        folder.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), AXE]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    return source.read_text(encoding="utf-8")
