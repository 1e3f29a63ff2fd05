"""The updater's units: accepted by systemd without a word, closed, and outside of what they change."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.station import parts


@pytest.fixture(scope="module")
def analyze() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed: nothing here can judge a unit")
    return program


def call(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_systemd_accepts_them_in_silence(analyze: str, repository: Path, tmp_path: Path) -> None:
    for file in (*parts.LASTING_UNITS, "station.service"):
        text = (repository / "systemd" / file).read_text()
        (tmp_path / file).write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = call(analyze, "verify", "--man=no", *(tmp_path / file for file in parts.LASTING_UNITS))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_guard_stands_outside_of_every_release(repository: Path) -> None:
    guard = (repository / "systemd/station-rollback.service").read_text()
    assert f"ExecStart=/usr/bin/python3 -IB /{parts.GUARD} --systemd\n" in guard
    assert "/var/lib/hipline/current" not in guard
    assert "Before=station.service station-web.service\n" in guard
    for unit in ("station.service", "station-update.service"):
        assert "OnFailure=station-rollback.service\n" in (repository / "systemd" / unit).read_text()


def test_the_guard_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    """By the system's Python, which is as bare as the one of a Pi, without this source tree."""
    parts.put_all(tmp_path / "guard", parts.guard_files())
    done = call("/usr/bin/env", "-i", "/usr/bin/python3", "-IB", tmp_path / "guard", "--help")
    assert done.returncode == 0, done.stderr
    assert "--boot" in done.stdout
    code = "import sys; sys.path.insert(0, sys.argv[1]); import station.update.guard; print(*sys.modules)"
    done = call("/usr/bin/python3", "-IBS", "-c", code, tmp_path / "guard")
    tops = {name.partition(".")[0] for name in done.stdout.split()}
    assert {name for name in tops if name not in sys.stdlib_module_names} == {"station", "__main__"}


def test_engine_and_updater_agree_on_where_things_are(repository: Path) -> None:
    from station.engine import updates
    from station.update import layout

    assert updates.ROOT == layout.ROOT == Path("/") / parts.RELEASES
    path = (repository / "systemd/station-update.path").read_text()
    assert f"PathChanged=/run/station/{updates.REQUEST_FILE}\n" in path
    assert "RuntimeDirectory=station\n" in (repository / "systemd/station.service").read_text()
