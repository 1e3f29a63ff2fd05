"""A working camera without glass: it records what was done to it and can fail on demand."""

from __future__ import annotations

import threading
import time

import numpy as np

from station.camera.exposure import Exposure
from station.errors import CameraError
from station.types import Frame, View


class FakeCamera:
    """Grey frames whose times go by ``fps``, one every ``pace_s`` of real time.

    ``ends_after`` frames: the end; ``dies_after``: CameraError; ``stalls_after``: silence. ``log`` holds (monotonic
    seconds, what was called); ``given`` counts the frames handed out.
    """

    def __init__(
        self,
        view: View | None = None,
        *,
        pace_s: float = 0.0,
        ends_after: int | None = None,
        dies_after: int | None = None,
        stalls_after: int | None = None,
        start_s: float = 1000.0,
    ) -> None:
        self._view = view or View(64, 48, 30.0)
        self._pace_s, self._start_s = pace_s, start_s
        self._ends_after, self._dies_after, self._stalls_after = ends_after, dies_after, stalls_after
        self._closed = threading.Event()
        self.given = 0
        self.log: list[tuple[float, str]] = []

    @property
    def name(self) -> str:
        return "fake camera"

    @property
    def view(self) -> View:
        return self._view

    @property
    def exposure(self) -> Exposure:
        return Exposure(3.9, 2.0, 400.0, locked=True)

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def read(self) -> Frame | None:
        self.log.append((time.monotonic(), "read"))
        if self.closed or self.given == self._ends_after:
            return None
        if self.given == self._dies_after:
            raise CameraError("fake camera: pulled out")
        if self.given == self._stalls_after:
            self._closed.wait()
            return None
        if self._pace_s:
            self._closed.wait(self._pace_s)
        image = np.full((self._view.height_px * 3 // 2, self._view.width_px), 90, np.uint8)
        frame = Frame(self._start_s + self.given / self._view.fps, self.given, image, "yuv420")
        self.given += 1
        return frame

    def close(self) -> None:
        self.log.append((time.monotonic(), "close"))
        self._closed.set()
