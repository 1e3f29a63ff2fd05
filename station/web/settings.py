"""What the web process needs to know, in one frozen record (built from the station's ``Config`` or by a test)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Bands = Mapping[str, tuple[float, float]]


def bands_of(profile: str | None) -> Bands:
    """The page's target bands: upper bounds of green and amber per metric, from the zones table of ``docs/metrics.md``.

    Verdicts are never made here: they come with each stride as ``zones``.
    """
    drop = (7.0 if profile == "women" else 6.0, 9.0)
    return {"pelvic_drop_peak_left_deg": drop, "pelvic_drop_peak_right_deg": drop}


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Where to listen, which broker to hear, what to keep and for how long.

    ``root`` is the topic root of this station without the trailing slash. ``pin`` opens the setup page and the commands
    to viewers other than this machine; ``None`` = this machine only. ``public_url`` goes into the QR code; ``None`` =
    derived. ``database`` ``None`` keeps sessions in memory. ``profile`` is whose zones hold when a start names none;
    ``tap_to_start``: a session begins by command only, and the idle screen says so.
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
    profile: str | None = None
    tap_to_start: bool = False
