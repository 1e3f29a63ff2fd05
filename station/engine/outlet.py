"""What the kernel says, named and handed to the publisher: session tokens, wall labels, the rate of ``live``."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from station import wire
from station.types import Cue, Live, Output, Pose, SessionSummary, State, StrideMetrics, View
from station.wire import topics

#: Usual and highest rate of ``live`` [Hz]; a little room for jitter of the time stamps.
_LIVE_HZ = 30.0
_JITTER_S = 0.004
#: Sessions whose token is remembered: late strides and summaries refer to the newest ones only.
_TOKENS = 8


class Door(Protocol):
    """The part of :class:`station.publish.Publisher` that outputs go through; neither call ever waits."""

    def say(self, topic: str, payload: Mapping[str, Any]) -> None:
        """The newest counts: status, state, health, live."""

    def record(self, topic: str, payload: Mapping[str, Any]) -> object:
        """Nothing may be lost: stride, session, cue."""


class Outlet:
    """Turns outputs into messages. ``live`` = whether the broker is on this machine, which ``live`` must not leave.

    ``rules`` says what :func:`station.wire.rules_json` makes of the session; it goes out with every state.

    Sensor times become wall labels through the newest frame: what happened ``x`` seconds before it is labelled ``x``
    before now, so a step of the clock moves labels and nothing else.

    ``verified`` is what the records of ``station verify`` say of one estimator; it goes with the sessions that it
    measured.
    """

    def __init__(
        self,
        door: Door,
        view: View,
        station: str,
        *,
        live: bool,
        versions: Mapping[str, str | None] | None = None,
        verified: Mapping[str, object] | None = None,
        rules: Callable[[], Mapping[str, Any]] = dict,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._door, self._view, self._station = door, view, station
        self._live = live
        self._versions = versions or {}
        self._verified = verified
        self._rules = rules
        self._wall = wall
        self._now_s = 0.0  # sensor time of the newest frame
        self._live_s = float("-inf")
        self.live_hz = _LIVE_HZ  # the engine lowers it when the machine is hot or slow
        self._tokens: dict[int, str] = {}
        self._session: int | None = None
        self._frames_lost_before = 0
        self.state: State | None = None
        self.strides = 0

    def emit(self, outputs: tuple[Output, ...], t_s: float, pose: Pose | None = None, frames_lost: int = 0) -> None:
        """Send what became known with the frame of ``t_s``; ``frames_lost`` counts dropped frames since the start."""
        self._now_s = t_s
        live = Live(t_s, None, None, None, None)
        for output in outputs:
            if isinstance(output, Live):
                live = output
            elif isinstance(output, StrideMetrics):
                self._stride(output)
            elif isinstance(output, State):
                self._change(output, frames_lost)
            elif isinstance(output, Cue):
                self._door.record(topics.CUE, wire.cue_json(output, self.token or ""))
            elif isinstance(output, SessionSummary):
                self._summary(output, frames_lost)
        if self.state is None:
            self._change(State("idle", t_s), frames_lost)  # until the kernel says otherwise
        if self._live and pose is not None and t_s - self._live_s >= 1.0 / self.live_hz - _JITTER_S:
            self._live_s = t_s
            self._door.say(topics.LIVE, wire.live_json(live, pose, self._view))

    @property
    def token(self) -> str | None:
        """The random name of the newest session; ``None`` before the first."""
        return None if self._session is None else self._tokens[self._session]

    @property
    def running(self) -> str | None:
        """The token of the session that is on now; ``None`` between sessions."""
        return self.token if self.state is not None and self.state.session is not None else None

    def state_again(self) -> None:
        """Say the state once more: the rules have changed."""
        if self.state is not None:
            self._change(self.state, 0)

    def camera_lost(self) -> None:
        """Tell that no frames come any more."""
        self._change(State("camera_lost", self._now_s, self._session if self.running else None), 0)

    def _stride(self, stride: StrideMetrics) -> None:
        token = self.token
        if token is None:
            return  # outside a session nothing of a runner is published
        self.strides += 1
        label = self._label(stride.stride.end_s)
        self._door.record(topics.STRIDE, wire.stride_json(stride, self._station, token, label))

    def _change(self, state: State, frames_lost: int) -> None:
        if state.session is not None and state.session != self._session:
            self._session = state.session
            self._tokens[state.session] = secrets.token_hex(4)
            self._frames_lost_before = frames_lost
            while len(self._tokens) > _TOKENS:
                self._tokens.pop(next(iter(self._tokens)))
        self.state = state
        token = None if state.session is None else self._tokens[state.session]
        self._door.say(topics.STATE, wire.state_json(state, token, self._label(state.since_s), self._rules()))

    def _summary(self, summary: SessionSummary, frames_lost: int) -> None:
        token = self.token
        if token is None:
            return
        payload = wire.session_json(
            summary,
            self._station,
            token,
            self._label(summary.start_s),
            versions=self._versions,
            frames_dropped=max(0, frames_lost - self._frames_lost_before),
            verified=self._checked(summary),
        )
        self._door.record(topics.SESSION, payload)

    def _checked(self, summary: SessionSummary) -> Mapping[str, object] | None:
        sources = {metric.source for metric in summary.metrics.values()}
        return self._verified if self._verified and self._verified.get("estimator") in sources else None

    def _label(self, t_s: float) -> str:
        return wire.wall_label(self._wall() - (self._now_s - t_s))
