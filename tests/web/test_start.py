"""A run started from the runner's own phone: the code on the idle screen, the page behind it, and who cannot."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from station.web.server import WebServer
from station.web.settings import WebSettings
from station.web.startkeys import KEY_S, StartKeys
from tests.web import runner
from tests.web.runner import Publisher
from tests.web.stand import Broker, StreamReader, ask, until
from tests.web.test_http import REMOTE

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class TestKeys:
    def test_a_key_is_shown_for_a_while_and_good_for_as_long_again(self) -> None:
        now_s = [0.0]
        keys = StartKeys(lambda: now_s[0])
        first = keys.offer()
        assert keys.offer() == first
        now_s[0] = KEY_S
        second = keys.offer()
        assert second != first
        assert keys.good(first)
        assert keys.good(second)
        now_s[0] = 2 * KEY_S
        assert not keys.good(first)
        assert keys.good(second)
        assert len(first) >= 12

    def test_what_is_withdrawn_opens_nothing(self) -> None:
        keys = StartKeys()
        key = keys.offer()
        keys.withdraw()
        assert not keys.good(key)
        assert not keys.good("")
        assert keys.offer() != key


@pytest.fixture
def key(web: WebServer, engine: Publisher) -> str:
    engine.say("state", runner.state("idle", None))
    until(lambda: web.hub.latest("start"))
    shown: Any = web.hub.latest("start")
    return str(shown["key"])


@pytest.fixture
def heard(engine: Publisher) -> list[object]:
    commands: list[object] = []
    engine.client.on_message = lambda _c, _u, message: commands.append(json.loads(message.payload))
    engine.client.subscribe(f"{runner.ROOT}/cmd/start", qos=1)
    return commands


def test_a_phone_starts_with_its_zones_and_the_key_is_used_up(web: WebServer, key: str, heard: list[object]) -> None:
    assert "Start your run" in ask(web, f"/go/{key}", **REMOTE).text
    answer = ask(web, f"/go/{key}", "POST", "profile=women", **FORM, **REMOTE)
    assert (answer.status, answer.headers["location"]) == (303, "/started")
    until(lambda: heard == [{"profile": "women"}])
    assert ask(web, f"/go/{key}", "POST", "profile=men", **FORM, **REMOTE).status == 410
    assert "used up" in ask(web, f"/go/{key}", **REMOTE).text


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ("profile=robots", {}, 400),
        ("profile=women", {"Origin": "http://evil.example"}, 403),
        ("profile=women", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("profile=" + "x" * 5000, {}, 413),
    ],
)
def test_what_is_refused_starts_nothing(
    web: WebServer, key: str, heard: list[object], body: str, headers: dict[str, str], status: int
) -> None:
    assert ask(web, f"/go/{key}", "POST", body, **FORM, **REMOTE, **headers).status == status
    for wrong in (key[:-1], key + "A", key.swapcase(), "x" * 3000, "%00", "'"):
        assert ask(web, f"/go/{wrong}", "POST", "profile=", **FORM, **REMOTE).status in (404, 410)
    assert ask(web, f"/go/{key}", "POST", "profile=", **FORM, **REMOTE).status == 303
    until(lambda: heard)
    assert heard == [{}]


def test_only_who_stands_before_the_screen_sees_the_code(web: WebServer, key: str) -> None:
    stranger, own = StreamReader(web, **REMOTE), StreamReader(web)
    until(lambda: stranger.of("snapshot") and own.of("snapshot"))
    assert key not in json.dumps(stranger.events)
    assert key in json.dumps(own.events)
    stranger.close()
    own.close()
    assert ask(web, f"/go/{key}/qr.svg", **REMOTE).status == 403
    assert ask(web, f"/go/{key}/qr.svg").headers["content-type"].startswith("image/svg+xml")
    assert ask(web, "/go/nothing/qr.svg").status == 404


def test_a_run_that_has_begun_cannot_be_started_over_by_an_old_code(
    web: WebServer, engine: Publisher, key: str, heard: list[object]
) -> None:
    engine.say("state", runner.state("baseline"))
    until(lambda: web.hub.latest("start") is None)
    assert ask(web, f"/go/{key}", "POST", "profile=", **FORM, **REMOTE).status == 410
    engine.say("state", runner.state("idle", None))
    until(lambda: web.hub.latest("start"))
    assert ask(web, f"/go/{key}", **REMOTE).status == 410
    assert heard == []


def test_without_a_broker_the_phone_is_told_and_may_try_again(web: WebServer, broker: Broker, key: str) -> None:
    broker.stop()
    until(lambda: not web.feed.connected)
    answer = ask(web, f"/go/{key}", "POST", "profile=", **FORM, **REMOTE)
    assert answer.status == 503
    assert "Try again" in answer.text
    assert ask(web, f"/go/{key}", **REMOTE).status == 200


def test_a_page_on_loopback_alone_shows_no_code(
    page: Page, settings: WebSettings, serve: Callable[[WebSettings], WebServer], engine: Publisher
) -> None:
    web = serve(replace(settings, public_url=None))
    engine.say("state", runner.state("idle", None))
    page.goto(web.url)
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    expect(page.locator("#scan")).to_be_hidden()
    assert web.hub.latest("start") is None


def test_the_code_on_the_idle_screen_opens_on_a_phone(
    page: Page, browser: Browser, web: WebServer, engine: Publisher, heard: list[object]
) -> None:
    engine.say("state", runner.state("idle", None))
    page.goto(web.url)
    expect(page.locator("#scan img")).to_be_visible()
    source = str(page.locator("#scan img").get_attribute("src"))
    assert re.fullmatch(r"/go/[\w-]{12}/qr\.svg", source)
    box = page.locator("#scan img").bounding_box()
    assert box is not None
    assert box["width"] >= 290, "scanned from a step away"
    context = browser.new_context(viewport={"width": 390, "height": 844})
    phone = context.new_page()
    phone.goto(web.url.rstrip("/") + source.removesuffix("/qr.svg"))
    phone.get_by_role("radio", name="Men", exact=False).last.check()
    phone.get_by_role("button", name="Start").click()
    expect(phone.locator("h1")).to_have_text("Started")
    until(lambda: heard == [{"profile": "men"}])
    context.close()
    engine.say("state", runner.state("baseline"))
    expect(page.locator("#scan")).to_be_hidden()
