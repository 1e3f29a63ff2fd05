"""Both halves at once: `station update apply` of a toy station, from a signed repository behind a web server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.ota import release
from station.update.manifest import this_platform, this_python
from tests.update.publisher import Publisher, build, manifest_of
from tests.update.server import serving
from tests.update.toy import REPOSITORY, Toy, wheel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def publish(publisher: Publisher, version: str, behaviour: str = "good") -> None:
    """A release of the toy station for this machine, for everybody."""
    files = {
        f"wheels/hipline_station-{version}-py3-none-any.whl": wheel(version, behaviour),
        "models/pose.bin": b"model of all releases" * 1000,
        "systemd/station.service": f"# {version}\n".encode(),
    }
    manifest = manifest_of(version, files, platform=this_platform(), python=this_python())
    release.sign(publisher.repository, build(publisher.folder / "built" / version, manifest, files), [publisher.keys])
    publisher.roll_out(version)


def apply(toy: Toy) -> subprocess.CompletedProcess[str]:
    """What station-update.service runs."""
    command = [sys.executable, "-m", "station", "update", "apply", "--config", toy.environment["TOY_CONFIG"]]
    return subprocess.run(
        command, cwd=REPOSITORY, env=toy.environment, capture_output=True, text=True, timeout=600, check=False
    )


def test_from_a_tag_to_a_station_and_back(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    publisher, toy = Publisher(tmp_path / "publisher"), make_toy()
    root = tmp_path / "update-root.json"
    shutil.copy(publisher.root_file, root)
    with serving(publisher.place) as server:
        config = Path(toy.environment["TOY_CONFIG"])
        update = f"[update]\nsource = {json.dumps(server.url)}\nroot = {json.dumps(str(root))}\n"
        config.write_text(config.read_text() + update)

        publish(publisher, "1.0.0")
        done = apply(toy)
        assert done.returncode == 0, done.stdout + done.stderr
        assert toy.serves() == "1.0.0"
        assert "is what this station should run" in apply(toy).stdout

        # The server lies: nothing happens, and the station says why.
        publish(publisher, "1.1.0")
        server.rules = [("targets/blob/", ("bytes", b"something else"))]
        done = apply(toy)
        assert done.returncode == 1
        assert toy.layout.active() == "1.0.0"
        assert toy.report["state"] == "failed"
        assert toy.report["to"] == "1.1.0"
        assert toy.report["reason"] in done.stderr
        server.rules = []
        server.sent.clear()
        done = apply(toy)
        assert done.returncode == 0, done.stdout + done.stderr
        assert toy.serves() == "1.1.0"
        assert toy.report["state"] == "idle"

        # Signed, and bad all the same: the station is back by itself, and does not try it again.
        publish(publisher, "1.2.0", "crash")
        assert apply(toy).returncode == 1
        assert toy.serves() == "1.1.0"
        assert (toy.report["state"], toy.report["to"]) == ("failed", "1.2.0")
        done = apply(toy)
        assert "was tried and left" in done.stderr
        assert toy.layout.active() == "1.1.0"

        # The next one mends it.
        publish(publisher, "1.2.1")
        done = apply(toy)
        assert done.returncode == 0, done.stdout + done.stderr
        assert toy.serves() == "1.2.1"
