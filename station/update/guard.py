"""The rollback that needs no release: by hand, at boot, and when a service on probation gives up.

This module and what it imports (standard library only) lie outside of every release, where the system's own Python runs
them: a release whose Python environment is broken can still be left. A release brings its own copy, which is taken
when it is committed (:mod:`station.update.base`); the one of ``deploy/install`` is run when that copy cannot start.

    rollback              go back to the release before this one
    rollback --boot       before the station's services start: judges a release that does not survive a boot
    rollback --failed     a service on probation has given up
    rollback --self-check a way back on a scratch station: whether this copy does its work with this Python
    rollback --systemd    the former at the first call of a boot, the latter at every other (OnFailure=)
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from station.errors import UpdateError
from station.update import base
from station.update import journal as journals
from station.update.journal import Journal, only_one
from station.update.layout import Layout
from station.update.services import Services
from station.update.switch import activate, go_back

#: A release on probation may see so many boots; at the next it is left.
MAX_BOOTS = 2
_WAIT_S = 60.0

Say = Callable[[str], None]


def by_hand(layout: Layout, services: Services, reason: str, say: Say) -> None:
    """Go back now, whatever is under way."""
    services.stop_updater()
    with only_one(layout, _WAIT_S):
        left = layout.active()
        journal = go_back(layout, journals.load(layout), reason, services.restart)
        say(f"release {left} was left for {layout.active()}: {journal.failed.get(str(left), reason)}")


def at_boot(layout: Layout, services: Services, say: Say) -> None:
    """Before the services start: finish a way back, count the boots of a probation, mend a link that leads nowhere."""
    with only_one(layout, _WAIT_S):
        journal, active = journals.load(layout), layout.active()
        if journal.step == "returning":
            _back(layout, journal, str(journal.reason), services, say)
        elif journal.on_probation(active):
            _count(layout, journal, services, say)
        elif active is None or not layout.is_complete(active):
            _mend(layout, journal, services, say)
        elif base.active(layout) is None and base.adopt(layout, base.of_release(layout, active)):
            services.reload()
            say(f"guard and updater are those of release {active} again")


def after_failure(layout: Layout, services: Services, say: Say) -> None:
    """A service gave up: if its release is on probation and nobody judges it now, leave it."""
    try:
        with only_one(layout):
            journal = journals.load(layout)
            if journal.step == "returning" or journal.on_probation(layout.active()):
                reason = journal.reason or "a service gave up while its release was on probation"
                _back(layout, journal, reason, services, say, restart=services.restart)
    except UpdateError as error:
        if "under way" not in str(error):
            raise
        say("the updater is at work: it sees for itself")


def _count(layout: Layout, journal: Journal, services: Services, say: Say) -> None:
    boots = journal.boots + 1
    if boots > MAX_BOOTS:
        _back(layout, journal, f"did not prove itself within {MAX_BOOTS} boots", services, say)
        return
    journals.store(layout, replace(journal, step="probation", boots=boots))
    say(f"release {journal.target} is on probation: boot {boots} of {MAX_BOOTS}")
    services.start_updater()


def _back(
    layout: Layout,
    journal: Journal,
    reason: str,
    services: Services,
    say: Say,
    restart: Callable[[], None] | None = None,
) -> None:
    # At boot the services have not started yet: they come up from the other release by themselves.
    journal = go_back(layout, journal, reason, restart or services.reload)
    say(f"now runs release {layout.active()}: {reason}")


def _mend(layout: Layout, journal: Journal, services: Services, say: Say) -> None:
    known = (journal.source, journal.previous, *reversed(list(layout.complete())))
    goal = next((version for version in known if version is not None and layout.is_complete(version)), None)
    if goal is None:
        raise UpdateError(f"{layout.releases}: holds no complete release; run deploy/install again")
    activate(layout, goal)
    base.adopt(layout, base.of_release(layout, goal))
    services.reload()
    say(f"{layout.current} led nowhere; now runs release {goal}")


def self_check() -> None:
    """Let this copy leave a release that does not survive its boots; raises :class:`UpdateError` if it does not."""
    with tempfile.TemporaryDirectory(prefix="hipline-guard-") as folder:
        layout = Layout(Path(folder))
        layout.make()
        for version in ("1.0.0", "1.1.0"):
            layout.release(version).mkdir()
            (layout.release(version) / "manifest.json").write_text('{"files": []}', encoding="utf-8")
        activate(layout, "1.1.0")
        journals.store(layout, Journal("probation", "1.0.0", "1.1.0"))
        for _ in range(MAX_BOOTS + 1):
            at_boot(layout, Services(program="true"), lambda _line: None)
        if (layout.active(), journals.load(layout).step) != ("1.0.0", "idle"):
            raise UpdateError("guard: does not leave a release that does not prove itself")


def _first_of_this_boot() -> bool:
    """Whether systemd has not called before since the machine started; its runtime directory remembers."""
    mark = Path(os.environ.get("RUNTIME_DIRECTORY", "/run")) / "station-rollback.called"
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="rollback", description="Go back to the release before this one.")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--boot", action="store_true", help="judge a release on probation, before it starts")
    when.add_argument("--failed", action="store_true", help="a service has given up")
    when.add_argument("--systemd", action="store_true", help="the one or the other: see station-rollback.service")
    when.add_argument("--self-check", action="store_true", help="a way back on a scratch station, and nothing else")
    parser.add_argument("--reason", default="rolled back by hand", help="kept in the report")
    options = parser.parse_args(arguments)
    layout, services = Layout.here(), Services()
    first = options.systemd and _first_of_this_boot()
    try:
        if options.self_check:
            self_check()
        elif options.boot or first:
            at_boot(layout, services, print)
        elif options.failed or options.systemd:
            after_failure(layout, services, print)
        else:
            by_hand(layout, services, options.reason, print)
    except UpdateError as error:
        print(f"rollback: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
