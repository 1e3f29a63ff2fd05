"""axe-core finds nothing on any screen, in both themes."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from station.web.server import WebServer
from tests.web import runner
from tests.web.runner import Publisher
from tests.web.stand import until

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def violations(page: Page, axe: str) -> list[str]:
    page.evaluate(axe)
    found: dict[str, Any] = page.evaluate(
        "(tags) => axe.run(document, { runOnly: { type: 'tag', values: tags }, resultTypes: ['violations'] })", RULES
    )
    return [f"{v['id']}: {node['html'][:120]} {node['failureSummary'][:300]}"
            for v in found["violations"] for node in v["nodes"]]  # fmt: skip


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_no_screen_violates_the_guidelines(
    browser: Browser, web: WebServer, engine: Publisher, axe: str, theme: str
) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.goto(f"{web.url}?theme={theme}")
    found: dict[str, list[str]] = {}

    def look(name: str) -> None:
        expect(page.locator("body")).to_have_attribute("data-screen", name.partition(" ")[0])
        page.wait_for_timeout(200)
        found[name] = violations(page, axe)

    engine.say("state", runner.state("idle", None))
    look("idle")
    engine.say("state", runner.state("running"))
    engine.say("stride", runner.stride(1, 7.2, 9.9))
    look("running")
    engine.say("cue", runner.cue())
    look("running cue")
    engine.say("cue", runner.cue("praise"))
    look("running praise")
    engine.say("state", runner.state("running", prompt="tuck_shirt"))
    engine.say("cue", runner.cue("clear"))
    look("running prompt")
    for state in ("warming_up", "baseline", "low_confidence", "camera_lost"):
        engine.say("state", runner.state(state))
        look(state)
    engine.say("session", runner.session())
    engine.say("state", runner.state("summary"))
    look("summary")
    page.get_by_role("button", name="Stop if painful").click()
    look("summary dialog")
    until(lambda: web.hub.latest("report"))
    report: Any = web.hub.latest("report")
    for path in (f"s/{report['token']}", "setup", "deleted", "started", "go/used"):
        page.goto(f"{web.url}{path}?theme={theme}")
        page.wait_for_timeout(600)
        found[path.partition("/")[0]] = violations(page, axe)
    context.close()
    assert len(found) == 16
    assert {name: faults for name, faults in found.items() if faults} == {}


def test_axe_would_find_something(browser: Browser, axe: str) -> None:
    page = browser.new_page()
    page.set_content("<html><body><img src='x'><p style='color:#999;background:#aaa'>low</p></body></html>")
    assert len(violations(page, axe)) >= 3
    page.close()
