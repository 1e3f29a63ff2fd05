"""The virtual system with the station on it; built once a session, its base once for ever."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import rootfs


@pytest.fixture(scope="session")
def installed() -> Iterator[Path]:
    """The root folder of a Debian trixie on which ``systemd/install`` has put this source tree."""
    if os.geteuid() != 0:
        pytest.skip("a virtual system needs root (chroot, overlay mounts, containers)")
    with (
        tempfile.TemporaryDirectory(prefix="hipline-virtual-") as folder,
        rootfs.overlay(rootfs.base(), Path(folder)) as root,
    ):
        rootfs.install_station(root)
        yield root
