"""Lens presets: the makers' focal lengths and pixel sizes, and how far a single lens may be from them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preset:
    """A camera with its lens.

    ``crop_px``: widths of the part of the sensor that its modes use, in sensor pixels, the widest first;
    ``spread``: relative sd of the focal length from one lens to the next.
    """

    name: str
    focal_mm: float
    pixel_um: float
    sensor_px: tuple[int, int]
    crops_px: tuple[int, ...]
    spread: float

    def focal_px(self, width_px: int, crop_px: int | None = None) -> float:
        """Focal length for a picture of this width that shows ``crop_px`` of the sensor (the whole of it)."""
        used = crop_px or self.sensor_px[0]
        return self.focal_mm * 1000.0 / self.pixel_um * width_px / used


#: Camera Module 3 uses the middle two thirds of its sensor in modes above 56 frames a second.
PRESETS = {
    "cm3": Preset("Camera Module 3", 4.74, 1.4, (4608, 2592), (4608, 3072), 0.02),
    "cm3-wide": Preset("Camera Module 3 Wide", 2.75, 1.4, (4608, 2592), (4608, 3072), 0.03),
    "gs-6mm": Preset("Global Shutter Camera, 6 mm", 6.0, 3.45, (1456, 1088), (1456,), 0.03),
    "gs-4mm": Preset("Global Shutter Camera, 4 mm", 4.0, 3.45, (1456, 1088), (1456,), 0.04),
    "hq-6mm": Preset("HQ Camera, 6 mm", 6.0, 1.55, (4056, 3040), (4056, 2664), 0.03),
    "hq-4mm": Preset("HQ Camera, 4 mm", 4.0, 1.55, (4056, 3040), (4056, 2664), 0.04),
    "v2": Preset("Camera Module 2", 3.04, 1.12, (3280, 2464), (3280, 1280), 0.02),
}
