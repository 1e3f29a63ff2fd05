"""The first page of the printed target: how to lay it, in words and two drawings of our own."""

from __future__ import annotations

from station.printing import MARGIN_MM, Page

_STEPS = (
    "Measure the ruler on every sheet: 100 mm. Another length means the printer scaled it: print again at 100 %.",
    "Belt off, safety key out, incline at zero. Camera mounted and focused as it will stay, light as in use.",
    "Lay sheet A flat where the runner's feet usually land, its middle on the middle of the runner and of the belt, "
    "the end with the heading away from the camera. Tape its four corners down: a curl of a millimetre is seen.",
    "Run “station calibrate”. Wait for “taken”, step out of the picture, move the sheet to its next place: nearer, "
    "farther, to the left, to the right, turned a little. The first place is the one from which distance is counted; "
    "five places or more, as far apart as the belt and the picture allow.",
    "It says when it knows enough and writes the file, or says what is missing. With several sheets (A, B, C, …) "
    "laid at once one picture is enough; sheet A is then the runner's place.",
)


def draw_guide(page: Page, paper: str, sheets: int) -> None:
    """Draw it on an empty page."""
    x_mm, y_mm = MARGIN_MM + 5.0, MARGIN_MM + 12.0
    page.text(x_mm, y_mm, "Hipline: calibrating the camera with this target", size_mm=6.0, bold=True)
    what = "each sheet on its own page" if paper == "a3" else "each sheet on two pages, cut and joined at the ticks"
    page.text(x_mm, y_mm + 7.0, f"{_counted(sheets)}; {what}. Print at 100 %, single-sided, matt paper.", size_mm=3.6)
    y_mm += 16.0
    width_mm = page.width_mm / 2 - MARGIN_MM - 10.0
    for number, step in enumerate(_STEPS, 1):
        page.text(x_mm, y_mm, f"{number}", size_mm=4.0, bold=True)
        y_mm = page.paragraph(x_mm + 7.0, y_mm, width_mm - 7.0, step) + 2.5
    _from_the_side(page, page.width_mm / 2 + 8.0, 60.0)
    _from_above(page, page.width_mm / 2 + 8.0, 105.0)


def _counted(sheets: int) -> str:
    return "One sheet, A" if sheets == 1 else f"{sheets} sheets, A to {'ABCDEF'[sheets - 1]}"


def _from_the_side(page: Page, x_mm: float, y_mm: float) -> None:
    """Camera, belt, sheet: what height and distance are."""
    page.text(x_mm, y_mm - 27.0, "from the side", size_mm=3.0, grey=0.4)
    camera, sheet = (x_mm + 6.0, y_mm - 20.0), x_mm + 88.0
    page.rectangle(x_mm + 45.0, y_mm, 75.0, 3.0, fill=0.75)
    page.rectangle(sheet - 8.0, y_mm - 0.8, 16.0, 0.8)
    _camera(page, *camera)
    page.line([(camera[0] + 3.0, camera[1]), (sheet, y_mm - 0.8)], dash_mm=(1.5, 1.0))
    page.line([(camera[0], y_mm), (x_mm + 45.0, y_mm)], dash_mm=(0.7, 0.7), width_mm=0.15)
    _measure(page, (camera[0] - 5.0, camera[1]), (camera[0] - 5.0, y_mm))
    page.text(camera[0] - 6.5, (camera[1] + y_mm) / 2, "height", size_mm=2.8, turn_deg=90.0, anchor="middle")
    _measure(page, (camera[0], y_mm + 7.0), (sheet, y_mm + 7.0))
    page.text(
        (camera[0] + sheet) / 2,
        y_mm + 11.0,
        "distance: lens to the middle of the first place",
        size_mm=2.8,
        anchor="middle",
    )


def _from_above(page: Page, x_mm: float, y_mm: float) -> None:
    """Five places on the belt, the first at the runner's."""
    page.text(
        x_mm, y_mm - 5.0, "from above: five places, one after the other (or five sheets at once)", size_mm=3.0, grey=0.4
    )
    middle = y_mm + 20.0
    page.rectangle(x_mm + 30.0, y_mm, 96.0, 40.0, fill=0.85)
    _camera(page, x_mm + 4.0, middle)
    for number, (along, beside, turn) in enumerate(
        ((75, 0, 0), (47, 4, 1), (104, -4, -1), (61, -9, -2), (90, 9, 2)), 1
    ):
        _small_sheet(page, x_mm + along, middle + beside, turn, number)


def _small_sheet(page: Page, x_mm: float, y_mm: float, turn: int, number: int) -> None:
    half, side, lean = 7.5, 5.3, 0.8 * turn
    corners = [(x_mm - half + lean, y_mm - side - lean), (x_mm + half + lean, y_mm - side + lean)]
    corners += [(2 * x_mm - x, 2 * y_mm - y) for x, y in corners]
    page.polygon(corners, fill=1.0, line_mm=0.3 if number == 1 else 0.15)
    page.text(x_mm, y_mm + 1.3, f"{number}", size_mm=4.0, bold=number == 1, anchor="middle")


def _camera(page: Page, x_mm: float, y_mm: float) -> None:
    page.rectangle(x_mm - 4.0, y_mm - 2.5, 6.0, 5.0)
    page.polygon(
        [(x_mm + 2.0, y_mm - 1.0), (x_mm + 4.0, y_mm - 2.2), (x_mm + 4.0, y_mm + 2.2), (x_mm + 2.0, y_mm + 1.0)]
    )


def _measure(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A dimension line with a cross stroke at each end."""
    page.line([start, end], width_mm=0.2)
    upright = start[0] == end[0]
    for x_mm, y_mm in (start, end):
        stroke = [(x_mm - 1.5, y_mm), (x_mm + 1.5, y_mm)] if upright else [(x_mm, y_mm - 1.5), (x_mm, y_mm + 1.5)]
        page.line(stroke, width_mm=0.2)
