"""From linear light to what a small camera delivers: vignetting, lens softness, tone curve, shot noise, 8 bits."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from station.types import Pixels


@dataclass(frozen=True, slots=True)
class Sensor:
    """``exposure`` scales the light; ``noise`` is the sd at full light (0..1); ``soft_px`` the lens blur's sigma."""

    exposure: float = 1.0
    noise: float = 0.006
    soft_px: float = 0.55
    vignette: float = 0.12

    def develop(
        self,
        light: NDArray[np.float32],
        rng: np.random.Generator | None,
        corner_px: tuple[int, int] = (0, 0),
        full_px: tuple[int, int] | None = None,
    ) -> Pixels:
        """An sRGB picture (height, width, 3). ``corner_px`` places a part within the full picture of ``full_px``."""
        rows, columns = light.shape[:2]
        width, height = full_px or (columns, rows)
        x = (np.arange(columns) + corner_px[0] - width / 2) / (width / 2)
        y = (np.arange(rows) + corner_px[1] - height / 2) / (width / 2)
        fall = 1.0 - self.vignette * (x[None, :] ** 2 + y[:, None] ** 2)
        image = light * (self.exposure * fall[..., None]).astype(np.float32)
        if self.soft_px > 0.2:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), self.soft_px), dtype=np.float32)
        image = np.clip(image * (1.0 + 0.12 * image) / (1.0 + 0.42 * image), 0.0, 1.0)
        if rng is not None and self.noise > 0:
            grain = rng.standard_normal(image.shape, dtype=np.float32)
            image = np.clip(image + self.noise * np.sqrt(image + 0.01) * grain, 0.0, 1.0)
        return _to_srgb(image)


_CURVE = (np.linspace(0.0, 1.0, 4096) ** (1 / 2.2) * 255.0 + 0.5).astype(np.uint8)


def _to_srgb(image: NDArray[np.float32]) -> Pixels:
    return np.asarray(_CURVE[(image * 4095.0).astype(np.uint16)], dtype=np.uint8)
