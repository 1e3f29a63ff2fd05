"""Named places where a test may let the process die as if the power had failed; without it they do nothing.

``HIPLINE_FAILPOINT=switch.renamed`` kills the process (SIGKILL) at the first pass of that place,
``switch.renamed:3`` at the third.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

#: Every place, in the order of an update that succeeds, then of a return. Tests kill at each of them.
NAMES = (
    "write.begun", "write.synced", "write.renamed",
    "stage.begun", "stage.venv", "stage.wheels", "stage.files", "stage.synced", "stage.complete",
    "staged", "activate.begun", "switch.linked", "switch.renamed", "switch.synced",
    "probation.begun", "probation.restarted", "probation.passed", "base.written", "base.linked", "base.switched",
    "commit.written", "prune.release", "prune.blob", "prune.base",
    "return.begun", "return.switched", "return.restarted", "return.written",
)  # fmt: skip

_passes: Counter[str] = Counter()


def hit(name: str) -> None:
    """Die here if the environment says so."""
    wanted = os.environ.get("HIPLINE_FAILPOINT")
    if not wanted:
        return
    _passes[name] += 1
    place, _, number = wanted.partition(":")
    if place == name and _passes[name] == int(number or 1):
        os.kill(os.getpid(), signal.SIGKILL)
