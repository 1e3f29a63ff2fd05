"""Make, use, rotate and revoke the keys that sign updates (deploy/keys)."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.ota import command, keyring
from deploy.ota.command import add_repository, say
from deploy.ota.keyring import ROLES, InputError
from deploy.ota.repository import Repository, drop_key, swap_keys
from station.errors import UpdateError
from station.update.transport import Folder, Limits
from station.update.trust import Trust

HELP = """\
Make, use, rotate and revoke the keys that sign updates.

Five roles sign. Two are kept offline (on a stick in a drawer), one is the operator's, two lie on the machine that
renews the repository every day:

  root       says who the other four are; needed once a year or when a key is lost
  targets    vouches for every release and every file of it; needed once a release
  rollout    says which stations should run which release; needed while a release goes out
  snapshot   online; which metadata belong together
  timestamp  online; this is the newest

One person:
  deploy/keys make   /media/stick/keys --name anna --roles root targets
  deploy/keys make   ~/operator-keys   --name anna --roles rollout
  deploy/keys make   ~/online-keys     --name server --roles snapshot timestamp
  deploy/keys start  REPO --keys /media/stick/keys --keys ~/operator-keys --keys ~/online-keys

Two persons, so that neither can release alone: each makes root and targets keys of their own, gives the .pub files to
the other, and a third pair goes into a safe (two of two would mean that one lost stick ends all updates):
  deploy/keys start  REPO --threshold 2 --keys ANNA --public BEN --public SAFE --keys OPERATOR --keys ONLINE
  deploy/keys sign   REPO --keys BEN              (Ben, on his machine, on a copy of REPO)

Daily, on the machine that serves (cron or a timer), so that nothing expires:
  deploy/keys refresh REPO --keys ~/online-keys

A key is lost or somebody leaves: rotate to new ones, or revoke one where enough are left. Stations follow by
themselves.
Exit codes: 0 done, 1 failed (status: something is missing or about to expire), 2 bad input.
"""
#: `status` warns so many days ahead.
WARN_DAYS = {"root": 60, "targets": 60, "rollout": 14, "snapshot": 7, "timestamp": 3}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return command.run("keys", lambda: int(options.run(options)))


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("keys", HELP)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    make = commands.add_parser("make", help="make key pairs in a folder")
    make.add_argument("folder", type=Path, metavar="DIR")
    make.add_argument("--roles", nargs="+", choices=ROLES, default=ROLES, help="default: all five")
    make.add_argument("--name", default=os.environ.get("USER", "me"), help="whose keys these are (default: you)")
    make.add_argument("--passphrase", action="store_true", help=f"ask for one (or take it from {command.PASSPHRASE})")
    make.set_defaults(run=_make)

    start = commands.add_parser("start", help="start an update repository")
    add_repository(start)
    start.add_argument("--public", type=Path, action="append", default=[], metavar="DIR", help="public keys of others")
    start.add_argument("--threshold", type=int, default=1, help="how many must sign root and targets (default: 1)")
    start.set_defaults(run=_start)

    sign = commands.add_parser("sign", help="add your signature to what waits for it")
    add_repository(sign)
    sign.set_defaults(run=_sign)

    rotate = commands.add_parser("rotate", help="give a role new keys instead of its old ones")
    add_repository(rotate)
    rotate.add_argument("role", choices=ROLES)
    rotate.add_argument(
        "--new", type=Path, action="append", required=True, metavar="DIR", help="the new keys (public ones suffice)"
    )
    rotate.add_argument("--threshold", type=int, help="change how many must sign, too")
    rotate.set_defaults(run=_rotate)

    revoke = commands.add_parser("revoke", help="take one key from a role")
    add_repository(revoke)
    revoke.add_argument("role", choices=ROLES)
    revoke.add_argument("key", help="the beginning of its id, or its owner's name (see status)")
    revoke.set_defaults(run=_revoke)

    renew = commands.add_parser("renew", help="sign root, targets or rollout again with a later expiry")
    add_repository(renew)
    renew.add_argument("role", choices=("root", "targets", "rollout"))
    renew.set_defaults(run=_renew)

    refresh = commands.add_parser("refresh", help="sign snapshot and timestamp again (daily, online)")
    add_repository(refresh)
    refresh.set_defaults(run=_refresh)

    discard = commands.add_parser("discard", help="forget what waits for signatures")
    add_repository(discard, keys=False)
    discard.set_defaults(run=_discard)

    status = commands.add_parser("status", help="who may sign what, until when, and what a station says to it")
    add_repository(status, keys=False)
    status.set_defaults(run=_status)
    return parser


def _make(options: argparse.Namespace) -> int:
    passphrase = None
    if options.passphrase:
        passphrase = command.ask_passphrase(options.folder)
        if not passphrase:
            raise InputError(f"a passphrase is wanted: at the terminal, or in {command.PASSPHRASE}")
    for role, key in zip(
        options.roles, keyring.make(options.folder, options.roles, options.name, passphrase), strict=True
    ):
        say(f"{role:<10}{command.owner(key)}")
    say(
        f"{options.folder}: the .pem files are secret; copy them to a second stick. The .pub files are for giving away."
    )
    return 0


def _start(options: argparse.Namespace) -> int:
    repository = Repository(options.repository)
    places = [*options.keys, *options.public]
    with repository.locked():
        repository.start({role: keyring.public_keys(places, role) for role in ROLES}, options.threshold)
        _complete(repository, options.keys)
    return 0


def _sign(options: argparse.Namespace) -> int:
    repository = Repository(options.repository)
    with repository.locked():
        _complete(repository, options.keys)
    return 0


def _rotate(options: argparse.Namespace) -> int:
    repository = Repository(options.repository)
    keys = keyring.public_keys(options.new, options.role)
    if not keys:
        raise InputError(f"{options.new[0]}: holds no public key for {options.role}")

    def change(signed: Any) -> None:
        entry = signed.get_delegated_role(options.role)
        entry.threshold = options.threshold or entry.threshold
        swap_keys(signed, options.role, keys)

    _change_keys(repository, options.role, change, [*options.keys, *(path for path in options.new if path.is_dir())])
    return 0


def _revoke(options: argparse.Namespace) -> int:
    repository = Repository(options.repository)

    def change(signed: Any) -> None:
        keyids = [
            keyid
            for keyid in signed.get_delegated_role(options.role).keyids
            if keyid.startswith(options.key)
            or _keys(signed)[keyid].unrecognized_fields.get(keyring.OWNER) == options.key
        ]
        if len(keyids) != 1:
            raise InputError(f"{options.role}: {len(keyids)} keys are called {options.key}; see deploy/keys status")
        drop_key(signed, options.role, keyids[0])

    _change_keys(repository, options.role, change, options.keys)
    return 0


def _change_keys(repository: Repository, role: str, change: Any, places: Sequence[Path]) -> None:
    with repository.locked():
        repository.propose("targets" if role == "rollout" else "root", change)
        _complete(repository, places)


def _renew(options: argparse.Namespace) -> int:
    repository = Repository(options.repository)
    with repository.locked():
        repository.renew(options.role)
        _complete(repository, options.keys)
    return 0


def _refresh(options: argparse.Namespace) -> int:
    repository = Repository(options.repository)
    with repository.locked():
        repository.refresh(keyring.signers(options.keys, command.ask_passphrase))
    say(f"{repository.folder}: snapshot {repository.version('snapshot')}, timestamp {repository.version('timestamp')}")
    return 0


def _discard(options: argparse.Namespace) -> int:
    repository = Repository(options.repository)
    with repository.locked():
        repository.discard()
    return 0


def _complete(repository: Repository, places: Sequence[Path]) -> None:
    missing = repository.complete(keyring.signers(places, command.ask_passphrase))
    command.tell_missing(repository, missing)
    if not missing:
        say(f"{repository.folder}: all signed")
    if repository.exists and not repository.is_current:
        say(f"then:    deploy/keys refresh {repository.folder} --keys ONLINE-KEYS, or no station sees the change")


def _status(options: argparse.Namespace) -> int:
    repository = Repository(options.repository)
    if not repository.exists and repository.draft("root") is None:
        raise InputError(f"{repository.folder}: no update repository; start one with deploy/keys start")
    worst = 0
    for role in ROLES:
        worst |= _tell_role(repository, role)
    try:
        check_as_a_station(repository)
        say("a station that knows the first root: accepts all of this")
    except UpdateError as error:
        say(f"a station that knows the first root: {error}")
        worst = 1
    return worst


def _tell_role(repository: Repository, role: str) -> int:
    draft = repository.draft(role) if role in {"root", "targets", "rollout"} else None
    waiting = f", version {draft.signed.version} waits for signatures" if draft else ""
    if not repository.version(role):
        say(f"{role:<10}not published yet{waiting}")
        return 1
    signed = repository.published(role).signed
    delegator = repository.targets if role == "rollout" else repository.root
    entry = delegator.get_delegated_role(role)
    left = (signed.expires - datetime.now(UTC)).days
    names = ", ".join(command.owner(_keys(delegator)[keyid]) for keyid in entry.keyids)
    warn = " EXPIRES SOON" if left < WARN_DAYS[role] else ""
    say(f"{role:<10}version {signed.version}, {left} days left{warn}, {entry.threshold} of: {names}{waiting}")
    return int(bool(warn))


def _keys(signed: Any) -> Any:
    return signed.keys if hasattr(signed, "roles") else signed.delegations.keys


def check_as_a_station(repository: Repository) -> None:
    """Raises :class:`~station.errors.UpdateError` with what a station that knows the first root would say."""
    if not repository.exists:
        raise UpdateError(f"{repository.folder}: nothing is published yet")
    first = (repository.folder / "metadata" / "1.root.json").read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        trust = Trust(Folder(repository.folder), Path(folder), first, Limits())
        trust.refresh()
        trust.target("rollout/fleet.json")


if __name__ == "__main__":
    sys.exit(main())
