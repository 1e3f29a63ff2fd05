"""The command: pictures in, one file out, or one line that says what to change."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from station.calibrate import judge
from station.calibrate.find import Found
from station.calibrate.lenses import PRESETS
from station.calibrate.register import Sighting
from station.calibrate.report import Calibration, lines, remarks, toml, write_overlay, write_text
from station.calibrate.solve import solve
from station.calibrate.views import Still, stills_in, stills_of
from station.camera import BUNDLED_CLIP, open_camera
from station.config import Config
from station.errors import CalibrationError, CameraError, ConfigError, SourceError
from station.printing import RULER_MM

#: Places after which a camera that watches is content, if the fit is.
_PLACES = 5
#: and after which it gives up.
_MOST_PLACES = 16
#: A ruler that is off by more was not printed at 100 % and may be stretched one way only [mm].
_RULER_OFF_MM = 5.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command was asked for besides the source."""

    out: Path | None = None
    overlay: Path | None = None
    lens: str | None = None
    ruler_mm: float = RULER_MM
    coarse: bool = False
    as_json: bool = False


def calibrate(config: Config, sources: Sequence[Path], wishes: Wishes) -> int:
    """Calibrate from pictures, films, or (no sources) the camera of the configuration; 0 when a result was given.

    Raises :class:`SourceError` for what cannot be read, :class:`CalibrationError` when the fit cannot be believed.
    """
    if abs(wishes.ruler_mm - RULER_MM) > _RULER_OFF_MM:
        raise ConfigError(
            f"--ruler {wishes.ruler_mm:g}: the ruler must measure {RULER_MM:.0f} mm: print the target again at 100 %"
        )
    stills = list(stills_of(sources)) if sources else _from_camera(config, wishes)
    if not stills:
        raise SourceError(
            f"{', '.join(map(str, sources))}: nowhere does a sheet of the target lie still for a second, all of it "
            "in the picture; let it lie in each place for two seconds"
        )
    found = solved(stills, wishes)
    _compare(config, found)
    _give(found, stills, wishes)
    return 0


def solved(stills: Sequence[Still], wishes: Wishes) -> Calibration:
    """The calibration of these pictures. Raises :class:`CalibrationError` saying what to change."""
    shapes = {still.grey.shape for still in stills}
    if len(shapes) > 1:
        raise SourceError(
            f"{stills[-1].name}: pictures of different sizes ({', '.join(f'{w}x{h}' for h, w in sorted(shapes))}): "
            "take all of them in the mode that the station runs in"
        )
    height, width = shapes.pop()
    pairs = _first_sheet_first([(number, one) for number, still in enumerate(stills) for one in still.found])
    sightings, best = solve([still.grey for still in stills], pairs, (width, height), _focals(wishes, width))
    names = [stills[one.picture].name for one in sightings]
    found = Calibration(best, tuple(sightings), tuple(names), (width, height), wishes.ruler_mm / RULER_MM)
    _refuse(found, coarse=wishes.coarse)
    return found


def _first_sheet_first(pairs: Iterable[tuple[int, Found]]) -> list[tuple[int, Found]]:
    """By picture, and within it A before B: the first is the runner's place."""
    return sorted(pairs, key=lambda pair: (pair[0], pair[1].sheet))


def _focals(wishes: Wishes, width: int) -> list[tuple[float, float]]:
    if wishes.lens is None:
        return []
    preset = PRESETS[wishes.lens]
    return [(preset.focal_px(width, crop), preset.spread) for crop in preset.crops_px]


def _refuse(found: Calibration, *, coarse: bool) -> None:
    sightings: tuple[Sighting, ...] = found.sightings
    faults = [judge.unusable(one, name) for one, name in zip(sightings, found.names, strict=True)]
    faults.append(judge.implausible(found.fit))
    faults.append(judge.misfit(found.fit, sightings, found.names, found.size_px))
    faults.append(judge.doubts(found.fit, len(sightings), coarse=coarse))
    for fault in faults:
        if fault is not None:
            raise CalibrationError(fault)


def _from_camera(config: Config, wishes: Wishes) -> list[Still]:
    """Watch the camera until enough places were seen; says each one."""
    camera = open_camera(config.camera)
    try:
        if camera.name.startswith(str(BUNDLED_CLIP)):
            raise CameraError("no camera is attached: attach one, set camera.source, or give pictures of the target")
        _say(f"watching {camera.name}: lay sheet A at the runner's place and step out of the picture (Ctrl-C ends)")
        stills: list[Still] = []
        try:
            for still in stills_in(camera, "camera"):
                stills.append(still)
                if _enough(stills, wishes):
                    break
        except KeyboardInterrupt:
            _say("ended by hand")
    finally:
        camera.close()
    if not stills:
        raise CameraError(
            f"{camera.name}: no sheet of the target lay still in its picture: all of it must be seen, sharp and lit"
        )
    return stills


def _enough(stills: Sequence[Still], wishes: Wishes) -> bool:
    places = sum(len(still.found) for still in stills)
    if places >= _PLACES:
        try:
            solved(stills, wishes)
        except CalibrationError as error:
            _say(f"place {places} taken; {error}")
            return places >= _MOST_PLACES
        _say(f"place {places} taken; enough")
        return True
    _say(f"place {places} taken; now the next one, {_PLACES - places} or more to go")
    return False


def _compare(config: Config, found: Calibration) -> None:
    """A height that was measured by tape tells whether the print has its size."""
    taped, seen = config.camera.height_m, found.mount()["height_m"]
    if taped is not None and config.camera.calibration is None and abs(seen - taped) > 0.03 + 0.02 * taped:
        _say(
            f"note: the configuration says height_m = {taped:g}, the target {seen:.3f}: measure the sheet's ruler "
            "(--ruler) and the height above the belt, not above the floor"
        )


def _give(found: Calibration, stills: Sequence[Still], wishes: Wishes) -> None:
    for line in lines(found):
        _say(line)
    text = toml(found.mount(), remarks(found))
    if wishes.out is not None:
        write_text(wishes.out, text)
        _say(f'written: {wishes.out}; read it with [camera] calibration = "{wishes.out.name}"')
    if wishes.overlay is not None:
        write_overlay(wishes.overlay, stills[0].grey, found)
    if wishes.as_json:
        print(json.dumps(found.json(), indent=2))
    elif wishes.out is None:
        print(text, end="")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
