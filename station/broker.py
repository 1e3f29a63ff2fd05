"""A private mosquitto on a free loopback port, for a station without a broker; and children that die with us.

Its configuration is written into a runtime directory, its memory (retained messages, queues of sleeping subscribers)
into the state directory. It ends with this process, however that ends: the kernel kills it when we are killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from station.errors import BrokerError

_PR_SET_PDEATHSIG = 1
_START_TIMEOUT_S = 5.0
_ATTEMPTS = 5
_PREFIX = "hipline-broker-"

_CONFIG = """\
# Written by the station at every start; changes are lost.
per_listener_settings false
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {memory}/
autosave_interval 60
persistent_client_expiration 1d
max_queued_messages 5000
max_packet_size 1000000
set_tcp_nodelay true
log_dest stderr
log_type error
log_type warning
{user}
"""


def bound_to_us(kill_signal: int = signal.SIGTERM) -> Callable[[], None]:
    """A ``preexec_fn`` that has the kernel send ``kill_signal`` to the child when we end, even by ``kill -9``.

    The bond is to the *thread* that starts the child: start children from the main thread.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    us = os.getpid()

    def bind() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, kill_signal, 0, 0, 0)
        if os.getppid() != us:  # we ended between fork and here
            os._exit(1)

    return bind


def start_child(
    command: Sequence[str], *, output: int | None = None, at_our_death: int = signal.SIGTERM
) -> subprocess.Popen[bytes]:
    """Start a child that ends with us and does not hear the terminal's Ctrl-C: we stop it, in our order.

    ``at_our_death`` is the signal it gets when we end without stopping it.
    """
    # only we speak to systemd: mosquitto would call the station ready
    env = {name: value for name, value in os.environ.items() if name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=env,
        start_new_session=True,
        preexec_fn=bound_to_us(at_our_death),  # noqa: PLW1509 (called before there are threads; the stdlib has no other way)
    )


def stop_child(child: subprocess.Popen[bytes], timeout_s: float = 5.0) -> None:
    """Ask a child to end, then make it."""
    if child.poll() is None:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout_s)
    if child.poll() is None:
        child.kill()
        child.wait()


class PrivateBroker:
    """A running mosquitto; ``host`` and ``port`` are where. Use as a context manager, or call :meth:`stop`.

    ``memory`` is the directory that keeps what must outlive a restart. Raises :class:`BrokerError` when mosquitto is
    not installed or does not come up.
    """

    def __init__(self, memory: Path) -> None:
        self.host = "127.0.0.1"
        root = Path(_runtime_root() or tempfile.gettempdir())
        _sweep(root)
        self._runtime = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=root))
        try:
            program = _mosquitto()
            _make_private(memory)
            self.port, self._child = self._start(program, memory)
        except BaseException:
            shutil.rmtree(self._runtime, ignore_errors=True)
            raise

    def __enter__(self) -> PrivateBroker:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id of mosquitto."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._child.poll() is None

    def stop(self) -> None:
        """Stop it, letting it save its memory, and remove the runtime directory."""
        stop_child(self._child)
        shutil.rmtree(self._runtime, ignore_errors=True)

    def _start(self, program: str, memory: Path) -> tuple[int, subprocess.Popen[bytes]]:
        for _ in range(_ATTEMPTS):  # between choosing a free port and listening on it another program may take it
            port = _free_port()
            config = self._runtime / "mosquitto.conf"
            # started by root, mosquitto would become "mosquitto", who may not read our directories
            user = f"user {getpass.getuser()}" if os.geteuid() == 0 else ""
            config.write_text(_CONFIG.format(port=port, memory=memory, user=user), encoding="utf-8")
            log = self._runtime / "mosquitto.log"
            with log.open("wb") as output:
                child = start_child([program, "-c", str(config)], output=output.fileno())
            if _listening(self.host, port, child):
                return port, child
            stop_child(child)
        lines = log.read_text(errors="replace").strip().splitlines()
        raise BrokerError(
            f"{program}: does not start ({lines[-1] if lines else 'no message'}); see `mosquitto -c {config}`"
        )


def _mosquitto() -> str:
    path = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin" + os.pathsep + "/usr/local/sbin"
    program = shutil.which("mosquitto", path=path)
    if program is None:
        raise BrokerError("mosquitto: not installed; sudo apt-get install mosquitto, or name a broker with mqtt.host")
    return program


def _runtime_root() -> str | None:
    """Where a runtime directory belongs: systemd's ``RuntimeDirectory=``, the user's, else the temporary one."""
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        folder = os.environ.get(name, "").split(":")[0]
        if folder and os.access(folder, os.W_OK):
            return folder
    return None


def _sweep(root: Path) -> None:
    """Remove runtime directories of stations that were killed before they could."""
    for left in root.glob(f"{_PREFIX}*-*"):
        pid = left.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)


def _make_private(memory: Path) -> None:
    try:
        memory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise BrokerError(f"{memory}: the broker's memory cannot be made there ({error.strerror})") from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listening(host: str, port: int, child: subprocess.Popen[bytes]) -> bool:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline_s and child.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=0.5):
            # someone else's listener would also answer: ours is the one whose process is still there a moment later
            time.sleep(0.05)
            return child.poll() is None
        time.sleep(0.02)
    return False
