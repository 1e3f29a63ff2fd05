"""The pelvis net in PyTorch: what is trained here and becomes a TFLite file in :mod:`station.lab.export`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from station.lab.dataset import LABELS, SIDE_PX
from station.pelvis_net import INPUT_PX, LOG_VARIANCE, OUTPUTS, SCALE_DEG

#: Metres across a crop, and how far from the middle of the hips a pelvis-only turn is whole and gone, in crop sides.
_CROP_M = 0.62
_WHOLE, _GONE = 0.09 / _CROP_M, 0.26 / _CROP_M
_WHOLE_ACROSS, _GONE_ACROSS = 0.24 / _CROP_M, 0.40 / _CROP_M
_WAIST = LABELS.index("waist")
#: How far training turns a whole picture, and (half of the time) its pelvis alone.
TURN_SD_DEG, ALONE_SD_DEG = 2.5, 5.0
#: Share of crops that get a print while training.
_PRINTED = 0.35


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """Images (n, 3, SIDE_PX, SIDE_PX) uint8 and labels (n, len(LABELS))."""

    images: Tensor
    labels: Tensor


class PelvisNet(nn.Module):
    """Dense 3x3 convolutions (on a CPU they train ten times faster than depthwise ones); 0.3 M parameters.

    Output columns are :data:`station.pelvis_net.OUTPUTS`: three angles (units of ``SCALE_DEG``), their three log
    variances, four hip coordinates (half crops from the middle), and the logit of a waist that is seen.
    """

    def __init__(self) -> None:
        super().__init__()
        plan = ((3, 24, 2), (24, 32, 2), (32, 56, 2), (56, 56, 1), (56, 96, 2), (96, 96, 1))
        self.features = nn.Sequential(*[_block(*step) for step in plan], _block(96, 16, 1, kernel=1))
        # The head is convolutions too: one over all that is left of the picture, one on its single point.
        self.head = nn.Sequential(nn.Conv2d(16, 96, INPUT_PX // 16), nn.ReLU6(), nn.Conv2d(96, len(OUTPUTS), 1))

    def forward(self, images: Tensor) -> Tensor:
        """Raw outputs (n, len(OUTPUTS)) for images (n, 3, INPUT_PX, INPUT_PX) in -1..1."""
        out: Tensor = self.head(self.features(images)).flatten(1)
        return torch.cat([out[:, :3], out[:, 3:6].clamp(*LOG_VARIANCE), out[:, 6:]], dim=1)


def _block(inside: int, outside: int, stride: int, kernel: int = 3) -> nn.Sequential:
    # TFLite's "same" padding: a stride of two on an even picture pads on the right and below only.
    pad = {(3, 1): (1, 1, 1, 1), (3, 2): (0, 1, 0, 1), (1, 1): (0, 0, 0, 0)}[kernel, stride]
    convolution = nn.Conv2d(inside, outside, kernel, stride, bias=False)
    return nn.Sequential(nn.ZeroPad2d(pad), convolution, nn.BatchNorm2d(outside), nn.ReLU6())


def prepare(crops: Crops, rows: Tensor, dice: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Net input and target (three angles, four hip coordinates in the net's units, waist); ``dice`` augments.

    A turned picture turns the hip line with it, and so does one of which only the pelvis is turned: the change of
    obliquity is known. A mirrored one swaps the sides.
    """
    images, labels = crops.images[rows].float() / 127.5 - 1.0, crops.labels[rows]
    hips = labels[:, 3:7].reshape(-1, 2, 2) / SIDE_PX * 2 - 1
    angles = labels[:, :3].clone()
    if dice is None:
        inner = INPUT_PX / SIDE_PX
        images = functional.interpolate(
            images[:, :, _MARGIN : SIDE_PX - _MARGIN, _MARGIN : SIDE_PX - _MARGIN], size=(INPUT_PX, INPUT_PX)
        )
        return images, _target(angles, hips / inner, labels)
    images, hips, angles = _turned(images, hips, angles, dice)
    flip = torch.rand(len(rows), generator=dice) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    hips = torch.where(flip[:, None, None], hips.flip(1) * torch.tensor([-1.0, 1.0]), hips)
    angles = torch.where(flip[:, None], angles * torch.tensor([-1.0, -1.0, 1.0]), angles)
    return _recolour(images, dice), _target(angles, hips, labels)


_MARGIN = (SIDE_PX - INPUT_PX) // 2


def _target(angles: Tensor, hips: Tensor, labels: Tensor) -> Tensor:
    parts = [angles / torch.tensor(SCALE_DEG), hips.reshape(len(hips), 4), labels[:, _WAIST : _WAIST + 1]]
    return torch.cat(parts, 1)


def _turned(images: Tensor, hips: Tensor, angles: Tensor, dice: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Everything turned, zoomed and moved; on half of the crops the pelvis turned once more, by itself."""
    n = len(images)

    def normal(sd: float, *shape: int) -> Tensor:
        return torch.randn(n, *shape, generator=dice) * sd

    turn, zoom, shift = normal(TURN_SD_DEG), (INPUT_PX / SIDE_PX) * torch.exp(normal(0.05)), normal(0.03, 2)
    alone = normal(ALONE_SD_DEG) * (torch.rand(n, generator=dice) < 0.5)
    c, s = torch.cos(torch.deg2rad(turn)), torch.sin(torch.deg2rad(turn))
    # From where a pixel of the output is to where it comes from; a positive turn lifts the right side.
    linear = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1) * zoom[:, None, None]
    size = [n, 3, INPUT_PX, INPUT_PX]
    grid = functional.affine_grid(torch.cat([linear, shift[:, :, None]], 2), size, align_corners=False)
    middle = hips.mean(dim=1)[:, None, None, :]
    from_middle = grid - middle
    share = _fade(from_middle[..., 1].abs() / 2, _WHOLE, _GONE)
    share = share * _fade(from_middle[..., 0].abs() / 2, _WHOLE_ACROSS, _GONE_ACROSS)
    grid = middle + _spun(from_middle, torch.deg2rad(alone)[:, None, None] * share)
    images = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    hips = middle[:, 0] + _spun(hips - middle[:, 0], -torch.deg2rad(alone)[:, None].expand(n, 2))
    hips = torch.linalg.solve(linear, (hips - shift[:, None]).transpose(1, 2)).transpose(1, 2)
    angles[:, 0] += turn + alone
    return images, hips, angles


def _fade(distance: Tensor, whole: float, gone: float) -> Tensor:
    """1 up to ``whole``, smoothly down to 0 at ``gone``."""
    x = ((gone - distance) / (gone - whole)).clamp(0, 1)
    return x * x * (3 - 2 * x)


def _spun(offset: Tensor, angle: Tensor) -> Tensor:
    """Offsets (…, 2), y down, looked up where they came from when the right side is lifted by ``angle`` radians."""
    c, s = torch.cos(angle), torch.sin(angle)
    x, y = offset[..., 0], offset[..., 1]
    return torch.stack([c * x - s * y, s * x + c * y], -1)


def _recolour(images: Tensor, dice: torch.Generator) -> Tensor:
    n = len(images)
    gamma = torch.exp(0.3 * torch.randn(n, 1, 1, 1, generator=dice))
    images = 2 * ((images + 1) / 2).clamp(1e-3, 1) ** gamma - 1
    gain = 1 + 0.2 * torch.randn(n, 3, 1, 1, generator=dice)
    images = images * gain + 0.1 * torch.randn(n, 3, 1, 1, generator=dice)
    images = torch.where(torch.rand(n, 1, 1, 1, generator=dice) < _PRINTED, _printed(images, dice), images)
    grey = images.mean(1, keepdim=True).expand_as(images)
    images = torch.where(torch.rand(n, 1, 1, 1, generator=dice) < 0.25, grey, images)
    return images.clamp(-1, 1)


def _printed(images: Tensor, dice: torch.Generator) -> Tensor:
    """Blotches of another colour over everything, soft or with hard edges: prints must not be taken for hips."""
    n = len(images)
    cells = int(torch.randint(4, 20, (1,), generator=dice))
    field = functional.interpolate(
        torch.randn(n, 1, cells, cells, generator=dice), size=(INPUT_PX, INPUT_PX), mode="bicubic"
    )
    hard = torch.rand(n, 1, 1, 1, generator=dice) < 0.5
    share = torch.where(hard, torch.sigmoid(12 * field), torch.sigmoid(1.5 * field))
    # Light is (image + 1) / 2; a print takes away or adds its share of it, the folds stay.
    tint = torch.exp(0.7 * torch.randn(n, 3, 1, 1, generator=dice))
    return (images + 1) * (1 + share * (tint - 1)) - 1


def loss_of(out: Tensor, target: Tensor) -> Tensor:
    """What the net is punished for: angles, hips and waist that are off, and variances that do not fit the errors.

    Variances learn from the errors but do not excuse them: a likelihood alone lets a young net call everything unsure
    and learn nothing.
    """
    error, log_variance = out[:, :3] - target[:, :3], out[:, 3:6]
    angles = functional.smooth_l1_loss(out[:, :3], target[:, :3], beta=0.2, reduction="none")
    fit = 0.5 * (error.detach() ** 2 * torch.exp(-log_variance) + log_variance)
    hips = functional.smooth_l1_loss(out[:, 6:10], target[:, 3:7], beta=0.02)
    waist = functional.binary_cross_entropy_with_logits(out[:, 10], target[:, 7])
    return (angles * torch.tensor([3.0, 1.0, 1.0])).mean() + 0.2 * fit.mean() + 4.0 * hips + 0.1 * waist
