"""The systemd units: accepted without a word by systemd itself, and as closed as they claim."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = {"station.service": 2.0, "station-web.service": 1.5}


@pytest.fixture(scope="module")
def analyze() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed: nothing here can judge a unit")
    return program


def _call(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_the_unit_in_silence(analyze: str, repository: Path, tmp_path: Path, name: str) -> None:
    # the release is not installed here: any program stands for it, everything else is judged as it is
    text = (repository / "systemd" / name).read_text()
    (tmp_path / name).write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = _call(analyze, "verify", "--man=no", tmp_path / name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("name", "exposure"), UNITS.items())
def test_the_exposure_is_low(analyze: str, repository: Path, name: str, exposure: float) -> None:
    done = _call(analyze, "security", "--offline=true", "--no-pager", repository / "systemd" / name)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    if found is None:
        pytest.skip("this systemd-analyze does not judge unit files offline")
    assert float(found[1]) <= exposure


def test_the_engine_is_watched_and_the_page_has_no_device(repository: Path) -> None:
    engine = (repository / "systemd" / "station.service").read_text()
    page = (repository / "systemd" / "station-web.service").read_text()
    assert "Type=notify\n" in engine
    assert "WatchdogSec=" in engine
    assert "Restart=always" in engine
    assert "StartLimitBurst=" in engine
    assert "PrivateDevices=yes" in page
    user = re.compile(r"^User=(\S+)$", re.MULTILINE)
    assert user.findall(engine) != user.findall(page)
