"""From the trained net to the shipped file: ``python -m station.lab.export OUT_DIR DATA_DIR MODEL.tflite``.

Reads ``OUT_DIR/last.pt`` of :mod:`station.lab.train`, folds the normalisation into the convolutions, scales the told
variances until they fit bodies and a shading that it was not trained on (``check_*`` shards), measures the range
of every activation on training crops, and writes the int8 model and, beside it, the float one
(``MODEL.float.tflite``). Prints what either scores on the held-out crops.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from station.inference import Model
from station.lab.net import ALONE_SD_DEG, TURN_SD_DEG, Crops, PelvisNet, prepare
from station.lab.train import ANGLES, LAST_KINDS, Run, load, predict, score
from station.models.graph import Graph, Op, Tensor, pack
from station.models.quantize import Ranges, Rule, quantize
from station.models.tflite_schema import FLOAT32
from station.pelvis_net import INPUT_PX, OUTPUTS, decode, without_prior
from station.types import Floats

_CONV_2D_OPTIONS, _RELU6 = 1, 3
_SAME, _VALID = 0, 1
_CALIBRATION_CROPS = 600
#: Every convolution on a picture of 7 px or more; the head on a single point stays float: it says tenths of degrees.
RULE = Rule(smallest=7, largest=INPUT_PX)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m station.lab.export", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("trained", type=Path, help="folder with last.pt")
    parser.add_argument("data", type=Path, help="folder of the shards: train_*, plain_*, held_* and check_*")
    parser.add_argument("model", type=Path, help="the file to write (.tflite)")
    options = parser.parse_args(arguments)
    kept = options.trained / "last.pt"
    if not kept.is_file() or options.model.suffix != ".tflite":
        print(f"{kept}: make it with `python -m station.lab.train`; the model's name ends in .tflite", file=sys.stderr)
        return 2
    try:
        train, held, check = (load(options.data, *kinds) for kinds in (LAST_KINDS, ("held",), ("check",)))
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    net = Run(kept, 1).mean.eval()
    widen(net, check)
    float_path = options.model.with_suffix(".float.tflite")
    float_path.write_bytes(pack(graph_of(net)))
    some = torch.linspace(0, len(train.images) - 1, _CALIBRATION_CROPS).long()
    small = graph_of(net)
    quantize(small, ranges_of(net, prepare(train, some)[0]), RULE)
    options.model.write_bytes(pack(small))
    labels = held.labels.double().numpy()[:, : len(ANGLES)]
    told = {"torch": predict(net, held)}
    told |= {path.name: run(path, held) for path in (float_path, options.model)}
    told["as used"] = run(options.model, held, likelihood=True)
    for name, (angles, sd) in told.items():
        for i, angle in enumerate(ANGLES):
            known = np.isfinite(angles[:, i])
            line = score(angles[known, i], labels[known, i], sd[known, i]) if known.sum() > 2 else "tells nothing"
            print(f"{name:22s} {angle:9s} {line}")
    print(prior_of(train))
    print(f"{options.model}: {options.model.stat().st_size} bytes, sha256 {Model(options.model).sha256}")
    return 0


def widen(net: PelvisNet, check: Crops) -> None:
    """Add to the told log variances what makes 68 % of errors on ``check`` fall within one sd, angle by angle.

    On crops of the training kind a net is surer than it may be on anything else.
    """
    angles, sd = predict(net, check)
    error = np.abs(angles - check.labels.double().numpy()[:, : len(ANGLES)])
    factor = np.quantile(error / sd, 0.6827, axis=0)
    last = net.head[-1]
    with torch.no_grad():
        start = OUTPUTS.index("log_variance_obliquity")
        last.bias[start : start + len(ANGLES)] += torch.from_numpy(2 * np.log(factor)).float()


def prior_of(crops: Crops) -> str:
    """Mean and sd of the angles as training sees them: mirrored, and turned by :func:`station.lab.net.prepare`."""
    angles = crops.labels.double().numpy()[:, : len(ANGLES)]
    spread = np.sqrt((angles**2).mean(axis=0))
    spread[0] = np.hypot(spread[0], np.hypot(TURN_SD_DEG, ALONE_SD_DEG * np.sqrt(0.5)))
    tilt = angles[:, 2]
    return f"prior: obliquity 0, {spread[0]:.1f}; rotation 0, {spread[1]:.1f}; tilt {tilt.mean():.1f}, {tilt.std():.1f}"


def graph_of(net: PelvisNet) -> Graph:
    """The float model: convolutions only, picture (1, INPUT_PX, INPUT_PX, 3) in -1..1 to (1, 1, 1, len(OUTPUTS))."""
    tensor = Tensor("picture", (1, INPUT_PX, INPUT_PX, 3), FLOAT32)
    graph = Graph([tensor], [], description="Hipline pelvis net")
    for number, (weights, bias, stride, padding, activation) in enumerate(_layers(net)):
        kernel, outside, size = weights.shape[1], weights.shape[0], tensor.shape[1]
        size = -(-size // stride) if padding == _SAME else size - kernel + 1
        result = Tensor(f"layer{number}", (1, size, size, outside), FLOAT32)
        constants = [
            Tensor(f"layer{number}/{name}", value.shape, FLOAT32, value.astype(np.float32))
            for name, value in (("weights", weights), ("bias", bias))
        ]
        options = {
            "padding": padding,
            "stride_w": stride,
            "stride_h": stride,
            "fused_activation_function": activation,
        }
        graph.ops.append(Op("CONV_2D", [tensor, *constants], [result], 1, _CONV_2D_OPTIONS, options))
        tensor = result
    graph.outputs = [tensor]
    return graph


def _layers(net: PelvisNet) -> list[tuple[Floats, Floats, int, int, int]]:
    """Weights (out, height, width, in), bias, stride, padding and activation of every convolution."""
    layers = []
    for block in net.features:
        convolution, norm = block[1], block[2]
        gain = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().double().numpy()
        weights = convolution.weight.detach().double().numpy().transpose(0, 2, 3, 1) * gain[:, None, None, None]
        bias = norm.bias.detach().double().numpy() - norm.running_mean.double().numpy() * gain
        layers.append((weights, bias, int(convolution.stride[0]), _SAME, _RELU6))
    for convolution, activation in ((net.head[0], _RELU6), (net.head[2], 0)):
        weights = convolution.weight.detach().double().numpy().transpose(0, 2, 3, 1)
        layers.append((weights, convolution.bias.detach().double().numpy(), 1, _VALID, activation))
    return layers


def ranges_of(net: PelvisNet, images: torch.Tensor) -> Ranges:
    """Lowest and highest value of every activation that becomes int8, on these pictures."""
    ranges, seen = {"picture": (-1.0, 1.0)}, images
    with torch.no_grad():
        for number, block in enumerate(net.features):
            seen = block(seen)
            ranges[f"layer{number}"] = (0.0, float(torch.quantile(seen.amax((1, 2, 3)), 0.999)))
    return ranges


def run(path: Path, crops: Crops, likelihood: bool = False) -> tuple[Floats, Floats]:
    """Angles and sd in degrees, (n, 3) each, as the file gives them; or their ``likelihood``, as they are used."""
    model, rows = Model(path), []
    for start in range(0, len(crops.images), 256):
        pictures = prepare(crops, torch.arange(start, min(start + 256, len(crops.images))))[0]
        for picture in pictures.permute(0, 2, 3, 1).contiguous().numpy():
            model.run(picture[np.newaxis])
            angles, sd, _, _ = decode(model.output(len(OUTPUTS)).ravel())
            angles, sd = without_prior(angles, sd) if likelihood else (angles, sd)
            rows.append([*angles, *sd])
    table = np.array(rows)
    return table[:, : len(ANGLES)], table[:, len(ANGLES) :]


if __name__ == "__main__":
    sys.exit(main())
