"""Runs the guard that the last committed release brought; if that one breaks, the one that lies beside this file.

``deploy/install`` puts this beside the guard's modules as ``__main__.py``; no release changes either.
"""

from __future__ import annotations

import os
import runpy
import sys
import traceback
from pathlib import Path

_OWN = "HIPLINE_OWN_GUARD"


def main() -> None:
    """Does not return."""
    root = Path(os.environ.get("HIPLINE_ROOT") or "/var/lib/hipline")
    newer = Path(os.path.realpath(root / "base/current/guard.pyz"))  # the link may move while it runs
    if newer.is_file() and _OWN not in os.environ:
        try:
            runpy.run_path(str(newer), run_name="__main__")
        except Exception:  # whatever is wrong with it: there is another
            traceback.print_exc()
            print(f"{newer}: broken; the guard of the installation goes on", file=sys.stderr, flush=True)
            # anew: what it imported and did by half must not be in the way
            os.execve(sys.executable, [sys.executable, "-IB", *sys.argv], {**os.environ, _OWN: "1"})
    from station.update.guard import main as guard  # noqa: PLC0415  # only now: the other one has its own

    sys.exit(guard())


if __name__ == "__main__":
    main()
