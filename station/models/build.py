"""Builds the station's pose models from the shipped ones: fetch, check, fold, prune, quantize, check, store."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from station.errors import ModelError
from station.models.fetch import checked, fetch
from station.models.flatbuffer import FormatError
from station.models.fold import fold, keep_channels
from station.models.graph import Graph, GraphError, pack, parse
from station.models.narrow import WHOLE, narrow
from station.models.quantize import Ranges, Rule, quantize
from station.models.recipes import RECIPES, Origin, Recipe, Shipped, models_folder

Rest = NDArray[np.float32]
#: Holds :func:`load_rest` of every narrow model (float16: finer would be noise).
REST_FILE = "rest.npz"
_SHIPPED_FOLDER = "shipped"
#: Found by making one layer int8 at a time: two that are alone to blame for most of int8's error, and five larger ones
#: that hardly matter (four of them serve the heatmaps only).
_SENSITIVE = frozenset(f"model_1/model/re_lu_{number}/Relu6" for number in (30, 31))
_PATIENT = frozenset(f"model_1/model/re_lu_{number}/Relu6" for number in (36, 37, 38, 39))
RULE = Rule(
    smallest=8,
    largest=16,
    keep_float=_SENSITIVE | {WHOLE},
    also_int8=_PATIENT | {"model_1/model/batch_normalization_14/FusedBatchNormV3"},
)


def build(
    names: Sequence[str] = ("lite", "detector"),
    folder: Path | None = None,
    origin: Origin | None = None,
    source: Path | None = None,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Make the named models in ``folder`` (default: :func:`models_folder`) and return their paths.

    What is there with the right hash is kept, so a second call takes no time and no network. ``source`` is a folder
    with the shipped files, for a machine without network; ``origin`` the package to fetch from. Raises
    :class:`ModelError` with one line when a file cannot be had, is not the pinned one, or does not come out as pinned.
    """
    folder = folder or models_folder()
    recipes = [_recipe(name) for name in names]
    missing = [recipe for recipe in recipes if not is_built(recipe, folder)]
    if missing:
        shipped = _shipped_files(missing, folder, origin, source, say)
        for recipe in missing:
            data = make(recipe, shipped[recipe.shipped.file])
            have = hashlib.sha256(data).hexdigest()
            if have != recipe.sha256:
                raise ModelError(
                    f"{recipe.file}: came out as sha256 {have[:12]}…, pinned is {recipe.sha256[:12]}…; "
                    "the recipe and its pin disagree: reinstall the station"
                )
            store(folder / recipe.file, data)
            say(f"built {folder / recipe.file} ({len(data) / 1e6:.1f} MB)")
    return [folder / recipe.file for recipe in recipes]


def is_built(recipe: Recipe, folder: Path) -> bool:
    """Whether the model is there and is the pinned one."""
    try:
        return hashlib.sha256((folder / recipe.file).read_bytes()).hexdigest() == recipe.sha256
    except OSError:
        return False


def make(recipe: Recipe, shipped: bytes, ranges: Ranges | None = None, rest: Rest | None = None) -> bytes:
    """The model of a recipe from the shipped file's bytes: the same bytes for the same input, on every machine.

    ``ranges`` and ``rest`` stand in for the committed ones.
    """
    try:
        graph = folded(recipe, shipped)
        if recipe.width_px is not None:
            narrow(graph, recipe.width_px, load_rest(recipe.name) if rest is None else rest)
        if recipe.ranges is not None:
            quantize(graph, ranges or load_ranges(recipe.ranges), RULE)
        return pack(graph)
    except (GraphError, FormatError) as error:
        raise ModelError(f"{recipe.shipped.file}: {error}; run `station model build` again") from error


def folded(recipe: Recipe, shipped: bytes) -> Graph:
    """The float graph of a recipe, folded and pruned."""
    graph = parse(shipped)
    fold(graph)
    graph.prune(recipe.outputs)
    for output, channels in recipe.channels.items():
        keep_channels(graph, output, channels)
    return graph


def load_ranges(file: str) -> Ranges:
    """Committed activation ranges by short tensor name."""
    table = json.loads((resources.files("station.models") / file).read_text("utf-8"))
    return {name: (float(low), float(high)) for name, (low, high) in table["ranges"].items()}


def load_rest(name: str) -> Rest:
    """What a narrow model's head is given beside its own cells: :func:`station.models.narrow.narrow`."""
    with (resources.files("station.models") / REST_FILE).open("rb") as file, np.load(file) as arrays:
        return np.asarray(arrays[name], np.float32)


def store(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, even if the power fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise ModelError(f"{path}: cannot be written ({error.strerror}); free or allow it, then build again") from error


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise ModelError(f"{name}: no such model; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def shipped_file(recipe: Recipe, folder: Path | None = None) -> bytes:
    """The shipped file behind a recipe, fetched if it is not kept yet."""
    return _shipped_files([recipe], folder or models_folder(), None, None, lambda _: None)[recipe.shipped.file]


def _shipped_files(
    recipes: Sequence[Recipe], folder: Path, origin: Origin | None, source: Path | None, say: Callable[[str], None]
) -> dict[str, bytes]:
    wanted = {recipe.shipped.file: recipe.shipped for recipe in recipes}
    if source is not None:
        return {file: _from_source(source, shipped) for file, shipped in wanted.items()}
    have, lacking = {}, []
    for file, shipped in wanted.items():
        kept = folder / _SHIPPED_FOLDER / file
        try:
            have[file] = checked(kept.read_bytes(), shipped, str(kept))
        except (OSError, ModelError):
            lacking.append(shipped)  # never kept, or damaged since: fetched anew
    if lacking:
        for file, data in fetch(lacking, origin, say).items():
            store(folder / _SHIPPED_FOLDER / file, data)
            have[file] = data
    return have


def _from_source(source: Path, shipped: Shipped) -> bytes:
    names = [shipped.file, *(Path(path).name for path, _ in shipped.places.values())]
    for name in dict.fromkeys(names):
        if (source / name).is_file():
            return checked((source / name).read_bytes(), shipped, str(source / name))
    raise ModelError(f"{source}: holds no {' or '.join(dict.fromkeys(names))}; give the folder of the shipped files")
