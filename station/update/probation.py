"""Whether a release that has just been started works here: seen from outside, within a bounded time.

Nothing of this trusts the release's word that it is well. Services are up and stay up, its version is online at the
broker (so the broker has acknowledged it), new frames are processed, memory is within bounds, the page and everything
it is made of is served.
"""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from station.config import Config
from station.errors import BrokerError
from station.update.ear import Ear
from station.update.services import Services
from station.wire.topics import HEALTH, STATE

_PART = re.compile(r"""<(?:script|link|img)\b[^>]*?\b(?:src|href)=["']([^"'#]+)["']""")
_MAX_PAGE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """``within_s`` bounds the whole probation; ``hold_s`` is how long all must stay well once it is."""

    within_s: float = 300.0
    hold_s: float = 30.0
    frames: int = 150
    #: Starts of one service by itself beyond which the release counts as crashing.
    restarts: int = 1
    #: Of the engine, in MB; its unit's MemoryMax is a little above.
    rss_mb: float = 650.0
    every_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """One look: what is still ``missing`` (time may bring it), and what is ``wrong`` (time will not)."""

    missing: tuple[str, ...]
    wrong: tuple[str, ...]


def judge(version: str, config: Config, services: Services, limits: Limits, say: Callable[[str], None]) -> str | None:
    """Watch the release until it has proved itself (``None``) or not (the reason, one line)."""
    began_s = time.monotonic()
    ear, said, well_s = Ear(config), "", None
    while time.monotonic() - began_s < limits.within_s:
        try:
            with ear.listening(max(5.0, limits.within_s / 8)):
                ear.forget()
                while (passed_s := time.monotonic() - began_s) < limits.within_s:
                    look = _look(version, ear, config, services, limits)
                    if look.wrong:
                        return "; ".join(look.wrong)
                    now = ", ".join(look.missing) or "all is well, and has to stay so"
                    if now != said:
                        say(f"release {version}: {passed_s:.0f} s: {now}")
                    said = now
                    well_s = None if look.missing else (passed_s if well_s is None else well_s)
                    if well_s is not None and passed_s - well_s >= limits.hold_s:
                        return None
                    time.sleep(limits.every_s)
        except BrokerError as error:  # it may come later; if it does not, this is the reason
            said = str(error)
    return f"within {limits.within_s:g} s it did not get well: {said}"


def _look(version: str, ear: Ear, config: Config, services: Services, limits: Limits) -> Look:
    missing, wrong = list[str](), list[str]()
    for unit in services.units:
        state = services.state(unit)
        if state.active == "failed" or state.restarts > limits.restarts:
            wrong.append(f"{unit} crashes (started {state.restarts} times by itself, {state.active}, {state.result})")
        elif not state.is_up:
            missing.append(f"{unit} is {state.active}")
    here = ear.version
    if here != version:
        ear.forget()  # what its predecessor still says on its way out does not count
        missing.append(f"the broker knows {here or 'nobody'} as online, not {version}")
    if ear.frames < limits.frames:
        missing.append(f"{ear.frames:.0f} of {limits.frames} frames processed")
    newest = ear.newest(STATE)
    if here == version and newest is not None and newest.get("state") == "camera_lost":
        wrong.append("the camera is lost")
    health = ear.newest(HEALTH) or {}
    rss: Any = health.get("rss_mb")
    if here == version and isinstance(rss, int | float) and rss > limits.rss_mb:
        wrong.append(f"the engine takes {rss:.0f} MB of memory, more than {limits.rss_mb:g}")
    missing.extend(page_faults(page_url(config)))
    return Look(tuple(missing), tuple(wrong))


def page_url(config: Config) -> str:
    """Where this machine reaches its own page."""
    host = "127.0.0.1" if config.web.host in ("0.0.0.0", "::", "localhost") else config.web.host
    return f"http://{f'[{host}]' if ':' in host else host}:{config.web.port}/"


def page_faults(url: str, timeout_s: float = 5.0) -> Iterator[str]:
    """What is wrong with the page: it does not answer, or something it is made of is not there."""
    try:
        text = _get(url, timeout_s).decode("utf-8", "replace")
    except _PageError as error:
        yield f"the page {error}"
        return
    if "<html" not in text.lower():
        yield "the page is no page"
    for part in dict.fromkeys(_PART.findall(text)):
        whole = urljoin(url, part)
        if whole.startswith(url):  # what lies elsewhere is not ours
            try:
                _get(whole, timeout_s)
            except _PageError as error:
                yield f"the page's {part} {error}"


class _PageError(Exception):
    """Why something could not be had."""


def _get(url: str, timeout_s: float) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_s) as answer:
            return bytes(answer.read(_MAX_PAGE_BYTES))
    except urllib.error.HTTPError as error:
        raise _PageError(f"answers {error.code}") from None
    except OSError as error:
        raise _PageError(f"does not answer ({getattr(error, 'reason', error)})") from None
    except ValueError as error:
        raise _PageError(f"does not answer ({error})") from None
