"""What the web process needs to know, in one frozen record (built from the station's ``Config`` or by a test)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Where to listen, which broker to hear, what to keep and for how long.

    ``root`` is the topic root of this station without the trailing slash. ``pin`` opens the setup page and the commands
    to viewers other than this machine; ``None`` = this machine only. ``public_url`` goes into the QR code; ``None`` =
    derived. ``database`` ``None`` keeps sessions in memory.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    broker_host: str = "127.0.0.1"
    broker_port: int = 1883
    broker_username: str | None = None
    broker_password: str | None = None
    root: str = "hipline/v1/gym/station"
    station: str = "station"
    database: Path | None = None
    pin: str | None = None
    public_url: str | None = None
    max_streams: int = 16
    threads: int = 24
    heartbeat_s: float = 4.0
    retention_days: float = 30.0
    token_hours: float = 24.0
    requests_per_s: float = 20.0

    @property
    def reachable(self) -> bool:
        """Whether a phone can open a page of ours: a page on loopback alone has no address to scan."""
        return self.public_url is not None or self.host not in ("127.0.0.1", "::1", "localhost")
