"""One line of the doctor's report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from station.errors import HiplineError

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it stands, what was seen, and what to do about it (empty when nothing is)."""

    what: str
    verdict: Verdict
    seen: str
    mend: str = ""

    @classmethod
    def of_error(cls, what: str, error: HiplineError) -> Finding:
        """A failure; the part of its line after the culprit is the mend."""
        culprit, _, mend = str(error).partition("; ")
        return cls(what, "fail", culprit, mend)
