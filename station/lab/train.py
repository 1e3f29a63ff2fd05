"""Train the pelvis net: ``python -m station.lab.train DATA_DIR OUT_DIR --minutes 60``.

The net looks at one pelvis crop and says obliquity, axial rotation and tilt in the camera frame, each with its own
variance, and the hip centres. It is trained on the ``train_*`` shards of :mod:`station.lab.dataset` and scored after
every epoch on the ``held_*`` ones (bodies and shading never trained on). ``OUT_DIR/last.pt`` keeps everything, so that
a second call goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from station.lab.dataset import LABELS, SIDE_PX
from station.types import Floats

INPUT_PX = 112
#: Degrees per unit of the net's angle outputs; hip centres are in units of half the crop.
SCALE_DEG = (5.0, 8.0, 8.0)
ANGLES = ("obliquity", "rotation", "tilt")
_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """Images (n, 3, SIDE_PX, SIDE_PX) uint8 and labels (n, len(LABELS))."""

    images: Tensor
    labels: Tensor


class PelvisNet(nn.Module):
    """Dense 3x3 convolutions (on a CPU they train ten times faster than depthwise ones); 0.3 M parameters.

    Output columns: three angles (units of ``SCALE_DEG``), their three log variances, four hip coordinates.
    """

    def __init__(self) -> None:
        super().__init__()
        plan = ((3, 24, 2), (24, 40, 2), (40, 64, 2), (64, 64, 1), (64, 96, 2), (96, 96, 1))
        self.features = nn.Sequential(*[_block(*step) for step in plan], _block(96, 16, 1, kernel=1))
        self.head = nn.Sequential(nn.Linear(16 * (INPUT_PX // 16) ** 2, 96), nn.ReLU(), nn.Linear(96, 10))

    def forward(self, images: Tensor) -> Tensor:
        """Raw outputs (n, 10) for images (n, 3, INPUT_PX, INPUT_PX) in -1..1."""
        out: Tensor = self.head(self.features(images).flatten(1))
        return torch.cat([out[:, :3], out[:, 3:6].clamp(-6.0, 4.0), out[:, 6:]], dim=1)


def _block(inside: int, outside: int, stride: int, kernel: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU6())


def load(folder: Path, prefix: str) -> Crops:
    """All shards of one kind; raises FileNotFoundError when there are none."""
    paths = [p for p in sorted(folder.glob(f"{prefix}_*.npz")) if ".part" not in p.name]
    if not paths:
        raise FileNotFoundError(f"{folder}: no {prefix}_*.npz; make them with `python -m station.lab.dataset {folder}`")
    images, labels = [], []
    for path in paths:
        with np.load(path) as data:
            images.append(data["images"])
            labels.append(data["labels"])
    pictures = torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2).contiguous()
    return Crops(pictures, torch.from_numpy(np.concatenate(labels)))


def prepare(crops: Crops, rows: Tensor, wild: bool, dice: torch.Generator) -> tuple[Tensor, Tensor]:
    """Net input and target (three angles, four hip coordinates, in the net's units); ``wild`` augments.

    A turned picture turns the hip line with it: the change of obliquity is known. A mirrored one swaps the sides.
    """
    images, labels = crops.images[rows].float() / 127.5 - 1.0, crops.labels[rows]
    n = len(rows)
    turn = torch.zeros(n)
    zoom, shift = torch.full((n,), INPUT_PX / SIDE_PX), torch.zeros(n, 2)
    if wild:
        turn = torch.randn(n, generator=dice) * 4.0
        zoom = zoom * torch.exp(torch.randn(n, generator=dice) * 0.06)
        shift = torch.randn(n, 2, generator=dice) * 0.04
    c, s = torch.cos(torch.deg2rad(turn)), torch.sin(torch.deg2rad(turn))
    # Output to input; a positive turn lifts the right side of what is seen.
    linear = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1) * zoom[:, None, None]
    grid = functional.affine_grid(
        torch.cat([linear, shift[:, :, None]], 2), [n, 3, INPUT_PX, INPUT_PX], align_corners=False
    )
    images = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    hips = labels[:, 3:7].reshape(n, 2, 2) / SIDE_PX * 2 - 1
    hips = torch.linalg.solve(linear, (hips - shift[:, None]).transpose(1, 2)).transpose(1, 2)
    angles = labels[:, :3].clone()
    angles[:, 0] += turn
    if wild:
        flip = torch.rand(n, generator=dice) < 0.5
        images = torch.where(flip[:, None, None, None], images.flip(3), images)
        mirrored = hips.flip(1) * torch.tensor([-1.0, 1.0])
        hips = torch.where(flip[:, None, None], mirrored, hips)
        angles = torch.where(flip[:, None], angles * torch.tensor([-1.0, -1.0, 1.0]), angles)
        images = _recolour(images, dice)
    return images, torch.cat([angles / torch.tensor(SCALE_DEG), hips.reshape(n, 4)], 1)


def _recolour(images: Tensor, dice: torch.Generator) -> Tensor:
    n = len(images)
    gain = 1 + 0.2 * torch.randn(n, 3, 1, 1, generator=dice)
    images = images * gain + 0.1 * torch.randn(n, 3, 1, 1, generator=dice)
    grey = images.mean(1, keepdim=True).expand_as(images)
    return torch.where(torch.rand(n, 1, 1, 1, generator=dice) < 0.25, grey, images)


def loss_of(out: Tensor, target: Tensor) -> Tensor:
    """Gaussian likelihood of the angles (weighted by its own sd, so that hard crops still teach) and hip distance."""
    error, log_variance = out[:, :3] - target[:, :3], out[:, 3:6]
    likelihood = 0.5 * (error**2 * torch.exp(-log_variance) + log_variance)
    weight = torch.exp(0.5 * log_variance).detach()
    return (likelihood * weight).mean() + functional.smooth_l1_loss(out[:, 6:], target[:, 3:], beta=0.05)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m station.lab.train", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the shards")
    parser.add_argument("out", type=Path, help="folder for last.pt (made when missing)")
    parser.add_argument("--minutes", type=float, default=60.0, help="train so long in this call (default 60)")
    parser.add_argument("--epochs", type=int, default=40, help="length of the whole schedule (default 40)")
    options = parser.parse_args(arguments)
    try:
        train, held = load(options.data, "train"), load(options.data, "held")
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    run = _Run(options.out / "last.pt", options.epochs)
    end = time.monotonic() + 60 * options.minutes
    print(f"{len(train.images)} crops to train on, {len(held.images)} held out, epoch {run.epoch} of {run.epochs}")
    while run.epoch < run.epochs and time.monotonic() < end:
        mean_loss = run.one_epoch(train)
        print(f"epoch {run.epoch}: loss {mean_loss:.4f}", flush=True)
        for line in report(run.net, held):
            print(f"  {line}", flush=True)
    return 0


class _Run:
    """Net, optimizer and schedule, kept in one file."""

    def __init__(self, path: Path, epochs: int) -> None:
        torch.manual_seed(0)
        self.net, self.path, self.epochs, self.epoch = PelvisNet(), path, epochs, 0
        self.optimizer = torch.optim.AdamW(self.net.parameters(), 3e-3, weight_decay=1e-3)
        if path.is_file():
            kept = torch.load(path, weights_only=True)
            self.net.load_state_dict(kept["net"])
            self.optimizer.load_state_dict(kept["optimizer"])
            self.epoch = int(kept["epoch"])

    def one_epoch(self, crops: Crops) -> float:
        """One pass over the crops in an order that depends on the epoch alone; the mean loss."""
        dice = torch.Generator().manual_seed(self.epoch)
        order = torch.randperm(len(crops.images), generator=dice)
        batches = max(1, len(order) // _BATCH)
        total = 0.0
        self.net.train()
        for b in range(batches):
            share = (self.epoch + b / batches) / self.epochs
            for group in self.optimizer.param_groups:
                group["lr"] = 3e-3 * (0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * share))))
            images, target = prepare(crops, order[b * _BATCH : (b + 1) * _BATCH], True, dice)
            loss = loss_of(self.net(images), target)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += float(loss.detach())
        self.epoch += 1
        kept = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "epoch": self.epoch}
        partial = self.path.with_suffix(".part")
        torch.save(kept, partial)
        partial.replace(self.path)
        return total / batches


def predict(net: PelvisNet, crops: Crops) -> tuple[Floats, Floats]:
    """Angles and their sd in degrees, (n, 3) each."""
    net.eval()
    outs = []
    with torch.no_grad():
        for start in range(0, len(crops.images), 256):
            rows = torch.arange(start, min(start + 256, len(crops.images)))
            outs.append(net(prepare(crops, rows, False, torch.Generator())[0]))
    out = torch.cat(outs).double().numpy()
    scale = np.array(SCALE_DEG)
    return out[:, :3] * scale, np.exp(0.5 * out[:, 3:6]) * scale


def report(net: PelvisNet, crops: Crops) -> list[str]:
    """Scores on crops: each angle, and obliquity where the waistband shows, where it is covered, on level pelvises."""
    angles, sd = predict(net, crops)
    labels = crops.labels.double().numpy()
    lines = [f"{name:9s} {_score(angles[:, i], labels[:, i], sd[:, i])}" for i, name in enumerate(ANGLES)]
    waist = labels[:, LABELS.index("waist")]
    level = np.abs(labels[:, LABELS.index("world_obliquity_deg")]) < 1e-6
    for name, rows in (("waist seen", waist > 0.6), ("waist covered", waist < 0.2)):
        if rows.sum() > 20:
            lines.append(f"obliquity, {name}: {_score(angles[rows, 0], labels[rows, 0], sd[rows, 0])}")
    if level.sum() > 5:
        off = angles[level, 0] - labels[level, 0]
        size = float(np.sqrt(np.mean(off**2)))
        lines.append(f"level pelvis over running legs: {size:.2f} deg RMS, {level.sum()} crops")
    return lines


def _score(said: Floats, true: Floats, sd: Floats) -> str:
    gain = float(np.polyfit(true, said, 1)[0])
    r = float(np.corrcoef(true, said)[0, 1])
    error = said - true
    inside = float(np.mean(np.abs(error) <= sd))
    return (
        f"r {r:.3f} gain {gain:.2f} bias {error.mean():+.2f} RMSE {np.sqrt(np.mean(error**2)):.2f} deg "
        f"(true sd {true.std():.2f}), {100 * inside:.0f} % within one sd, {len(true)} crops"
    )


if __name__ == "__main__":
    sys.exit(main())
