"""A Linux of our own as one process (User Mode Linux): a kernel with a real V4L2 device, on a host that has none.

The kernel is Debian's package; videodev and v4l2loopback are built for it from Debian's sources (half a minute of a
processor, once, nothing installed). What the guest lacks: USB, and speed; a picture is decoded there in some 0.1 s.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from .rootfs import RootfsError

_TOOLS = {
    "gcc": "gcc", "make": "make", "flex": "flex", "bison": "bison", "bc": "bc", "xz": "xz-utils", "dpkg-deb": "dpkg",
    "apt-get": "apt",
}  # fmt: skip
#: What of the kernel's sources makes a module: its headers, its build, and the V4L2 core.
_SOURCES = (
    "*/Kconfig*", "*/Makefile*", "*/Kbuild*", "*/include/*", "*/scripts/*", "*/arch/um/*", "*/arch/x86/*", "*/kernel/*",
    "*/tools/*", "*/security/*", "*/lib/*", "*/drivers/media/v4l2-core/*",
)  # fmt: skip
_KBUILD = """\
ccflags-y := -DCONFIG_MEDIA_SUPPORT=1 -DCONFIG_VIDEO_DEV=1 -DCONFIG_MEDIA_CAMERA_SUPPORT=1 -w
obj-m := videodev.o v4l2loopback.o
videodev-objs := $(addprefix v4l2-,dev.o ioctl.o device.o fh.o event.o subdev.o common.o ctrls-core.o ctrls-api.o \\
    ctrls-request.o ctrls-defs.o trace.o)
"""
_INIT = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm
for each in /dev/shm /tmp /run; do mount -t tmpfs tmpfs $each; done
python3 - <<'END'
import ctypes, fcntl, os, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 0x41))  # SIOCSIFFLAGS: up, running
for module, words in (("videodev", b""), ("v4l2loopback", b"devices=1 exclusive_caps=1 card_label=treadmill")):
    ctypes.CDLL(None).syscall(313, os.open(f"/uml/{module}.ko", os.O_RDONLY), words, 0)  # finit_module
END
sh /uml/job.sh >/uml/job.log 2>&1
python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x4321FEDC)'
"""


def kernel() -> Path:
    """The folder with ``linux.uml``, ``videodev.ko`` and ``v4l2loopback.ko``. Raises :class:`RootfsError`."""
    if os.uname().machine != "x86_64":
        raise RootfsError("User Mode Linux exists for x86-64 only")
    missing = sorted(package for program, package in _TOOLS.items() if shutil.which(program) is None)
    if missing:
        raise RootfsError(f"no V4L2 device can be made without the Debian packages {' '.join(missing)}")
    recipe = f"{_SOURCES}{_KBUILD}{inspect.getsource(_build)}".encode()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hipline" / "uml"
    folder = cache / hashlib.sha256(recipe).hexdigest()[:12]
    if not (folder / "complete").exists():
        shutil.rmtree(cache, ignore_errors=True)
        folder.mkdir(parents=True)
        with tempfile.TemporaryDirectory(prefix="build-", dir=cache) as work:
            _build(Path(work), folder)
        (folder / "complete").touch()
    return folder


def _build(work: Path, folder: Path) -> None:
    _fetch(work, "user-mode-linux", "v4l2loopback-dkms")
    linux = work / "usr/bin/linux.uml"
    release = _says(linux, "--version").split()[0]
    series, _, patch = release.rpartition(".")
    _fetch(work, f"linux-source-{series}")
    packed = next(work.glob("usr/src/linux-source-*.tar.xz"))
    _says("tar", "-xJf", packed, "--wildcards", "--wildcards-match-slash", *_SOURCES, cwd=work)
    tree = next(work.glob("linux-source-*/"))
    # Debian builds this kernel rarely, its sources are some patch levels on: modules must name the kernel that runs
    head = (tree / "Makefile").read_text()
    (tree / "Makefile").write_text(re.sub(r"(?m)^SUBLEVEL = .*$", f"SUBLEVEL = {patch}", head))
    config = [line for line in _says(linux, "--showconfig").splitlines() if line.startswith(("CONFIG_", "#"))]
    (tree / ".config").write_text("\n".join(config).replace("CONFIG_LOCALVERSION_AUTO=y", "") + "\n")
    make: list[str | Path] = ["make", "--silent", f"-j{os.cpu_count() or 1}", "ARCH=um", "-C", tree]
    _says(*make, "olddefconfig")
    _says(*make, "modules_prepare")
    module = work / "module"
    module.mkdir()
    loopback = next(work.glob("usr/src/v4l2loopback-*/v4l2loopback.c")).parent
    for source in (*tree.glob("drivers/media/v4l2-core/*.[ch]"), *loopback.glob("v4l2loopback*.[ch]")):
        shutil.copy(source, module)
    (module / "Kbuild").write_text(_KBUILD)
    _says(*make, f"M={module}", "KBUILD_MODPOST_WARN=1", "modules")  # the kernel's own symbols are not listed anywhere
    for made in (linux, module / "videodev.ko", module / "v4l2loopback.ko"):
        shutil.copy(made, folder)


def _fetch(work: Path, *packages: str) -> None:
    _says("apt-get", "download", "-q", *packages, cwd=work)
    for package in work.glob("*.deb"):
        _says("dpkg-deb", "--extract", package, work)
        package.unlink()


def run(root: Path, job: str, timeout_s: float = 900.0) -> str:
    """Boot on ``root``, run the shell script ``job`` as root with a loopback camera at ``/dev/video0``; what it said.

    ``/uml`` is a folder of the guest that stays.
    """
    made, folder = kernel(), root / "uml"
    folder.mkdir(exist_ok=True)
    for module in made.glob("*.ko"):
        shutil.copy(module, folder)
    (folder / "init").write_text(_INIT)
    (folder / "init").chmod(0o755)
    (folder / "job.sh").write_text(job)
    (folder / "job.log").unlink(missing_ok=True)
    words = ["mem=2G", "root=/dev/root", "rootfstype=hostfs", f"rootflags={root}", "rw", "init=/uml/init", "con=null",
             "con0=fd:0,fd:1"]  # fmt: skip
    done = subprocess.run(
        [made / "linux.uml", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=timeout_s, check=False,
    )  # fmt: skip
    console = done.stdout.decode(errors="replace")
    assert (folder / "job.log").exists(), f"it never came to the script: {console[-3000:]}"
    return (folder / "job.log").read_text()


def _says(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=1800, check=False
    )
    if done.returncode:
        raise RootfsError(f"{' '.join(map(str, command))[:200]}: exit code {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout
