"""A web server for the tests that can be as bad as they come: real sockets, a rule for each wickedness."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

#: What can be done to a path: the methods of ``_Handler`` below ``_abuse``.
Rule = tuple[str, Any]


class Server(ThreadingHTTPServer):
    """Serves ``folder``, with ranges; ``rules``: (pattern of the path, (what, value)); ``sent``: bytes of bodies."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.rules: list[tuple[str, Rule]] = []
        self.sent: dict[str, int] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def bytes_sent(self) -> int:
        return sum(self.sent.values())

    def handle_error(self, *_: Any) -> None:
        """Clients that hang up are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        self.server.asked.append((path, self.headers.get("Range")))
        rule = next((rule for pattern, rule in self.server.rules if re.search(pattern, path)), None)
        if rule is not None and self._abuse(path, *rule):
            return
        file = self.server.folder / path
        if not file.is_file():
            self._head(404, 0)
            return
        self._file(path, file.read_bytes(), ranges=rule is None or rule[0] != "no ranges")

    def _file(self, path: str, data: bytes, *, ranges: bool = True) -> None:
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if ranges and span and int(span[1]) >= len(data):
            self._head(416, 0)
        elif ranges and span:
            start = int(span[1])
            self._head(206, len(data) - start, {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})
            self._body(path, data[start:])
        else:
            self._head(200, len(data))
            self._body(path, data)

    def _head(self, status: int, length: int | None, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        else:
            self.send_header("Connection", "close")
        for key, value in (more or {}).items():
            self.send_header(key, value)
        self.end_headers()

    def _body(self, path: str, data: bytes) -> None:
        self.wfile.write(data)
        self.server.sent[path] = self.server.sent.get(path, 0) + len(data)

    def _abuse(self, path: str, what: str, value: Any) -> bool:
        """True when it has answered; False: go on as a good server would."""
        if what == "late":
            time.sleep(value)
        if what in {"late", "no ranges"}:
            return False
        with suppress(OSError):
            getattr(self, f"_{what.replace(' ', '_')}")(path, value)
        return True

    def _whole(self, path: str) -> bytes:
        return (self.server.folder / path).read_bytes()

    def _bytes(self, path: str, value: bytes) -> None:  # these instead
        self._file(path, value)

    def _status(self, path: str, value: int) -> None:
        self._head(value, 0)

    def _cut(self, path: str, value: tuple[int, bool]) -> None:
        """Promises everything, sends so many bytes, hangs up; only once if told so."""
        count, once = value
        if once:
            self.server.rules = [rule for rule in self.server.rules if rule[1] != ("cut", value)]
        data = self._whole(path)
        self._head(200, len(data))
        self._body(path, data[:count])
        self.close_connection = True

    def _endless(self, path: str, value: Any) -> None:
        self._head(200, None)
        while not self.server.over.is_set():
            self._body(path, b"\0" * 65536)

    def _trickle(self, path: str, value: float) -> None:
        """A byte every ``value`` seconds."""
        data = self._whole(path)
        self._head(200, len(data))
        for byte in data:
            self._body(path, bytes([byte]))
            if self.server.over.wait(value):
                break

    def _silent(self, path: str, value: Any) -> None:
        self.server.over.wait(60)

    def _slow_head(self, path: str, value: float) -> None:
        """Headers that never end."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(100_000):
            self.wfile.write(b"X-More: to come\r\n")
            if self.server.over.wait(value):
                break

    def _wrong_range(self, path: str, value: Any) -> None:
        data = self._whole(path)
        self._head(206, len(data), {"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"})
        self._body(path, data)

    def _redirect(self, path: str, value: str) -> None:
        self._head(302, 0, {"Location": value})


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server of a folder, for as long as it is needed."""
    server = Server(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
