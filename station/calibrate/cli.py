"""The arguments of ``station calibrate``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# What the command needs is imported when it runs: `station --help` must not wait for OpenCV.
# ruff: noqa: PLC0415

_LENSES = ("cm3", "cm3-wide", "gs-4mm", "gs-6mm", "hq-4mm", "hq-6mm", "v2")


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: Sequence[argparse.ArgumentParser]
) -> None:
    """Add ``calibrate`` to the commands."""
    command = commands.add_parser(
        "calibrate",
        parents=common,
        help="measure the camera's place and lens with a printed target",
        description="Measure height, distance, roll, pitch and focal length from a printed target on the belt, "
        "and write the file that [camera] calibration names. Print the target first: --print target.pdf. Without "
        "SOURCE it watches the camera while the sheet is moved from place to place; the first place is the runner's.",
    )
    command.add_argument("source", nargs="*", type=Path, metavar="SOURCE", help="pictures or films of the target")
    command.add_argument("--print", dest="target", type=Path, metavar="OUT.pdf", help="write the target and stop")
    command.add_argument("--paper", choices=["a3", "a4"], default="a3", help="A3, or two A4 to be joined (default a3)")
    command.add_argument("--sheets", type=int, choices=range(1, 7), default=1, help="different sheets to print")
    command.add_argument("--out", type=Path, metavar="FILE.toml", help="where the result goes (standard output)")
    command.add_argument(
        "--overlay", type=Path, metavar="OUT.png", help="the picture with belt and sheets drawn over it"
    )
    command.add_argument(
        "--lens", choices=_LENSES, help="which camera and lens it is: its focal length is then expected"
    )
    command.add_argument("--ruler", type=float, default=100.0, metavar="MM", help="what the printed ruler measures")
    command.add_argument("--coarse", action="store_true", help="accept a few times the usual uncertainty, and say so")
    command.add_argument(
        "--from-runner",
        action="store_true",
        help="no target: roll and height from someone who stands still on the belt, coarse",
    )
    command.add_argument("--stature", type=float, metavar="M", help="with --from-runner: how tall that person is")
    command.add_argument("--json", action="store_true", help="machine-readable")
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from station.config import load

    if arguments.target is not None:
        from station.calibrate.target import print_target

        print_target(arguments.target, arguments.paper, arguments.sheets)
        print(f"calibrate: {arguments.target}: print it at 100 %, its ruler must measure 100 mm", file=sys.stderr)
        return 0
    config = load(arguments.config, arguments.overrides)
    if arguments.from_runner:
        from station.calibrate.runner import calibrate_from_runner

        return calibrate_from_runner(config, arguments.source, arguments.stature, arguments.out, as_json=arguments.json)
    from station.calibrate.command import Wishes, calibrate

    wishes = Wishes(
        out=arguments.out,
        overlay=arguments.overlay,
        lens=arguments.lens,
        ruler_mm=arguments.ruler,
        coarse=arguments.coarse,
        as_json=arguments.json,
    )
    code: int = calibrate(config, arguments.source, wishes)
    return code
