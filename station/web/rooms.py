"""What the routes work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from flask import request

from station.web.archive import Archive
from station.web.feed import Feed
from station.web.guard import COOKIE, Keys, is_local
from station.web.hub import Hub
from station.web.settings import WebSettings


@dataclass(frozen=True, slots=True)
class Rooms:
    """Everything behind the routes; ``url`` makes the address that a phone opens from its path."""

    settings: WebSettings
    hub: Hub
    archive: Archive
    feed: Feed
    keys: Keys
    url: Callable[[str], str]

    def trusted(self) -> bool:
        """Whether the visitor of this request sits at the station or entered the PIN."""
        return is_local(request) or self.keys.holds(request.cookies.get(COOKIE))


def theme() -> str | None:
    """The theme asked for with ``?theme=``; ``None`` = as the browser prefers."""
    asked = request.args.get("theme")
    return asked if asked in ("dark", "light") else None


def app_version() -> str:
    """Version of the installed distribution."""
    try:
        return version("hipline-station")
    except PackageNotFoundError:
        return "unknown"
