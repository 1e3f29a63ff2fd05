"""Pictures of sheets on a belt as a camera would take them, independent of the code under test.

The sheet is what the PDF prints, drawn by a PDF reader; the camera is the workbench's pinhole with OpenCV's distortion.
Every pixel is averaged over many rays, then come defocus, light that falls off across the picture, noise, eight bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pypdfium2

from station.calibrate.target import print_target
from station.lab.pinhole import Pinhole
from station.types import Floats, Pixels

DOTS_PER_MM = 4.0
FINER = 4
SUB = 4


@dataclass(frozen=True)
class Laid:
    """A sheet on the belt: metres to the right of and in front of the camera's foot, turned to the left."""

    sheet: str
    x_m: float
    depth_m: float
    turn_deg: float = 0.0
    above_m: float = 0.0
    tip_deg: float = 0.0  # its far end lifted


@dataclass(frozen=True)
class Scene:
    """A camera, the sheets it sees, and what spoils the picture."""

    camera: Pinhole
    laid: tuple[Laid, ...]
    distortion: tuple[float, ...] = ()
    blur_px: float = 0.7
    noise: float = 2.0
    light: tuple[float, float] = (0.25, -0.2)
    belt: float = 45.0
    print_scale: float = 1.0
    seed: int = 0
    papers: dict[str, Pixels] = field(default_factory=dict)


def papers(folder: Path, paper: str = "a3", sheets: int = 6) -> dict[str, Pixels]:
    """The printed A3 sheets as grey pictures, four dots a millimetre."""
    path = folder / "target.pdf"
    print_target(path, paper, sheets)
    pdf = pypdfium2.PdfDocument(path)
    try:
        return {"ABCDEF"[number]: _page(pdf[number + 1]) for number in range(sheets)}
    finally:
        pdf.close()


def _page(page: Any) -> Pixels:
    """Drawn finely first: the reader rounds every edge to a whole dot."""
    scale = FINER * DOTS_PER_MM * 25.4 / 72
    drawn = np.asarray(page.render(scale=scale, grayscale=True).to_numpy()).squeeze()
    size = (round(page.get_width() / 72 * 25.4 * DOTS_PER_MM), round(page.get_height() / 72 * 25.4 * DOTS_PER_MM))
    exact = drawn[: round(FINER * size[1]), : round(FINER * size[0])]
    return np.asarray(cv2.resize(exact, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def render(scene: Scene) -> Pixels:
    """The picture, grey."""
    camera = scene.camera
    wide, high = camera.width_px, camera.height_px
    grid = (np.arange(SUB) + 0.5) / SUB
    picture = np.full((high, wide), scene.belt)
    for laid in scene.laid:
        _lay(picture, scene, laid, grid)
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), scene.blur_px)) if scene.blur_px else picture
    y, x = np.mgrid[0:high, 0:wide]
    picture = picture * (1 + scene.light[0] * (x / wide - 0.5) + scene.light[1] * (y / high - 0.5))
    rng = np.random.default_rng(scene.seed)
    noisy = np.clip(picture + rng.normal(0, scene.noise, picture.shape), 0, 255)
    return np.asarray(noisy.round(), dtype=np.uint8)


def _lay(picture: Floats, scene: Scene, laid: Laid, grid: Floats) -> None:
    paper = scene.papers[laid.sheet]
    size_m = np.array(paper.shape[::-1]) / DOTS_PER_MM / 1000 * scene.print_scale
    corners = _in_picture(scene, laid, np.array([(-1, 1), (1, 1), (1, -1), (-1, -1)]) * size_m / 2)
    low = np.floor(corners.min(axis=0)).astype(int) - 3
    high = np.ceil(corners.max(axis=0)).astype(int) + 3
    low, high = np.maximum(low, 0), np.minimum(high, picture.shape[::-1])
    if (high <= low).any():
        return
    y = (np.arange(low[1], high[1])[:, None] + grid).ravel()
    x = (np.arange(low[0], high[0])[:, None] + grid).ravel()
    on_sheet = _on_sheet(scene, laid, np.stack(np.meshgrid(x, y), axis=-1)) / scene.print_scale
    dots = (on_sheet * [1, -1] * 1000 * DOTS_PER_MM + (np.array(paper.shape[::-1]) - 1) / 2).astype(np.float32)
    drawn = cv2.remap(
        paper.astype(np.float32) * (215 / 255) + 18,
        dots[..., 0],
        dots[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    there = (np.abs(on_sheet) < np.array(paper.shape[::-1]) / DOTS_PER_MM / 2000).all(axis=-1)
    shape = (high[1] - low[1], SUB, high[0] - low[0], SUB)
    part = picture[low[1] : high[1], low[0] : high[0]]
    fine = np.where(there.reshape(shape), np.asarray(drawn, dtype=float).reshape(shape), part[:, None, :, None])
    part[:] = fine.mean(axis=(1, 3))


def _axes(scene: Scene, laid: Laid) -> tuple[Floats, Floats, Floats]:
    """Middle of the sheet and its two axes in the workbench's world (X right, Y up, Z backward)."""
    turn, tip = np.radians(laid.turn_deg), np.radians(laid.tip_deg)
    right = np.array([np.cos(turn), 0.0, -np.sin(turn)])
    far = np.array([-np.sin(turn) * np.cos(tip), np.sin(tip), -np.cos(turn) * np.cos(tip)])
    middle = np.array([scene.camera.x_m + laid.x_m, laid.above_m, scene.camera.distance_m - laid.depth_m])
    return middle, right, far


def _matrix(camera: Pinhole) -> Floats:
    return np.array(
        [
            [camera.focal_px, 0, camera.principal_px[0]],
            [0, camera.focal_px, camera.principal_px[1]],
            [0, 0, 1.0],
        ]
    )


def _in_picture(scene: Scene, laid: Laid, sheet_m: Floats) -> Floats:
    middle, right, far = _axes(scene, laid)
    straight = scene.camera.project(middle + sheet_m[:, :1] * right + sheet_m[:, 1:] * far)
    ideal = (straight - scene.camera.principal_px) / scene.camera.focal_px
    lifted = np.column_stack([ideal, np.ones(len(ideal))])
    bent, _ = cv2.projectPoints(
        lifted, np.zeros(3), np.zeros(3), _matrix(scene.camera), np.array(scene.distortion or (0.0,) * 4)
    )
    return np.asarray(bent, dtype=float).reshape(-1, 2)


def _on_sheet(scene: Scene, laid: Laid, xy_px: Floats) -> Floats:
    """Sheet coordinates that pixels (…, 2) see: the ray of each, met with the sheet's plane."""
    bent = (xy_px.reshape(-1, 2) - scene.camera.principal_px) / scene.camera.focal_px
    k1, k2 = (*scene.distortion, 0.0, 0.0)[:2]
    length = np.linalg.norm(bent, axis=1)
    straight = length.copy()
    for _ in range(30):  # Newton on the radius
        r2 = straight**2
        straight -= (straight * (1 + k1 * r2 + k2 * r2 * r2) - length) / (1 + 3 * k1 * r2 + 5 * k2 * r2 * r2)
    ideal = bent * (straight / np.maximum(length, 1e-12))[:, None]
    rays = np.column_stack([ideal[:, 0], -ideal[:, 1], -np.ones(len(ideal))]) @ scene.camera.attitude.T
    middle, right, far = _axes(scene, laid)
    up = np.cross(right, far)
    reach = ((middle - scene.camera.position_m) @ up) / (rays @ up)
    points = scene.camera.position_m + rays * reach[:, None] - middle
    return np.stack([points @ right, points @ far], axis=-1).reshape(xy_px.shape)


LENSES = ((1280, 720, 777.0), (1280, 720, 930.0), (1536, 864, 933.0), (1456, 1088, 1159.0), (1640, 1232, 1357.0),
          (2304, 1296, 1774.0))  # fmt: skip
#: Where a technician may lay a sheet: to the right of and beyond the runner's place [m], turned [degrees].
PLACES = ((0, 0, 0), (0.02, -0.35, 5), (-0.02, 0.5, -5), (-0.12, -0.2, 20), (0.12, 0.25, -20), (-0.1, 0.35, 15))


def random_mount(rng: np.random.Generator, sheets: dict[str, Pixels], axis_px: float = 0.0) -> Scene:
    """A mount, lens, light and blur at random, the feet in the picture as in any mount that can measure."""
    wide, high, focal = LENSES[rng.integers(len(LENSES))]
    height, distance = rng.uniform(0.6, 1.6), rng.uniform(1.6, 3.5)
    feet = np.degrees(np.arctan2(height, distance - 0.5))
    pitch = min(rng.uniform(-12.0, -2.0), np.degrees(np.arctan(high / 2 / focal)) - feet - 1.0)
    camera = Pinhole(
        width_px=wide,
        height_px=high,
        focal_px=focal * rng.uniform(0.96, 1.04),
        height_m=height,
        distance_m=distance,
        x_m=rng.uniform(-0.1, 0.1),
        pitch_deg=pitch,
        roll_deg=rng.uniform(-3, 3),
        yaw_deg=rng.uniform(-3, 3),
        centre_px=(wide / 2 + rng.normal(0, axis_px), high / 2 + rng.normal(0, axis_px)),
    )
    return Scene(
        camera,
        (),
        distortion=(rng.uniform(-0.12, 0.04), rng.uniform(-0.01, 0.03), 0.0, 0.0),
        blur_px=rng.uniform(0.4, 1.2),
        noise=rng.uniform(1, 5),
        light=(rng.uniform(-0.4, 0.4), rng.uniform(-0.4, 0.4)),
        belt=rng.uniform(30, 80),
        papers=sheets,
    )


def moved(scene: Scene, rng: np.random.Generator, places: int = len(PLACES)) -> list[Scene]:
    """The scene once per place, sheet A a little off each."""
    out = []
    for x_m, ahead_m, turn_deg in PLACES[:places]:
        laid = Laid(
            "A",
            x_m - scene.camera.x_m + rng.uniform(-0.03, 0.03),
            scene.camera.distance_m + ahead_m + rng.uniform(-0.04, 0.04),
            turn_deg + rng.uniform(-6, 6),
        )
        out.append(replace(scene, laid=(laid,), seed=int(rng.integers(1 << 30))))
    return out


def depth_m(scene: Scene) -> float:
    """Horizontal distance of the first sheet along the line of sight."""
    yaw = np.radians(scene.camera.yaw_deg)
    return float(scene.laid[0].depth_m * np.cos(yaw) - scene.laid[0].x_m * np.sin(yaw))
