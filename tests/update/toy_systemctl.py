#!/usr/bin/env python3
"""The few words of ``systemctl`` that the updater uses, for real processes without a systemd.

A unit is a folder under ``$TOY_UNITS``; a keeper process starts ``current/venv/bin/station`` again when it ends, five
times at most, and dies with everything when ``stop`` is asked for. ``calls`` lists every call.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

UNITS = Path(os.environ["TOY_UNITS"])
WORDS = {"station.service": ["run", "--no-web"], "station-web.service": ["web"]}


def main(words: list[str]) -> int:
    with (UNITS / "calls").open("a") as calls:
        calls.write(" ".join(words) + "\n")
    word, units = words[0], [name for name in words[1:] if name in WORDS]
    if word in ("restart", "start"):
        for unit in units:
            if word == "restart" or not alive(unit):
                stop(unit)
                start(unit)
    elif word == "stop":
        for unit in units:
            stop(unit)
    elif word == "show":
        folder = UNITS / words[1]
        restarts = (folder / "restarts").read_text() if (folder / "restarts").exists() else "0"
        failed = (folder / "failed").exists()
        type_exec = words[1] == "station-web.service"
        ready = alive(words[1]) and (type_exec or (folder / "ready").exists())
        active = "failed" if failed else "active" if ready else "activating" if alive(words[1]) else "inactive"
        if "--property=LoadState" in words:
            print(f"LoadState={load_state(words[1])}")
            return 0
        print(f"ActiveState={active}\nNRestarts={restarts}\nResult={'exit-code' if failed else 'success'}")
    return 0


def load_state(unit: str) -> str:
    """Of the updater's units, which are links to what lies below the releases."""
    file = Path(os.environ["HIPLINE_ROOT"]) / "base/current/systemd" / unit
    if not file.exists():
        return "not-found"
    return "loaded" if file.read_text().startswith("[") else "bad-setting"


def alive(unit: str) -> bool:
    try:
        pid = int((UNITS / unit / "keeper").read_text())
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, ValueError):
        return False


def start(unit: str) -> None:
    folder = UNITS / unit
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with (folder / "log").open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, __file__, "keep", unit], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    (folder / "keeper").write_text(str(keeper.pid))


def stop(unit: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.killpg(int((UNITS / unit / "keeper").read_text()), signal.SIGKILL)
    until_s = time.monotonic() + 5
    while alive(unit) and time.monotonic() < until_s:
        time.sleep(0.01)


def keep(unit: str) -> int:
    folder = UNITS / unit
    root = Path(os.environ["HIPLINE_ROOT"])
    state = UNITS / "state" / unit
    state.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "TOY_UNIT": str(folder), "STATE_DIRECTORY": str(state)}
    environment |= {"HIPLINE_MODELS": str(root / "current/models"), "NOTIFY_SOCKET": str(folder / "notify")}
    environment.pop("HIPLINE_FAILPOINT", None)
    threading.Thread(target=hear, args=(folder,), daemon=True).start()
    for restarts in range(5):
        (folder / "restarts").write_text(str(restarts))
        with contextlib.suppress(OSError):  # a release without a program: as systemd's 203/EXEC
            subprocess.run([root / "current/venv/bin/station", *WORDS[unit]], env=environment, check=False)
        (folder / "ready").unlink(missing_ok=True)
        time.sleep(0.05)
    (folder / "failed").touch()
    return 1


def hear(folder: Path) -> None:
    """Type=notify: ready when the program says so. The page (Type=exec) is ready when it runs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        os.chdir(folder)  # the name of a socket may not be longer than a hundred characters
        notify.bind("notify")
        while True:
            if b"READY=1" in notify.recv(4096):
                (folder / "ready").touch()


if __name__ == "__main__":
    sys.exit(keep(sys.argv[2]) if sys.argv[1] == "keep" else main(sys.argv[1:]))
