"""The runner's screen as its unit runs it: cage and Chromium in a booted system, on a virtual display of 1920 × 1080.

Only the display is not real: wlroots draws into memory (`WLR_BACKENDS=headless`), nothing is handed out by seatd.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from . import rootfs
from .test_booted import _CONFIG, Container, _is_up, until

pytestmark = [pytest.mark.virtual, pytest.mark.timeout(3600)]

_PACKAGES = ("cage", "seatd", "chromium", "curl", "grim", "wlr-randr", "wlrctl")
_DISPLAY = """\
[Unit]
ConditionPathExistsGlob=
[Service]
Environment=WLR_BACKENDS=headless WLR_LIBINPUT_NO_DEVICES=1 WLR_RENDERER=pixman
"""
_WAYLAND = "XDG_RUNTIME_DIR=/run/station-kiosk WAYLAND_DISPLAY=wayland-0"


@pytest.fixture(scope="module")
def screen() -> Iterator[Container]:
    """A booted station with a screen."""
    try:
        base = rootfs.base()
    except rootfs.RootfsError as error:
        pytest.skip(str(error))
    with tempfile.TemporaryDirectory(prefix="hipline-kiosk-") as folder, rootfs.overlay(base, Path(folder)) as root:
        (root / "etc/resolv.conf").write_text(Path("/etc/resolv.conf").read_text())
        rootfs.in_root(root, "apt-get", "update", "-q")
        install = ("apt-get", "install", "-y", "-q", "--no-install-recommends", *_PACKAGES)
        rootfs.in_root(root, *install, env={"DEBIAN_FRONTEND": "noninteractive"}, timeout_s=1800)
        rootfs.install_station(root, "--kiosk")
        (root / "etc/station/station.toml").write_text(_CONFIG)
        drop_in = root / "etc/systemd/system/station-kiosk.service.d/headless.conf"
        drop_in.parent.mkdir()
        drop_in.write_text(_DISPLAY)
        (root / "etc/systemd/system/multi-user.target.wants/station.service").unlink()  # the page alone is looked at
        (root / "etc/machine-id").write_text("")
        for name in ("dev", "proc"):  # the container has its own
            subprocess.run(["umount", "--recursive", "--lazy", str(root / name)], check=False)
        booted = Container(root, Path(folder) / "console.log")
        try:
            until(lambda: booted.log.exists() and _is_up(booted), 180, "no systemd in the container")
            yield booted
        finally:
            booted.close()


def picture(screen: Container, *, cursor: bool = False) -> np.ndarray:
    """What is on the display now."""
    file = screen.root / "srv/shot.png"
    screen.run(f"rm -f /srv/shot.png; {_WAYLAND} grim {'-c' if cursor else ''} /srv/shot.png", check=False)
    return np.asarray(cv2.imread(str(file))) if file.exists() else np.zeros((1, 1, 3), np.uint8)


def shows_the_page(screen: Container) -> bool:
    """Light paper with dark type in the middle: neither the compositor's grey nor a browser's empty window."""
    screen.run(f"{_WAYLAND} wlr-randr --output HEADLESS-1 --custom-mode 1920x1080", check=False)
    shot = picture(screen)
    grey = shot.mean(axis=2)
    return shot.shape == (1080, 1920, 3) and np.median(grey) > 200 and float((grey < 60).mean()) > 0.005


def test_the_page_fills_the_screen_without_a_pointer(screen: Container) -> None:
    until(lambda: shows_the_page(screen), 300, "the page is not shown")
    screen.run(f"{_WAYLAND} wlrctl pointer move 700 500")
    with_pointer, without = picture(screen, cursor=True), picture(screen)
    assert np.array_equal(with_pointer, without)


def test_the_screen_is_never_blanked(screen: Container) -> None:
    """Nobody touches anything for longer than the shortest blanking that anybody sets: a minute."""
    time.sleep(75)
    assert "Enabled: yes" in screen.run(f"{_WAYLAND} wlr-randr")
    assert shows_the_page(screen)
    # blanking is a client's doing under Wayland (swayidle, a desktop): here the browser is the only one
    own = screen.run("ps -u station-kiosk -o comm=").split()
    assert {name for name in own if not name.startswith(("chrom", "cat"))} <= {"cage", "Xwayland"}


def test_the_browser_stays_in_its_unit_and_its_bounds(screen: Container) -> None:
    browser = screen.run("pgrep -o -u station-kiosk chromium")
    assert screen.run(f"tail -n 1 /proc/{browser}/cgroup").endswith("/system.slice/station-kiosk.service")
    assert screen.run("systemd-analyze verify --man=no station-kiosk.service 2>&1", check=False) == ""


def test_a_browser_that_dies_is_started_again(screen: Container) -> None:
    before = screen.show("station-kiosk", "MainPID")
    screen.run("kill -KILL $(pgrep -o -u station-kiosk chromium)")
    took_s = until(lambda: screen.show("station-kiosk", "MainPID") not in ("0", before), 60, "it does not come back")
    until(lambda: shows_the_page(screen), 300, "the page does not come back")
    print(f"\nstarted again {took_s:.1f} s after it was killed")
