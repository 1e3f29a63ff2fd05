"""``station model build`` and ``station model info``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from station.config import load
from station.errors import HiplineError
from station.models.build import build
from station.models.info import as_text, info
from station.models.recipes import LANDMARK_MODELS, models_folder


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], parents: Sequence[argparse.ArgumentParser] = ()
) -> None:
    """Add the command ``model``; the parsed arguments carry ``run``, a function from them to the exit code.

    ``parents`` add what all commands share: ``--config`` and ``--set``, which choose the model by ``pose.model``.
    """
    model = subparsers.add_parser("model", help="build and inspect the pose models")
    commands = model.add_subparsers(dest="model_command", required=True)
    folder = f"folder of the built models (default: {models_folder()})"
    make = commands.add_parser(
        "build", parents=[*parents], help="fetch the shipped models and make the station's from them"
    )
    make.add_argument("--model", choices=(*LANDMARK_MODELS, "all"), help="default: pose.model, lite")
    make.add_argument("--folder", type=Path, help=folder)
    make.add_argument("--origin", choices=("npm", "pypi"), help="package to fetch from (default: npm if installed)")
    make.add_argument("--from", type=Path, dest="source", metavar="DIR", help="take the shipped files from a folder")
    make.set_defaults(run=_build)
    show = commands.add_parser("info", parents=[*parents], help="hashes, sizes and operators of the models")
    show.add_argument("--folder", type=Path, help=folder)
    show.add_argument("--json", action="store_true")
    show.set_defaults(run=_info)


def _build(arguments: argparse.Namespace) -> int:
    config = load(getattr(arguments, "config", None), getattr(arguments, "overrides", ()))
    chosen = LANDMARK_MODELS if arguments.model == "all" else (arguments.model or config.pose.model,)
    say = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
    paths = build((*chosen, "detector"), arguments.folder, arguments.origin, arguments.source, say)
    for path in paths:
        print(path)
    return 0


def _info(arguments: argparse.Namespace) -> int:
    entries = info(arguments.folder)
    print(json.dumps(entries, indent=2) if arguments.json else as_text(entries))
    return 0


def main(argv: list[str] | None = None) -> int:
    """The command ``model`` by itself; exit code 0, or that of the error, whose one line goes to standard error."""
    parser = argparse.ArgumentParser(prog="station")
    add_parser(parser.add_subparsers(dest="command", required=True))
    arguments = parser.parse_args(argv if argv is not None else ["model", *sys.argv[1:]])
    try:
        code: int = arguments.run(arguments)
    except HiplineError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return code


if __name__ == "__main__":
    sys.exit(main())
