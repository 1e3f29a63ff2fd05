"""Colours, sizes and words of the picture. Blue and orange tell the sides apart for every kind of colour vision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.patheffects import withStroke

from station.types import Side

#: 1600 × 1000 pixels at 100 dpi.
SIZE_IN = (16.0, 10.0)
INK = "#1b2430"
QUIET = "#5d6773"
GRID = "#e3e7eb"
BAND = "#9aa5b1"
VOID = "#eff2f4"
#: Keeps words readable where they meet a curve.
HALO = [withStroke(linewidth=3.0, foreground="white", alpha=0.85)]
SIDE: Mapping[Side, str] = {"left": "#0b62b4", "right": "#cf5a00"}
TINT: Mapping[Side, str] = {"left": "#e4eff9", "right": "#fdeedf"}
SIDES: tuple[Side, Side] = ("left", "right")
#: Zones are told by shape and darkness, never by hue.
ZONE: Mapping[str, tuple[str, str, str]] = {
    "green": ("o", "#b9c3cd", "in the target"),
    "amber": ("^", "#6b7683", "at its edge"),
    "red": ("s", INK, "outside"),
}
STYLE: Any = {  # the type of rcParams is a list of all its keys
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the picture is the same everywhere
    "font.size": 11.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": BAND,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "svg.hashsalt": "hipline",
}


def plain(reason: str) -> str:
    """A reason of the wire as words."""
    return reason.replace("_", " ")


def signed(value: float, digits: int) -> str:
    """A number with a true minus sign."""
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("-") and float(text) == 0 else text.replace("-", "−")
