"""A narrower picture: a runner is upright, and far to the left and right of one there is nothing to see.

The landmark model is convolutions down to 8 by 8 cells, and only then a head that tells the points from all of them. So
its input may be narrower, and everything up to those cells costs that much less. The head still gets 8 by 8: the cells
that are missing come as zeros, and what a wider picture holds there on average is added (``rest``), which also mends
what the missing surroundings change in the cells that are left. The points stay those of the square crop.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from station.models.graph import Graph, GraphError, Op, Tensor
from station.models.tflite_schema import INT32

#: Names of the head's cells, before and after something is added to those that were not seen.
_PADDED, WHOLE = "narrow/padded", "narrow/whole"


def narrow(graph: Graph, width_px: int, rest: NDArray[np.float32]) -> None:
    """Take pictures ``width_px`` wide instead of square ones, the middle of them.

    ``rest`` (cells, cells, channels) is the mean of what the square picture has at the head beyond the narrow one.
    Raises :class:`GraphError` for a model of another kind, or a width that leaves no whole number of cells each side.
    """
    whole_px, cells = graph.inputs[0].shape[2], head_input(graph).shape[2]
    kept, left_over = divmod(width_px * cells, whole_px)
    if left_over or (cells - kept) % 2 or not 0 < kept < cells:
        raise GraphError(f"cannot be made {width_px} px wide")
    _make_narrow(graph, width_px, whole_px)
    _widen_head(graph, (cells - kept) // 2, rest)


def head_input(graph: Graph) -> Tensor:
    """The cells that the head, and it alone, makes smaller: the smallest picture that is not yet the head's."""
    smallest = min(op.outputs[0].shape[1] for op in graph.ops if op.kind == "RESIZE_BILINEAR") // 2
    for op in graph.ops:
        source = op.inputs[0]
        if op.kind == "DEPTHWISE_CONV_2D" and source is not None and op.outputs[0].shape[1] < smallest:
            return source
    raise GraphError("has no head behind its cells")


def narrowed(graph: Graph) -> Tensor:
    """The cells of a narrow graph among the missing ones, before anything is added."""
    return next(op.outputs[0] for op in graph.ops if op.outputs[0].name == _PADDED)


def _make_narrow(graph: Graph, width_px: int, whole_px: int) -> None:
    cells = head_input(graph)
    wide = {cells}
    for op in graph.ops:
        if wide.intersection(tensor for tensor in op.inputs if tensor is not None):
            wide.update(op.outputs)
    wide.discard(cells)
    _set_width(graph.inputs[0], width_px)
    for op in graph.ops:
        result = op.outputs[0]
        if result in wide:
            continue
        if op.kind == "PAD":
            source, pads = op.inputs
            assert source is not None
            assert pads is not None
            assert pads.data is not None
            _set_width(result, source.shape[2] + int(pads.data[2].sum()))
            continue
        _set_width(result, result.shape[2] * width_px // whole_px)
        if op.kind == "RESIZE_BILINEAR":
            size = op.inputs[1]
            assert size is not None
            op.inputs[1] = Tensor(size.name, size.shape, size.dtype, np.array(result.shape[1:3], np.int32))


def _set_width(tensor: Tensor, width: int) -> None:
    rows, columns = tensor.shape[:2], tensor.shape[3:]
    tensor.shape = (*rows, width, *columns)


def _widen_head(graph: Graph, aside: int, rest: NDArray[np.float32]) -> None:
    cells = head_input(graph)
    shape = (1, *rest.shape)
    if shape != (*cells.shape[:2], cells.shape[2] + 2 * aside, cells.shape[3]):
        raise GraphError("does not fit what is to be added at its head")
    pads = Tensor("narrow/pads", (4, 2), INT32, np.array([[0, 0], [0, 0], [aside, aside], [0, 0]], np.int32))
    padded = Tensor(_PADDED, shape, cells.dtype)
    whole = Tensor(WHOLE, shape, cells.dtype)
    added = Tensor("narrow/rest", shape, cells.dtype, rest[np.newaxis].astype(np.float32))
    like_pad, like_add = (next(op for op in graph.ops if op.kind == kind) for kind in ("PAD", "ADD"))
    plain = {name: value for name, value in (like_add.options or {}).items() if name != "fused_activation_function"}
    fresh = [
        Op("PAD", [cells, pads], [padded], like_pad.version, like_pad.options_type, like_pad.options),
        Op("ADD", [padded, added], [whole], 1, like_add.options_type, plain),
    ]
    at = next(i for i, op in enumerate(graph.ops) if cells in op.inputs)
    for op in graph.ops[at:]:
        op.inputs = [whole if tensor is cells else tensor for tensor in op.inputs]
    graph.ops[at:at] = fresh
