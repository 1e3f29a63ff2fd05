"""Exposure, white balance and focus of a Pi camera: let them settle, then hold them. Decisions only, no camera here.

While they settle libcamera's own automatics run. What they found is then turned into a short exposure and the gain that
makes up for it, and nothing moves any more: a brightness that hunts looks like motion. Later the gain follows the light
in rare, plain steps, by the light meter that goes on measuring while the automatics are off.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Exposures are no longer than this: longer ones smear the swing foot (hardware.md has the sum).
CAP_MS = 4.0
#: Settled: the exposure changed by less than this over so many frames; and never waited for longer than this.
_STEADY_SHARE, _STEADY_FRAMES, _PATIENCE_S = 0.03, 12, 4.0
#: The light moved: off by this factor for this long. Between lamps switched and clouds passing.
_MOVED, _MOVED_S = 1.5, 10.0

#: libcamera's numbers: AfMode manual, auto; AfTrigger start; AeExposureMode short; the AfState "still looking".
_AF_MANUAL, _AF_AUTO, _AF_START, _AE_SHORT, _AF_SCANNING = 0, 1, 0, 1, 1


@dataclass(frozen=True, slots=True)
class Exposure:
    """What the sensor did for the newest frame; ``None`` = it does not say. ``locked``: the automatics are off."""

    exposure_ms: float | None
    gain: float | None
    lux: float | None
    locked: bool


class ExposureKeeper:
    """Says which controls to set, given the metadata of each frame.

    ``offers`` are the controls that the camera has, with (lowest, highest, usual); what it lacks is not asked of it.
    ``focus_m`` is the runner's distance: with it the lens is set at once instead of searched for.
    """

    def __init__(
        self,
        offers: Mapping[str, tuple[Any, Any, Any]],
        frame_us: int,
        *,
        cap_ms: float = CAP_MS,
        focus_m: float | None = None,
    ) -> None:
        self._offers = offers
        self._frame_us = frame_us
        self._cap_us = min(cap_ms * 1000.0, frame_us)
        self._focus_m = focus_m
        self._totals: deque[float] = deque(maxlen=_STEADY_FRAMES)
        self._begun_s: float | None = None
        self._locked = not {"ExposureTime", "AnalogueGain"} <= set(offers)
        self._lux: float | None = None  # when the gain was set last
        self._total_us = 0.0
        self._moved_since_s: float | None = None
        self.seen = Exposure(None, None, None, False)

    def at_start(self) -> dict[str, Any]:
        """Controls for the configuration: the frame rate, the automatics on, the lens where the runner is."""
        wanted: dict[str, Any] = {
            "FrameDurationLimits": (self._frame_us, self._frame_us),
            "AeEnable": True,
            "AeExposureMode": _AE_SHORT,
            "AwbEnable": True,
        }
        if self._focus_m is not None and "LensPosition" in self._offers:
            wanted |= {"AfMode": _AF_MANUAL, "LensPosition": 1.0 / self._focus_m}
        else:
            wanted |= {"AfMode": _AF_AUTO, "AfTrigger": _AF_START}
        return {name: value for name, value in wanted.items() if name in self._offers}

    def note(self, t_s: float, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Controls to set now, mostly none, given what libcamera says of the frame of ``t_s``."""
        exposure_us, gain = _number(metadata, "ExposureTime"), _number(metadata, "AnalogueGain")
        lux = _number(metadata, "Lux")
        locked = self._locked and "ExposureTime" in self._offers
        self.seen = Exposure(None if exposure_us is None else exposure_us / 1000.0, gain, lux, locked)
        if exposure_us is None or gain is None:
            return {}
        if self._locked:
            return self._follow(t_s, lux)
        if self._begun_s is None:
            self._begun_s = t_s
        self._totals.append(exposure_us * gain * (_number(metadata, "DigitalGain") or 1.0))
        return self._hold(metadata) if self._settled(t_s, metadata) else {}

    def _settled(self, t_s: float, metadata: Mapping[str, Any]) -> bool:
        if self._begun_s is not None and t_s - self._begun_s >= _PATIENCE_S:
            return True
        full = len(self._totals) == self._totals.maxlen
        steady = full and max(self._totals) <= (1 + _STEADY_SHARE) * min(self._totals)
        return steady and metadata.get("AfState") != _AF_SCANNING

    def _hold(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        self._locked = True
        self._total_us = self._totals[-1]
        self._lux = _number(metadata, "Lux")
        held: dict[str, Any] = {"AeEnable": False, "AwbEnable": False, **self._split(self._total_us)}
        if metadata.get("ColourGains"):
            held["ColourGains"] = tuple(metadata["ColourGains"])
        if (lens := _number(metadata, "LensPosition")) is not None:
            held |= {"AfMode": _AF_MANUAL, "LensPosition": lens}
        return {name: value for name, value in held.items() if name in self._offers}

    def _split(self, total_us: float) -> dict[str, Any]:
        """Exposure times gain as a short exposure and what gain it takes; both within what the sensor has."""
        shortest = float(self._offers["ExposureTime"][0] or 1)
        least, most = (float(bound) for bound in self._offers["AnalogueGain"][:2])
        exposure_us = max(min(total_us / least, self._cap_us), shortest)
        return {"ExposureTime": round(exposure_us), "AnalogueGain": min(max(total_us / exposure_us, least), most)}

    def _follow(self, t_s: float, lux: float | None) -> dict[str, Any]:
        if lux is None or lux <= 0 or self._lux is None or self._lux <= 0:
            return {}
        if abs(math.log(lux / self._lux)) < math.log(_MOVED):
            self._moved_since_s = None
            return {}
        if self._moved_since_s is None:
            self._moved_since_s = t_s
        if t_s - self._moved_since_s < _MOVED_S:
            return {}
        self._moved_since_s = None
        self._total_us *= self._lux / lux
        self._lux = lux
        return self._split(self._total_us)


def _number(metadata: Mapping[str, Any], name: str) -> float | None:
    value = metadata.get(name)
    return None if value is None else float(value)
