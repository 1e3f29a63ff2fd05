"""A TFLite model as tensors and operators with names, the form in which it is folded, pruned and quantized."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.models import flatbuffer
from station.models.tflite_schema import FLOAT16, FLOAT32, INT8, INT32, INT64, OPERATORS, SCHEMA

Array = NDArray[Any]

DTYPES: dict[int, np.dtype[Any]] = {
    FLOAT32: np.dtype("<f4"), FLOAT16: np.dtype("<f2"), INT32: np.dtype("<i4"), INT64: np.dtype("<i8"),
    INT8: np.dtype("i1"),
}  # fmt: skip
_OPERATOR_NAMES = {code: name for name, code in OPERATORS.items()}
_LAST_CODE_IN_ONE_BYTE = 127


class GraphError(ValueError):
    """The model is not of the kind this recipe knows."""


@dataclass(slots=True)
class Quant:
    """Real value = ``scale`` · (stored - ``zero_point``); one entry, or one for each index along ``axis``."""

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int = 0


@dataclass(slots=True, eq=False)
class Tensor:
    """A tensor: a constant when it has ``data``. A sparse constant keeps its packed values until it is folded."""

    name: str
    shape: tuple[int, ...]
    dtype: int
    data: Array | None = None
    quant: Quant | None = None
    sparsity: dict[str, Any] | None = None


@dataclass(slots=True, eq=False)
class Op:
    """An operator; an input that is not used is ``None``."""

    kind: str
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    version: int = 1
    options_type: int = 0
    options: dict[str, Any] | None = None


@dataclass(slots=True)
class Graph:
    """A model with one subgraph; operators are in the order in which they run."""

    inputs: list[Tensor]
    outputs: list[Tensor]
    ops: list[Op] = field(default_factory=list)
    description: str = ""

    def tensors(self) -> list[Tensor]:
        """Every tensor that is in use, inputs first, then in order of first use."""
        every: Iterable[Tensor | None] = [*self.inputs, *(t for op in self.ops for t in (*op.inputs, *op.outputs))]
        return [t for t in dict.fromkeys(every) if t is not None]

    def prune(self, outputs: Iterable[str]) -> None:
        """Keep only these outputs and the operators that they need."""
        names = set(outputs)
        self.outputs = [tensor for tensor in self.outputs if tensor.name in names]
        if len(self.outputs) != len(names):
            raise GraphError(f"has not the outputs {', '.join(sorted(names))}")
        live, kept = set(self.outputs), []
        for op in reversed(self.ops):
            if live.intersection(op.outputs):
                kept.append(op)
                live.update(tensor for tensor in op.inputs if tensor is not None)
        self.ops = kept[::-1]


def parse(data: bytes) -> Graph:
    """The graph of a ``.tflite`` file.

    Raises :class:`GraphError` for anything beyond plain inference graphs with the operators that the pose models use,
    :class:`flatbuffer.FormatError` for damaged bytes.
    """
    model = flatbuffer.read(data, SCHEMA)
    if len(model.get("subgraphs", [])) != 1:
        raise GraphError("has not exactly one subgraph")
    body = model["subgraphs"][0]
    tensors = [_tensor(table, model["buffers"]) for table in body["tensors"]]

    def refs(indices: Any) -> list[Tensor | None]:
        return [tensors[i] if i >= 0 else None for i in indices]

    ops = []
    for table in body["operators"]:
        code = model["operator_codes"][table.get("opcode_index", 0)]
        number = max(code.get("builtin_code", 0), code.get("deprecated_builtin_code", 0))
        if number not in _OPERATOR_NAMES:
            raise GraphError(f"has an operator ({number}) that this recipe does not know")
        ops.append(
            Op(
                _OPERATOR_NAMES[number],
                refs(table.get("inputs", ())),
                [tensors[i] for i in table.get("outputs", ())],
                code.get("version", 1),
                table.get("builtin_options_type", 0),
                table.get("builtin_options"),
            )
        )
    return Graph(
        [tensors[i] for i in body["inputs"]],
        [tensors[i] for i in body["outputs"]],
        ops,
        model.get("description", b"").decode(),
    )


def _tensor(table: dict[str, Any], buffers: list[dict[str, Any]]) -> Tensor:
    dtype = table.get("type", FLOAT32)
    if dtype not in DTYPES or table.get("is_variable"):
        raise GraphError(f"has a tensor of a type ({dtype}) that this recipe does not know")
    shape = tuple(int(size) for size in table.get("shape", ()))
    raw = buffers[table.get("buffer", 0)].get("data")
    data = np.frombuffer(raw.tobytes(), DTYPES[dtype]) if raw is not None and raw.size else None
    sparsity = table.get("sparsity")
    if data is not None and sparsity is None:
        data = data.reshape(shape)
    quant, q = None, table.get("quantization", {})
    if len(q.get("scale", ())):
        quant = Quant(q["scale"].copy(), q["zero_point"].copy(), q.get("quantized_dimension", 0))
    return Tensor(table.get("name", b"").decode(), shape, dtype, data, quant, sparsity)


def pack(graph: Graph) -> bytes:
    """The ``.tflite`` bytes of a graph, with a signature that names inputs and outputs; equal constants stored once."""
    tensors = graph.tensors()
    index = {tensor: i for i, tensor in enumerate(tensors)}
    codes = list(dict.fromkeys((op.kind, op.version) for op in graph.ops))
    buffers: list[dict[str, Any]] = [{}]
    place: dict[bytes, int] = {}
    tables = []
    for tensor in tensors:
        table: dict[str, Any] = {"shape": tensor.shape, "type": tensor.dtype, "name": tensor.name.encode()}
        if tensor.sparsity is not None:
            raise GraphError(f"{tensor.name} is sparse: fold it first")
        if tensor.data is not None:
            raw = np.ascontiguousarray(tensor.data, DTYPES[tensor.dtype]).tobytes()
            if raw not in place:
                place[raw] = len(buffers)
                buffers.append({"data": np.frombuffer(raw, "u1")})
            table["buffer"] = place[raw]
        if tensor.quant is not None:
            q = tensor.quant
            table["quantization"] = {"scale": q.scale, "zero_point": q.zero_point, "quantized_dimension": q.axis}
        tables.append(table)

    def named(several: list[Tensor]) -> list[dict[str, Any]]:
        return [{"name": tensor.name.encode(), "tensor_index": index[tensor]} for tensor in several]

    return flatbuffer.write(
        {
            "version": 3,
            "operator_codes": [_operator_code(kind, version) for kind, version in codes],
            "subgraphs": [
                {
                    "tensors": tables,
                    "inputs": [index[tensor] for tensor in graph.inputs],
                    "outputs": [index[tensor] for tensor in graph.outputs],
                    "operators": [_operator(op, codes, index) for op in graph.ops],
                    "name": b"main",
                }
            ],
            "description": graph.description.encode(),
            "buffers": buffers,
            "signature_defs": [
                {
                    "inputs": named(graph.inputs),
                    "outputs": named(graph.outputs),
                    "signature_key": b"serving_default",
                    "subgraph_index": 0,
                }
            ],
        },
        SCHEMA,
    )


def _operator_code(kind: str, version: int) -> dict[str, Any]:
    code = OPERATORS[kind]
    return {
        "deprecated_builtin_code": min(code, _LAST_CODE_IN_ONE_BYTE),
        "version": version,
        "builtin_code": code,
    }


def _operator(op: Op, codes: list[tuple[str, int]], index: dict[Tensor, int]) -> dict[str, Any]:
    table: dict[str, Any] = {
        "opcode_index": codes.index((op.kind, op.version)),
        "inputs": [-1 if tensor is None else index[tensor] for tensor in op.inputs],
        "outputs": [index[tensor] for tensor in op.outputs],
    }
    if op.options is not None:
        table["builtin_options_type"] = op.options_type
        table["builtin_options"] = op.options
    return table
