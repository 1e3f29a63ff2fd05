"""The commands: ``station run``, ``replay``, ``web``, ``doctor``, ``bench``, ``model``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from station.errors import HiplineError

if TYPE_CHECKING:
    from station.config import Config

# Every command imports what it needs when it runs: `station --help` and the page must not wait for the interpreter.
# ruff: noqa: PLC0415

_EPILOG = """\
exit codes: 0 done, 1 failed, 2 bad input or configuration (one line on standard error says what and the mend)

examples:
  station run                                          camera, else the bundled clip; broker and page included
  station run --set camera.source=v4l2:/dev/video0     a USB camera
  station replay run.mp4 > strides.jsonl               every stride of a video, one JSON object a line
  station replay run.mp4 --track run.track.jsonl       and the pose track, which replays to the same strides
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        arguments = parser().parse_args(argv)
        code: int = arguments.run(arguments)
        if sys.stdout is not None:  # closed by whoever started us
            sys.stdout.flush()
    except HiplineError as error:
        print(f"station: {error}", file=sys.stderr)
        _let_go_of_output()
        return error.exit_code
    except BrokenPipeError:
        # whoever read our output has gone: nothing to say, and nothing to say it to
        _let_go_of_output()
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _let_go_of_output() -> None:
    """Drop what standard output still holds and cannot take, else Python complains at exit and changes the code."""
    if sys.stdout is None:  # closed by whoever started us
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; parsed arguments carry ``run``, which takes them and returns the exit code."""
    top = argparse.ArgumentParser(
        prog="station",
        description="The treadmill station that watches the runner's pelvis.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action=_Version, help="print the version")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = _common()
    _add_run(commands, common)
    _add_replay(commands, common)
    _add_web(commands, common)
    _add_doctor(commands, common)
    _add_bench(commands, common)
    _add_warp(commands, common)
    _add_verify(commands, common)
    _add_tag(commands)
    from station.calibrate import cli as calibrate
    from station.models import cli

    calibrate.add_parser(commands, [common])
    cli.add_parser(commands, [common])
    from station.update import cli as update_cli

    update_cli.add_parser(commands, [common])
    return top


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from station.engine.version import version

        print(f"hipline-station {version()}")
        parser.exit()


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("configuration")
    group.add_argument("--config", metavar="FILE", help="TOML file; without it the defaults hold")
    group.add_argument(
        "--set",
        dest="overrides",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override one key, such as camera.height_m=1.4 or station.name=tm-07; may be repeated",
    )
    return common


def _loaded(arguments: argparse.Namespace) -> Config:
    from station.config import load

    return load(arguments.config, arguments.overrides)


def _passed_on(arguments: argparse.Namespace) -> list[str]:
    """The configuration arguments again, for a child process."""
    config = ["--config", arguments.config] if arguments.config else []
    return config + [part for override in arguments.overrides for part in ("--set", override)]


_Commands = argparse._SubParsersAction


def _add_run(commands: _Commands[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "run",
        parents=[common],
        help="run the station: camera, broker, engine, page",
        description="Run the station until Ctrl-C. Takes the attached camera, else the bundled clip in a loop; starts "
        "a private mosquitto unless mqtt.host names a broker; prints where the page is and how to watch the messages.",
    )
    command.add_argument("--no-web", action="store_true", help="engine only; the page runs on its own (systemd)")
    command.add_argument("--open", action="store_true", help="open the page in a browser")
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from station.engine.reload import reloader
    from station.engine.run import run

    config = _loaded(arguments)
    chores = {"config-reload": reloader(config, lambda: _loaded(arguments))}
    return run(config, _passed_on(arguments), web=not arguments.no_web, open_browser=arguments.open, chores=chores)


def _add_replay(commands: _Commands[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "replay",
        parents=[common],
        help="run a video or a pose track through the kernel",
        description="Run every frame of a video, or a pose track, through the same code as `run`, as fast as it goes. "
        "Strides are written to standard output as JSON Lines (hipline.stride/1), everything else to standard error.",
    )
    command.add_argument("source", metavar="SOURCE", type=Path, help="video file or pose track (told apart by content)")
    command.add_argument("--track", metavar="OUT", type=Path, help="also write the pose track (hipline.track/1)")
    command.add_argument("--plot", metavar="OUT.png", type=Path, help="also draw the run (needs matplotlib)")
    command.set_defaults(run=_replay)


def _replay(arguments: argparse.Namespace) -> int:
    from station.replay import replay

    return replay(arguments.source, _loaded(arguments), arguments.track, arguments.plot)


def _add_web(commands: _Commands[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "web",
        parents=[common],
        help="serve the page of a station that runs already",
        description="Serve the runner's page. It hears the station through its broker (mqtt.host, mqtt.port) and never "
        "touches the camera. `station run` starts it by itself.",
    )
    command.set_defaults(run=_web)


def _web(arguments: argparse.Namespace) -> int:
    from station.web.server import serve

    return serve(_loaded(arguments))


def _add_doctor(commands: _Commands[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "doctor",
        parents=[common],
        help="check camera, model, broker, disk, clock",
        description="Check what the station needs; each line is ok, warn or fail with the mend. Exit code 1 if "
        "anything fails. The camera must be free: stop the station first.",
    )
    command.add_argument("--json", action="store_true", help="machine-readable")
    command.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from station.doctor import doctor

    return doctor(_loaded(arguments), as_json=arguments.json)


def _add_bench(commands: _Commands[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "bench",
        parents=[common],
        help="measure how long each stage takes on this machine, or how true each pelvis estimator is",
        description="latency: run the bundled clip (or camera.source, if it is a file) through every stage and print "
        "percentiles in milliseconds. accuracy: run every estimator of the pelvis over rendered clips and print how "
        "far they are from the truth.",
    )
    command.add_argument("what", nargs="?", choices=["latency", "accuracy"], default="latency", help="what to measure")
    command.add_argument("clips", nargs="*", metavar="CLIP", type=Path,
                         help="accuracy: videos with a .truth.json beside each (default: the bundled clip and what "
                         "`python -m station.lab.rear` rendered)")  # fmt: skip
    command.add_argument("--frames", type=int, default=300, help="latency: how many frames (default 300)")
    command.add_argument(
        "--variants",
        action="store_true",
        help="latency: also every model on every number of threads, and what to configure",
    )
    command.add_argument(
        "--soak",
        type=float,
        default=0.0,
        metavar="MINUTES",
        help="latency: at the pace of the source for so long; drift of memory, temperature, latency",
    )
    command.add_argument(
        "--compare",
        type=Path,
        metavar="PYTHON",
        help="latency: beside MediaPipe Pose, run by this interpreter (`make bench-compare`)",
    )
    command.add_argument(
        "--delivery",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="latency: the whole station with broker and page for so long; from exposure and stride to whoever looks",
    )
    command.add_argument("--pages", type=int, default=1, help="delivery: how many pages watch (default 1)")
    command.add_argument("--busy", type=int, default=0, help="delivery: processes that use the processor beside it")
    command.add_argument("--pace", type=float, metavar="FPS", help="delivery: play the clip as if it had so many fps")
    command.add_argument("--hinder", action="store_true", help="delivery: a broker that stutters and a slow disk")
    command.add_argument("--json", action="store_true", help="machine-readable")
    command.set_defaults(run=_bench)


def _bench(arguments: argparse.Namespace) -> int:
    from station.errors import ConfigError

    if arguments.what == "accuracy":
        from station.lab.accuracy import accuracy

        return accuracy(_loaded(arguments), arguments.clips, as_json=arguments.json)
    if arguments.clips:
        raise ConfigError(f"{arguments.clips[0]}: bench latency takes no clip: use --set camera.source=FILE")
    from station.bench import bench

    return bench(
        _loaded(arguments),
        arguments.frames,
        as_json=arguments.json,
        every_variant=arguments.variants,
        soak_minutes=arguments.soak,
        mediapipe_python=arguments.compare,
        delivery_s=arguments.delivery,
        pages=arguments.pages,
        busy=arguments.busy,
        fps=arguments.pace,
        hinder=arguments.hinder,
    )


def _add_verify(commands: _Commands[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "verify",
        parents=[common],
        help="check this station against the reference tag, with a runner who wears it",
        description="Measure a runner who wears the reference tag with tag and markerless estimator at once, and say "
        "how they differ: gain, bias, scatter, drop of each side. Keeps a record of numbers, never a picture. Without "
        "SOURCE the camera is used and the run is guided; with --summary all records are pooled.",
    )
    command.add_argument("source", metavar="SOURCE", nargs="?", type=Path, help="a video instead of the camera")
    command.add_argument("--seconds", type=float, default=90.0, help="length of the guided run (default 90)")
    command.add_argument("--summary", action="store_true", help="only say what the records so far tell together")
    command.add_argument("--dry-run", action="store_true", help="keep no record")
    command.add_argument("--json", action="store_true", help="machine-readable")
    command.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    from station.verify import summary, verify

    config = _loaded(arguments)
    if arguments.summary:
        return summary(as_json=arguments.json)
    keep = not arguments.dry_run
    return verify(config, arguments.source, seconds=arguments.seconds, keep=keep, as_json=arguments.json)


def _add_tag(commands: _Commands[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "tag",
        help="print the reference tag (clip or belt)",
        description="Write the sheets of the reference tag as a PDF, to print at 100 % on stiff matt paper: a clip for "
        "the waistband or a belt. How it is put together is drawn on the sheets.",
    )
    command.add_argument("--print", dest="out", metavar="OUT.pdf", type=Path, required=True, help="the file to write")
    command.add_argument("--size", choices=["small", "large", "belt"], default="large", help="default large")
    command.set_defaults(run=_tag)


def _tag(arguments: argparse.Namespace) -> int:
    from station.tag.plates import PLATES
    from station.tag.sheet import write

    return write(arguments.out, PLATES[arguments.size])


def _add_warp(commands: _Commands[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "warp",
        parents=[common],
        help="put a known pelvis motion into a clip and see who notices",
        description="Turn the pelvis alone, the whole picture, and lift one leg in a clip of a runner seen from "
        "behind, each by a known amount, and print what every estimator of the pelvis makes of it.",
    )
    command.add_argument("clip", metavar="CLIP", type=Path, help="video file with a runner seen from behind")
    command.add_argument("--amplitude", metavar="DEG", type=float, default=6.0, help="of the turn (default 6)")
    command.add_argument("--hz", metavar="F", type=float, default=1.9, help="how often it swings (default 1.9)")
    command.add_argument("--seconds", metavar="S", type=float, default=8.0, help="how much of the clip (default 8)")
    command.add_argument("--json", action="store_true", help="machine-readable")
    command.set_defaults(run=_warp)


def _warp(arguments: argparse.Namespace) -> int:
    from station.lab.warp import warp

    return warp(_loaded(arguments), arguments)


if __name__ == "__main__":
    sys.exit(main())
