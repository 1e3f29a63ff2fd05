"""The Raspberry Pi camera sensors and their modes: which one to use for a wished rate, and how long a frame lasts.

Figures are what libcamera's drivers list (``rpicam-hello --list-cameras``).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to read a sensor out. ``field`` is the share of the sensor's width that is seen (a crop narrows it)."""

    width_px: int
    height_px: int
    fps_max: float
    bit_depth: int = 10
    field: float = 1.0


@dataclass(frozen=True, slots=True)
class Sensor:
    """A camera by the name libcamera gives it. ``usual`` is the mode to take when no rate is asked for."""

    name: str
    modes: tuple[Mode, ...]
    usual: int
    focuses: bool = False
    global_shutter: bool = False


_MODULE_3 = (Mode(1536, 864, 120.13, field=2 / 3), Mode(2304, 1296, 56.03), Mode(4608, 2592, 14.35))
_HQ = (
    Mode(1332, 990, 120.05, 10, 0.657),
    Mode(2028, 1080, 50.03, 12),
    Mode(2028, 1520, 40.01, 12),
    Mode(4056, 3040, 10.0, 12),
)
_V2 = (
    Mode(640, 480, 206.65, field=0.39),
    Mode(1640, 1232, 41.85),
    Mode(1920, 1080, 47.57, field=0.585),
    Mode(3280, 2464, 21.19),
)

#: By libcamera's model name. The Wide lens keeps its feet in the fast, cropped mode; the normal one does not.
SENSORS: dict[str, Sensor] = {
    "imx708": Sensor("Camera Module 3", _MODULE_3, usual=1, focuses=True),
    "imx708_noir": Sensor("Camera Module 3 NoIR", _MODULE_3, usual=1, focuses=True),
    "imx708_wide": Sensor("Camera Module 3 Wide", _MODULE_3, usual=0, focuses=True),
    "imx708_wide_noir": Sensor("Camera Module 3 Wide NoIR", _MODULE_3, usual=0, focuses=True),
    "imx296": Sensor("Global Shutter Camera", (Mode(1456, 1088, 60.38),), usual=0, global_shutter=True),
    "imx477": Sensor("High Quality Camera", _HQ, usual=1),
    "imx219": Sensor("Camera Module 2", _V2, usual=1),
}

#: What is asked when nobody says otherwise: more costs processor time and brings the kernel little.
USUAL_FPS = 60.0
_TOLERANCE = 1.002


def choose_mode(sensor: Sensor, fps: float | None) -> Mode:
    """The mode that reaches ``fps`` and sees most: the widest field first, then the most pixels.

    ``None``: the sensor's usual mode. When no mode is that fast, the fastest whose field is at least half the sensor.
    """
    if fps is None:
        return sensor.modes[sensor.usual]
    fast = [mode for mode in sensor.modes if mode.fps_max * _TOLERANCE >= fps]
    if fast:
        return max(fast, key=lambda mode: (round(mode.field, 2), mode.width_px * mode.height_px))
    return max((mode for mode in sensor.modes if mode.field >= 0.5), key=lambda mode: mode.fps_max)


def frame_duration_us(fps: float, fps_max: float, mains_hz: int | None) -> int:
    """How long a frame lasts [µs] for the wished rate, no shorter than ``fps_max`` allows.

    With ``mains_hz`` it is the nearest whole number of pulses of the light (two a period): an exposure shorter than a
    pulse then catches the same part of every pulse, and the picture does not flicker.
    """
    shortest_us = 1e6 / fps_max
    wished_us = max(1e6 / fps, shortest_us)
    if mains_hz is None:
        return round(wished_us)
    pulse_us = 1e6 / (2 * mains_hz)
    fewest = max(1, -int(-(shortest_us / _TOLERANCE) // pulse_us))
    return round(pulse_us * max(fewest, round(wished_us / pulse_us)))
