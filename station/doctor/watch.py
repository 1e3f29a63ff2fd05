"""Checks in processes of their own, each with its time: one that hangs is killed, and the others do not notice.

Threads would not do: a driver that hangs in the kernel, or holds the interpreter, stops every thread of its process.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from station.broker import bound_to_us
from station.doctor.finding import Finding, Verdict
from station.errors import HiplineError

#: The doctor is done this long after its process began [s], come what may. The rest is for printing and leaving, which
#: takes a starved machine seconds.
LIMIT_S, _REST_S = 20.0, 4.0


@dataclass(frozen=True, slots=True)
class Check:
    """One look: ``run`` gives its findings, the first of them called ``what``, within ``budget_s`` seconds.

    When it does not, the finding is ``late``, and ``mend`` says what to do.
    """

    what: str
    budget_s: float
    run: Callable[[], Iterable[Finding]]
    mend: str
    late: Verdict = "warn"


def process_began_s() -> float:
    """When this process began, on the monotonic clock: starting Python counts as well."""
    fields = open("/proc/self/stat", encoding="ascii").read().rpartition(") ")[2].split()  # noqa: PTH123, SIM115
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - age_s


def look(groups: Sequence[Sequence[Check]], began_s: float) -> Iterator[Finding]:
    """Findings of all checks in their order, each as soon as it and those before it are known.

    Groups are looked at side by side. The checks of one group share a process, one after the other, so that a later one
    may use what an earlier one made; after one that hung, the rest of its group begins in a new process. All is done
    :data:`LIMIT_S` after ``began_s`` (monotonic clock): what is left then did not answer.
    """
    workers = [_Worker(group, began_s + LIMIT_S - _REST_S) for group in groups]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            for number in range(len(worker.checks)):
                while len(worker.found) <= number:
                    _wait([one for one in workers if one.busy])
                yield from worker.found[number]
    finally:
        for worker in workers:
            worker.stop()


def _wait(busy: Sequence[_Worker]) -> None:
    """Until one of them says something or its time is up."""
    patience_s = max(0.0, min(worker.until_s for worker in busy) - time.monotonic())
    ready, _, _ = select.select([worker.pipe for worker in busy], [], [], patience_s)
    for worker in busy:
        if worker.pipe in ready:
            worker.hear()
        elif time.monotonic() >= worker.until_s:
            worker.give_up()


class _Worker:
    """The process that looks at one group; ``found`` holds the findings of each check that is done."""

    def __init__(self, checks: Sequence[Check], latest_s: float) -> None:
        self.checks, self.found, self.busy = checks, list[list[Finding]](), False
        self._latest_s = latest_s
        self._pid, self.pipe, self._heard = 0, -1, b""

    def start(self) -> None:
        """Begin with the first check that is not done."""
        self.pipe, answers = os.pipe()
        self._heard, bind = b"", bound_to_us(signal.SIGKILL)
        self._pid = os.fork()
        if self._pid == 0:
            bind()
            _work(self.checks[len(self.found) :], answers)
        os.close(answers)
        self.busy = True
        self._next()

    def hear(self) -> None:
        """Take what the process said."""
        said = os.read(self.pipe, 65536)
        *lines, self._heard = (self._heard + said).split(b"\n")
        for line in lines:
            self.found.append([Finding(**finding) for finding in json.loads(line)])
            self._next()
        if not said and len(self.found) < len(self.checks):
            self._over("fail", "the check ended without an answer", "a fault of the doctor or of a driver: report it")
        elif len(self.found) == len(self.checks):
            self.stop()

    def give_up(self) -> None:
        """The check that runs now has had its time."""
        check = self.checks[len(self.found)]
        self._over(check.late, f"did not answer within {self._given_s:.1f} s", check.mend)

    def stop(self) -> None:
        """End the process, without waiting for it: one that hangs in the kernel would not let us go."""
        if self.busy:
            self.busy = False
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, os.WNOHANG)
            os.close(self.pipe)

    def _over(self, verdict: Verdict, seen: str, mend: str) -> None:
        self.stop()
        self.found.append([Finding(self.checks[len(self.found)].what, verdict, seen, mend)])
        if len(self.found) < len(self.checks):
            self.start()

    def _next(self) -> None:
        if len(self.found) < len(self.checks):
            now_s = time.monotonic()
            self._given_s = max(0.0, min(self.checks[len(self.found)].budget_s, self._latest_s - now_s))
            self.until_s = now_s + self._given_s


def _work(checks: Sequence[Check], answers: int) -> None:
    """The whole life of a process that looks; never returns."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the doctor, who ends us
        os.dup2(2, 1)  # what libraries print must not get among the findings
        with os.fdopen(answers, "w", encoding="utf-8") as told:
            for check in checks:
                told.write(json.dumps([asdict(finding) for finding in _findings(check)]) + "\n")
                told.flush()
    finally:
        os._exit(0)


def _findings(check: Check) -> list[Finding]:
    try:
        return list(check.run())
    except HiplineError as error:
        return [Finding.of_error(check.what, error)]
    except Exception as error:
        traceback.print_exc()
        seen = f"the check itself failed ({type(error).__name__}: {error})"
        return [Finding(check.what, "fail", seen, "report it with the lines above")]
