"""The lens table of hardware.md against its own formulas: a technician drills holes by it."""

from __future__ import annotations

import math
import re
from pathlib import Path

HIP_WIDTH_M = 0.17
COLUMNS_M = (2.2, 2.4, 2.5, 3.0)


def needed_field_deg(distance_m: float) -> float:
    """Vertical field for shoulders (0.73 m above the camera, 0.3 m nearer) and feet (0.98 m below, 0.5 m nearer)."""
    return math.degrees(math.atan(0.73 / (distance_m - 0.3)) + math.atan(0.98 / (distance_m - 0.5)))


def shortest_distance_m(vertical_deg: float) -> float:
    steps = range(20, 100)
    return next(step / 20 for step in steps if needed_field_deg(step / 20) <= vertical_deg)


def field_deg(size_px: int, focal_px: float) -> float:
    return math.degrees(2 * math.atan(size_px / 2 / focal_px))


def test_the_lens_table_follows_its_formulas(repository: Path) -> None:
    text = (repository / "hardware.md").read_text(encoding="utf-8").replace("**", "")
    rows = re.findall(r"^\| [^|]*?(\d+)×(\d+)[^|]*\| (\d+) \| (\d+)° × (\d+)° \| ([\d.]+) m \|([^\n]*)\|$", text, re.M)
    assert len(rows) == 10
    for width, height, focal, across, down, shortest, cells in rows:
        focal_px = float(focal)
        assert abs(field_deg(int(width), focal_px) - float(across)) < 0.6
        assert abs(field_deg(int(height), focal_px) - float(down)) < 0.6
        nearest_m = shortest_distance_m(field_deg(int(height), focal_px))
        assert math.isclose(nearest_m, float(shortest), abs_tol=0.051), (width, height, focal)
        for distance_m, cell in zip(COLUMNS_M, cells.split("|"), strict=True):
            if cell.strip() == "–":
                assert distance_m < nearest_m
            else:
                assert abs(float(cell) - math.radians(focal_px * HIP_WIDTH_M / distance_m)) < 0.006


def test_the_needed_field_in_the_text(repository: Path) -> None:
    text = (repository / "hardware.md").read_text(encoding="utf-8")
    stated = re.findall(r"([\d.]+) m: (\d+)°", text)
    assert len(stated) == 6
    for distance, degrees in stated:
        assert abs(needed_field_deg(float(distance)) - float(degrees)) < 0.6
