"""What the command does once the files of a release are here: run as a process of its own, so that it can be killed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from station.config import load
from station.errors import UpdateError
from station.update import manifest as manifests
from station.update.journal import only_one
from station.update.layout import Layout
from station.update.probation import Limits
from station.update.services import Services
from station.update.steps import Updater


def main(manifest_file: str, *options: str) -> int:
    manifest = manifests.read(Path(manifest_file).read_bytes())
    layout, limits = Layout.here(), Limits(**json.loads(os.environ["TOY_LIMITS"]))
    config = load(os.environ["TOY_CONFIG"])
    try:
        with only_one(layout):
            updater = Updater(layout, config, Services(), lambda line: print(line, flush=True), limits)
            updater.resume()
            if updater.active != manifest.version:
                updater.install(manifest, again="--again" in options)
    except UpdateError as error:
        print(f"station: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
