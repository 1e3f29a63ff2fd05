"""The sheets to print: clip or belt at exact size, with cutting and folding lines and the assembly drawing."""

from __future__ import annotations

import math
from pathlib import Path

from station.errors import SourceError
from station.printing import Document, Page
from station.tag.plates import FACET_MODULES, Plate, modules

_FLAP_MM = 12.0
_FOLD_DASH_MM = (3.0, 2.0)


def write(out: Path, plate: Plate) -> int:
    """Write the sheets of ``plate``; 0. Raises :class:`SourceError` when the file cannot be written."""
    if out.suffix.lower() != ".pdf" or not out.parent.is_dir() or out.is_dir():
        raise SourceError(f"{out}: must end in .pdf, in a folder that exists")
    document = Document(out, f"hipline reference tag: {plate.title}", landscape=True)
    (_belt if len(plate.ids) > 2 else _clip)(document, plate)
    document.save()
    side = plate.side_m * 1000
    print(f"{out}: {plate.title}, facets of {side:.0f} mm, ids {', '.join(map(str, plate.ids))}; print at 100 %")
    return 0


def _facet(page: Page, x_mm: float, y_mm: float, plate: Plate, tag_id: int) -> None:
    """A facet with its upper left corner at (x, y)."""
    module = plate.module_m * 1000
    for row, line in enumerate(modules(tag_id)):
        start = None
        for column in range(FACET_MODULES + 1):
            black = column < FACET_MODULES and not line[column]
            if black and start is None:
                start = column
            elif not black and start is not None:
                # a hair of overlap downwards, so that no viewer shows a white seam between rows
                page.rectangle(x_mm + start * module, y_mm + row * module, (column - start) * module, module + 0.02)
                start = None
    page.text(
        x_mm + module, y_mm + (FACET_MODULES - 0.25) * module, f"hipline {plate.name} {tag_id}", size_mm=2.0, grey=0.45
    )


def _head(page: Page, plate: Plate, what: str) -> None:
    page.text(12, 17, f"Reference tag: {plate.title}", size_mm=6.0, bold=True)
    page.text(12, 23.5, what, size_mm=3.2)


def _fold(page: Page, x_mm: float, top_mm: float, bottom_mm: float) -> None:
    page.line([(x_mm, top_mm - 3), (x_mm, bottom_mm + 3)], width_mm=0.2, grey=0.5, dash_mm=_FOLD_DASH_MM)


def _clip(document: Document, plate: Plate) -> None:
    side = plate.side_m * 1000
    base = 2 * side * math.cos(math.radians(plate.shape[0]))
    page = document.page()
    _head(page, plate, "Sheet 1 of 2: the roof. Cut along the outline, fold back along the dashed lines.")
    width = 2 * side + 2 * _FLAP_MM
    left, top = (page.width_mm - width) / 2, 34.0
    bottom = top + side
    page.rectangle(left, top, width, side, fill=None, line_mm=0.2)
    for k, tag_id in enumerate(plate.ids):
        _facet(page, left + _FLAP_MM + k * side, top, plate, tag_id)
    for x in (left + _FLAP_MM, left + _FLAP_MM + side, left + _FLAP_MM + 2 * side):
        _fold(page, x, top, bottom)
    for x in (left + _FLAP_MM / 2, left + width - _FLAP_MM / 2):
        page.text(x, top + side / 2, "glue to the base", size_mm=2.4, anchor="middle", grey=0.4, turn_deg=90)
    page.text(left + _FLAP_MM + side, top - 4.5, "ridge", size_mm=2.6, anchor="middle", grey=0.4)
    page.text(page.width_mm / 2, bottom + 8, "this edge down", size_mm=3.0, anchor="middle")
    page = document.page()
    _head(page, plate, "Sheet 2 of 2: the base, and how it is put together.")
    _base(page, side, base)
    _clip_steps(page, side, base)


def _base(page: Page, side: float, base: float) -> None:
    left, top = 12.0, 32.0
    page.rectangle(left, top, base, side, fill=None, line_mm=0.2)
    page.text(left + base / 2, top + 8, f"base: {base:.1f} mm wide, it holds the roof at its angle", anchor="middle")
    page.text(left + base / 2, top + 14, "back it with stiff card or foam board", size_mm=2.8, anchor="middle")
    slot = min(30.0, base / 4)
    for k in (-1, 1):
        middle = left + base / 2 + k * base / 4
        page.rectangle(middle - slot / 2, top + side - 18, slot, 1.2, fill=None, line_mm=0.2)
        page.rectangle(middle - slot / 2, top + side - 30, slot, 1.2, fill=None, line_mm=0.2)
    page.text(left + base / 2, top + side - 6, "slots for clips, or a strap of 30 mm", size_mm=2.6, anchor="middle")


def _clip_steps(page: Page, side: float, base: float) -> None:
    height = side * math.sin(math.radians(35.0))
    x0 = 12.0 + base + 16.0
    width = page.width_mm - x0 - 12.0
    scale = min(1.0, width / base)
    y0 = 46.0 + height * scale
    left, right, top = (x0, y0), (x0 + base * scale, y0), (x0 + base * scale / 2, y0 - height * scale)
    page.line([left, top, right, left], width_mm=0.6)
    page.text(top[0], top[1] - 2, "ridge: towards the camera", size_mm=2.6, anchor="middle")
    page.text(top[0], y0 + 4.5, f"base {base:.1f} mm, ridge {height:.1f} mm above it (seen from above)", size_mm=2.6,
              anchor="middle")  # fmt: skip
    page.line([(x0 - 4, y0 + 8), (x0 + base * scale + 4, y0 + 8)], width_mm=1.4, grey=0.6)
    page.text(top[0], y0 + 12.5, "waistband, runner's back", size_mm=2.6, anchor="middle", grey=0.4)
    _steps(page, x0, y0 + 22, width, (
        "Print on matt card of 200 g or more; check the ruler.",
        "Score the folds with a blunt knife and a ruler, fold back. Facets stay flat and clean.",
        "Glue both flaps under the base, edge on edge: the three sides then set the angle.",
        "Two flat clips (or a strap) through the slots; clip to the waistband over the sacrum, shirt tucked in.",
        "Hang it level and tight: it must not swing against the pelvis. A few degrees askew do not matter.",
    ))  # fmt: skip


def _belt(document: Document, plate: Plate) -> None:
    side = plate.side_m * 1000
    split = 3
    parts = (plate.ids[:split], plate.ids[split:])
    for number, ids in enumerate(parts):
        page = document.page()
        _head(page, plate, f"Sheet {number + 1} of 2: cut along the outline; the strip runs on across both sheets.")
        left, top = 14.0, 34.0
        flap = _FLAP_MM if number == 0 else 0.0
        page.rectangle(left, top, len(ids) * side + flap, side, fill=None, line_mm=0.2)
        for k, tag_id in enumerate(ids):
            _facet(page, left + k * side, top, plate, tag_id)
        if flap:
            page.text(left + len(ids) * side + 7, top + side / 2, "glue under sheet 2", size_mm=2.4, anchor="middle",
                      grey=0.4, turn_deg=90)  # fmt: skip
        page.text(left + len(ids) * side / 2, top + side + 7, "this edge down", size_mm=3.0, anchor="middle")
        if number:
            _belt_steps(page, plate, side, top + side + 18)


def _belt_steps(page: Page, plate: Plate, side: float, y_mm: float) -> None:
    _steps(page, 14.0, y_mm, 150.0, (
        "Print on tear-proof matt paper or thin card; check the ruler on both sheets.",
        f"Glue the sheets edge on edge: a strip of {len(plate.ids) * side:.0f} mm with {len(plate.ids)} tags, "
        "left to right as the camera sees them.",
        "Fix the strip to a number belt or an elastic band of 40 mm at its two ends and in the middle, so that the "
        "elastic stretches in front, not under the tags.",
        "Wear it over the waistband, the middle tag over the spine, snug enough not to slip. It follows the back: "
        "the station learns its curve within seconds.",
    ))  # fmt: skip
    x0, y0 = 220.0, y_mm + 44
    points = [(x0 + 52 * math.sin(a), y0 + 38 - 38 * math.cos(a)) for a in [k * 0.05 - 1.2 for k in range(49)]]
    page.line([(x, y0 + y0 - y) for x, y in points], width_mm=1.2)
    for k in range(5):
        angle = (k - 2) * 0.5
        page.circle(x0 + 52 * math.sin(angle), y0 - 38 + 38 * math.cos(angle), 1.6, fill=0.0)
    page.text(x0, y0 + 9, "towards the camera (seen from above)", size_mm=2.6, anchor="middle")
    page.text(x0, y0 - 20, "runner", size_mm=3.0, anchor="middle", grey=0.4)


def _steps(page: Page, x_mm: float, y_mm: float, width_mm: float, steps: tuple[str, ...]) -> None:
    for number, step in enumerate(steps, start=1):
        page.text(x_mm, y_mm, f"{number}.", size_mm=3.0, bold=True)
        y_mm = page.paragraph(x_mm + 6, y_mm, width_mm - 6, step, size_mm=3.0) + 1.6
