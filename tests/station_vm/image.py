"""The disk of an emulated station before it is one: Debian 13 for aarch64, made from nothing, kept in the user's cache.

:func:`base` makes it once (a quarter of an hour, mostly emulated package scripts) with the tools it fetches itself.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

#: What a Raspberry Pi OS Lite brings that the station needs, a kernel for the emulated board, and the tests' ears.
PACKAGES = (
    "systemd", "systemd-sysv", "systemd-timesyncd", "udev", "dbus", "mosquitto", "mosquitto-clients", "python3",
    "python3-venv", "python3-pip-whl", "ca-certificates", "iproute2", "procps", "kmod", "e2fsprogs", "curl", "strace",
    "zstd", "initramfs-tools", "linux-image-arm64", "qemu-guest-agent",
)  # fmt: skip
DISK = "6G"
_TOOLS = {
    "qemu-system-aarch64": "qemu-system-arm", "qemu-img": "qemu-utils", "mmdebstrap": "mmdebstrap",
    "qemu-aarch64-static": "qemu-user-static", "mke2fs": "e2fsprogs",
}  # fmt: skip
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_MAGIC = (
    r":qemu-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:"
    r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:OCF"
)
#: The kernel's package makes the start disk as soon as it is unpacked, so what goes in is said before.
_FEW_DRIVERS = (
    'mkdir -p "$1/etc/initramfs-tools/conf.d"; cd "$1/etc/initramfs-tools";'
    "printf 'MODULES=list\\nCOMPRESS=zstd\\n' > conf.d/few; printf 'virtio_pci\\nvirtio_blk\\next4\\n' > modules"
)
_NETWORK = "[Match]\nName=en*\n[Network]\nDHCP=yes\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
#: Jobs of a Debian that nobody needs here; the emulated processor has better things to do.
_MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "fstrim.timer", "getty@tty1.service", "serial-getty@ttyAMA0.service", "systemd-networkd-wait-online.service",
    "man-db.timer",
)  # fmt: skip


class ImageError(Exception):
    """The machine cannot be made here: says what is missing."""


def cache() -> Path:
    """Where machines are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hipline" / "station-vm"


def base() -> Path:
    """The folder with ``disk.qcow2``, ``vmlinuz`` and ``initrd``, made anew when its recipe changed."""
    recipe = "".join(inspect.getsource(part) for part in (_build, _settle))
    digest = hashlib.sha256(f"{PACKAGES}{DISK}{_NETWORK}{_MASKED}{_FEW_DRIVERS}{recipe}".encode()).hexdigest()[:12]
    folder = cache() / f"base-{digest}"
    tools()
    if not (folder / "complete").exists():
        for old in cache().glob("base-*"):
            shutil.rmtree(old)
        folder.mkdir(parents=True)
        _build(folder)
        (folder / "complete").touch()
    return folder


def tools() -> None:
    """Install what is missing of the emulator and its helpers. Raises :class:`ImageError`."""
    missing = sorted({package for program, package in _TOOLS.items() if not _has(program)})
    if missing:
        if not _has("apt-get"):
            raise ImageError(f"missing: {', '.join(missing)}; install them (their names are Debian's)")
        say(f"installing {' '.join(missing)}")
        as_root("apt-get", "update", "-q")
        as_root("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-q", "--no-install-recommends",
                *missing)  # fmt: skip


def _build(folder: Path) -> None:
    _emulate_programs()
    root = folder / "root"
    began_s = time.monotonic()
    say("Debian 13 for aarch64: fetching and unpacking (ten minutes or so)")
    as_root(
        "mmdebstrap", "--arch=arm64", "--variant=minbase", f"--include={','.join(PACKAGES)}",
        '--aptopt=Acquire::Languages "none"', "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
        f"--essential-hook={_FEW_DRIVERS}", "trixie", root,
        timeout_s=7200,
    )  # fmt: skip
    say(f"unpacked after {time.monotonic() - began_s:.0f} s; its first settings")
    _settle(root, folder)
    say("its disk")
    raw = folder / "disk.raw"
    as_root("mke2fs", "-q", "-t", "ext4", "-d", root, "-L", "root", raw, DISK)
    as_root("rm", "-rf", root)
    _run("qemu-img", "convert", "-O", "qcow2", raw, folder / "disk.qcow2")
    as_root("rm", raw)


def _settle(root: Path, folder: Path) -> None:
    """What an image of Raspberry Pi OS has when it is written: a name, a network, nothing that runs for nobody."""
    script = folder / "settle.sh"
    script.write_text(f"""\
set -eu
echo station > /etc/hostname
echo '127.0.0.1 localhost station' > /etc/hosts
echo '/dev/vda / ext4 errors=remount-ro,noatime 0 1' > /etc/fstab
printf '%s' '{_NETWORK}' > /etc/systemd/network/wired.network
systemctl enable --quiet systemd-networkd systemd-timesyncd
systemctl mask --quiet {" ".join(_MASKED)}
systemctl disable --quiet mosquitto
mkdir -p /media/stick
: > /etc/machine-id
""")
    as_root("cp", script, root / "root/settle.sh")
    as_root("chroot", root, "/bin/sh", "/root/settle.sh", timeout_s=1800)
    for name in ("vmlinuz", "initrd"):
        found = sorted((root / "boot").glob(f"{name}*"))
        if not found:
            raise ImageError(f"the new system has no {name}")
        as_root("cp", found[-1], folder / name)
        as_root("chmod", "644", folder / name)


def _emulate_programs() -> None:
    """Let this kernel run programs of the other processor, as the package binfmt-support would."""
    if (_BINFMT / "qemu-aarch64").exists() or os.uname().machine == "aarch64":
        return
    if not (_BINFMT / "register").exists():
        as_root("mount", "-t", "binfmt_misc", "binfmt_misc", _BINFMT)
    if not (_BINFMT / "qemu-aarch64").exists():
        as_root("sh", "-c", f"echo '{_MAGIC}' > {_BINFMT}/register")


def as_root(*words: str | Path, timeout_s: float = 1800.0) -> str:
    """Output of a command that needs root; through sudo for anybody else."""
    if os.geteuid() == 0:
        return _run(*words, timeout_s=timeout_s)
    if not _has("sudo"):
        raise ImageError("not root, and there is no sudo: the emulated machine cannot be made")
    return _run("sudo", *words, timeout_s=timeout_s)


def _run(*words: str | Path, timeout_s: float = 1800.0) -> str:
    command = [str(word) for word in words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise ImageError(f"{' '.join(command)[:200]}: exit code {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def _has(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


def say(line: str) -> None:
    """Progress, past pytest's capture."""
    print(f"station-vm {time.strftime('%H:%M:%S')}  {line}", file=sys.__stderr__, flush=True)
