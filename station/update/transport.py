"""Bytes from an update source: a web server or a folder (a USB stick). Trusts nobody with time, size or order.

What arrives is not believed here, only bounded: every wait ends, every stream has a cap, and a sender slower than the
floor is left. Whether the bytes are the right ones is decided where their hash is known.
"""

from __future__ import annotations

import os
import queue
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import urllib3

from station.errors import UpdateError

CHUNK = 1 << 16
_ABSENT = {403, 404, 410}
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15}|\*)")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how slowly a source may answer, and how much disk must stay free."""

    #: One read of the network may take this long.
    gap_s: float = 30.0
    #: Over each window, at least so many bytes must arrive.
    window_s: float = 60.0
    floor_bytes_per_s: float = 512.0
    #: All the metadata of a check; all the files of a download (what came is kept, the next try goes on from there).
    check_s: float = 300.0
    download_s: float = 4 * 3600.0
    #: How often one file is asked for before the download gives up, and the pause between.
    tries: int = 5
    pause_s: float = 2.0
    #: Left free on the disk beside all that an update needs.
    reserve_bytes: int = 200_000_000


class AbsentError(Exception):
    """The source says that it has no such file."""


class InterruptedStreamError(Exception):
    """The stream broke off or could not be opened; asking again may help. ``str()`` says how."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A part of a file, from byte ``start`` (0 if the source does not know how to resume) to its end."""

    start: int
    chunks: Iterator[bytes]


class Source(Protocol):
    """Where a repository lies. ``name`` is what messages call it."""

    name: str

    def open(self, path: str, offset: int = 0) -> Stream:
        """The file at ``path`` (``metadata/…`` or ``targets/…``); may block, see :func:`paced`."""
        ...


class Folder:
    """A repository in a folder: a mounted USB stick, or what was pushed here."""

    def __init__(self, folder: Path) -> None:
        self.name, self._folder = str(folder), folder

    def open(self, path: str, offset: int = 0) -> Stream:
        """See :class:`Source`."""
        try:
            # Not to be held up by a pipe that somebody put there.
            handle = os.open(self._folder / path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            if not self._folder.is_dir():
                raise UpdateError(f"update source {self.name}: no such folder; is the stick mounted?") from None
            raise AbsentError(path) from None
        except OSError as error:
            raise InterruptedStreamError(f"{path}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise AbsentError(path)
        return Stream(offset, self._chunks(handle, offset))

    @staticmethod
    def _chunks(handle: int, offset: int) -> Iterator[bytes]:
        with open(handle, "rb") as file:
            try:
                file.seek(offset)
                while chunk := file.read(CHUNK):
                    yield chunk
            except OSError as error:
                raise InterruptedStreamError(str(error.strerror)) from error


class Web:
    """A repository behind any web server that serves files. Proxies are those of the environment."""

    def __init__(self, url: str, gap_s: float) -> None:
        self.name = url
        self._url = url.rstrip("/")
        timeout = urllib3.Timeout(connect=gap_s, read=gap_s)
        proxy = _proxy(self._url)
        self._pool: urllib3.PoolManager = (
            urllib3.ProxyManager(proxy, timeout=timeout) if proxy else urllib3.PoolManager(timeout=timeout)
        )

    def open(self, path: str, offset: int = 0) -> Stream:
        """See :class:`Source`."""
        headers = {"User-Agent": "hipline-station", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        try:
            response = self._pool.request(
                "GET", f"{self._url}/{path}", headers=headers, preload_content=False, decode_content=False,
                retries=urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=3),
            )  # fmt: skip
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise InterruptedStreamError(_plain(error)) from error
        if response.status in _ABSENT:
            response.close()
            raise AbsentError(path)
        if response.status == 416 and offset:  # what we have is no beginning of what is there
            response.close()
            return self.open(path)
        if response.status not in {200, 206}:
            response.close()
            raise InterruptedStreamError(f"answered {response.status}")
        return Stream(_start(response, offset), self._chunks(response))

    @staticmethod
    def _chunks(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        try:
            # read1, not read: what a slow line has brought counts at once.
            while chunk := response.read1(CHUNK):
                yield chunk
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise InterruptedStreamError(_plain(error)) from error
        finally:
            response.close()


def _proxy(url: str) -> str | None:
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415  # slow to import, needed once

    parts = urllib3.util.parse_url(url)
    if not parts.host or proxy_bypass(parts.host):
        return None
    return getproxies().get(parts.scheme or "http")


def _start(response: urllib3.BaseHTTPResponse, offset: int) -> int:
    if response.status == 200:
        return 0
    span = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if span is None or int(span[1]) != offset:
        response.close()
        raise InterruptedStreamError("answered with a part that was not asked for")
    return offset


def _plain(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return f"{type(reason).__name__}: {str(reason)[:160]}"


def source_of(text: str, limits: Limits) -> Source:
    """The source a configuration names: ``http://…``, ``https://…`` or a folder."""
    scheme = text.partition("://")[0] if "://" in text else ""
    if scheme in {"http", "https"}:
        return Web(text, limits.gap_s)
    if scheme or not text:
        raise UpdateError(f"update source {text!r}: give an http(s) address or a folder")
    return Folder(Path(text))


class Pace:
    """The clock of one check or one download: how long it has been at it, and how much came in the present window."""

    def __init__(self, limits: Limits, total_s: float, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._name, self._clock = limits, name, clock
        self._total_s = total_s
        self._end_s = clock() + total_s
        self._window_end_s, self._bytes = 0.0, 0
        self.restart()

    def restart(self) -> None:
        """A new request begins: its window, too."""
        self._window_end_s, self._bytes = self._clock() + self._limits.window_s, 0

    def wait_s(self) -> float:
        """How long there is to wait before the next check."""
        return max(0.01, min(self._window_end_s, self._end_s) - self._clock())

    def check(self, more: int = 0) -> None:
        """``more`` bytes came. Raises :class:`~station.errors.UpdateError` when it is too slow or takes too long."""
        now_s = self._clock()
        self._bytes += more
        if now_s >= self._end_s:
            raise UpdateError(
                f"update source {self._name}: not done after {self._total_s:.0f} s; left for the next try"
            )
        if now_s >= self._window_end_s:
            floor = self._limits.floor_bytes_per_s
            if self._bytes < floor * self._limits.window_s:
                raise UpdateError(
                    f"update source {self._name}: slower than {floor:.0f} bytes/s for {self._limits.window_s:.0f} s; "
                    "left for the next try"
                )
            self.restart()


@contextmanager
def paced(source: Source, path: str, offset: int, pace: Pace) -> Iterator[Stream]:
    """A stream of ``source`` whose every wait is bounded by ``pace``, whatever the other side does.

    The blocking reads happen in a thread of their own: a server that dribbles headers byte by byte defeats every
    timeout of a socket, but not the clock of the thread that waits here. Errors are those of ``source.open`` and of
    :meth:`Pace.check`.
    """
    pipe: queue.Queue[Stream | bytes | Exception | None] = queue.Queue(maxsize=8)
    gone = threading.Event()

    def put(item: Stream | bytes | Exception | None) -> None:
        while not gone.is_set():
            with suppress(queue.Full):
                pipe.put(item, timeout=0.2)
                return

    def pump() -> None:
        try:
            stream = source.open(path, offset)
            put(stream)
            for chunk in stream.chunks:
                put(chunk)
                if gone.is_set():
                    break
            put(None)
        except Exception as error:  # handed over to whoever waits
            put(error)

    def take() -> Stream | bytes | None:
        while True:
            try:
                item = pipe.get(timeout=pace.wait_s())
            except queue.Empty:
                pace.check()
                continue
            if isinstance(item, Exception):
                raise item
            return item

    def chunks() -> Iterator[bytes]:
        while (item := take()) is not None:
            assert isinstance(item, bytes)
            pace.check(len(item))
            yield item

    pace.restart()
    threading.Thread(target=pump, name=f"fetch {path}", daemon=True).start()
    try:
        first = take()
        assert isinstance(first, Stream)
        yield Stream(first.start, chunks())
    finally:
        gone.set()
