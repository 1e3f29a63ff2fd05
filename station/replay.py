"""``station replay``: every frame of a recording through the same code as ``run``, strides to standard output."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from station import wire
from station.camera import frames
from station.camera.video import VideoFile
from station.config import MOUNT_KEYS, Config
from station.errors import HiplineError, SourceError
from station.session import Session, SessionSettings
from station.types import Observation, Output, SessionSummary, StrideMetrics, View

_PROGRESS_EVERY_S = 2.0


def replay(source: Path, config: Config, track: Path | None = None, plot: Path | None = None) -> int:
    """Replay a video or a pose track; strides go to standard output, everything else to standard error.

    ``track`` also writes the pose track (whole or not at all), ``plot`` draws a picture of the run. Returns 0. Raises
    :class:`SourceError` (its file and line named) after writing every stride that was complete before the fault.
    """
    if plot is not None:
        _check_plot(plot)
    recording = open_recording(source, config)
    collected: list[Output] | None = [] if plot is not None else None
    with recording, _track_writer(track, recording.view) as writer:
        for output in _run(recording, config, writer):
            if isinstance(output, StrideMetrics):
                _print_stride(output)
            if collected is not None:
                collected.append(output)
    recording.report()
    if plot is not None and collected is not None:
        _draw(collected, plot)
    return 0


def _run(recording: Recording, config: Config, writer: wire.TrackWriter | None) -> Iterator[Output]:
    """What the kernel says to a recording; a fault in it is raised after what was pending came out."""
    settings = SessionSettings(auto_start=True, profile=config.session.profile, coach=config.coach)
    session = Session(recording.view, settings)
    try:
        for observation in recording:
            if writer is not None:
                writer.write(observation)
            outputs = session.feed(observation)
            recording.note(outputs)
            yield from outputs
    except SourceError:
        yield from session.finish()
        raise
    outputs = session.finish()
    recording.note(outputs)
    yield from outputs


class Recording:
    """A recording being replayed: its view, its observations once, and what was seen in it."""

    def __init__(self, name: Path, view: View, observations: Iterable[Observation], total: int | None = None) -> None:
        self.name, self.view = name, view
        self._observations = observations
        self._total = total
        self._frames = self._with_someone = self._strides = self._rejected = 0
        self._first_s = self._last_s = 0.0
        self._began_s = self._told_s = time.monotonic()
        self._close = contextlib.ExitStack()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self._close.close()

    def closing(self, camera: VideoFile) -> Recording:
        """Close ``camera`` at the end."""
        self._close.callback(camera.close)
        return self

    def __iter__(self) -> Iterator[Observation]:
        for observation in self._observations:
            if not self._frames:
                self._first_s = observation.t_s
            self._frames += 1
            self._last_s = observation.t_s
            self._with_someone += observation.pose is not None and observation.pose.someone
            yield observation
            self._progress()

    def note(self, outputs: tuple[Output, ...]) -> None:
        """Count the strides among ``outputs``."""
        for output in outputs:
            if isinstance(output, StrideMetrics):
                self._strides += 1
                self._rejected += output.status != "ok"

    def _progress(self) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= _PROGRESS_EVERY_S:
            self._told_s = now_s
            of = f" of {self._total}" if self._total else ""
            tell(f"{self._frames}{of} frames, {self._frames / (now_s - self._began_s):.0f} a second")

    def report(self) -> None:
        """Say what was replayed and what was found."""
        took_s = max(1e-9, time.monotonic() - self._began_s)
        seen = 100.0 * self._with_someone / max(1, self._frames)
        tell(
            f"{self._frames} frames ({self._last_s - self._first_s:.1f} s) in {took_s:.1f} s, "
            f"{self._frames / took_s:.0f} a second; runner found in {seen:.1f} %; "
            f"{self._strides} strides, {self._rejected} of them rejected"
        )


def tell(line: str) -> None:
    """A line for people, on standard error."""
    print(f"replay: {line}", file=sys.stderr, flush=True)


def open_recording(source: Path, config: Config) -> Recording:
    """A video or a pose track, told apart by content. Mount keys of the configuration win over a track's header.

    Raises :class:`SourceError` for what is neither, :class:`ModelError` when a video finds no pose model.
    """
    if is_track(source):
        view, observations = wire.read_track(source)
        return Recording(source, with_mount(view, config), observations)
    # the pose stage is loaded for videos only: a track needs neither models nor interpreter
    from station.engine.observer import Observer, load_pose  # noqa: PLC0415
    from station.engine.pelvis import load_pelvis  # noqa: PLC0415

    video = VideoFile(source, config.camera.mount)
    observer = Observer(load_pose(config, tell), video.view, load_pelvis(config, video.view))
    tell(video.name)
    seen = (observer.observe(frame) for frame in frames(video))
    return Recording(source, video.view, seen, video.frame_count).closing(video)


def is_track(source: Path) -> bool:
    """Whether a file begins like JSON: no video does. A file that cannot be read is left to the video's error."""
    if not source.is_file():
        return False
    try:
        with source.open("rb") as file:
            start = file.read(64)
    except OSError:
        return False
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"


def with_mount(view: View, config: Config) -> View:
    """``view`` with the mount keys that the configuration sets."""
    chosen = {key: getattr(config.camera, key) for key in MOUNT_KEYS}
    known = {key: value for key, value in chosen.items() if value is not None}
    return dataclasses.replace(view, mount=dataclasses.replace(view.mount, **known))


def _print_stride(stride: StrideMetrics) -> None:
    line = wire.dumps(wire.stride_json(stride, wire.REPLAY, wire.REPLAY, None))
    try:
        print(line, flush=True)  # stride by stride, so that a reader in a pipe sees them as they come
    except BrokenPipeError:
        raise
    except OSError as error:
        raise HiplineError(f"standard output: cannot be written ({error.strerror}); free some space") from None


@contextlib.contextmanager
def _track_writer(path: Path | None, view: View) -> Iterator[wire.TrackWriter | None]:
    """A writer whose file appears under ``path`` when all went well, and not at all otherwise."""
    if path is None:
        yield None
        return
    where = "choose another place for --track"
    if path.exists() and not path.is_file() and not path.is_dir():  # a pipe or /dev/null must not be replaced by a file
        with path.open("w", encoding="utf-8", newline="\n") as file:
            yield wire.TrackWriter(file, view)
        return
    path = path.resolve()  # through a link to the file it means
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise SourceError(f"{path}: cannot be written ({error.strerror}); {where}") from None
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            yield wire.TrackWriter(file, view)
            _flush_to_disk(file)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SourceError(f"{path}: cannot be written ({error.strerror}); {where}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _flush_to_disk(file: TextIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _check_plot(path: Path) -> None:
    """Fail before the work, not after it, when there is nothing to draw with or nowhere to put it."""
    if not path.parent.is_dir() or path.is_dir():
        raise SourceError(f"{path}: cannot be written; choose another place for --plot")
    for module, mend in (
        ("station.plot", "not in this version"),
        ("matplotlib", "pip install 'hipline-station[plot]'"),
    ):
        if importlib.util.find_spec(module) is None:
            raise HiplineError(f"--plot needs {module}: {mend}")


def _draw(outputs: list[Output], path: Path) -> None:
    plot: Any = importlib.import_module("station.plot")  # matplotlib takes a second to load
    strides = [output for output in outputs if isinstance(output, StrideMetrics)]
    summaries = [output for output in outputs if isinstance(output, SessionSummary)]
    summary = max(summaries, key=lambda session: session.strides, default=None)  # of several runs the longest
    plot.draw(strides, summary, path)
    tell(f"drew {path}")
