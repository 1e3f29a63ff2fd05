"""A disk that remembers every write in order, so that a power cut can be replayed at any of them.

``qemu-storage-daemon`` logs the writes (blklogwrites) of an image it exports as a file (FUSE); that file, behind a loop
device, carries an ext4. Afterwards :meth:`WriteLog.state` makes the image as a power cut would have left it.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SECTOR = 512
_FLUSH, _DISCARD = 1, 4
#: What the disk may have lost of the writes after its last flush: nothing, any of them, all of them.
Mode = Literal["prefix", "torn", "lost"]
MODES: tuple[Mode, ...] = ("prefix", "torn", "lost")


class NotHereError(Exception):
    """This machine has no loop devices, no FUSE, no right to use them, or lacks a program: says which."""


def run(*command: str | Path) -> str:
    """Output of a program; :class:`NotHereError` with its last line when it fails."""
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        raise NotHereError(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        raise NotHereError(f"{command[0]}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return done.stdout.strip()


@dataclass(frozen=True)
class Entry:
    """One write (or flush): where it went, and where its bytes lie in the log; ``at`` 0: it has none."""

    sector: int
    count: int
    flags: int
    at: int


class WriteLog:
    """Every write that reached the disk, in order, over the image it began with."""

    def __init__(self, folder: Path) -> None:
        self.base, self._log = folder / "base.img", folder / "log.img"
        self._at, self.entries = SECTOR, list[Entry]()

    def read(self) -> int:
        """Take up what has come since; how many writes there are now."""
        with self._log.open("rb") as log:
            while True:
                log.seek(self._at)
                sector, count, flags, length = struct.unpack("<4Q", log.read(32))
                if not (sector or count or flags or length):
                    return len(self.entries)
                has_data = count > 0 and not flags & _DISCARD
                self.entries.append(Entry(sector, count, flags, self._at + SECTOR if has_data else 0))
                self._at += SECTOR + (count * SECTOR if has_data else 0)

    def state(self, writes: int, out: Path, mode: Mode, chance: random.Random) -> None:
        """Make ``out`` the disk after a power cut behind so many writes."""
        run("cp", "--sparse=always", self.base, out)
        flushed = max((i for i in range(writes) if self.entries[i].flags & _FLUSH), default=0)
        with self._log.open("rb") as log, out.open("r+b") as disk:
            for number, entry in enumerate(self.entries[:writes]):
                loose = number > flushed
                if not entry.at or (loose and (mode == "lost" or (mode == "torn" and chance.random() < 0.5))):
                    continue
                log.seek(entry.at)
                disk.seek(entry.sector * SECTOR)
                disk.write(log.read(entry.count * SECTOR))


@contextlib.contextmanager
def logged_disk(folder: Path, size: int = 48 << 20) -> Iterator[tuple[Path, WriteLog]]:
    """An ext4 on a disk that logs; yields where it is mounted and its log. :class:`NotHereError` where it cannot be."""
    for program in ("qemu-storage-daemon", "mke2fs", "losetup", "mount"):
        if shutil.which(program) is None:
            raise NotHereError(f"{program} is not installed")
    data, log, shown, mounted = (folder / name for name in ("data.img", "log.img", "disk", "mnt"))
    for file, length in ((data, size), (log, 2 << 30)):
        with file.open("wb") as image:
            image.truncate(length)
    run("mke2fs", "-q", "-t", "ext4", data)
    run("cp", "--sparse=always", data, folder / "base.img")
    shown.touch()
    mounted.mkdir()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_daemon(data, log, shown, size))
        loop = run("losetup", "-f", "--show", shown)
        stack.callback(run, "losetup", "-d", loop)
        run("mount", "-t", "ext4", loop, mounted)
        stack.callback(run, "umount", mounted)
        yield mounted, WriteLog(folder)


@contextlib.contextmanager
def _daemon(data: Path, log: Path, shown: Path, size: int) -> Iterator[None]:
    daemon = subprocess.Popen(
        [
            "qemu-storage-daemon", "--blockdev", f"driver=file,node-name=data,filename={data}",
            "--blockdev", f"driver=file,node-name=log,filename={log}",
            "--blockdev", "driver=blklogwrites,node-name=both,file=data,log=log",
            "--export", f"type=fuse,id=disk,node-name=both,mountpoint={shown},writable=on",
        ],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until_s = time.monotonic() + 20
        while shown.stat().st_size != size:
            if daemon.poll() is not None or time.monotonic() > until_s:
                daemon.kill()
                said = daemon.communicate()[1].strip().splitlines()
                raise NotHereError(f"qemu-storage-daemon: {said[-1] if said else 'shows no disk'}")
            time.sleep(0.02)
        yield
    finally:
        daemon.terminate()
        daemon.communicate(timeout=20)


@contextlib.contextmanager
def mounted_image(image: Path, where: Path) -> Iterator[Path]:
    """Mount an image; ext4 replays its journal as at any boot."""
    where.mkdir(exist_ok=True)
    loop = run("losetup", "-f", "--show", image)
    try:
        run("mount", "-t", "ext4", loop, where)
        try:
            yield where
        finally:
            run("umount", where)
    finally:
        run("losetup", "-d", loop)
