"""``station update``: look for a release, change over to it, say how things stand, go back, commit by hand."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from station.errors import ConfigError, UpdateError
from station.update import journal as journals
from station.update import manifest as manifests
from station.update.journal import only_one
from station.update.layout import Layout

if TYPE_CHECKING:
    from station.config import Config
    from station.update.steps import Updater

# Each imports what it needs when it runs: `station --help` must not wait for the update client or the interpreter.
# ruff: noqa: PLC0415

#: What deploy/install wrote.
_CONFIG = Path("/etc/station/station.toml")
_WHAT = {
    "check": "say which release this station should run",
    "apply": "finish what was begun, then change over to the release this station should run, if there is a newer one",
    "status": "say how things stand",
    "rollback": "go back to the release before this one",
    "commit": "trust the active release now, without waiting for the end of its probation",
    "self-test": "what a staged release has to pass: models on the golden input, this station's configuration",
}
_EPILOG = "\n".join(f"  {name:10} {what}" for name, what in _WHAT.items())

_Commands = argparse._SubParsersAction


def add_parser(commands: _Commands[argparse.ArgumentParser], parents: list[argparse.ArgumentParser]) -> None:
    """Add ``update`` to the commands of the station."""
    command = commands.add_parser(
        "update",
        parents=parents,
        help="change over to a newer release, or back",
        description="Over-the-air updates. Releases lie under /var/lib/hipline (or $HIPLINE_ROOT); systemd runs "
        "`apply` from a timer.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("what", choices=list(_WHAT), metavar="|".join(_WHAT), help="see below")
    command.add_argument("--source", metavar="URL|FOLDER", help="instead of update.source, such as a USB stick")
    command.add_argument("--version", dest="wanted", metavar="X.Y.Z", help="this release, whatever the rings say")
    command.add_argument("--again", action="store_true", help="also a release that was tried and left before")
    command.add_argument(
        "--unwatched", action="store_true", help="a first release where nothing runs yet (an image): without probation"
    )
    command.add_argument("--reason", default="rolled back by hand", help="of a rollback; kept in the report")
    command.add_argument("--json", action="store_true", help="machine-readable (status)")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run one of them; returns the exit code."""
    from station.config import load

    layout = Layout.here()
    if arguments.what == "status":
        return _status(layout, as_json=arguments.json)
    config = load(arguments.config or _installed_config(), arguments.overrides)
    if arguments.what == "self-test":
        from station.update.selftest import self_test

        self_test(config, _say)
    elif arguments.what == "check":
        return _check(layout, config, arguments)
    else:
        from station.update.services import Services
        from station.update.steps import Updater

        with only_one(layout, 0.0 if arguments.what == "apply" else 60.0):
            _change(Updater(layout, config, Services(), _say), layout, config, arguments)
    return 0


def _installed_config() -> Path | None:
    """The configuration of an installed station, also for a person (or ssh) who is not its service."""
    return _CONFIG if "CONFIGURATION_DIRECTORY" not in os.environ and _CONFIG.is_file() else None


def _change(updater: Updater, layout: Layout, config: Config, arguments: argparse.Namespace) -> None:
    if arguments.what == "rollback":
        updater.rollback(arguments.reason)
    elif arguments.what == "commit":
        if not updater.journal.on_probation(updater.active):
            raise UpdateError(f"release {updater.active}: is not on probation; there is nothing to commit")
        updater.commit()
    else:
        updater.resume()
        _apply(updater, layout, config, arguments)


def _apply(updater: Updater, layout: Layout, config: Config, arguments: argparse.Namespace) -> None:
    from station.update import fetch
    from station.update.steps import WaitingError

    version = arguments.wanted
    try:
        available = fetch.check(_settings(layout, config, arguments.source), version)
        if available is None:
            updater.nothing_new()
            _say(f"release {updater.active or 'none'}: is what this station should run")
            return
        version = available.version
        updater.consider(available.manifest, again=arguments.again)
        manifest = fetch.download(available, layout.blobs, _say)
    except WaitingError:
        raise
    except UpdateError as error:
        updater.refuse(version, str(error))
        raise
    updater.install(manifest, again=arguments.again, watched=not arguments.unwatched)


def _check(layout: Layout, config: Config, arguments: argparse.Namespace) -> int:
    from station.update import fetch

    available = fetch.check(_settings(layout, config, arguments.source), arguments.wanted)
    if available is None:
        _say(f"release {layout.active() or 'none'}: is what this station should run")
    else:
        size_mb = available.manifest.download_size / 1e6
        _say(f"release {available.version}: is there for this station, {size_mb:.1f} MB in all")
    return 0


def _settings(layout: Layout, config: Config, source: str | None) -> Any:
    from station.update.fetch import Settings

    source, root = source or config.update.source, config.update.root
    if source is None:
        raise ConfigError(f"{config.origin}: update.source is not set: give the address of the update repository")
    if root is None:
        raise ConfigError(f"{config.origin}: update.root is not set: give the root metadata of the update repository")
    active = layout.active()
    sequence = manifests.sequence_of(active) if active is not None else 0
    name = f"{config.station.gym}/{config.station.name}"
    return Settings(source=source, state=layout.update, root=Path(root), station=name, sequence=sequence)


def _status(layout: Layout, *, as_json: bool) -> int:
    journal = journals.load(layout)
    found = {
        **journal.block(), "active": layout.active(), "previous": journal.previous, "failed": dict(journal.failed),
        "releases": list(layout.complete()),
    }  # fmt: skip
    if as_json:
        _say(json.dumps(found, indent=2))
    else:
        for key, value in found.items():
            _say(f"{key:9} {value if value not in (None, {}, []) else '-'}")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)
