"""Real releases of this commit, each a little different, built by deploy/release and published where stations look."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from deploy.ota import bundle, release
from deploy.ota.wheelhouse import Target
from tests.update.publisher import Publisher

from . import rootfs


class Releases:
    """Builds releases for one ``target``; their wheels are those in ``wheels``, or come from the package index."""

    def __init__(self, folder: Path, wheels: Path | None, publisher: Publisher, target: Target) -> None:
        self._folder, self._wheels, self.publisher, self._target = folder, wheels, publisher, target
        self._clone = folder / "clone"
        subprocess.run(["git", "clone", "-q", "--shared", rootfs.REPOSITORY, self._clone], check=True)

    def publish(self, version: str, *, crash: bool = False) -> None:
        """This commit as ``version``, for everybody; ``crash``: its engine dies at once."""
        self._edit("pyproject.toml", '(?m)^version = ".*"$', f'version = "{version}"')
        # Guard and updater units are a release's own: with this one can see whose are in place.
        self._edit("systemd/station-update.timer", r"\A(# of .*\n)?", f"# of {version}\n")
        if crash:
            self._edit(
                "station/engine/run.py", "(?m)^_LOOK_EVERY_S", 'raise RuntimeError("a bad release")\n_LOOK_EVERY_S'
            )
        git: list[str | Path] = ["git", "-C", self._clone, "-c", "user.name=x", "-c", "user.email=x@y"]
        subprocess.run([*git, "commit", "-qam", version], check=True)
        subprocess.run([*git, "tag", f"v{version}"], check=True)
        source = bundle.unpack(self._clone, f"v{version}", self._folder / f"source-{version}")
        built = self._folder / version
        bundle.build(source, built, [self._target], print, self._wheels)
        release.sign(self.publisher.repository, built, [self.publisher.keys])
        self.publisher.roll_out(version)

    def _edit(self, file: str, pattern: str, new: str) -> None:
        path = self._clone / file
        path.write_text(re.sub(pattern, new, path.read_text(encoding="utf-8"), count=1), encoding="utf-8")
