"""The pure core behind one door: observations in, strides, events, states and cues out."""

from __future__ import annotations

from dataclasses import dataclass

from station.types import Observation, Output, View


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What the kernel may be told beforehand."""

    auto_start: bool = True
    profile: str | None = None


class Session:
    """Feed it every frame in time order; it answers with what became known."""

    def __init__(self, view: View, settings: SessionSettings | None = None) -> None:
        self.view = view
        self.settings = settings or SessionSettings()

    def feed(self, observation: Observation) -> tuple[Output, ...]:  # noqa: ARG002
        """What this frame made known."""
        return ()

    def finish(self) -> tuple[Output, ...]:
        """What was still pending when the recording ended or the runner left."""
        return ()
