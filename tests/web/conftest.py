"""A real broker, the real web process in a thread of its own, a real browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from station.web.server import WebServer
from station.web.settings import WebSettings
from tests.web.runner import ROOT, Publisher

CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb",
    "--font-render-hinting=none", "--disable-lcd-text",
]  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until ``condition`` holds, or fail."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail("waited in vain")
        time.sleep(0.02)


class Broker:
    """A private mosquitto that can be lost and come back on the same port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if command is None:
            pytest.skip("mosquitto is not installed (make test installs it)")
        self._process = subprocess.Popen([command, "-c", str(self._config)], stderr=subprocess.DEVNULL)
        until(self._answers)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    private = Broker(tmp_path)
    private.start()
    yield private
    private.stop()


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> WebSettings:
    return WebSettings(
        port=0, broker_port=broker.port, root=ROOT, station="tm-07", database=tmp_path / "web.sqlite",
        heartbeat_s=1.0, requests_per_s=500.0, pin="271828",
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


@pytest.fixture
def web(settings: WebSettings, serve: Callable[[WebSettings], WebServer]) -> WebServer:
    return serve(replace(settings))


@pytest.fixture
def engine(broker: Broker) -> Iterator[Publisher]:
    publisher = Publisher(broker.port)
    yield publisher
    publisher.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One real browser for all tests of this folder."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed: CI must have it")
        pytest.skip("chromium is not installed (make test installs it)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()
