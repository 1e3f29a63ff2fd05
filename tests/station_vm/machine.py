"""An emulated aarch64 machine under our thumb: commands through the guest agent, snapshots, the plug pulled out.

The processor's clock counts instructions (``-icount``), so a busy host makes the machine's time pass slower, not its
programs miss their deadlines.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

#: 2 to the power of this nanoseconds an instruction: 250 million instructions a second, a sixth of a Pi 4's.
SHIFT = 2
MEMORY_MB = 2048
#: What the machine takes for the internet; nothing of it leaves the host.
INTERNET = "203.0.113.0/24"
_PORT, _SERVER = "org.qemu.guest_agent.0", "server=on,wait=off"
_CHUNK = 1 << 18
#: Without what only costs an emulated processor time.
_PLAIN = "quiet panic=-1 nokaslr mitigations=off selinux=0 apparmor=0 audit=0 init_on_alloc=0 page_alloc.shuffle=0"


class MachineError(Exception):
    """The machine does not do what was asked of it."""


class Machine:
    """Runs from its making to :meth:`cut` or :meth:`close`.

    ``disk`` is a qcow2 with ``vmlinuz`` and ``initrd`` beside it; ``stick`` a read-only second disk. ``snapshot``
    resumes a saved state instead of booting. ``now_s`` is the time of day that its clock without a battery begins with.
    """

    def __init__(
        self,
        disk: Path,
        folder: Path,
        *,
        stick: Path | None = None,
        snapshot: str | None = None,
        network: bool = True,
        now_s: float | None = None,
    ) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.console = folder / "console.log"
        self._sockets = {name: folder / name for name in ("qmp", "agent")}
        for path in self._sockets.values():
            path.unlink(missing_ok=True)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_s))
        words = [
            "qemu-system-aarch64", "-nodefaults", "-display", "none", "-no-user-config",
            "-M", "virt", "-cpu", "cortex-a72", "-smp", "1", "-m", str(MEMORY_MB), "-accel", "tcg,thread=single",
            "-icount", f"shift={SHIFT},sleep=on", "-rtc", f"base={stamp},clock=vm",
            "-kernel", disk.parent / "vmlinuz", "-initrd", disk.parent / "initrd",
            "-append", f"root=/dev/vda rw console=ttyAMA0 {_PLAIN}",
            "-drive", f"file={disk},format=qcow2,if=none,id=disk,cache=writeback,discard=unmap",
            "-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci",
            "-device", "i6300esb", "-action", "watchdog=reset", "-action", "panic=exit-failure",
            "-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,path={self._sockets['agent']},{_SERVER}",
            "-device", f"virtserialport,chardev=agent,name={_PORT}",
            "-qmp", f"unix:{self._sockets['qmp']},{_SERVER}", "-serial", f"file:{self.console}",
        ]  # fmt: skip
        if stick is not None:
            words += ["-drive", f"file={stick},format=raw,if=none,id=stick,readonly=on"]
            words += ["-device", "virtio-blk-pci,drive=stick"]
        if network:
            words += ["-netdev", f"user,id=net,net={INTERNET},restrict=on", "-device", "virtio-net-pci,netdev=net"]
        if snapshot is not None:
            words += ["-loadvm", snapshot]
        self._log = (folder / "qemu.log").open("ab")
        self._qemu = subprocess.Popen(
            [str(word) for word in words], stdout=self._log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        self._agent: _Lines | None = None
        self._qmp: _Lines | None = None
        try:
            self._qmp = self._connect("qmp", 30.0)
            self._qmp.read()
            self._qmp.ask("qmp_capabilities")
        except BaseException:
            self.cut()
            raise

    @property
    def pid(self) -> int:
        """Of the emulator."""
        return self._qemu.pid

    @property
    def cpu_s(self) -> float:
        """What the emulator has used of the host's processor."""
        fields = Path(f"/proc/{self._qemu.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait_up(self, timeout_s: float = 600.0) -> float:
        """Wait until the machine answers; returns how long that took."""
        start_s = time.monotonic()
        while True:
            try:
                self._sync(2.0)
                return time.monotonic() - start_s
            except (OSError, MachineError) as error:
                if self._qemu.poll() is not None or time.monotonic() - start_s > timeout_s:
                    raise MachineError(f"does not answer: {error}: {self._last_words()}") from None
                time.sleep(0.3)

    def run(self, line: str, *, check: bool = True, timeout_s: float = 300.0) -> str:
        """Output of a shell line in the machine, run as root; ``check``: :class:`MachineError` when it fails."""
        code, said = self.call(line, timeout_s)
        if check and code:
            raise MachineError(f"{line}: exit code {code}: {said[-3000:]}")
        return said.strip()

    def call(self, line: str, timeout_s: float = 300.0) -> tuple[int, str]:
        """Exit code and output, errors included, of a shell line."""
        if self._agent is None:
            self._sync(10.0)
        arguments = {"path": "/bin/sh", "arg": ["-c", f"exec 2>&1; {line}"], "capture-output": True}
        until_s = time.monotonic() + timeout_s
        pid = self._ask_agent("guest-exec", arguments)["pid"]
        pause_s = 0.02
        while True:
            state = self._ask_agent("guest-exec-status", {"pid": pid})
            if state["exited"]:
                said = base64.b64decode(state.get("out-data", "")).decode(errors="replace")
                return int(state.get("exitcode", 128 + state.get("signal", 0))), said
            if time.monotonic() > until_s:
                raise MachineError(f"{line}: not done after {timeout_s:g} s")
            time.sleep(pause_s)
            pause_s = min(1.0, pause_s * 1.5)

    def tell(self, line: str) -> None:
        """Start a shell line without waiting for anything: the machine may not be there to answer."""
        if self._agent is None:
            self._sync(10.0)
        assert self._agent is not None
        self._agent.send("guest-exec", {"path": "/bin/sh", "arg": ["-c", line]})
        self._agent.close()
        self._agent = None

    def put(self, path: str, text: str) -> None:
        """Write a file in the machine."""
        self.put_bytes(path, text.encode())

    def put_bytes(self, path: str, data: bytes) -> None:
        """The same with bytes, as many as the machine's memory takes."""
        self.run(f"mkdir -p $(dirname {shlex.quote(path)})")
        if self._agent is None:
            self._sync(10.0)
        handle = self._ask_agent("guest-file-open", {"path": path, "mode": "w"})
        for at in range(0, len(data), _CHUNK):
            coded = base64.b64encode(data[at : at + _CHUNK]).decode()
            self._ask_agent("guest-file-write", {"handle": handle, "buf-b64": coded})
        self._ask_agent("guest-file-close", {"handle": handle})

    def show(self, unit: str, what: str) -> str:
        """A property of a unit, as systemd has it."""
        return self.run(f"systemctl show {shlex.quote(unit)} --property={what} --value", check=False)

    def monitor(self, line: str, timeout_s: float = 300.0) -> str:
        """A command of the emulator's own monitor."""
        assert self._qmp is not None
        self._qmp.timeout(timeout_s)
        said = str(self._qmp.ask("human-monitor-command", {"command-line": line}))
        if said.startswith("Error"):
            raise MachineError(f"{line}: {said.strip()}")
        return said

    def save(self, name: str) -> None:
        """Keep the whole state of the machine under a name, in its disk's file."""
        self.monitor(f"savevm {name}", 600.0)

    def wait_for_reset(self, timeout_s: float) -> None:
        """Until the machine has been reset, by whomever."""
        assert self._qmp is not None
        until_s = time.monotonic() + timeout_s
        while (left_s := until_s - time.monotonic()) > 0:
            self._qmp.timeout(left_s)
            try:
                event = self._qmp.read()
            except TimeoutError:
                break
            if event.get("event") == "RESET":
                return
        raise MachineError(f"was not reset within {timeout_s:g} s")

    def cut(self) -> None:
        """Pull the plug: SIGKILL, nothing is written any more."""
        self._qemu.kill()
        self._gone()

    def close(self) -> None:
        """Give the machine up; its disk stays as it is."""
        with contextlib.suppress(OSError, MachineError):
            assert self._qmp is not None
            self._qmp.ask("quit")
        try:
            self._qemu.wait(20)
        except subprocess.TimeoutExpired:
            self._qemu.kill()
        self._gone()

    def _gone(self) -> None:
        self._qemu.wait()
        for lines in (self._qmp, self._agent):
            if lines is not None:
                lines.close()
        self._log.close()

    def _sync(self, timeout_s: float) -> None:
        """Come to an understanding with the agent, whatever was said to it before."""
        if self._agent is not None:
            self._agent.close()
        self._agent = self._connect("agent", timeout_s)
        token = secrets.randbits(31)
        try:
            self._agent.timeout(timeout_s)
            self._agent.send("guest-sync", {"id": token})
            while self._agent.read().get("return") != token:
                pass
        except (OSError, ValueError) as error:
            self._agent.close()
            self._agent = None
            raise MachineError(f"the agent is silent ({error})") from None

    def _ask_agent(self, command: str, arguments: Mapping[str, Any]) -> Any:
        assert self._agent is not None
        self._agent.timeout(180.0)
        try:
            return self._agent.ask(command, arguments)
        except OSError as error:
            self._agent.close()
            self._agent = None
            raise MachineError(f"the agent does not answer any more ({error}): {self._last_words()}") from None

    def _connect(self, name: str, timeout_s: float) -> _Lines:
        until_s = time.monotonic() + timeout_s
        while True:
            try:
                return _Lines(self._sockets[name], timeout_s)
            except OSError as error:
                if self._qemu.poll() is not None or time.monotonic() > until_s:
                    raise MachineError(f"{name}: {error}: {self._last_words()}") from None
                time.sleep(0.1)

    def _last_words(self) -> str:
        files = (self._folder / "qemu.log", self.console)
        return " | ".join(path.read_text(errors="replace")[-600:] for path in files if path.exists())


class _Lines:
    """QEMU's two protocols: a JSON object a line."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._file = self._socket.makefile("rwb")

    def timeout(self, seconds: float) -> None:
        self._socket.settimeout(seconds)

    def send(self, command: str, arguments: Mapping[str, Any] | None = None) -> None:
        self._file.write(json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n")
        self._file.flush()

    def read(self) -> dict[str, Any]:
        line = self._file.readline()
        if not line:
            raise OSError("hung up")
        return dict(json.loads(line.lstrip(b"\xff")))

    def ask(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        self.send(command, arguments)
        while True:
            answer = self.read()
            if "error" in answer:
                raise MachineError(f"{command}: {answer['error'].get('desc')}")
            if "return" in answer:
                return answer["return"]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        self._socket.close()


def until(what: Callable[[], object], timeout_s: float, why: str, pause_s: float = 0.5) -> float:
    """How many seconds it took until ``what()`` was true; ``why`` it is an error when it never is."""
    start_s = time.monotonic()
    while not what():
        if time.monotonic() - start_s > timeout_s:
            raise AssertionError(why)
        time.sleep(pause_s)
    return time.monotonic() - start_s
