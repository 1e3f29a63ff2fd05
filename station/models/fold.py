"""Folds what a shipped pose model computes from constants alone, so that its weights are plain float32.

The shipped files keep weights as float16 behind DEQUANTIZE, the detector's as sparse vectors behind DENSIFY as well.
Unfolded they cost time and memory at every start, are passed over by quantizers without a word, and the detector makes
``tflite-runtime`` crash. Folding changes no bit of the output.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from station.models.graph import Array, Graph, GraphError, Tensor
from station.models.tflite_schema import FLOAT32

_SPARSE = 1


def fold(graph: Graph) -> None:
    """Replace every DENSIFY and DEQUANTIZE of a constant by the constant it computes."""
    kept = []
    for op in graph.ops:
        source = op.inputs[0] if op.inputs else None
        if op.kind == "DENSIFY" and source is not None and source.data is not None:
            op.outputs[0].data = densify(source)
        elif op.kind == "DEQUANTIZE" and source is not None and source.data is not None and source.quant is None:
            op.outputs[0].data = source.data.astype(np.float32)
            op.outputs[0].dtype = FLOAT32
        else:
            kept.append(op)
    graph.ops = kept


def keep_channels(graph: Graph, output: str, channels: Sequence[int]) -> None:
    """Compute only these channels of an output that a convolution ends in, in this order."""
    op = next(op for op in graph.ops if op.outputs[0].name == output)
    weights, bias = op.inputs[1:3]
    if op.kind != "CONV_2D" or weights is None or bias is None or weights.data is None or bias.data is None:
        raise GraphError(f"output {output} is not that of a convolution")
    rows = list(channels)
    op.inputs[1] = dataclasses.replace(weights, data=weights.data[rows], shape=(len(rows), *weights.shape[1:]))
    op.inputs[2] = dataclasses.replace(bias, data=bias.data[rows], shape=(len(rows),))
    op.outputs[0].shape = (*op.outputs[0].shape[:-1], len(rows))


def densify(tensor: Tensor) -> Array:
    """The dense array of a sparse constant (TFLite's block-sparse storage: a tree of dense and compressed levels)."""
    sparsity, values = tensor.sparsity, tensor.data
    if sparsity is None or values is None:
        raise GraphError(f"{tensor.name} is not sparse")
    rank, levels = len(tensor.shape), sparsity["dim_metadata"]
    order, blocks = [int(i) for i in sparsity["traversal_order"]], [int(i) for i in sparsity.get("block_map", ())]
    # Walk the levels of the tree once, for all stored values together: `nodes` numbers the nodes reached so far, and
    # `coordinates[k]` holds where each of them lies along level k.
    nodes: Array = np.zeros(1, np.int64)
    coordinates: list[Array] = []
    for level in levels:
        if level.get("format", 0) == _SPARSE:
            bounds, indices = _vector(level, "array_segments"), _vector(level, "array_indices")
            counts = bounds[nodes + 1] - bounds[nodes]
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            positions = np.repeat(bounds[nodes], counts) + within
            here, children = indices[positions], positions
        else:
            size = int(level["dense_size"])
            counts = np.full(nodes.shape, size)
            here = np.tile(np.arange(size), nodes.size)
            children = np.repeat(nodes * size, size) + here
        coordinates = [np.repeat(c, counts) for c in coordinates] + [here]
        nodes = children
    at = [np.zeros(nodes.shape, np.int64) for _ in range(rank)]
    block_size = dict.fromkeys(range(rank), 1)
    for level, dimension in zip(levels, order, strict=True):
        if dimension >= rank:
            block_size[blocks[dimension - rank]] = int(level["dense_size"])
    for dimension, where in zip(order, coordinates, strict=True):
        if dimension < rank:
            at[dimension] += where * block_size[dimension]
        else:
            at[blocks[dimension - rank]] += where
    dense = np.zeros(tensor.shape, values.dtype)
    dense[tuple(at)] = values[nodes]
    return dense


def _vector(level: dict[str, Any], name: str) -> Array:
    return np.asarray(level[name]["values"], np.int64)
