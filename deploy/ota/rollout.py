"""Say which stations should run which release; watch them; stop when they fail (deploy/rollout)."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer

from deploy.ota import command, fleet, keyring
from deploy.ota.command import add_repository, say
from deploy.ota.keyring import InputError
from deploy.ota.repository import Missing, Repository
from station.errors import UpdateError
from station.update import rings
from station.update.manifest import sequence_of
from station.update.rings import Rollout
from station.update.trust import place_of

HELP = """\
Say which stations should run which release, and watch what comes of it.

  deploy/rollout start  REPO 1.4.0 --canary north/tm-01 --canary north/tm-02 --keys ~/operator-keys --keys ~/online-keys
  deploy/rollout watch  REPO --broker broker.north.example --user staff+anna … --keys … --steps 10,30,100
  deploy/rollout set    REPO --percent 30 --keys …       by hand, what watch --steps does by itself
  deploy/rollout halt   REPO --reason "page stays black" --keys …
  deploy/rollout resume REPO --keys …
  deploy/rollout status REPO --broker …                  who runs what, from the retained statuses of the stations

A new release goes to the canaries first, then to a share of all stations; which ones come first is fixed by a hash of
their names. `watch` listens: one station of the ring that fails (or more than --failures) halts the release, which
then starts nowhere else; a share grows only when every station of the ring so far runs it and none is offline.
Stations that failed have gone back by themselves. After a halt make a new release and start that: nothing goes back
to an older one. Every change is a signature by the rollout key; it can name only what the targets keys have signed.

The broker wants TLS and a user (deploy/broker/README.md); --plain is for one on this machine.
Exit codes: 0 done, 1 failed or halted, 2 bad input.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return command.run("rollout", lambda: int(options.run(options)))


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("rollout", HELP)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    start = commands.add_parser("start", help="begin with a new release at the canaries")
    add_repository(start)
    start.add_argument("version", help="X.Y.Z, signed by the targets keys")
    start.set_defaults(run=_start)
    change = commands.add_parser("set", help="change share or canaries")
    add_repository(change)
    change.set_defaults(run=_set)
    for one in (start, change):
        one.add_argument("--canary", action="append", metavar="GYM/STATION", help="repeatable; replaces the list")
        one.add_argument("--percent", type=int, help="share of all stations, 0 to 100")
    halt = commands.add_parser("halt", help="let no further station start on the release")
    add_repository(halt)
    halt.add_argument("--reason", required=True)
    halt.set_defaults(run=_halt)
    resume = commands.add_parser("resume", help="go on after a halt")
    add_repository(resume)
    resume.set_defaults(run=_resume)

    watch = commands.add_parser("watch", help="listen to the stations, halt at failures, grow the share")
    add_repository(watch)
    _add_broker(watch, required=True)
    watch.add_argument("--failures", type=int, default=0, metavar="N", help="halt at more than N failures (default: 0)")
    watch.add_argument("--steps", default="", metavar="10,30,100", help="shares to go through (default: none)")
    watch.add_argument("--soak", type=float, default=30.0, metavar="MIN", help="minutes all is well before a step")
    watch.set_defaults(run=_watch)
    status = commands.add_parser("status", help="who runs what")
    add_repository(status, keys=False)
    _add_broker(status, required=False)
    status.set_defaults(run=_status)
    return parser


def _add_broker(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--broker", required=required, metavar="HOST", help="the gym's, which the stations talk to")
    parser.add_argument("--port", type=int, help="default: 8883, with --plain 1883")
    parser.add_argument("--user", help="such as staff+anna")
    parser.add_argument("--password-file", type=Path)
    parser.add_argument("--ca", type=Path, help="the broker's CA, ca.crt")
    parser.add_argument("--plain", action="store_true", help="without TLS: loopback only")
    parser.add_argument("--root", default="hipline/v1", help=argparse.SUPPRESS)


def current(repository: Repository) -> Rollout | None:
    """The rollout that was signed last, ``None`` before the first; one that waits for signatures counts."""
    metadata = repository.draft("rollout") or repository.published("rollout")
    target = metadata.signed.targets.get(rings.TARGET)
    return None if target is None else rings.read((repository.folder / place_of(target)).read_bytes())


def sign(repository: Repository, rollout: Rollout, signers: dict[str, Signer]) -> list[Missing]:
    """Sign a rollout and publish it. Raises when it names a release that the targets keys have not signed."""
    for version in filter(None, (rollout.version, rollout.stable)):
        if not any(name.startswith(f"release/{version}/") for name in repository.targets.targets):
            raise InputError(f"release {version}: not signed by the targets keys; first deploy/release --sign")
    if not 0 <= rollout.percent <= 100:
        raise InputError(f"{rollout.percent} %: a share is 0 to 100")
    data = rings.write(rollout)
    rings.read(data)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "fleet.json"
        file.write_bytes(data)
        target = repository.add_file(rings.TARGET, file)

    def change(targets: Any) -> None:
        targets.targets = {rings.TARGET: target}

    repository.propose("rollout", change)
    return repository.complete(signers)


def begin(before: Rollout | None, version: str, percent: int, canary: Sequence[str]) -> Rollout:
    """The rollout of a new version. The stations outside of its ring keep to the last one that got everywhere."""
    if before is None:
        return Rollout(version, None, percent, tuple(canary))
    if sequence_of(version) <= sequence_of(before.version):
        raise InputError(f"release {version}: not newer than {before.version}; stations never go back, make a new one")
    everywhere = before.percent == 100 and not before.halt
    return Rollout(version, before.version if everywhere else before.stable, percent, tuple(canary))


def _change(options: argparse.Namespace, change: Callable[[Rollout | None], Rollout]) -> int:
    repository = Repository(options.repository)
    with repository.locked():
        rollout = change(current(repository))
        missing = sign(repository, rollout, dict(keyring.signers(options.keys, command.ask_passphrase)))
        command.tell_missing(repository, missing)
        say(_describe(rollout))
        if not missing and not repository.is_current:
            say(f"then:    deploy/keys refresh {repository.folder} --keys ONLINE-KEYS, or no station sees it")
    return 0


def _describe(rollout: Rollout | None) -> str:
    if rollout is None:
        return "no rollout yet"
    text = (
        f"{rollout.version}: {len(rollout.canary)} canaries, {rollout.percent} % of all; others {rollout.stable or '-'}"
    )
    return f"{text}; HALTED: {rollout.reason}" if rollout.halt else text


def _there(rollout: Rollout | None) -> Rollout:
    if rollout is None:
        raise InputError("there is no rollout yet: deploy/rollout start")
    return rollout


def _start(options: argparse.Namespace) -> int:
    _check_stations(options.canary or [])
    if not options.canary and not options.percent:
        raise InputError("nobody would get it: name canaries, or a share with --percent")
    return _change(options, lambda before: begin(before, options.version, options.percent or 0, options.canary or ()))


def _set(options: argparse.Namespace) -> int:
    _check_stations(options.canary or [])

    def change(before: Rollout | None) -> Rollout:
        rollout = _there(before)
        return replace(
            rollout,
            percent=rollout.percent if options.percent is None else options.percent,
            canary=rollout.canary if options.canary is None else tuple(options.canary),
        )

    return _change(options, change)


def _check_stations(names: Sequence[str]) -> None:
    for name in names:
        try:
            rings.check_station(name)
        except ValueError as error:
            raise InputError(str(error)) from None


def _halt(options: argparse.Namespace) -> int:
    return _change(options, lambda before: replace(_there(before), halt=True, reason=options.reason))


def _resume(options: argparse.Namespace) -> int:
    return _change(options, lambda before: replace(_there(before), halt=False, reason=None))


def _broker(options: argparse.Namespace) -> fleet.Broker:
    port = options.port or (1883 if options.plain else 8883)
    return fleet.Broker(
        options.broker, port, options.user, options.password_file, options.ca, options.plain, options.root
    )


def _status(options: argparse.Namespace) -> int:
    rollout = current(Repository(options.repository))
    say(_describe(rollout))
    if options.broker is None:
        return 0
    with fleet.Fleet(_broker(options)).listening() as stations:
        stations.settle()
        for line in fleet.table(rollout, stations.statuses):
            say(line)
        if rollout is not None:
            say(fleet.judge(rollout, stations.statuses).reason)
    return 0


def _watch(options: argparse.Namespace) -> int:
    try:
        steps = [int(step) for step in options.steps.split(",") if step]
    except ValueError:
        raise InputError(f"--steps {options.steps}: numbers with commas between, such as 10,30,100") from None
    repository = Repository(options.repository)
    signers = dict(keyring.signers(options.keys, command.ask_passphrase))
    with fleet.Fleet(_broker(options)).listening() as stations:
        stations.settle()
        return watch(repository, stations, signers, steps, options.failures, options.soak * 60)


def watch(
    repository: Repository,
    stations: fleet.Fleet,
    signers: dict[str, Signer],
    steps: Sequence[int],
    most_failures: int,
    soak_s: float,
) -> int:
    """Until the release is everywhere the steps lead to (0) or halted (1); each step when all was well for a while."""
    well_since_s: float | None = None
    said = ""
    while True:
        rollout = _there(current(repository))
        if rollout.halt:
            say(_describe(rollout))
            return 1
        verdict = fleet.judge(rollout, stations.statuses, most_failures)
        if verdict.reason != said:
            said = verdict.reason
            say(f"{rollout.version} at {rollout.percent} %: {said}")
        if verdict.action == "halt":
            _sign_now(repository, signers, halt=True, reason=verdict.reason[:400])
            say(f"halted {rollout.version}: {verdict.reason}")
            return 1
        further = [step for step in steps if step > rollout.percent]
        if verdict.action == "wait":
            well_since_s = None
        else:
            well_since_s = well_since_s or time.monotonic()
            if time.monotonic() - well_since_s >= soak_s:
                if not further:
                    return 0
                _sign_now(repository, signers, percent=further[0])
                say(f"{rollout.version}: now {further[0]} %")
                well_since_s, said = None, ""
                continue
        left_s = 60.0 if well_since_s is None else well_since_s + soak_s - time.monotonic()
        stations.wait(min(60.0, max(0.1, left_s)))


def _sign_now(repository: Repository, signers: dict[str, Signer], **changes: Any) -> None:
    with repository.locked():
        missing = sign(repository, replace(_there(current(repository)), **changes), signers)
        if missing or not repository.is_current:
            raise UpdateError("the rollout could not be signed: give the rollout and online keys with --keys")


if __name__ == "__main__":
    sys.exit(main())
