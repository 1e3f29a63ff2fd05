"""Whoever reads what the engine says may be slow: no frame waits for him. Nor for the garbage collector."""

from __future__ import annotations

import dataclasses
import fcntl
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from station.bench import stages
from station.bench.soak import Stalls
from station.camera.video import VideoFile
from station.config import load
from station.engine.loop import Engine
from station.engine.observer import Observer
from station.engine.outlet import Outlet
from station.engine.words import MOST_WAITING, Words, say, spoken
from station.outbox import Outbox
from station.publish import Link, Publisher
from station.session import Session
from station.types import View
from tests.broker_fixture import free_port
from tests.engine.conftest import KnownRunner
from tests.engine.fake_camera import FakeCamera

#: The smallest pipe there is [bytes].
PIPE = 4096


@contextmanager
def unread_pipe() -> Iterator[tuple[int, TextIO]]:
    """A real pipe that is full and that nobody reads: the reading end, and the stream into it."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE)
    os.write(writing, b"x" * PIPE)
    stream = os.fdopen(writing, "w")
    try:
        yield reading, stream
    finally:
        drain = threading.Thread(target=_read_all, args=(reading,), daemon=True)  # or closing would wait for ever
        drain.start()
        stream.close()
        drain.join(5)


def _read_all(reading: int) -> bytes:
    heard = b""
    while part := os.read(reading, 65536):
        heard += part
    os.close(reading)
    return heard


def test_a_full_pipe_holds_nobody_up_and_what_was_lost_is_counted() -> None:
    with unread_pipe() as (reading, stream):
        words = Words(lambda: stream)
        began_s = time.monotonic()
        for number in range(MOST_WAITING + 300):
            words.write(f"line {number}\n")
        assert time.monotonic() - began_s < 2.0
        assert 250 <= words.lost <= 300  # one or a few are on their way
        heard = b""
        while f"line {MOST_WAITING - 1}\n".encode() not in heard:
            heard += os.read(reading, 65536)
        words.write("after\n")
        while b"after\n" not in heard:
            heard += os.read(reading, 65536)
        lines = heard.decode().lstrip("x").splitlines()
        lost = f"({words.lost} lines are missing here: whoever reads them was too slow)"
        assert sorted(lines[:2]) == sorted([lost, "line 0"])  # the thread held the first line already, or not yet
        assert lines[-1] == "after"
        words.close()


def test_the_last_words_wait_for_a_reader_but_not_for_ever() -> None:
    with unread_pipe() as (_, stream):
        words = Words(lambda: stream)
        words.write("never heard\n")
        began_s = time.monotonic()
        words.close(timeout_s=0.2)
        assert 0.1 < time.monotonic() - began_s < 5.0


def test_a_reader_who_is_gone_ends_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    words = Words(lambda: stream)
    words.write("to nobody\n")
    words.close()
    words.write("to nobody again\n")
    assert words.lost == 1
    with pytest.raises(BrokenPipeError):  # the words were in it: the reader was really gone
        stream.close()


def test_frames_go_on_while_standard_output_and_error_are_stuck(
    tmp_path: Path, view: View, runner: KnownRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every frame both says something and logs a warning, into pipes that nobody reads: not one frame is dropped."""
    log, frames = logging.getLogger("test.stuck"), 240
    with unread_pipe() as (_, out), unread_pipe() as (_, err):
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        outbox = Outbox(tmp_path / "outbox.db")
        publisher = Publisher(Link("127.0.0.1", free_port(), "hipline/v1/gym/tm-07"), outbox, version="1")
        camera = FakeCamera(view, pace_s=0.02, stalls_after=frames)

        def tick() -> None:
            say("a line on every frame, as long as such lines are " + "." * 60)
            log.warning("and a warning %s", "." * 60)
            if engine.frames + engine.frames_lost >= frames:
                engine.stop()

        outlet = Outlet(publisher, view, "tm-07", live=True)
        engine = Engine(camera, Observer(runner, view), Session(view), publisher, outlet, tick=tick)
        threading.Timer(60.0, engine.stop).start()
        with spoken() as journal:
            engine.run()
        assert journal.news() is not None or engine.frames  # the setup page has heard of them all the same
        publisher.close()
        outbox.close()
    assert engine.frames + engine.frames_lost >= frames, "the engine was stuck"
    assert engine.frames_lost <= frames // 20  # a busy machine may miss some of 50 a second, a stuck one misses all


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_garbage_collector_never_takes_ten_milliseconds() -> None:
    """A minute of the whole path on real frames, CPU time of each collection (a busy machine is not its fault)."""
    config = load(None, ["pose.threads=1"])
    video = VideoFile(stages.source_of(config), config.camera.mount)
    path = stages.StationPath(config, video.view, 10)
    ready = [frame for frame, _ in stages.decoded(video, 300)]
    video.close()
    gc.collect()
    gc.freeze()  # as the engine does
    frames, stalls = 1800, Stalls(clock=time.thread_time)
    try:
        with stalls:
            for number in range(frames):
                path.step(dataclasses.replace(ready[number % len(ready)], t_s=number / video.view.fps))
                gc.collect()  # the largest there can be
    finally:
        gc.unfreeze()
    assert stalls.count >= 2, "no collection was seen: the test sees nothing"
    assert stalls.longest_ms < 10.0
