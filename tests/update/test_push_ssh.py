"""deploy/push through a real OpenSSH server: keys, one connection after the other, the real updater at the far end."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.broker_fixture import free_port, listens
from tests.update.publisher import Publisher
from tests.update.test_apply import publish
from tests.update.toy import REPOSITORY, Toy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv {environment}
"""
#: Of the toy station: what systemd, its configuration and its place would be at a real one.
_FAR = ("TOY_", "HIPLINE_SYSTEMCTL", "PYTHONPATH")


class Sshd:
    """An SSH server on loopback with keys of its own; ``words`` is the ssh command that gets in."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if program is None or shutil.which("ssh") is None:
            pytest.skip("OpenSSH's server or client is not installed (Debian: openssh-server, openssh-client)")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its own unit would make it
        self._folder, self.port, folder_ = folder, free_port(), shlex.quote(str(folder))
        folder.mkdir()
        for name in ("host", "user", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        pairs = " ".join(f'"{name}={value}"' for name, value in environment.items())
        (folder / "config").write_text(_CONFIG.format(port=self.port, folder=folder_, environment=pairs))
        host_key = (folder / "host.pub").read_text()
        (folder / "known").write_text(f"[127.0.0.1]:{self.port} {host_key}")
        self._log = (folder / "log").open("wb")
        self._server = subprocess.Popen([program, "-D", "-e", "-f", folder / "config"], stderr=self._log)
        until_s = time.monotonic() + 30
        while not listens(self.port):
            assert self._server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until_s
            time.sleep(0.05)

    def words(self, key: str = "user") -> str:
        """The ssh command, as --ssh takes it."""
        options = {"UserKnownHostsFile": self._folder / "known", "BatchMode": "yes", "IdentitiesOnly": "yes"}
        said = " ".join(f"-o {name}={shlex.quote(str(value))}" for name, value in options.items())
        return f"ssh -F none -p {self.port} -i {shlex.quote(str(self._folder / key))} {said}"

    def logins(self) -> int:
        """How often somebody was let in."""
        return (self._folder / "log").read_text().count("Accepted publickey")

    def close(self) -> None:
        self._server.terminate()
        self._server.wait(20)
        self._log.close()


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path / "publisher")


@pytest.fixture
def station(make_toy: Callable[..., Toy], publisher: Publisher, tmp_path: Path) -> Toy:
    """A station that runs 1.0.0 and has been enrolled; its own update source cannot be reached."""
    toy = make_toy()
    root = tmp_path / "update-root.json"
    shutil.copy(publisher.root_file, root)
    config = Path(toy.environment["TOY_CONFIG"])
    config.write_text(config.read_text() + f'[update]\nsource = "http://127.0.0.1:9"\nroot = {json.dumps(str(root))}\n')
    done = toy.update(toy.release("1.0.0"))
    assert done.returncode == 0, done.stderr
    return toy


@pytest.fixture
def sshd(station: Toy, tmp_path: Path) -> Iterator[Sshd]:
    far = {name: value for name, value in station.environment.items() if name.startswith(_FAR)}
    far["TOY_LIMITS"] = far["TOY_LIMITS"].replace('"', r"\"")
    server = Sshd(tmp_path / "sshd", {**far, "CONFIGURATION_DIRECTORY": str(station.folder)})
    yield server
    server.close()


def push(publisher: Publisher, version: str, station: Toy, ssh: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [REPOSITORY / "deploy/push", publisher.place, version, f"{getpass.getuser()}@127.0.0.1"]
    command += ["--ssh", ssh, "--station-root", station.layout.root]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


def test_a_release_goes_over_ssh_and_through_everything_a_release_goes_through(
    publisher: Publisher, station: Toy, sshd: Sshd
) -> None:
    publish(publisher, "1.1.0")
    done = push(publisher, "1.1.0", station, sshd.words())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "127.0.0.1: release 1.1.0: on probation" in done.stdout
    assert "127.0.0.1: release 1.1.0: committed" in done.stdout
    assert station.serves() == "1.1.0"
    assert not (station.layout.update / "pushed").exists()
    assert sshd.logins() == 3  # asked, sent, applied

    # The same bundle by the same path: signed and bad all the same, so it is left by itself, and said so over here.
    publish(publisher, "1.2.0", "crash")
    done = push(publisher, "1.2.0", station, sshd.words())
    assert done.returncode == 1
    assert "did not take release 1.2.0" in done.stdout
    assert "left for 1.1.0: station.service crashes" in done.stdout
    assert station.serves() == "1.1.0"


def test_what_was_not_signed_is_refused_at_the_far_end_too(publisher: Publisher, station: Toy, sshd: Sshd) -> None:
    publish(publisher, "1.1.0")
    for blob in (publisher.place / "targets/blob").iterdir():
        blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    done = push(publisher, "1.1.0", station, sshd.words())
    assert done.returncode == 1
    assert "not the file that was signed" in done.stdout
    assert station.serves() == "1.0.0"


def test_a_stranger_is_not_let_in_and_nothing_is_sent(publisher: Publisher, station: Toy, sshd: Sshd) -> None:
    publish(publisher, "1.1.0")
    done = push(publisher, "1.1.0", station, sshd.words("stranger"))
    assert done.returncode == 1
    assert "cannot be asked what it is" in done.stdout
    assert "Permission denied" in done.stdout
    assert sshd.logins() == 0
    assert station.layout.active() == "1.0.0"
