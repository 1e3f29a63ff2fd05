"""What the built models are: hashes, sizes, operators by type of number."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

from station.models.flatbuffer import FormatError
from station.models.graph import Graph, GraphError, parse
from station.models.recipes import RECIPES, Recipe, models_folder
from station.models.tflite_schema import FLOAT16, FLOAT32, INT8

_TYPE_NAMES = {FLOAT32: "float32", FLOAT16: "float16", INT8: "int8"}


def info(folder: Path | None = None) -> list[dict[str, Any]]:
    """One entry for each model of the station: ``state`` is ``ok``, ``missing`` or ``damaged``."""
    folder = folder or models_folder()
    return [_entry(recipe, folder) for recipe in RECIPES.values()]


def _entry(recipe: Recipe, folder: Path) -> dict[str, Any]:
    path = folder / recipe.file
    shipped = sorted({sha256 for _, sha256 in recipe.shipped.places.values()})
    entry: dict[str, Any] = {
        "name": recipe.name, "path": str(path), "state": "missing", "sha256": recipe.sha256,
        "made_from": {"file": recipe.shipped.file, "sha256": shipped}, "calibration": recipe.ranges,
    }  # fmt: skip
    if not path.is_file():
        return entry
    data = path.read_bytes()
    entry["bytes"] = len(data)
    entry["state"] = "ok" if hashlib.sha256(data).hexdigest() == recipe.sha256 else "damaged"
    try:
        graph = parse(data)
    except (FormatError, GraphError):
        return entry
    entry["ops"] = ops_by_type(graph)
    entry["inputs"] = {tensor.name: list(tensor.shape) for tensor in graph.inputs}
    entry["outputs"] = {tensor.name: list(tensor.shape) for tensor in graph.outputs}
    return entry


def ops_by_type(graph: Graph) -> dict[str, dict[str, int]]:
    """How many operators of each kind compute in which type of number (that of their first input)."""
    counts: dict[str, Counter[str]] = {}
    for op in graph.ops:
        source = op.inputs[0]
        kind = "none" if source is None else _TYPE_NAMES.get(source.dtype, str(source.dtype))
        counts.setdefault(kind, Counter())[op.kind] += 1
    return {kind: dict(sorted(counter.items())) for kind, counter in sorted(counts.items())}


def as_text(entries: list[dict[str, Any]]) -> str:
    """The same, for people."""
    lines = []
    for entry in entries:
        size = f"{entry['bytes'] / 1e6:.2f} MB" if "bytes" in entry else "-"
        lines.append(f"{entry['name']:11s} {entry['state']:8s} {size:>9s}  sha256 {entry['sha256']}")
        lines.append(f"            {entry['path']}")
        made = entry["made_from"]
        how = f"mixed int8 with {entry['calibration']}" if entry["calibration"] else "float32"
        lines.append(f"            from {made['file']} (sha256 {' or '.join(s[:12] for s in made['sha256'])}…), {how}")
        for kind, ops in entry.get("ops", {}).items():
            lines.append(f"            {kind:8s} {sum(ops.values()):4d} ops: " + _listed(ops))
    return "\n".join(lines)


def _listed(ops: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(ops.items(), key=lambda item: -item[1]))
