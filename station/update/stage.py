"""A release is built beside the one that runs: at its final path, from checked blobs, without any network."""

from __future__ import annotations

import ensurepip
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

from station.errors import UpdateError
from station.update import base
from station.update import manifest as manifests
from station.update.failpoints import hit
from station.update.journal import Journal
from station.update.layout import Layout, sync_folder, write_file
from station.update.manifest import Manifest, ReleaseFile

#: Kept free beside what a release needs: the outbox and the log must be able to grow.
RESERVE_BYTES = 128 << 20
_VENV_TIMEOUT_S, _PIP_TIMEOUT_S, _SELF_TEST_TIMEOUT_S = 300.0, 1800.0, 300.0
_SYSTEM_PYTHON = "/usr/bin/python3"
#: Where Debian keeps the wheels that ensurepip has elsewhere.
_DEBIAN_WHEELS = Path("/usr/share/python-wheels")

Say = Callable[[str], None]


def refuse(manifest: Manifest, layout: Layout, journal: Journal, *, again: bool = False) -> None:
    """Raise :class:`UpdateError` if this release must not be installed here; ``again`` forgives an earlier failure."""
    name = f"release {manifest.version}"
    here, python = manifests.this_platform(), manifests.this_python()
    if (manifest.platform, manifest.python) != (here, python):
        raise UpdateError(
            f"{name}: is for {manifest.platform} with Python {manifest.python}, this is {here} with Python {python}; "
            "nothing was changed"
        )
    active = layout.active()
    if active is not None:
        runs = manifests.sequence_of(active)
        if manifest.sequence < runs:
            raise UpdateError(f"{name}: is older than {active}, which runs; to go back: station update rollback")
        if runs < manifest.minimum_previous:
            raise UpdateError(
                f"{name}: cannot follow {active}; install sequence {manifest.minimum_previous} or newer before it"
            )
    if manifest.version in journal.failed and not again:
        raise UpdateError(
            f"{name}: was tried and left ({journal.failed[manifest.version]}); a newer release is wanted, "
            "or: station update apply --again"
        )
    _refuse_small_disk(manifest, layout, name)


def _refuse_small_disk(manifest: Manifest, layout: Layout, name: str) -> None:
    layout.make()
    missing = {file.sha256: file.size for file in manifest.files if not (layout.blobs / file.sha256).exists()}
    needed = sum(missing.values()) + manifest.installed_size + RESERVE_BYTES
    if not layout.is_complete(manifest.version) and (free := shutil.disk_usage(layout.root).free) < needed:
        raise UpdateError(
            f"{name}: needs {needed / 1e6:.0f} MB on the disk of {layout.root}, {free / 1e6:.0f} MB are free; make room"
        )


def stage(manifest: Manifest, layout: Layout, say: Say) -> None:
    """Build the release in its folder; complete and on the disk when this returns, worthless if it does not.

    Raises :class:`UpdateError` naming release and step. A release that is complete already is left alone.
    """
    folder = layout.release(manifest.version)
    if layout.is_complete(manifest.version):
        return
    try:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(layout.work, ignore_errors=True)
        folder.mkdir(parents=True)
        layout.work.mkdir(parents=True)
        hit("stage.begun")
        for file in manifest.files:
            _check(file, layout, manifest.version)
        _environment(folder, say)
        hit("stage.venv")
        _wheels(manifest, layout, folder, say)
        hit("stage.wheels")
        _others(manifest, layout, folder)
        hit("stage.files")
        shutil.rmtree(layout.work)
        _sync_all(folder)
        sync_folder(layout.releases)
        hit("stage.synced")
        write_file(folder / "manifest.json", manifests.write(manifest))
        hit("stage.complete")
    except OSError as error:
        where = error.filename or folder
        raise UpdateError(f"release {manifest.version}: {where}: {error.strerror}; nothing was switched") from None


def self_test(version: str, layout: Layout, say: Say) -> None:
    """Let the staged release prove, by its own command, that it computes and can read this station's configuration.

    Raises :class:`UpdateError` with its last line.
    """
    folder = layout.release(version)
    say(f"release {version}: self-test")
    environment = {**os.environ, "HIPLINE_MODELS": str(folder / "models"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("HIPLINE_FAILPOINT", None)
    name = f"release {version}: self-test"
    _run([folder / "venv/bin/station", "update", "self-test"], name, _SELF_TEST_TIMEOUT_S, environment)
    guard = folder / "scripts" / base.GUARD
    if guard.is_file():  # as its unit would run it
        command: list[str | Path] = [_SYSTEM_PYTHON, "-IB", guard, "--self-check"]
        _run(command, f"release {version}: its guard", _SELF_TEST_TIMEOUT_S, environment)


def _check(file: ReleaseFile, layout: Layout, version: str) -> None:
    """The blob is what was signed: also after a power cut, also on a disk that forgets."""
    blob = layout.blobs / file.sha256
    if not blob.is_file():
        raise UpdateError(f"release {version}: {file.path} was not downloaded; run the update again")
    with blob.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    if digest != file.sha256:
        blob.unlink()
        raise UpdateError(f"release {version}: {file.path} is damaged on this disk; it is fetched anew the next time")


def _environment(folder: Path, say: Say) -> None:
    """A venv of the interpreter that this process has; a Pi's shows it the camera's modules, which only apt has."""
    python = _interpreter()
    options = ["--without-pip"]  # it is filled once, from outside
    if _has(python, "picamera2"):
        options.append("--system-site-packages")
    say(f"release {folder.name}: making its Python environment")
    name = f"release {folder.name}: python -m venv"
    _run([python, "-m", "venv", *options, folder / "venv"], name, _VENV_TIMEOUT_S)


def _interpreter() -> str:
    """The system's interpreter behind the environment we run in: environments are not built upon each other."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def _has(python: str, module: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python, "-I", "-c", code], capture_output=True, check=False).returncode == 0


def _pip() -> Path:
    """The pip that comes with the interpreter (ensurepip's wheel, which Python can run as it is)."""
    folders = (Path(ensurepip.__file__).parent / "_bundled", sysconfig.get_config_var("WHEEL_PKG_DIR"), _DEBIAN_WHEELS)
    for folder in folders:
        for wheel in sorted(Path(folder).glob("pip-*.whl"), reverse=True) if folder else ():
            return wheel / "pip"
    raise UpdateError("pip: the system's Python brings none; install python3-venv (apt)")


def _wheels(manifest: Manifest, layout: Layout, folder: Path, say: Say) -> None:
    """Install every wheel of the manifest and nothing else; pip compares each with its hash once more."""
    wheels = manifest.of_kind("wheel")
    lines = []
    for file in wheels:
        name = PurePosixPath(file.path).name
        _link(layout.blobs / file.sha256, layout.work / name)
        lines.append(f"./{name} --hash=sha256:{file.sha256}\n")
    (layout.work / "requirements.txt").write_text("".join(lines), encoding="utf-8")
    say(f"release {folder.name}: installing {len(wheels)} packages")
    command: list[str | Path] = [
        folder / "venv/bin/python", _pip(), "--isolated", "--disable-pip-version-check", "--no-input", "install",
        "--no-index", "--require-hashes", "--no-deps", "--no-cache-dir", "--only-binary", ":all:",
        "--ignore-installed", "-r", "requirements.txt",
    ]  # fmt: skip
    environment = {**os.environ, "TMPDIR": str(layout.work), "PIP_CONFIG_FILE": os.devnull}
    _run(command, f"release {folder.name}: pip install", _PIP_TIMEOUT_S, environment, layout.work)


def _others(manifest: Manifest, layout: Layout, folder: Path) -> None:
    for file in manifest.files:
        if file.kind != "wheel":
            place = folder / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            if file.kind == "model":
                _link(layout.blobs / file.sha256, place)
            else:  # a script is executable, a blob is not
                shutil.copyfile(layout.blobs / file.sha256, place)
                place.chmod(0o755 if file.kind == "script" else 0o644)


def _link(blob: Path, place: Path) -> None:
    """The same bytes under another name, without a copy where the disk can do that."""
    try:
        place.hardlink_to(blob)
    except OSError:
        shutil.copyfile(blob, place)
    place.chmod(0o644)


def _sync_all(folder: Path) -> None:
    """Everything of the release to the disk: one call for some ten thousand files."""
    _run(["sync", "--file-system", folder], f"release {folder.name}: sync", _VENV_TIMEOUT_S)


def _run(
    command: Iterable[str | Path],
    name: str,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> None:
    try:
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, errors="replace", timeout=timeout_s,
            env=environment, cwd=folder, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UpdateError(f"{name}: not done within {timeout_s:g} s") from None
    except OSError as error:
        raise UpdateError(f"{name}: {error.filename or name}: {error.strerror}") from None
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        last = said[-1].strip() if said else "said nothing"
        raise UpdateError(f"{name}: failed with code {done.returncode}: {last}")
