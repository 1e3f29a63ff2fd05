"""Train the pelvis net: ``python -m station.lab.train DATA_DIR OUT_DIR --minutes 60``.

The net looks at one pelvis crop and says obliquity, axial rotation and tilt along the line of sight, each with its own
variance, the hip centres, and whether it sees the waist. It is trained on the ``train_*`` shards of
:mod:`station.lab.dataset` (or on ``--kinds``) and scored on the ``held_*`` ones (bodies and shading never trained on).
``OUT_DIR/last.pt`` keeps everything, so that a second call goes on where the first stopped; shards that have arrived
meanwhile are used. What is scored and shipped is the running mean of the weights.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from pathlib import Path

import numpy as np
import torch

from station.lab.dataset import LABELS
from station.lab.net import Crops, PelvisNet, loss_of, prepare
from station.pelvis_net import SCALE_DEG
from station.types import Floats

ANGLES = ("obliquity", "rotation", "tilt")
#: What the shipped net saw last (:mod:`station.lab.recipe`): one plain crop for two of all kinds.
LAST_KINDS = ("train_1", "plain")
_BATCH = 64
_RATE = 3e-3
_MEMORY = 0.998
#: Convolutions of training are done in half precision where that is quicker (weights, loss and scores never are).
_QUICK = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m station.lab.train", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the shards")
    parser.add_argument("out", type=Path, help="folder for last.pt (made when missing)")
    parser.add_argument("--minutes", type=float, default=60.0, help="train so long in this call (default 60)")
    parser.add_argument("--samples", type=int, default=1_350_000, help="length of the whole schedule (default 1350000)")
    parser.add_argument("--kinds", nargs="+", default=["train"], help="names that shards begin with (default train)")
    parser.add_argument("--begin", type=Path, help="last.pt of another training: start from its weights")
    parser.add_argument("--rate", type=float, default=_RATE, help=f"learning rate at the start (default {_RATE})")
    options = parser.parse_args(arguments)
    try:
        train, held = load(options.data, *options.kinds), load(options.data, "held")
        known = len(shards(options.data, *options.kinds))
        run = Run(options.out / "last.pt", options.samples, options.rate, options.begin)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * options.minutes
    print(
        f"{len(train.images)} crops to train on, {len(held.images)} held out, {run.seen} samples of {run.samples} seen"
    )
    while run.seen < run.samples and time.monotonic() < end:
        if len(shards(options.data, *options.kinds)) > known:
            train, known = load(options.data, *options.kinds), len(shards(options.data, *options.kinds))
        begin = time.monotonic()
        mean_loss = run.one_epoch(train)
        took_s = time.monotonic() - begin
        print(f"{run.seen} samples: {len(train.images)} crops, {took_s:.0f} s, loss {mean_loss:.4f}", flush=True)
        for line in report(run.mean, held):
            print(f"  {line}", flush=True)
    return 0


def shards(folder: Path, *prefixes: str) -> list[Path]:
    """The complete shards of these kinds."""
    found = [path for prefix in prefixes for path in sorted(folder.glob(f"{prefix}_*.npz"))]
    return [path for path in found if ".part" not in path.name]


def load(folder: Path, *prefixes: str) -> Crops:
    """All shards of these kinds; raises FileNotFoundError when there are none."""
    paths = shards(folder, *prefixes)
    if not paths:
        raise FileNotFoundError(
            f"{folder}: no {' or '.join(prefixes)}_*.npz; make them with `python -m station.lab.dataset {folder}`"
        )
    images, labels = [], []
    for path in paths:
        with np.load(path) as data:
            images.append(data["images"])
            labels.append(data["labels"])
    pictures = torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2).contiguous()
    return Crops(pictures, torch.from_numpy(np.concatenate(labels)))


class Run:
    """Net, running mean of its weights, optimizer and schedule, kept in one file."""

    def __init__(self, path: Path, samples: int, rate: float = _RATE, begin: Path | None = None) -> None:
        torch.manual_seed(0)
        self.rate = rate
        self.net, self.path, self.samples, self.seen = (
            PelvisNet().to(memory_format=torch.channels_last),
            path,
            samples,
            0,
        )
        self.optimizer = torch.optim.AdamW(self.net.parameters(), rate, weight_decay=1e-3)
        self.mean = copy.deepcopy(self.net)
        if begin is not None and not path.is_file():
            for net in (self.net, self.mean):
                net.load_state_dict(torch.load(begin, weights_only=True)["mean"])
        if path.is_file():
            kept = torch.load(path, weights_only=True)
            self.net.load_state_dict(kept["net"])
            self.mean.load_state_dict(kept["mean"])
            self.optimizer.load_state_dict(kept["optimizer"])
            self.seen = int(kept["seen"])

    def one_epoch(self, crops: Crops) -> float:
        """One pass over the crops in an order that depends on the samples seen so far alone; the mean loss."""
        dice = torch.Generator().manual_seed(self.seen)
        order = torch.randperm(len(crops.images), generator=dice)
        batches = max(1, len(order) // _BATCH)
        total = 0.0
        self.net.train()
        for b in range(batches):
            share = min(1.0, self.seen / self.samples)
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate * (0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * share))))
            images, target = prepare(crops, order[b * _BATCH : (b + 1) * _BATCH], dice)
            with torch.autocast("cpu", torch.bfloat16, enabled=_QUICK):
                out = self.net(images.contiguous(memory_format=torch.channels_last))
            loss = loss_of(out.float(), target)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self._remember()
            self.seen += len(images)
            total += float(loss.detach())
        self._keep()
        return total / batches

    def _remember(self) -> None:
        """The running mean goes a little toward the weights of now (early on, more); normalisation goes along."""
        memory = min(_MEMORY, self.seen / (self.seen + 10 * _BATCH))
        with torch.no_grad():
            new = self.net.state_dict()
            for name, old in self.mean.state_dict().items():
                if old.dtype.is_floating_point:
                    old.lerp_(new[name], 1 - memory)
                else:
                    old.copy_(new[name])

    def _keep(self) -> None:
        kept = {
            "net": self.net.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "seen": self.seen,
        }
        partial = self.path.with_suffix(".part")
        torch.save(kept, partial)
        partial.replace(self.path)


def predict(net: PelvisNet, crops: Crops) -> tuple[Floats, Floats]:
    """Angles and their sd in degrees, (n, 3) each."""
    net.eval()
    outs = []
    with torch.no_grad():
        for start in range(0, len(crops.images), 256):
            rows = torch.arange(start, min(start + 256, len(crops.images)))
            outs.append(net(prepare(crops, rows)[0]))
    out = torch.cat(outs).double().numpy()
    scale = np.array(SCALE_DEG)
    return out[:, :3] * scale, np.exp(0.5 * out[:, 3:6]) * scale


def report(net: PelvisNet, crops: Crops) -> list[str]:
    """Scores on crops: each angle, and obliquity where the waistband shows, where it is covered, on level pelvises."""
    angles, sd = predict(net, crops)
    labels = crops.labels.double().numpy()
    lines = [f"{name:9s} {score(angles[:, i], labels[:, i], sd[:, i])}" for i, name in enumerate(ANGLES)]
    waist = labels[:, LABELS.index("waist")]
    level = np.abs(labels[:, LABELS.index("world_obliquity_deg")]) < 1e-6
    for name, rows in (("waist seen", waist > 0.6), ("waist covered", waist < 0.2)):
        if rows.sum() > 20:
            lines.append(f"obliquity, {name}: {score(angles[rows, 0], labels[rows, 0], sd[rows, 0])}")
    if level.sum() > 5:
        off = angles[level, 0] - labels[level, 0]
        size = float(np.sqrt(np.mean(off**2)))
        lines.append(f"level pelvis over running legs: {size:.2f} deg RMS, {level.sum()} crops")
    return lines


def score(said: Floats, true: Floats, sd: Floats) -> str:
    """Correlation, gain, bias, RMSE and how honest the sd is, on one line; all in degrees."""
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
