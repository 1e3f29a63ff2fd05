"""The shape of ``station/``: who imports whom, what pure rooms may touch, one importer for each foreign runtime."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# Imports point upward only in this list. Above the line nothing reads a clock, a file, a socket or a global.
PURE = (
    "types", "geometry", "harmonics", "pelvis", "gait", "metrics", "coach", "standing", "visit", "summary",
    "session",
)  # fmt: skip
WORLD = (
    "errors", "printing", "wire", "config", "plot", "mailbox", "camera", "inference", "models", "pose", "pelvis_net",
    "optical_rate", "tag", "outbox", "publish", "broker", "health", "engine", "replay", "bench", "verify", "calibrate",
    "update", "doctor", "web", "lab", "__main__",
)  # fmt: skip
ROOMS = (*PURE, *WORLD)

# A pure room computes: it needs the language, NumPy and nothing else.
PURE_IMPORTS = {
    "__future__", "abc", "bisect", "cmath", "collections", "dataclasses", "enum", "functools", "heapq", "itertools",
    "math", "numpy", "operator", "types", "typing",
}  # fmt: skip
IMPURE_CALLS = {"open", "input", "print", "exec", "eval", "compile", "__import__", "breakpoint", "globals", "vars"}
# What NumPy offers that is not arithmetic: chance, files, and settings shared by the whole process.
IMPURE_NUMPY = {
    "random", "load", "loadtxt", "genfromtxt", "fromfile", "memmap", "save", "savez", "savez_compressed", "savetxt",
    "tofile", "dump", "seterr", "seterrcall", "setbufsize", "set_printoptions", "datetime_as_string", "busday_count",
}  # fmt: skip

# Foreign modules that one room alone knows.
SOLE_IMPORTER = {
    "ai_edge_litert": "inference", "tflite_runtime": "inference", "picamera2": "camera", "libcamera": "camera",
}  # fmt: skip

# The web process must not be able to reach the camera or the kernel; nobody leans on the workbench.
ONLY_IMPORTS = {"web": {"errors", "wire", "config"}}
ONLY_IMPORTED_BY = {"lab": {"__main__"}, "web": {"__main__"}, "__main__": set[str]()}


def imported(tree: ast.Module, package: str) -> Iterator[tuple[int, str]]:
    """Every import, also those inside functions: its line and full dotted name (``from a import b``: a.b)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            name = node.args[0]
            yield node.lineno, str(name.value) if isinstance(name, ast.Constant) else "importlib"


def impure_use(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What a pure room does beside computing: its line and a word for it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield node.lineno, f"keeps state in the global {', '.join(node.names)}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            yield node.lineno, f"calls {node.func.id}()"
        elif isinstance(node, ast.Attribute) and node.attr in IMPURE_NUMPY and _is_numpy_or_array(node):
            yield node.lineno, f"uses .{node.attr}"


def _is_numpy_or_array(node: ast.Attribute) -> bool:
    # `np.load` is a file; `self.load` is the room's own word. tofile and dump are methods of every array.
    return node.attr in {"tofile", "dump"} or (isinstance(node.value, ast.Name) and node.value.id in {"np", "numpy"})


def room_of(path: Path, root: Path) -> str:
    first = path.relative_to(root).parts[0]
    return first.removesuffix(".py")


def violations(root: Path) -> list[str]:
    """One line for every rule that a file under ``root`` (a package named station) breaks."""
    return [
        f"{path.relative_to(root)}:{line}: {fault}"
        for path in sorted(root.rglob("*.py"))
        for line, fault in file_violations(path, root)
    ]


def file_violations(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    room = room_of(path, root)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ".".join(("station", *path.relative_to(root).parts[:-1]))
    if room == "__init__":
        yield from ((line, f"the package itself imports {name}") for line, name in imported(tree, package))
        return
    if room not in ROOMS:
        yield 1, f"the room {room} has no place in the list of rooms (tests/test_architecture.py)"
        return
    for line, name in imported(tree, package):
        fault = import_fault(room, name)
        if fault:
            yield line, fault
    if room in PURE:
        yield from ((line, f"{room} is pure but {use}") for line, use in impure_use(tree))


def import_fault(room: str, name: str) -> str | None:
    top, _, rest = name.partition(".")
    if top != "station":
        if SOLE_IMPORTER.get(top, room) != room:
            return f"{room} imports {top}, which only {SOLE_IMPORTER[top]} may"
        if room in PURE and (top not in PURE_IMPORTS or name.startswith("numpy.random")):
            return f"{room} is pure but imports {name}"
        return None
    other = rest.partition(".")[0]
    if other == room or (other not in ROOMS and room not in PURE):
        return None  # its own parts; `from station import __version__`
    if other not in ROOMS or ROOMS.index(other) > ROOMS.index(room):
        return f"{room} imports {name}, which stands below it"
    if other not in ONLY_IMPORTS.get(room, {other}):
        return f"{room} imports {name}; it may know only {', '.join(sorted(ONLY_IMPORTS[room]))}"
    if room not in ONLY_IMPORTED_BY.get(other, {room}):
        return f"{room} imports {name}, which nobody else leans on"
    return None


def test_the_station_keeps_its_shape(repository: Path) -> None:
    found = violations(repository / "station")
    assert not found, "\n".join(found)


def test_the_rooms_exist(repository: Path) -> None:
    """Rules about rooms that are not there would pass for ever."""
    rooms = {room_of(path, repository / "station") for path in (repository / "station").rglob("*.py")}
    assert {"types", "geometry", "pelvis", "gait", "metrics", "session"} <= rooms
    assert set(SOLE_IMPORTER.values()) | set(ONLY_IMPORTS) <= rooms


@pytest.mark.parametrize(
    ("file", "source", "fault"),
    [
        ("gait.py", "import time", "pure but imports time"),
        ("gait.py", "def f():\n    from datetime import datetime", "pure but imports datetime.datetime"),
        ("session.py", "import os.path", "pure but imports os.path"),
        ("pelvis.py", "import threading, pathlib", "pure but imports threading"),
        ("metrics.py", "import random", "pure but imports random"),
        ("metrics.py", "from numpy import random", "pure but imports numpy.random"),
        ("metrics.py", "import numpy as np\nx = np.random.default_rng()", "uses .random"),
        ("harmonics.py", "import numpy as np\nx = np.load('x')", "uses .load"),
        ("geometry.py", "import cv2", "pure but imports cv2"),
        ("coach.py", "text = open('cues').read()", "calls open()"),
        ("coach.py", "n = 0\ndef f():\n    global n\n    n += 1", "the global n"),
        ("gait.py", "from station.metrics import x", "stands below it"),
        ("gait.py", "from . import metrics", "stands below it"),
        ("gait/left.py", "from ..metrics import x", "stands below it"),
        ("gait/left.py", "from station import wire", "stands below it"),
        ("session.py", "import station.config", "stands below it"),
        ("pose.py", "from ai_edge_litert.interpreter import Interpreter", "only inference may"),
        ("lab/score.py", "import tflite_runtime.interpreter", "only inference may"),
        ("engine.py", "def f():\n    import picamera2", "only camera may"),
        ("engine.py", "import importlib\nimportlib.import_module('libcamera')", "only camera may"),
        ("web/app.py", "from station.camera import Camera", "may know only config, errors, wire"),
        ("web/app.py", "from station import engine", "may know only"),
        ("engine.py", "from station.lab import render", "stands below it"),
        ("replay.py", "from station.web import app", "stands below it"),
        ("lab/score.py", "from station.web import app", "nobody else leans on"),
        ("__init__.py", "from station import engine", "the package itself imports"),
        ("helpers.py", "", "no place in the list"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, file: str, source: str, fault: str) -> None:
    place = tmp_path / file
    place.parent.mkdir(exist_ok=True)
    place.write_text(source, encoding="utf-8")
    found = violations(tmp_path)
    assert len(found) >= 1
    assert fault in found[0]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("gait.py", "import numpy as np\nfrom numpy.typing import NDArray\nfrom station.types import Pose"),
        ("session.py", "from collections.abc import Iterator\nfrom station import gait, pelvis"),
        ("gait/left.py", "from .right import x\nfrom ..types import Pose"),
        ("engine.py", "import time\nfrom station import __version__, camera, session"),
        ("inference.py", "from ai_edge_litert.interpreter import Interpreter"),
        ("camera.py", "def f():\n    import picamera2"),
        ("web/app.py", "import flask\nfrom station import wire\nfrom station.errors import ConfigError"),
        ("__main__.py", "def main():\n    from station.web import app"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, file: str, source: str) -> None:
    place = tmp_path / file
    place.parent.mkdir(exist_ok=True)
    place.write_text(source, encoding="utf-8")
    assert violations(tmp_path) == []
