"""The web process: waitress around the application, one MQTT client, an hourly broom; ends cleanly on SIGTERM."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
from pathlib import Path
from types import FrameType

from waitress.server import create_server

from station.config import Config, state_dir
from station.errors import ConfigError
from station.web.app import create_app
from station.web.archive import Archive
from station.web.feed import Feed
from station.web.hub import Hub
from station.web.settings import WebSettings

log = logging.getLogger(__name__)
_BROOM_S = 3600.0
#: A visitor that takes nothing for this long is cut off by the kernel.
_DEAD_AFTER_MS = 20_000


class WebServer:
    """The page of one station on one socket. ``start`` returns at once; ``run`` blocks until ``stop``."""

    def __init__(self, settings: WebSettings) -> None:
        self.settings = settings
        self.hub = Hub(settings.max_streams)
        self.archive = Archive(settings.database, settings.retention_days, settings.token_hours)
        self.feed = Feed(settings, self.hub, self.archive, self._url)
        self.app = create_app(settings, self.hub, self.archive, self.feed, self._url)
        self._socket = _listen(settings.host, settings.port)
        self.port: int = self._socket.getsockname()[1]
        self._server = create_server(
            self.app,
            sockets=[self._socket],
            threads=settings.threads,
            # A stream is one request that never ends: little may pile up behind a slow reader, so that it skips to the
            # newest instead; looking ahead lets the server notice a reader that hung up.
            outbuf_high_watermark=32_768,
            outbuf_overflow=262_144,
            channel_request_lookahead=1,
            connection_limit=200,
            max_request_header_size=16_384,
            max_request_body_size=65_536,
            ident=None,
            clear_untrusted_proxy_headers=False,
        )
        self._stopping = threading.Event()
        self._broom = threading.Thread(target=self._sweep, name="broom", daemon=True)

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the page."""
        host = "127.0.0.1" if self.settings.host in ("0.0.0.0", "::", "") else self.settings.host
        return f"http://{host}:{self.port}/"

    def run(self) -> None:
        """Serve until :meth:`stop`."""
        self.feed.start()
        self._broom.start()
        server = self._server
        try:
            # waitress' own run() ends by an exception in the main thread only; this ends in whatever thread it runs.
            while not self._stopping.is_set():
                server.asyncore.loop(timeout=0.5, map=server._map, use_poll=True, count=1)
        finally:
            self._stopping.set()
            self.hub.close_all()
            server.task_dispatcher.shutdown()
            server.close()
            self.feed.stop()
            self.archive.close()

    def stop(self) -> None:
        """Let :meth:`run` end within half a second; safe from another thread and from a signal handler."""
        self._stopping.set()

    def _sweep(self) -> None:
        while True:
            self.archive.prune()
            if self._stopping.wait(_BROOM_S):
                return

    def _url(self, path: str) -> str:
        base = self.settings.public_url or f"http://{_address_for_phones(self.settings.host)}:{self.port}"
        return f"{base.rstrip('/')}/{path}"


def settings_from(config: Config) -> WebSettings:
    """The station's configuration as this process needs it."""
    if config.mqtt.host is None:
        raise ConfigError(
            f"{config.origin}: the page alone needs a broker: set mqtt.host and mqtt.port (station run prints them),"
            " or use station run, which starts both"
        )
    return WebSettings(
        host=config.web.host,
        port=config.web.port,
        broker_host=config.mqtt.host,
        broker_port=config.mqtt.port,
        broker_username=config.mqtt.username,
        broker_password=_secret(config, "mqtt.password_file", config.mqtt.password_file),
        root=config.topic_root,
        station=config.station.name,
        database=state_dir() / "web.sqlite",
        pin=_secret(config, "web.pin_file", config.web.pin_file),
        public_url=config.web.public_url,
    )


def _secret(config: Config, key: str, file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{config.origin}: {key}: cannot be read: {error}") from None
    if not secret:
        raise ConfigError(f"{config.origin}: {key} = {str(file)!r} is empty: write the secret into it")
    return secret


def serve(config: Config) -> int:
    """Run the page until SIGTERM or SIGINT; 0 = ended as asked. Raises :class:`ConfigError` when it cannot listen."""
    server: WebServer | None = None

    def end(_signal: int, _frame: FrameType | None) -> None:
        if server is None:
            raise SystemExit(0)
        server.stop()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
    server = WebServer(settings_from(config))
    print(f"page: {server.url}", file=sys.stderr, flush=True)
    server.run()
    return 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit these: a short send buffer keeps a slow stream fresh, a dead one is dropped.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_AFTER_MS)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"web.host = {host!r}, web.port = {port}: cannot listen there ({error.strerror}): choose another port"
            f" with --set web.port=PORT"
        ) from None
    listener.listen(64)
    return listener


def _address_for_phones(host: str) -> str:
    """The address under which a phone on this network finds us; what is bound to one address says that one."""
    if host not in ("0.0.0.0", "::", ""):
        return f"[{host}]" if ":" in host else host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: asks which of our addresses would be used
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
