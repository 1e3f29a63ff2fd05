"""A Debian trixie of our own, made from nothing and kept in the user's cache: real systemd, libcamera and picamera2.

:func:`base` builds it (some minutes, once); :func:`overlay` is a writable view that costs nothing and leaves no trace.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
PYTHON = "3.13"
_PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "mosquitto", "mosquitto-clients", "procps", "curl", "python3", "python3-venv",
    "python3-dev", "python3-pip", "python3-setuptools", "python3-wheel", "python3-prctl", "python3-piexif",
    "python3-libarchive-c", "python3-jsonschema", "python3-tqdm", "python3-pil", "python3-libcamera", "libcamera-ipa",
    "gcc", "libc6-dev", "linux-libc-dev",
)  # fmt: skip
#: What picamera2 needs beside Debian's packages: as wheels, and as sources.
_WHEELS, _SOURCES = ("picamera2==0.3.38", "simplejpeg", "openexr"), ("pidng", "videodev2")
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux2014", "manylinux_2_17")


class RootfsError(Exception):
    """The virtual system cannot be made here: says what is missing."""


def base() -> Path:
    """The root folder, built if its recipe changed. Raises :class:`RootfsError`."""
    if os.geteuid() != 0:
        raise RootfsError("needs root: chroot, overlay mounts and containers")
    for program in ("mmdebstrap", "systemd-nspawn"):
        if shutil.which(program) is None:
            raise RootfsError(f"{program} is not installed (Debian packages mmdebstrap, systemd-container)")
    recipe = f"{_PACKAGES}{_WHEELS}{_SOURCES}{inspect.getsource(_build)}".encode()
    files = (HERE / "udmabuf_shim.c").read_bytes() + (REPOSITORY / "locks" / "run.txt").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hipline" / "virtual"
    root = cache / hashlib.sha256(recipe + files).hexdigest()[:12]
    if not (root / "complete").exists():
        shutil.rmtree(cache, ignore_errors=True)
        root.mkdir(parents=True)
        _build(root)
        (root / "complete").touch()
    return root


def _build(root: Path) -> None:
    _run("mmdebstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", "trixie", root)
    wheels = root / "wheels"
    machine = os.uname().machine
    binary = ["--only-binary=:all:", "--python-version", PYTHON]
    for platform in _PLATFORMS:
        binary += ["--platform", f"{platform}_{machine}"]
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels)]
    _run(*download, *binary, "--require-hashes", "-r", REPOSITORY / "locks" / "run.txt")
    _run(*download, *binary, *_WHEELS)
    for source in _SOURCES:
        _run(*download, "--no-binary", source, source)
    pip = ["python3", "-m", "pip", "install", "--quiet", "--no-index", "--find-links", "/wheels", "--no-deps"]
    names = [requirement.partition("=")[0] for requirement in (*_WHEELS, *_SOURCES)]
    in_root(root, *pip, "--break-system-packages", "--no-build-isolation", *names)
    shutil.copy(HERE / "udmabuf_shim.c", root / "root")
    in_root(root, "gcc", "-shared", "-fPIC", "-O2", "-o", "/usr/local/lib/udmabuf_shim.so", "/root/udmabuf_shim.c")


def in_root(
    root: Path, *command: str, env: Mapping[str, str] | None = None, timeout_s: float = 900.0, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command in the root folder, without booting it."""
    plain = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", **(env or {})}
    done = subprocess.run(
        ["chroot", str(root), *command], env=plain, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if check and done.returncode:
        raise AssertionError(
            f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        )
    return done


@contextmanager
def overlay(lower: Path, folder: Path) -> Iterator[Path]:
    """A writable view of ``lower``; what is written lies in ``folder`` (no overlay itself), and is thrown away."""
    upper, work, merged = (folder / name for name in ("upper", "work", "merged"))
    for each in (upper, work, merged):
        each.mkdir(parents=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    _run("mount", "-t", "overlay", "overlay", "-o", options, merged)
    bound = []
    try:
        for name in ("dev", "proc"):
            _run("mount", "--rbind" if name == "dev" else "--bind", f"/{name}", merged / name)
            bound.append(merged / name)
            _run("mount", "--make-rslave", merged / name)  # else unmounting it here unmounts it for the whole machine
        yield merged
    finally:
        for each in [*reversed(bound), merged]:
            subprocess.run(["umount", "--recursive", "--lazy", str(each)], check=False)


def install_station(root: Path, *words: str) -> None:
    """Put this source tree on the system as a technician would: with ``systemd/install WORDS``, from wheels at hand."""
    tree = root / "usr" / "src" / "hipline"
    tree.mkdir(parents=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "station", "systemd", "locks",
         "pyproject.toml", "README.md", "LICENSE"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        source, target = REPOSITORY / name, tree / name
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    models = Path(os.environ.get("HIPLINE_MODELS") or Path.home() / ".cache" / "hipline" / "models")
    shutil.copytree(models, root / "usr" / "src" / "models", ignore=shutil.ignore_patterns("shipped"))
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels", "HIPLINE_MODELS": "/usr/src/models"}
    in_root(root, "/usr/src/hipline/systemd/install", *words, env=offline)


def _run(*command: str | Path) -> None:
    words: Sequence[str] = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode:
        raise RootfsError(f"{' '.join(words)[:200]}: exit code {done.returncode}: {done.stderr[-2000:]}")
