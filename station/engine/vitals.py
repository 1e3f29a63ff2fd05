"""How the station is doing, gathered for ``health``; and what it gives up when it is hot or slow."""

from __future__ import annotations

import time
from collections.abc import Callable

from station import wire
from station.camera import Camera
from station.camera.look import Look
from station.engine.degrade import Degrader, Step
from station.engine.observer import Observer
from station.engine.outlet import Outlet
from station.health import Rate, Timings, rss_mb, temperature_c, throttled
from station.publish import LinkStats
from station.types import Frame, Pose


class Vitals:
    """Watches the frames go by; :meth:`health` says it all every few seconds and acts on it.

    ``temp_c`` and ``slowed`` are the machine's thermometer and its word on throttling.
    """

    def __init__(
        self,
        camera: Camera,
        observer: Observer,
        outlet: Outlet,
        *,
        say: Callable[[str], None] = lambda _line: None,
        clock: Callable[[], float] = time.monotonic,
        temp_c: Callable[[], float | None] = temperature_c,
        slowed: Callable[[], bool | None] = throttled,
    ) -> None:
        self._camera, self._observer, self._outlet = camera, observer, outlet
        self._say, self._clock, self._temp_c, self._slowed = say, clock, temp_c, slowed
        self._look, self._degrader = Look(), Degrader()
        self._rate_in, self._rate_out = Rate(clock), Rate(clock)
        self._before = (0, 0)
        self.kernel_times, self.publish_times = Timings(), Timings()

    def note(self, frame: Frame, pose: Pose | None) -> None:
        """One frame went all the way."""
        exposure = self._camera.exposure
        self._look.note(frame, pose, exposure.gain if exposure else None)

    def health(self, captured: int, processed: int, lost: int, link: LinkStats) -> wire.JsonObject:
        """The payload of ``health``, given the running counts of frames; degradation follows it."""
        temp_c, slowed = self._temp_c(), self._slowed()
        step = self._degrade(captured, lost, temp_c, slowed)
        return wire.health_json(
            fps_in=self._rate_in.since_last(captured),
            fps_out=self._rate_out.since_last(processed),
            dropped=lost,
            pose_ms=self._observer.pose_times.percentiles(),
            pelvis_ms=self._observer.pelvis_times.percentiles(),
            kernel_ms=self.kernel_times.percentiles(),
            publish_ms=self.publish_times.percentiles(),
            outbox=link.waiting,
            lost=link.lost,
            temp_c=temp_c,
            throttled=slowed,
            rss_mb=rss_mb(),
            camera=self._picture(),
            degraded={"step": step.name, "cause": self._degrader.cause},
        )

    def _degrade(self, captured: int, lost: int, temp_c: float | None, slowed: bool | None) -> Step:
        seen, dropped = captured - self._before[0], lost - self._before[1]
        self._before = (captured, lost)
        before = self._degrader.step
        share = dropped / seen if seen > 0 else None
        step = self._degrader.update(self._clock(), temp_c=temp_c, throttled=slowed, dropped_share=share)
        if step is not before:
            self._outlet.live_hz = step.live_hz
            self._observer.ease(step.pose_every)
            self._say(
                f"load     {self._degrader.cause or 'well again'}: page {step.live_hz:g} a second, "
                f"pose on every {'frame' if self._observer.pose_every == 1 else 'second frame'}"
            )
        return step

    def _picture(self) -> dict[str, object]:
        seen, exposure = self._look.judgement, self._camera.exposure
        return {
            "light": seen.light,
            "blur": seen.blur,
            "framing": seen.framing,
            "dirty": seen.dirty,
            "calibrated": self._camera.view.mount.focal_px is not None,
            "luma": seen.luma,
            "flicker": seen.flicker,
            "hints": list(seen.hints),
            "exposure_ms": exposure.exposure_ms if exposure else None,
            "gain": exposure.gain if exposure else None,
            "lux": exposure.lux if exposure else None,
            "locked": exposure.locked if exposure else None,
            "verified": self._observer.verified,
        }
