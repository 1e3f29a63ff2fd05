"""Mixed int8: the layers whose picture is small become int8, the rest stays float32.

Plain int8 moves the hips by pixels: large early layers need the range of floats, and the last, 4 px and smaller, turn
every error into one of position. The layers between (8 to 16 px) hold most of the weights and multiplications and bear
int8 well, but for a few that the recipe names. Weights are symmetric per output channel; activations have one scale per
tensor, from ranges measured once (``python -m station.lab.calibrate_pose``) and committed. Nothing here depends on the
machine: sums are avoided, every division and rounding is that of IEEE 754, so the same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from station.models.graph import Array, Graph, GraphError, Op, Quant, Tensor
from station.models.tflite_schema import INT8, INT32

#: Real values (lowest, highest) of activations by short tensor name.
Ranges = Mapping[str, tuple[float, float]]

#: int8 versions of the operators; the others stay float.
_INT8_VERSIONS = {"ADD": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "MAX_POOL_2D": 2, "RESIZE_BILINEAR": 3}
#: Operators whose output has the scale of their input.
_SAME_SCALE = ("MAX_POOL_2D", "RESIZE_BILINEAR")
_WEIGHT_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}


@dataclass(frozen=True, slots=True)
class Rule:
    """Which layers become int8: those whose output picture is ``smallest`` to ``largest`` pixels high.

    Layers whose output is named in ``keep_float`` (short names) do not, those in ``also_int8`` do whatever their size.
    """

    smallest: int
    largest: int
    keep_float: frozenset[str] = frozenset()
    also_int8: frozenset[str] = frozenset()

    def takes(self, op: Op) -> bool:
        """Whether this operator becomes int8."""
        name, shape = short_name(op.outputs[0]), op.outputs[0].shape
        if op.kind not in _INT8_VERSIONS or len(shape) != 4 or name in self.keep_float:
            return False
        return self.smallest <= shape[1] <= self.largest or name in self.also_int8


def short_name(tensor: Tensor) -> str:
    """The first of the names that a converter joined with semicolons."""
    return tensor.name.split(";")[0]


def activations(graph: Graph, rule: Rule) -> list[Tensor]:
    """The tensors whose ranges :func:`quantize` needs, in order of first use."""
    ops = [op for op in graph.ops if rule.takes(op)]
    every = [t for op in ops for t in (*_data_inputs(op), *op.outputs)]
    names = [short_name(tensor) for tensor in dict.fromkeys(every)]
    if len(set(names)) != len(names):
        raise GraphError("has activations that share a name")
    return list(dict.fromkeys(every))


def _data_inputs(op: Op) -> list[Tensor]:
    return [tensor for tensor in op.inputs if tensor is not None and tensor.data is None]


def quantize(graph: Graph, ranges: Ranges, rule: Rule) -> None:
    """Make the layers that ``rule`` takes int8, with QUANTIZE and DEQUANTIZE where they meet float layers.

    Raises :class:`GraphError` when a range is missing or left over: then it belongs to another model.
    """
    wanted = {short_name(tensor) for tensor in activations(graph, rule)}
    if wanted != set(ranges):
        raise GraphError(f"does not fit its calibration ranges ({len(wanted ^ set(ranges))} names differ)")
    _Quantizer(ranges, rule).run(graph)


class _Quantizer:
    def __init__(self, ranges: Ranges, rule: Rule) -> None:
        self.ranges, self.rule = ranges, rule
        self.int8: dict[Tensor, Tensor] = {}  # float tensor -> its int8 twin
        self.real: set[Tensor] = set()  # float tensors that exist as such
        self.ops: list[Op] = []

    def run(self, graph: Graph) -> None:
        self.real.update(graph.inputs)
        for op in graph.ops:
            if self.rule.takes(op):
                self.add_int8(op)
            else:
                for tensor in _data_inputs(op):
                    self.need_real(tensor)
                self.ops.append(op)
                self.real.update(op.outputs)
        for tensor in graph.outputs:
            self.need_real(tensor)
        graph.ops = self.ops

    def need_real(self, tensor: Tensor) -> None:
        if tensor not in self.real:
            self.ops.append(Op("DEQUANTIZE", [self.int8[tensor]], [tensor], version=2))
            self.real.add(tensor)

    def need_int8(self, tensor: Tensor) -> Tensor:
        if tensor not in self.int8:
            self.int8[tensor] = self.twin(tensor, _activation_quant(*self.ranges[short_name(tensor)]))
            self.ops.append(Op("QUANTIZE", [tensor], [self.int8[tensor]], version=1))
        return self.int8[tensor]

    def twin(self, tensor: Tensor, quant: Quant) -> Tensor:
        return Tensor(short_name(tensor) + ";int8", tensor.shape, INT8, None, quant)

    def add_int8(self, op: Op) -> None:
        inputs = [self.need_int8(t) if t is not None and t.data is None else t for t in op.inputs]
        source = inputs[0]
        if source is None or source.quant is None:
            raise GraphError(f"has a layer ({op.kind}) without an input")
        result = op.outputs[0]
        same = op.kind in _SAME_SCALE
        quant = source.quant if same else _activation_quant(*self.ranges[short_name(result)])
        if op.kind in _WEIGHT_AXIS:
            inputs[1:3] = _quantize_weights(op, source.quant)
        twin = self.int8[result] = self.twin(result, quant)
        self.ops.append(Op(op.kind, inputs, [twin], _INT8_VERSIONS[op.kind], op.options_type, op.options))


def _activation_quant(low: float, high: float) -> Quant:
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255) if high > low else np.float32(1)
    zero = int(np.clip(np.rint(-128 - low / float(scale)), -128, 127))
    return Quant(np.array([scale], np.float32), np.array([zero], np.int64))


def _quantize_weights(op: Op, source: Quant) -> list[Tensor]:
    weights, bias = op.inputs[1], op.inputs[2]
    if weights is None or bias is None or weights.data is None or bias.data is None:
        raise GraphError(f"has a layer ({op.kind}) without constant weights and bias")
    axis = _WEIGHT_AXIS[op.kind]
    stored, scale = _symmetric(weights.data, axis)
    bias_scale = (scale.astype(np.float64) * float(source.scale[0])).astype(np.float32)
    limit = 2**31 - 1
    bias_stored = np.clip(np.rint(bias.data.astype(np.float64) / bias_scale), -limit, limit).astype(np.int32)
    none = np.zeros(scale.size, np.int64)
    return [
        Tensor(weights.name, weights.shape, INT8, stored, Quant(scale, none, axis)),
        Tensor(bias.name + ";int32", bias.shape, INT32, bias_stored, Quant(bias_scale, none, 0)),
    ]


def _symmetric(weights: Array, axis: int) -> tuple[Array, Array]:
    others: Collection[int] = tuple(i for i in range(weights.ndim) if i != axis)
    largest = np.abs(weights).max(axis=tuple(others)).astype(np.float64)
    scale = (np.where(largest > 0, largest, 1.0) / 127).astype(np.float32)
    shape = [-1 if i == axis else 1 for i in range(weights.ndim)]
    stored = np.clip(np.rint(weights.astype(np.float64) / scale.reshape(shape)), -127, 127).astype(np.int8)
    return stored, scale
