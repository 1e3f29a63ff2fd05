"""Who may do what: security headers, trusted viewers, rate limits."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from flask import Request, Response

#: No script, style, font, picture or connection but our own; nothing inline; no frame around us, no form elsewhere.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "font-src 'self'",
        "connect-src 'self'", "manifest-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
        "require-trusted-types-for 'script'", "trusted-types 'none'",
    )
)  # fmt: skip
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # A token in an address goes nowhere else; "no-referrer" would also blank the Origin of our own forms.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), usb=(), serial=(), payment=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
}
COOKIE = "hipline_setup"
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_COOKIE_S = 8 * 3600.0


def add_headers(response: Response) -> Response:
    """Every response carries every header; what has no lifetime of its own is never stored."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.pop("Server", None)
    return response


def is_local(request: Request) -> bool:
    """Whether the visitor sits at this machine.

    The name asked for must be a loopback one too, else any web page could reach us through a name that resolves to
    127.0.0.1; a proxy in front makes every visitor look local, so its mark counts as remote.
    """
    try:
        loopback = ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False
    name = request.host.rsplit(":", 1)[0] if not request.host.endswith("]") else request.host
    return loopback and name in _LOCAL_NAMES and "X-Forwarded-For" not in request.headers


def is_same_origin(request: Request) -> bool:
    """Whether a request that changes something comes from our own page (or from no page at all)."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None and site not in ("same-origin", "none"):
        return False
    return origin is None or origin.partition("://")[2] == request.host


class Keys:
    """Cookies of those who entered the PIN, in memory: a restart asks again. Without a PIN nobody gets one."""

    def __init__(self, pin: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._pin, self._clock = pin, clock
        self._keys: dict[str, float] = {}
        self._lock = threading.Lock()

    @property
    def possible(self) -> bool:
        """Whether a PIN is set at all."""
        return self._pin is not None

    def enter(self, pin: str) -> str | None:
        """A new cookie for the right PIN."""
        if self._pin is None or not hmac.compare_digest(pin.encode(), self._pin.encode()):
            return None
        key = secrets.token_urlsafe(24)
        with self._lock:
            now_s = self._clock()
            self._keys = {old: until for old, until in self._keys.items() if until > now_s}
            self._keys[key] = now_s + _COOKIE_S
        return key

    def holds(self, key: str | None) -> bool:
        """Whether a cookie is one of ours and still good."""
        with self._lock:
            return key is not None and self._keys.get(key, 0.0) > self._clock()


class RateLimit:
    """A bucket per visitor that refills with ``per_s``; at most ``visitors`` are remembered, the oldest forgotten."""

    def __init__(
        self, per_s: float, burst: float, visitors: int = 1024, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s, self._burst, self._visitors, self._clock = per_s, burst, visitors, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def allows(self, visitor: str) -> bool:
        """Take one drop from the visitor's bucket; False when it is empty."""
        now_s = self._clock()
        with self._lock:
            left, at_s = self._left.pop(visitor, (self._burst, now_s))
            left = min(self._burst, left + (now_s - at_s) * self._per_s)
            allowed = left >= 1.0
            self._left[visitor] = (left - allowed, now_s)
            while len(self._left) > self._visitors:
                self._left.popitem(last=False)
        return allowed
