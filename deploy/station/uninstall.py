"""Takes a station off a machine (deploy/uninstall)."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.station import parts
from deploy.station.parts import InstallError, Step

HELP = """\
Take the station off this machine: services, units, updater, broker configuration, releases. Configuration and data
(/etc/station, sessions, strides) stay, unless --purge: then those go too, and the accounts.

  sudo deploy/uninstall
  sudo deploy/uninstall --purge
"""
_DATA = ("etc/station", *(f"var/lib/{name}" for name in ("station", "station-web", "station-kiosk")))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="deploy/uninstall", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--purge", action="store_true", help="also configuration, data and accounts")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")
    parser.add_argument(
        "--prefix", type=Path, default=Path("/"), metavar="DIR", help="an image instead of this machine"
    )
    options = parser.parse_args(arguments)
    return parts.main_of("uninstall", lambda: uninstall(options))


def uninstall(options: argparse.Namespace) -> int:
    """Remove what is there; returns the exit code."""
    if not options.dry_run and os.geteuid() != 0:
        raise InstallError("not root; run it with sudo")
    live = options.prefix == Path("/") and Path("/run/systemd/system").is_dir()
    units = [*parts.LASTING_UNITS, *parts.RELEASE_UNITS, parts.KIOSK_UNIT]
    if live and not options.dry_run:
        subprocess.run(["systemctl", "stop", *units], capture_output=True, check=False)  # what is not there is stopped
    count = parts.run_steps(list(_steps(options, units)), dry=options.dry_run)
    if live and count and not options.dry_run:
        parts.call("systemctl", "daemon-reload")
        subprocess.run(["systemctl", "restart", "mosquitto.service"], capture_output=True, check=False)
    return 0


def _steps(options: argparse.Namespace, units: Sequence[str]) -> Iterator[Step]:
    prefix: Path = options.prefix
    folder = prefix / parts.UNITS
    places = [folder / unit for unit in units]
    places += [wants / unit for wants in sorted(folder.glob("*.wants")) for unit in units]
    names = [
        *parts.DROP_INS.values(),
        parts.COMMAND,
        parts.BROKER_CONFIG,
        parts.BROKER_CA,
        "usr/local/lib/hipline",
        parts.RELEASES,
    ]
    places += [prefix / name for name in (*names, *(_DATA if options.purge else ()))]
    for place in places:
        yield Step(
            f"{place} goes",
            lambda place=place: place.is_symlink() or place.exists(),  # type: ignore[misc]
            lambda place=place: parts.remove(place),  # type: ignore[misc]
        )
    if options.purge:
        for user in parts.USERS:
            yield Step(
                f"account {user} goes",
                lambda user=user: _is_user(prefix, user),  # type: ignore[misc]
                lambda user=user: _remove_user(prefix, user),  # type: ignore[misc]
            )


def _is_user(prefix: Path, user: str) -> bool:
    file = prefix / "etc/passwd"
    return file.is_file() and any(line.startswith(f"{user}:") for line in file.read_text(encoding="utf-8").splitlines())


def _remove_user(prefix: Path, user: str) -> None:
    image = [] if prefix == Path("/") else ["--prefix", str(prefix)]
    parts.call("userdel", *image, user)


if __name__ == "__main__":
    sys.exit(main())
