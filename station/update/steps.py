"""The changeover, step by step: stage, self-test, activate, probation, commit; or back. Any step can be taken up again.

Before every step the journal says what is about to be true (:mod:`station.update.journal`); whoever comes after a
power cut calls :meth:`Updater.resume` and goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from station.config import Config
from station.errors import BrokerError, UpdateError
from station.update import base, probation, stage, switch
from station.update import journal as journals
from station.update.ear import session_on
from station.update.failpoints import hit
from station.update.journal import Journal
from station.update.layout import Layout
from station.update.manifest import Manifest
from station.update.probation import Limits
from station.update.services import ENGINE, Services


class WaitingError(UpdateError):
    """Not now: a session is on. Nothing is wrong; the timer tries again."""

    exit_code = 0


class Updater:
    """Changes this station over. The caller holds :func:`station.update.journal.only_one`."""

    def __init__(
        self,
        layout: Layout,
        config: Config,
        services: Services,
        say: Callable[[str], None],
        limits: Limits | None = None,
    ) -> None:
        self._layout, self._config, self._services, self._say = layout, config, services, say
        self._limits = limits or Limits()
        layout.make()
        self.journal = journals.load(layout)
        journals.tell(layout, self.journal)

    @property
    def active(self) -> str | None:
        """The release that ``current`` points at."""
        return self._layout.active()

    def resume(self) -> None:
        """Bring to its end what was begun, whatever ended it before; returns with an idle journal, or raises."""
        if self.journal.step == "returning":
            self._back(str(self.journal.reason))
        elif self.journal.on_probation(self.active):
            self._on_probation()
        elif self.journal.step in ("staged", "activating"):
            self._activate()
        elif self.journal.step != "idle":
            self._write(self._idle())  # what was staged by half is staged anew

    def consider(self, manifest: Manifest, *, again: bool = False) -> None:
        """Raise :class:`UpdateError` if this release must not, or cannot now, be installed here."""
        stage.refuse(manifest, self._layout, self.journal, again=again)
        self.quiet(manifest.version)

    def install(self, manifest: Manifest, *, again: bool = False, watched: bool = True) -> None:
        """From downloaded blobs to a committed release. Raises :class:`UpdateError` with the reason if it is not.

        ``watched=False`` is for an image in which nothing runs: no services, no probation; for a first release only.
        """
        if not watched and self.active is not None:
            raise UpdateError(f"release {manifest.version}: only a first release may do without probation")
        try:
            self.consider(manifest, again=again)
        except WaitingError:
            raise
        except UpdateError as error:
            self.refuse(manifest.version, str(error))
            raise
        staging = Journal("staging", self.active, manifest.version, previous=self.journal.previous)
        self._write(replace(staging, failed=self.journal.failed, trouble=None))
        try:
            stage.stage(manifest, self._layout, self._say)
        except UpdateError as error:
            self._write(self._idle().refusing(manifest.version, str(error), self.active))
            raise
        try:
            stage.self_test(manifest.version, self._layout, self._say)
        except UpdateError as error:
            self._write(self._idle().giving_up(manifest.version, str(error), self.active))
            switch.prune(self._layout, self.journal)
            raise
        self._write(replace(self.journal, step="staged"))
        hit("staged")
        if watched:
            self._activate()
        else:
            switch.activate(self._layout, manifest.version)
            base.adopt(self._layout, base.of_release(self._layout, manifest.version))
            self._commit()

    def refuse(self, version: str | None, reason: str) -> None:
        """Tell why there is no update, in the report; nothing else changes. A failure keeps its own reason."""
        if self.journal.step == "idle" and version not in self.journal.failed:
            self._write(self.journal.refusing(version, reason, self.active))

    def nothing_new(self) -> None:
        """A check found all in order: an old refusal needs telling no more; the failure of a release still does."""
        trouble = self.journal.trouble
        if self.journal.step == "idle" and trouble is not None and trouble["to"] not in self.journal.failed:
            self._write(replace(self.journal, trouble=None))

    def commit(self) -> None:
        """Trust the active release from now on, with its guard and its updater; the one before it is kept.

        Raises :class:`UpdateError` when systemd does not take its units; nothing has changed then.
        """
        self._take_base(str(self.active))
        self._commit()

    def _commit(self) -> None:
        before = self.journal.source if self.journal.source != self.active else self.journal.previous
        failed = {known: why for known, why in self.journal.failed.items() if known != self.active}
        self._write(Journal(previous=before, failed=failed))
        hit("commit.written")
        switch.prune(self._layout, self.journal)
        self._say(f"release {self.active}: committed")

    def rollback(self, reason: str) -> None:
        """Go back to the release before, by hand."""
        self._back(reason)

    def quiet(self, version: str) -> None:
        """Raise :class:`WaitingError` while a session is on: no runner's screen goes dark for an update."""
        if self.active is None or not self._services.state(ENGINE).is_up:
            return  # nobody there who could have a session, and nobody to disturb
        try:
            session = session_on(self._config)
        except BrokerError as error:
            raise WaitingError(f"release {version}: waits: {error}") from None
        if session is not None:
            raise WaitingError(f"release {version}: waits: session {session} is on")

    def _activate(self) -> None:
        version = str(self.journal.target)
        if not self._layout.is_complete(version):
            self._write(self._idle())
            raise UpdateError(f"release {version}: is not complete any more; run the update again")
        try:
            self.quiet(version)
        except WaitingError as error:
            self._write(replace(self.journal, reason=str(error).partition("waits: ")[2]))
            raise
        self._write(replace(self.journal, step="activating", boots=0, reason=None))
        hit("activate.begun")
        switch.activate(self._layout, version)
        self._on_probation()

    def _on_probation(self) -> None:
        version = str(self.journal.target)
        self._write(replace(self.journal, step="probation", reason=None))
        hit("probation.begun")
        self._say(f"release {version}: on probation")
        self._services.restart()
        hit("probation.restarted")
        reason = probation.judge(version, self._config, self._services, self._limits, self._say)
        if reason is not None and self.journal.source is None:  # the first release of all: nothing to go back to
            self._write(self.journal.giving_up(version, reason, version))
            raise UpdateError(f"release {version}: is installed, but not well: {reason}")
        if reason is not None:
            self._back(reason)
            raise UpdateError(f"release {version}: left for {self.active}: {reason}")
        hit("probation.passed")
        try:
            self.commit()
        except UpdateError as error:
            if self.journal.source is None:
                raise
            self._back(str(error))
            raise UpdateError(f"release {version}: left for {self.active}: {error}") from None

    def _take_base(self, version: str) -> None:
        """Guard and updater units of a release, if systemd takes them: else as they were, and :class:`UpdateError`."""
        before = base.active(self._layout)
        known = [unit for unit in base.UNITS if self._services.takes(unit)]
        if not base.adopt(self._layout, base.of_release(self._layout, version)):
            return
        self._services.reload()
        for unit in known:
            if not self._services.takes(unit):
                if before is not None:
                    base.use(self._layout, before)
                    self._services.reload()
                raise UpdateError(f"release {version}: systemd does not take its {unit}")
        self._say(f"release {version}: its guard and updater from now on")

    def _back(self, reason: str) -> None:
        self.journal = switch.go_back(self._layout, self.journal, reason, self._services.restart)
        self._say(f"now runs release {self.active}: {reason}")

    def _idle(self) -> Journal:
        return Journal(previous=self.journal.previous, failed=self.journal.failed, trouble=self.journal.trouble)

    def _write(self, journal: Journal) -> None:
        self.journal = journals.store(self._layout, journal)
