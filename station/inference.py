"""The one door to the TFLite interpreter: loads a model file, checks it, runs it without allocating.

``ai-edge-litert`` is preferred; ``tflite-runtime`` serves where only that can be installed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.errors import ModelError

_IDENTIFIER = b"TFL3"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output of a model."""

    name: str
    index: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


class Model:
    """A loaded model, its tensors allocated once; not for use by two threads at the same time.

    ``path`` is a ``.tflite`` file; ``sha256``, if given, must be that of its bytes; without it a damaged file is found
    by ai-edge-litert alone (tflite-runtime crashes). ``threads`` are the interpreter's. Inputs and outputs are float32.

    Raises :class:`ModelError`, one line that names the file and the mend, when the file is missing, cut off, damaged,
    not the pinned one, or refused by the interpreter.
    """

    def __init__(self, path: Path | str, sha256: str | None = None, threads: int = 1) -> None:
        self.path = Path(path)
        content = _checked_bytes(self.path, sha256)
        self.sha256 = hashlib.sha256(content).hexdigest()
        interpreter_class, self.runtime = _interpreter()
        try:
            self._interpreter = interpreter_class(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            first = (str(error).strip() or "no reason given").splitlines()[0]
            raise ModelError(f"{self.path}: refused by {self.runtime} ({first}); run `station model build`") from error
        self.inputs = tuple(map(_info, self._interpreter.get_input_details()))
        self.outputs = tuple(map(_info, self._interpreter.get_output_details()))
        self._input_view = self._interpreter.tensor(self.inputs[0].index)
        # by name and by size, the first of a size winning; asked for on every frame
        self._outputs: dict[str | int, Callable[[], NDArray[np.float32]]] = {}
        for info in self.outputs:
            view = self._interpreter.tensor(info.index)
            self._outputs.setdefault(info.name, view)
            self._outputs.setdefault(info.size, view)

    def run(self, values: NDArray[Any], scale: float = 1.0, offset: float = 0.0) -> None:
        """Run once on ``values · scale + offset``, written straight into the first input; ``values`` has its size."""
        view = self._input_view()
        target = view.reshape(values.shape)
        np.multiply(values, np.float32(scale), out=target, casting="unsafe")
        if offset:
            target += np.float32(offset)
        del view, target  # the interpreter refuses to run while anyone holds its memory
        self._interpreter.invoke()

    def output(self, which: str | int) -> NDArray[np.float32]:
        """A copy of an output of the last run, by its name or by how many numbers it holds."""
        return np.array(self._view(which), np.float32)

    def take(self, which: str | int, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Copies of some numbers of an output, in the shape of ``places``: where they lie, counted in memory."""
        return np.asarray(self._view(which).reshape(-1).take(places), np.float32)

    def _view(self, which: str | int) -> NDArray[np.float32]:
        view = self._outputs.get(which)
        if view is None:
            have = ", ".join(f"{info.name} ({info.size})" for info in self.outputs)
            raise ModelError(f"{self.path}: no output {which!r}, it has {have}; run `station model build`")
        return view()


def _info(details: dict[str, Any]) -> TensorInfo:
    return TensorInfo(str(details["name"]), int(details["index"]), tuple(int(size) for size in details["shape"]))


def _interpreter() -> tuple[Any, str]:
    """The interpreter class that is installed, and the name of its package."""
    try:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - only when a model is really loaded

        return Interpreter, "ai-edge-litert"
    except ImportError:
        pass
    try:
        from tflite_runtime.interpreter import Interpreter  # noqa: PLC0415

        return Interpreter, "tflite-runtime"
    except ImportError as error:
        raise ModelError("no TFLite interpreter: install ai-edge-litert (`make setup` does)") from error


def _checked_bytes(path: Path, sha256: str | None) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"{path}: missing; run `station model build`") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); run `station model build`") from error
    # Damaged bytes make tflite-runtime crash, and the process with it, so they are looked at first.
    if content[4:8] != _IDENTIFIER:
        raise ModelError(f"{path}: not a TFLite model; run `station model build`")
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ModelError(f"{path}: not the pinned model (its sha256 differs); run `station model build`")
    return content
