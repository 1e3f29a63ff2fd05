"""The frame loop: capture thread → newest frame → pose → kernel → outlet, with health, watchdog and commands."""

from __future__ import annotations

import gc
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from station.camera import Camera
from station.engine.chores import Chores, Outcome
from station.engine.journal import Journal
from station.engine.observer import Observer
from station.engine.outlet import Outlet
from station.engine.vitals import Vitals
from station.errors import CameraError
from station.health import Supervisor
from station.mailbox import Latest
from station.publish import Command, Publisher
from station.session import Session
from station.types import Frame, Output
from station.wire import topics
from station.wire.commands import RefusedError

#: A camera that gives no frame for this long counts as lost.
STALL_S = 5.0
HEALTH_EVERY_S = 5.0
#: Commands that wait for the next frame; more are refused.
_MAX_COMMANDS = 32


class Engine:
    """Runs until :meth:`stop`, or raises :class:`CameraError` when the camera is gone.

    One thread captures, the caller's thread does everything else. Frames that inference has no time for are dropped and
    counted (newest wins); nothing here waits for network or disk. ``tick`` is called between frames, at least four
    times a second, and may raise to end the engine.
    """

    def __init__(
        self,
        camera: Camera,
        observer: Observer,
        session: Session,
        publisher: Publisher,
        outlet: Outlet,
        *,
        inbox: Inbox | None = None,
        chores: Chores | None = None,
        journal: Journal | None = None,
        supervisor: Supervisor | None = None,
        tick: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda _line: None,
        stall_s: float = STALL_S,
    ) -> None:
        self._camera, self._observer, self._session = camera, observer, session
        self._publisher, self._outlet = publisher, outlet
        self._supervisor = supervisor or Supervisor()
        self._tick, self._say = tick, say
        self._stall_s = stall_s
        self._latest: Latest[Frame] = Latest()
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._captured = 0
        self._processed = 0
        self._t_s = 0.0
        self._vitals = Vitals(camera, observer, outlet, say=say)
        self._inbox = inbox or Inbox()
        self._chores = chores or Chores()
        self._journal = journal or Journal()

    @property
    def frames(self) -> int:
        """Frames processed so far."""
        return self._processed

    @property
    def frames_lost(self) -> int:
        """Frames that a newer one replaced before anybody looked at them."""
        return self._latest.lost

    def stop(self) -> None:
        """End the loop soon; may be called from a signal handler or another thread."""
        self._stop.set()

    def run(self) -> None:
        """Process frames until stopped. What the kernel still holds is sent before this returns or raises."""
        # what is loaded stays: the garbage collector need not walk all of it again while frames wait
        gc.collect()
        gc.freeze()
        capture = threading.Thread(target=self._capture, name="capture", daemon=True)
        capture.start()
        try:
            self._loop()
            self._supervisor.stopping("asked to stop")
            self._emit(self._session.finish())
        except CameraError as error:
            self._supervisor.stopping(str(error))
            self._emit(self._session.finish())
            self._outlet.camera_lost()
            self._journal.note(str(error), "error")
            raise
        finally:
            self._publish_log()
            self._stop.set()
            self._latest.close()
            capture.join(timeout=2.0)
            if not capture.is_alive():  # a camera that hangs cannot be closed: the end of the process frees it
                self._camera.close()

    def _capture(self) -> None:
        try:
            while not self._stop.is_set():
                frame = self._camera.read()
                if frame is None:
                    break
                self._captured += 1
                self._latest.put(frame)
        except Exception as error:  # not handled here: the main thread raises it again
            self._failure = error
        finally:
            self._latest.close()

    def _loop(self) -> None:
        newest_s = health_s = time.monotonic()
        while not self._stop.is_set():
            frame = self._latest.take(timeout_s=0.25)
            now_s = time.monotonic()
            if frame is not None:
                newest_s = now_s
                self._process(frame)
            elif not self._stop.is_set():
                self._check_camera(now_s - newest_s)
            if now_s - health_s >= HEALTH_EVERY_S:
                health_s = now_s
                self._publish_health()
                self._publish_log()
            self._tick()

    def _check_camera(self, silent_s: float) -> None:
        if self._failure is not None:
            raise self._failure
        if self._latest.closed:
            raise CameraError(f"{self._camera.name}: ended; a station needs a live source")
        if silent_s > self._stall_s:
            raise CameraError(f"{self._camera.name}: gave no frame for {silent_s:.0f} s; check its cable and power")

    def _process(self, frame: Frame) -> None:
        self._t_s = frame.t_s
        while (command := self._inbox.take()) is not None:
            self._emit(self._obey(command))
        if (ended := self._chores.ended()) is not None:
            self._report(*ended)
        observation = self._observer.observe(frame)
        start_s = time.perf_counter()
        outputs = self._session.feed(observation)
        said_s = time.perf_counter()
        self._outlet.emit(outputs, frame.t_s, observation.pose, self._latest.lost)
        self._vitals.kernel_times.add(said_s - start_s)
        self._vitals.publish_times.add(time.perf_counter() - said_s)
        self._processed += 1
        self._supervisor.frame_processed()
        self._vitals.note(frame, observation.pose)

    def _obey(self, command: Command) -> tuple[Output, ...]:
        """Do what was asked, answer, and return what the kernel said to it."""
        outputs: tuple[Output, ...] = ()
        if command.name == "erase":
            self._erase(command)
            return outputs
        if command.name == "start":
            outputs = self._session.start(self._t_s, command.args.get("profile"))
        elif command.name == "stop":
            outputs = self._session.stop(self._t_s)
        elif command.name == "baseline":
            outputs = self._session.baseline(self._t_s)
        elif command.name == "identify":
            self._say(f"identify: this is {self._camera.name}")
        else:
            reason = self._chores.begin(command)
            if reason is not None:
                self._publisher.answer(command, ok=False, reason=reason)
            return outputs
        self._publisher.answer(command, ok=True)
        return outputs

    def _report(self, command: Command, outcome: Outcome) -> None:
        """A chore is done: carry out what it found, and answer."""
        if outcome.settings is not None:
            self._session.adopt(outcome.settings)
            self._outlet.state_again()
        said = outcome.reason or ", ".join(f"{name} {value}" for name, value in outcome.details.items() if value)
        self._say(f"{command.name}: {said or 'nothing to do'}")
        ok = outcome.reason is None
        self._publisher.answer(command, ok=ok, reason=outcome.reason, details=outcome.details)

    def _erase(self, command: Command) -> None:
        """Forget a session; the answer comes when the disk has forgotten it."""
        token = str(command.args["session"])
        if token == self._outlet.running:
            self._publisher.answer(command, ok=False, reason="this session is running: stop it first")
            return

        def answer(done: Future[bool]) -> None:
            error = done.exception()
            self._publisher.answer(command, ok=error is None, reason=None if error is None else str(error))

        self._publisher.erase(token).add_done_callback(answer)

    def _emit(self, outputs: tuple[Output, ...]) -> None:
        if outputs:
            self._outlet.emit(outputs, self._t_s, None, self._latest.lost)

    def _publish_log(self) -> None:
        lines = self._journal.news()
        if lines is not None:
            self._publisher.say(topics.LOG, lines)

    def _publish_health(self) -> None:
        health = self._vitals.health(self._captured, self._processed, self._latest.lost, self._publisher.stats())
        self._publisher.say(topics.HEALTH, health)


class Inbox:
    """Commands from ``cmd/<name>`` on their way to the next frame: the publisher's thread puts, the engine takes."""

    def __init__(self) -> None:
        self._waiting: deque[Command] = deque()
        #: Commands there was no room for; each was told so.
        self.refused = 0

    def put(self, command: Command) -> None:
        """Take a command; :class:`RefusedError` (the publisher tells its sender) when too many wait already."""
        if len(self._waiting) >= _MAX_COMMANDS:
            self.refused += 1
            raise RefusedError(f"{_MAX_COMMANDS} commands wait already: try again in a moment")
        self._waiting.append(command)

    def take(self) -> Command | None:
        """The oldest command that waits."""
        return self._waiting.popleft() if self._waiting else None
