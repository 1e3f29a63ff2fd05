"""What every test may ask for: the measured fixtures, a browser, a broker. Nothing stands in for the real thing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with measured fixtures (motion capture, video), which the repository does not carry.

    It is ``$HIPLINE_SHARED`` or ``shared/`` beside the repository; without it the test is skipped, and says so.
    """
    named = os.environ.get("HIPLINE_SHARED")
    folder = Path(named) if named else REPOSITORY.parent / "shared"
    if not (folder / "fixtures").is_dir():
        pytest.skip(f"no measured fixtures in {folder}: set HIPLINE_SHARED to their folder")
    return folder


def _program(*names: str, package: str, also: tuple[str, ...] = ()) -> Path:
    for name in names:
        found = shutil.which(name) or next((place for place in also if Path(place).exists()), None)
        if found:
            return Path(found)
    pytest.fail(f"{names[0]} is not installed: `make setup-test` installs it (Debian package {package})")


@pytest.fixture(scope="session")
def chromium_path() -> Path:
    """A real Chromium. Start it with ``--no-sandbox`` when root; it must be there, `make test` installs it."""
    return _program("chromium", "chromium-browser", package="chromium")


@pytest.fixture(scope="session")
def mosquitto_path() -> Path:
    """A real mosquitto (in ``/usr/sbin``, which is not on everyone's PATH)."""
    return _program("mosquitto", package="mosquitto", also=("/usr/sbin/mosquitto",))
