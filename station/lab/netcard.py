"""Pictures for the card of the pelvis model: ``python -m station.lab.netcard MODEL.tflite DATA_DIR OUT_DIR``.

``pelvis_scatter.png`` shows what it says against the truth on the held-out crops, coloured by the sd it tells, and how
often the truth lies within so many of them; ``pelvis_worst.png`` shows the crops where obliquity is furthest off, and
those where it is furthest off for what it told.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from station.lab.dataset import LABELS, SIDE_PX
from station.lab.export import run
from station.lab.net import Crops
from station.lab.train import ANGLES, load
from station.types import Floats, Pixels

_TILE_PX = 192
_ACROSS = 8


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m station.lab.netcard", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="the .tflite file")
    parser.add_argument("data", type=Path, help="folder of the held_* shards")
    parser.add_argument("out", type=Path, help="folder for the pictures")
    options = parser.parse_args(arguments)
    if not options.model.is_file() or not options.out.is_dir():
        print(f"{options.model} must be a model, {options.out} a folder", file=sys.stderr)
        return 2
    try:
        held = load(options.data, "held")
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    said, sd = run(options.model, held, likelihood=True)
    true = held.labels.double().numpy()[:, : len(ANGLES)]
    scatter(options.out / "pelvis_scatter.png", said, sd, true, held)
    cv2.imwrite(str(options.out / "pelvis_worst.png"), worst(said[:, 0], sd[:, 0], true[:, 0], held))
    return 0


def worst(said: Floats, sd: Floats, true: Floats, held: Crops) -> Pixels:
    """Upper row: furthest off in degrees; lower row: in told sd. Each says true, said and told sd."""
    error = np.abs(said - true)
    rows = []
    for order in (np.argsort(-np.nan_to_num(error)), np.argsort(-np.nan_to_num(error / sd))):
        rows.append(np.hstack([_tile(held, int(i), said, sd, true) for i in order[:_ACROSS]]))
    return np.vstack(rows)


def _tile(held: Crops, i: int, said: Floats, sd: Floats, true: Floats) -> Pixels:
    picture = held.images[i].permute(1, 2, 0).numpy()[..., ::-1]
    tile = np.asarray(cv2.resize(np.ascontiguousarray(picture), (_TILE_PX, _TILE_PX)), np.uint8)
    left, right = held.labels[i, 3:7].reshape(2, 2).numpy() * _TILE_PX / SIDE_PX
    middle, half = (left + right) / 2, float(np.linalg.norm(right - left)) / 2
    for angle, colour in ((true[i], (60, 200, 60)), (said[i], (30, 140, 255))):
        step = half * np.array([np.cos(np.radians(angle)), -np.sin(np.radians(angle))])
        start, end = ([int(v) for v in middle + sign * step] for sign in (-1, 1))
        cv2.line(tile, start, end, colour, 2, cv2.LINE_AA)
    text = f"{true[i]:+.1f} said {said[i]:+.1f} sd {sd[i]:.1f}"
    cv2.putText(tile, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return tile


def scatter(path: Path, said: Floats, sd: Floats, true: Floats, held: Crops) -> None:
    """One panel an angle, and the share of errors within so many told sd."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 (extra `plot`, for this picture only)

    figure, axes = plt.subplots(1, 4, figsize=(15, 3.9), constrained_layout=True)
    for i, name in enumerate(ANGLES):
        low, high = np.quantile(true[:, i], (0.003, 0.997))
        dots = axes[i].scatter(true[:, i], said[:, i], c=sd[:, i], s=7, cmap="viridis_r", vmax=np.nanquantile(sd, 0.95))
        axes[i].plot([low, high], [low, high], color="black", lw=0.8)
        axes[i].set(xlabel=f"true {name} [deg]", ylabel="said [deg]", xlim=(low, high), ylim=(1.3 * low, 1.3 * high))
        figure.colorbar(dots, ax=axes[i], label="told sd [deg]")
    waist = held.labels[:, LABELS.index("waist")].numpy()
    grid = np.linspace(0, 3, 61)
    for name, rows in (("waist seen", waist > 0.6), ("waist covered", waist < 0.2)):
        off = np.abs(said[rows, 0] - true[rows, 0]) / sd[rows, 0]
        axes[3].plot(grid, [float(np.mean(off[np.isfinite(off)] <= k)) for k in grid], label=f"obliquity, {name}")
    normal = [float(np.mean(np.abs(np.random.default_rng(0).normal(size=100_000)) <= k)) for k in grid]
    axes[3].plot(grid, normal, color="black", lw=0.8, label="as a normal error would")
    axes[3].set(xlabel="told sd", ylabel="share of errors within", ylim=(0, 1))
    axes[3].legend(loc="lower right")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
