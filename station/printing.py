"""Sheets to print at exact physical size: a thin layer over reportlab that thinks in millimetres from the upper left.

Every page carries a check ruler, because a printer that "fits to page" changes every length; the file also asks the
viewer to print it unscaled. The same drawing always gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from reportlab.lib.units import mm
from reportlab.lib.utils import simpleSplit
from reportlab.pdfgen.canvas import Canvas

from station.errors import SourceError

#: Width and height of a sheet, upright [mm].
PAPERS_MM = {"a4": (210.0, 297.0), "a3": (297.0, 420.0)}
#: What no office printer reaches at the edges of a sheet [mm].
MARGIN_MM = 10.0
#: Length of the check ruler [mm].
RULER_MM = 100.0
#: What a measured ruler may be off by before the sheet must be printed again [mm]: half of a percent.
RULER_TOLERANCE_MM = 0.5

Grey = float
Anchor = Literal["left", "middle", "right"]


class Page:
    """One sheet. Points are (x, y) in mm from the upper left corner, y down; grey 0 = black, 1 = white."""

    def __init__(self, canvas: Any, width_mm: float, height_mm: float) -> None:
        self._canvas = canvas
        self.width_mm = width_mm
        self.height_mm = height_mm

    def rectangle(
        self,
        x_mm: float,
        y_mm: float,
        width_mm: float,
        height_mm: float,
        *,
        fill: Grey | None = 0.0,
        line_mm: float = 0.0,
    ) -> None:
        """A rectangle with its upper left corner at (x, y); ``line_mm`` 0 = no outline."""
        corners = [(x_mm, y_mm), (x_mm + width_mm, y_mm), (x_mm + width_mm, y_mm + height_mm), (x_mm, y_mm + height_mm)]
        self.polygon(corners, fill=fill, line_mm=line_mm)

    def polygon(self, points_mm: Sequence[Sequence[float]], *, fill: Grey | None = 0.0, line_mm: float = 0.0) -> None:
        """A closed outline, filled with a grey or not at all."""
        path = self._path(points_mm)
        path.close()
        self._paint(path, fill, line_mm)

    def circle(
        self, x_mm: float, y_mm: float, radius_mm: float, *, fill: Grey | None = 0.0, line_mm: float = 0.0
    ) -> None:
        """A circle about (x, y)."""
        path = self._canvas.beginPath()
        path.circle(x_mm * mm, self._up(y_mm), radius_mm * mm)
        self._paint(path, fill, line_mm)

    def line(
        self,
        points_mm: Sequence[Sequence[float]],
        *,
        width_mm: float = 0.2,
        grey: Grey = 0.0,
        dash_mm: tuple[float, float] | None = None,
    ) -> None:
        """An open line through the points; ``dash_mm`` = (on, off)."""
        canvas = self._canvas
        canvas.saveState()
        canvas.setStrokeGray(grey)
        canvas.setLineWidth(width_mm * mm)
        if dash_mm is not None:
            canvas.setDash([length * mm for length in dash_mm])
        canvas.drawPath(self._path(points_mm), stroke=1, fill=0)
        canvas.restoreState()

    def text(
        self,
        x_mm: float,
        y_mm: float,
        text: str,
        *,
        size_mm: float = 3.5,
        bold: bool = False,
        anchor: Anchor = "left",
        grey: Grey = 0.0,
        turn_deg: float = 0.0,
    ) -> None:
        """One line of text whose base line begins (or has its middle, or ends) at (x, y); turned counter-clockwise."""
        canvas = self._canvas
        canvas.saveState()
        canvas.setFont(_font(bold), size_mm * mm)
        canvas.setFillGray(grey)
        canvas.translate(x_mm * mm, self._up(y_mm))
        canvas.rotate(turn_deg)
        draw = {"left": canvas.drawString, "middle": canvas.drawCentredString, "right": canvas.drawRightString}[anchor]
        draw(0, 0, text)
        canvas.restoreState()

    def paragraph(
        self, x_mm: float, y_mm: float, width_mm: float, text: str, *, size_mm: float = 3.5, bold: bool = False
    ) -> float:
        """Text broken into lines of ``width_mm``, the first base line at ``y_mm``; where the next one would be."""
        for line in simpleSplit(text, _font(bold), size_mm * mm, width_mm * mm):
            self.text(x_mm, y_mm, line, size_mm=size_mm, bold=bold)
            y_mm += 1.35 * size_mm
        return y_mm

    def ruler(self, x_mm: float, y_mm: float) -> None:
        """The check ruler, its line from (x, y) to the right, and what it is for. Takes 100 mm × 9 mm."""
        self.line([(x_mm, y_mm), (x_mm + RULER_MM, y_mm)], width_mm=0.25)
        for at in range(0, round(RULER_MM) + 1, 10):
            tick_mm = 4.0 if at % 50 == 0 else 2.0
            self.line([(x_mm + at, y_mm - tick_mm), (x_mm + at, y_mm)], width_mm=0.25)
        said = (
            f"This line must measure {RULER_MM:.0f} mm ± {RULER_TOLERANCE_MM:g} mm: "
            "else print again at 100 %, not “fit to page”."
        )
        self.text(x_mm, y_mm + 4.0, said, size_mm=2.6)

    def _path(self, points_mm: Sequence[Sequence[float]]) -> Any:
        path = self._canvas.beginPath()
        for number, (x_mm, y_mm) in enumerate(points_mm):
            (path.lineTo if number else path.moveTo)(x_mm * mm, self._up(y_mm))
        return path

    def _paint(self, path: Any, fill: Grey | None, line_mm: float) -> None:
        canvas = self._canvas
        canvas.saveState()
        if fill is not None:
            canvas.setFillGray(fill)
        canvas.setStrokeGray(0.0)
        canvas.setLineWidth(line_mm * mm)
        canvas.drawPath(path, stroke=int(line_mm > 0), fill=int(fill is not None))
        canvas.restoreState()

    def _up(self, y_mm: float) -> float:
        """A PDF counts points from the lower edge."""
        return float((self.height_mm - y_mm) * mm)


class Document:
    """Sheets of one paper in a PDF file. Nothing is written before :meth:`save`."""

    def __init__(self, path: Path, title: str, paper: str = "a4", *, landscape: bool = False) -> None:
        width_mm, height_mm = PAPERS_MM[paper]
        self.size_mm = (height_mm, width_mm) if landscape else (width_mm, height_mm)
        self._path = path
        self._pages = 0
        self._canvas: Any = Canvas(str(path), pagesize=(self.size_mm[0] * mm, self.size_mm[1] * mm), invariant=1)
        self._canvas.setTitle(title)
        self._canvas.setCreator("hipline-station")
        self._canvas.setViewerPreference("PrintScaling", "None")

    def page(self, ruler_mm: tuple[float, float] | None = None) -> Page:
        """A new sheet; its check ruler begins at ``ruler_mm`` (the lower left corner unless told otherwise)."""
        if self._pages:
            self._canvas.showPage()
        self._pages += 1
        page = Page(self._canvas, *self.size_mm)
        page.ruler(*(ruler_mm or (MARGIN_MM, page.height_mm - MARGIN_MM - 5.0)))
        return page

    def save(self) -> None:
        """Write the file. Raises :class:`SourceError` when it cannot be written."""
        try:
            self._canvas.save()
        except OSError as error:
            raise SourceError(
                f"{self._path}: cannot be written ({error.strerror or error}); choose another place"
            ) from None


def _font(bold: bool) -> str:
    return "Helvetica-Bold" if bold else "Helvetica"
