"""Printed sheets: what a PDF reader draws, in real millimetres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pypdfium2
import pytest

from station.errors import SourceError
from station.printing import MARGIN_MM, RULER_MM, Document
from station.types import Floats

DPI = 254  # 10 pixels a millimetre


def drawn(path: Path, number: int = 0) -> Floats:
    """A page as grey, 10 px a mm."""
    pdf = pypdfium2.PdfDocument(path)
    try:
        return np.asarray(pdf[number].render(scale=DPI / 72, grayscale=True).to_numpy(), dtype=float).squeeze()
    finally:
        pdf.close()


@pytest.mark.parametrize(
    ("paper", "landscape", "size_mm"), [("a4", False, (210, 297)), ("a4", True, (297, 210)), ("a3", False, (297, 420))]
)
def test_a_page_has_its_size_and_lengths(
    tmp_path: Path, paper: str, landscape: bool, size_mm: tuple[float, float]
) -> None:
    path = tmp_path / "a.pdf"
    document = Document(path, "a square", paper, landscape=landscape)
    document.page().rectangle(40, 25, 100, 50, fill=0.0)
    document.save()
    picture = drawn(path)
    assert picture.shape == pytest.approx((10 * size_mm[1], 10 * size_mm[0]), abs=1)
    dark = picture[:1200] < 128
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    assert (columns[0], columns[-1] + 1) == pytest.approx((400, 1400), abs=1)  # 0.1 mm
    assert (rows[0], rows[-1] + 1) == pytest.approx((250, 750), abs=1)


def test_every_page_carries_a_true_ruler(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    document = Document(path, "two sheets")
    document.page()
    document.page(ruler_mm=(60, 100))
    document.save()
    for number, (x_mm, y_mm) in enumerate([(MARGIN_MM, 297 - MARGIN_MM - 5), (60.0, 100.0)]):
        row = drawn(path, number)[round(10 * y_mm) - 1 : round(10 * y_mm) + 1].min(axis=0)
        inked = np.flatnonzero(row < 128)
        assert (inked[0], inked[-1]) == pytest.approx((10 * x_mm, 10 * (x_mm + RULER_MM)), abs=3)


def test_the_file_asks_for_true_size_and_is_reproducible(tmp_path: Path) -> None:
    written = []
    for name in ("a.pdf", "b.pdf"):
        document = Document(tmp_path / name, "sheet")
        document.page().text(20, 20, "once")
        document.save()
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    assert b"/PrintScaling /None" in written[0]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    document = Document(tmp_path / "none" / "a.pdf", "sheet")
    document.page()
    with pytest.raises(SourceError, match=r"none/a\.pdf: cannot be written"):
        document.save()
