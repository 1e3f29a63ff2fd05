"""What calibration says: the TOML file that the configuration includes, JSON, lines for people, the overlay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from station.calibrate.fit import Fit
from station.calibrate.model import belt_homography
from station.calibrate.register import Sighting
from station.calibrate.target import CORNERS_M
from station.errors import SourceError
from station.types import Floats, Pixels

#: Residuals are drawn this much longer than they are.
_MAGNIFIED = 100


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The outcome: the fit, the sightings behind it, the picture's size, and ``scale`` of the printed sheets."""

    fit: Fit
    sightings: tuple[Sighting, ...]
    names: tuple[str, ...]
    size_px: tuple[int, int]
    scale: float = 1.0

    def mount(self) -> dict[str, Any]:
        """Keys and values for ``[camera]``, rounded to what they are worth."""
        lens, place = self.fit.lens, self.fit.place
        return {
            "width": self.size_px[0],
            "height": self.size_px[1],
            "height_m": round(self.scale * place.height_m, 4),
            "distance_m": round(self.scale * self.fit.spots[0].depth_m, 4),
            "focal_px": round(lens.focal_px, 2),
            "center_px": [round(value, 1) for value in lens.center_px],
            "distortion": [round(lens.k1, 5), round(lens.k2, 5), 0.0, 0.0, 0.0],
            "roll_deg": round(place.roll_deg, 3),
            "pitch_deg": round(place.pitch_deg, 3),
        }

    def sd(self) -> dict[str, float]:
        """Standard deviations of the same."""
        keys = ("height_m", "distance_m", "focal_px", "roll_deg", "pitch_deg")
        return {key: float(f"{self.fit.sd[key]:.2g}") for key in keys}

    def json(self) -> dict[str, Any]:
        """Everything, for programs."""
        first = self.fit.spots[0]
        return {
            "camera": self.mount(),
            "sd": self.sd(),
            "belt_homography": _scaled(belt_homography(self.fit.lens, self.fit.place), self.scale).tolist(),
            "aim": {"beside_m": round(self.scale * first.x_m, 3), "turned_deg": round(first.turn_deg, 2)},
            "sheets": [
                {
                    "picture": name,
                    "sheet": one.sheet,
                    "rest_px": round(rest, 3),
                    "blur_px": round(one.blur_px, 2),
                    "explained": round(one.explained, 4),
                    "x_m": round(self.scale * spot.x_m, 3),
                    "depth_m": round(self.scale * spot.depth_m, 3),
                }
                for one, name, rest, spot in zip(
                    self.sightings, self.names, self.fit.rest_px, self.fit.spots, strict=True
                )
            ],
        }


def _scaled(homography: Floats, scale: float) -> Floats:
    """The homography for belt points that are ``scale`` times as far apart as the sheets claimed."""
    return np.asarray(homography @ np.diag([1 / scale, 1 / scale, 1.0]))


def toml(values: Mapping[str, Any], remarks: list[str]) -> str:
    """A ``[camera]`` table below comment lines."""
    lines = [f"# {remark}" for remark in remarks]
    return "\n".join([*lines, "[camera]", *(f"{key} = {value}" for key, value in values.items()), ""])


def remarks(found: Calibration) -> list[str]:
    """The comment lines of the file: what it is and what it is worth."""
    sd, rest_px = found.sd(), float(np.sqrt(np.mean(np.square(found.fit.rest_px))))
    return [
        'The camera\'s mount and lens, written by `station calibrate`; read it with [camera] calibration = "FILE".',
        f"{len(found.sightings)} sheets on the belt; they fit to {rest_px:.2f} px.",
        "One standard deviation: " + ", ".join(f"{key} {value:g}" for key, value in sd.items()) + ".",
        f"Holds for pictures of {found.size_px[0]} x {found.size_px[1]} and for this place, lens, focus and zoom.",
    ]


def lines(found: Calibration) -> list[str]:
    """The outcome for people."""
    mount, sd, first = found.mount(), found.sd(), found.fit.spots[0]
    sheet, k1 = found.sightings[0].sheet, mount["distortion"][0]
    out = [
        f"height    {mount['height_m']:.3f} m ± {2 * sd['height_m']:.3f}   above the belt",
        f"distance  {mount['distance_m']:.3f} m ± {2 * sd['distance_m']:.3f}   to sheet {sheet}'s first place",
        f"roll      {mount['roll_deg']:+.2f}° ± {2 * sd['roll_deg']:.2f}     + = its right side is lower",
        f"pitch     {mount['pitch_deg']:+.2f}° ± {2 * sd['pitch_deg']:.2f}     + = it looks up",
        f"focal     {mount['focal_px']:.1f} px ± {2 * sd['focal_px']:.1f}   distortion k1 {k1:+.3f}",
    ]
    for one, name, rest in zip(found.sightings, found.names, found.fit.rest_px, strict=True):
        out.append(f"          {name}: sheet {one.sheet} fits to {rest:.2f} px, blur {one.blur_px:.1f} px")
    if abs(first.x_m) > 0.15 or abs(first.turn_deg) > 5.0:
        out.append(
            f"note: sheet {sheet} lies {100 * first.x_m:+.0f} cm beside the line of sight and is turned by "
            f"{first.turn_deg:+.0f}°: if it lay straight, the camera is not on the belt's middle line"
        )
    return out


def write_text(path: Path, text: str) -> None:
    """Write a file whole. Raises :class:`SourceError` naming it when that cannot be."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SourceError(f"{path}: cannot be written ({error.strerror}); choose another place") from None


# --- overlay ----------------------------------------------------------------------------------------------------------


def write_overlay(path: Path, grey: Floats, found: Calibration) -> None:
    """The picture with the belt's grid, the sheets as fitted, and what is left a hundredfold.

    Raises :class:`SourceError` when it cannot be written.
    """
    canvas = np.asarray(cv2.cvtColor(np.clip(grey, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    _grid(canvas, found)
    for one, spot in zip(found.sightings, found.fit.spots, strict=True):
        fitted = found.fit.lens.pixels(found.fit.place.ideal(spot.points_m(CORNERS_M)))
        _line(canvas, np.vstack([fitted, fitted[:1]]), (0, 200, 0))
        for place, seen in zip(fitted, one.corners_px, strict=True):
            _line(canvas, np.stack([place, place + _MAGNIFIED * (seen - place)]), (0, 0, 255))
    said = [line.replace("°", " deg").replace("±", "+-") for line in lines(found)[:5]]
    cv2.rectangle(canvas, (0, 0), (470, 22 * len(said) + 12), (0, 0, 0), cv2.FILLED)
    for number, line in enumerate(said):
        cv2.putText(canvas, line, (12, 24 + 22 * number), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255,) * 3, 1, cv2.LINE_AA)
    try:
        written = cv2.imwrite(str(path), canvas)
    except cv2.error:
        written = False
    if not written:
        raise SourceError(f"{path}: cannot be written as a picture: choose a place that exists and a name in .png")


def _grid(canvas: Pixels, found: Calibration) -> None:
    """Lines on the belt every 25 cm, 60 cm wide, about the first place."""
    first = found.fit.spots[0]
    depths = first.depth_m + np.arange(-4, 5) * 0.25
    across = first.x_m + np.array([-0.3, 0.0, 0.3])
    fine = np.linspace(0.0, 1.0, 30)
    strokes = [[(across[0] + s * 0.6, 0.0, depth) for s in fine] for depth in depths]
    strokes += [[(x, 0.0, depths[0] + s * 2.0) for s in fine] for x in across]
    for stroke in strokes:
        points = np.array(stroke)
        points = points[points[:, 2] > 0.3]
        if len(points) > 1:
            _line(canvas, found.fit.lens.pixels(found.fit.place.ideal(points)), (230, 160, 0))


def _line(canvas: Pixels, points: Floats, colour: tuple[int, int, int]) -> None:
    fixed = np.round(np.clip(points, -1e4, 1e4) * 16 - 8).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(canvas, [fixed], False, colour, 1, cv2.LINE_AA, 4)
