"""Every state's picture at four sizes in both themes, compared with the committed one.

``HIPLINE_UPDATE_GOLDEN=1`` writes them anew: look at each before committing.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, expect

from station.web.server import WebServer
from tests.web import runner
from tests.web.runner import Publisher
from tests.web.stand import Broker, until

GOLDEN = Path(__file__).parent / "golden"
#: Viewport and the factor by which the committed picture is smaller.
SIZES = {"kiosk": (1920, 1080, 4), "portrait": (1080, 1920, 4), "panel": (800, 480, 2), "phone": (390, 844, 2)}
THEMES = ("dark", "light")
#: A pixel differs when a channel is off by more than this; a picture when more than the share of its pixels differ.
CHANNEL, SHARE = 40, 0.01

Picture = NDArray[np.uint8]


def pose(deg: float, sway: float = 1.0) -> dict[str, Any]:
    """A frozen frame: the runner on the left foot."""
    frame = runner.live(0.16, sway=sway)
    frame["pelvis"] = {"obliquity_deg": deg, "rotation_deg": 5.0 * sway, "tilt_deg": None, "sd_deg": 0.9}
    return frame


def drops(engine: Publisher, left: float, right: float) -> None:
    """Forty strides around a level: enough for a trend."""
    for i in range(40):
        last = (left + np.sin(i * 1.7) * 1.1, right + np.cos(i * 2.3) * 0.9)
        engine.say("stride", runner.stride(i, left, right, last=(float(last[0]), float(last[1]))))
        time.sleep(0.01)  # the hub keeps the newest only


def states(engine: Publisher, broker: Broker) -> dict[str, tuple[str, float, Callable[[], None]]]:
    """Name → (screen, hip angle, what to publish), in an order that works from top to bottom."""

    def run(left: float, right: float) -> None:
        engine.say("state", runner.state("running"))
        drops(engine, left, right)

    def cue(left: float, right: float, **how: Any) -> None:
        run(left, right)
        engine.say("cue", runner.cue(**how))

    def idle() -> None:
        engine.say("state", runner.state("idle", None))
        time.sleep(0.3)  # the code to start with comes after the state

    def warming_up() -> None:
        engine.say("state", runner.state("warming_up"))
        engine.say("stride", runner.stride(5, None, None, 171.0, None, "warming_up"))

    def hidden() -> None:
        engine.say("cue", runner.cue("clear"))
        engine.say("state", runner.state("running", prompt="tuck_shirt"))
        engine.say("stride", runner.stride(50, None, None, 170.0, None))

    def summary() -> None:
        engine.say("session", runner.session())
        engine.say("state", runner.state("summary"))

    return {
        "idle": ("idle", 0.0, idle),
        "baseline": ("baseline", 0.4, lambda: engine.say("state", runner.state("baseline"))),
        "warming_up": ("warming_up", -4.0, warming_up),
        "running": ("running", -4.8, lambda: run(5.8, 4.1)),
        "cue": ("running", -9.6, lambda: cue(10.4, 6.8)),
        "praise": ("running", -2.6, lambda: cue(5.2, 4.1, action="praise")),
        "waist_hidden": ("running", 0.0, hidden),
        "low_confidence": ("low_confidence", 0.0, lambda: engine.say("state", runner.state("low_confidence"))),
        "camera_lost": ("camera_lost", 0.0, lambda: engine.say("state", runner.state("camera_lost"))),
        "summary": ("summary", 0.0, summary),
        "broker_lost": ("broker_lost", 0.0, broker.stop),
    }


def photograph(page: Page, factor: int) -> Picture:
    """The page without what time or chance writes on it, made small."""
    hidden = [page.locator("#clock"), page.locator("#report img"), page.locator("#scan img")]
    shot = page.screenshot(animations="disabled", mask=hidden, mask_color="#808080", scale="css")
    picture = cv2.imdecode(np.frombuffer(shot, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    return (small // 16 * 16).astype(np.uint8)  # few tones: a third of the bytes


def differing(one: Picture, other: Picture) -> float:
    """The share of pixels that differ, an edge moved by a pixel forgiven."""
    if one.shape != other.shape:
        return 1.0
    soft = [cv2.GaussianBlur(picture, (3, 3), 0).astype(np.int16) for picture in (one, other)]
    return float((np.abs(soft[0] - soft[1]).max(axis=2) > CHANNEL).mean())


@pytest.fixture
def frozen(engine: Publisher) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Keeps sending one frame, the one last given."""
    stop = threading.Event()
    frame: dict[str, Any] = {}

    def beat() -> None:
        while not stop.wait(0.1):
            with contextlib.suppress(RuntimeError):  # the broker is lost on purpose
                engine.say("live", {**frame, "t": time.monotonic()})

    thread = threading.Thread(target=beat)
    thread.start()
    yield frame.update
    stop.set()
    thread.join()


def test_every_state_looks_as_it_was_approved(
    page: Page,
    web: WebServer,
    engine: Publisher,
    broker: Broker,
    frozen: Callable[[dict[str, Any]], None],
    tmp_path: Path,
) -> None:
    update = bool(os.environ.get("HIPLINE_UPDATE_GOLDEN"))
    GOLDEN.mkdir(exist_ok=True)
    page.goto(web.url)
    expect(page.locator("body")).not_to_have_attribute("data-screen", "connecting")
    faults: list[str] = []
    for name, (screen, deg, publish) in states(engine, broker).items():
        frozen(pose(deg, 0.0 if screen in ("idle", "baseline") else 1.0))
        publish()
        expect(page.locator("body")).to_have_attribute("data-screen", screen)
        for size, (width, height, factor) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            for theme in THEMES:
                page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
                if screen in ("running", "warming_up"):
                    expect(page.locator("#tip")).to_have_attribute("data-obliquity-deg", f"{deg:.2f}")
                if name in ("cue", "praise"):  # held for seconds only: said again
                    engine.say("cue", runner.cue("praise" if name == "praise" else "raise"))
                    expect(page.locator("#cue")).to_be_visible()
                page.wait_for_timeout(250)
                picture = photograph(page, factor)
                path = GOLDEN / f"{name}-{size}-{theme}.png"
                golden = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.exists() else None
                share = 1.0 if golden is None else differing(picture, golden.astype(np.uint8))
                if update:
                    if share > SHARE / 10:
                        cv2.imwrite(str(path), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
                    continue
                if share > SHARE:
                    cv2.imwrite(str(tmp_path / path.name), picture)
                    faults.append(f"{path.name}: {share:.1%} of its pixels differ, see {tmp_path / path.name}")
    assert faults == []
    assert len(list(GOLDEN.glob("*.png"))) == len(states(engine, broker)) * len(SIZES) * len(THEMES)


def test_the_comparison_sees_what_matters() -> None:
    golden = cv2.imread(str(GOLDEN / "running-kiosk-dark.png"), cv2.IMREAD_COLOR)
    other = cv2.imread(str(GOLDEN / "cue-kiosk-dark.png"), cv2.IMREAD_COLOR)
    assert golden is not None
    assert other is not None
    same = golden.astype(np.uint8)
    assert differing(same, same) == 0.0
    assert differing(same, np.roll(same, 1, axis=1)) < 0.06
    assert differing(same, other.astype(np.uint8)) > 0.1
    changed = same.copy()
    changed[40:110, 20:60] = 0  # one digit gone
    assert differing(same, changed) > SHARE


def test_the_golden_pictures_are_small() -> None:
    sizes = [file.stat().st_size for file in GOLDEN.glob("*.png")]
    assert max(sizes) < 80_000
    assert sum(sizes) < 1_500_000


@pytest.mark.parametrize("theme", THEMES)
def test_the_report_fits_a_phone(browser: Browser, web: WebServer, engine: Publisher, theme: str) -> None:
    engine.say("session", runner.session())
    engine.say("state", runner.state("summary"))
    until(lambda: web.hub.latest("report"))
    report: Any = web.hub.latest("report")
    page = browser.new_page(viewport={"width": 390, "height": 844})
    for path in (f"s/{report['token']}", "setup", "deleted", "started", "go/used"):
        page.goto(f"{web.url}{path}?theme={theme}")
        page.wait_for_timeout(300)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390, path
    page.close()
