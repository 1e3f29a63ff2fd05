"""Bring a release to single stations over ssh, or onto a stick, without a web server (deploy/push)."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Collection, Sequence
from pathlib import Path

from deploy.ota import command
from deploy.ota.command import add_repository, say
from deploy.ota.keyring import InputError
from deploy.ota.repository import Repository, check_published
from station.errors import UpdateError
from station.update import manifest as manifests
from station.update import rings
from station.update.trust import METADATA, place_of

HELP = """\
Bring a signed release to single stations over ssh, or onto a stick.

  deploy/push REPO 1.4.0 pi@tm-07.local pi@tm-08.local
  deploy/push REPO 1.4.0 --stick /media/stick          then, there: sudo station update apply --source /media/stick

The stations get the same signed files as from a web server, check them in the same way, and go through the same
staging, probation and rollback; only the rings are overruled, because you name the release. What a station has is not
sent again. It needs ssh and sudo there, nothing else. Stations are done one after the other; the first one that does
not take the release ends it, so that a bad one reaches one station (--all goes on).
Exit codes: 0 done, 1 a station did not take it, 2 bad input.
"""
ROOT = "/var/lib/hipline"
#: Asked of a station before anything is sent.
_QUESTION = """\
uname -m
{root}/current/venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'
ls {root}/update/blobs {root}/update/pushed/targets/blob 2>/dev/null
true"""
_PYTHON = re.compile(r"3\.[0-9]{1,2}")
_SUDO = 'S=; [ "$(id -u)" = 0 ] || S=sudo; '


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command.parser("push", HELP)
    add_repository(parser, keys=False)
    parser.add_argument("version", help="X.Y.Z, signed by the targets keys")
    parser.add_argument("hosts", nargs="*", metavar="HOST", help="as ssh knows them")
    parser.add_argument("--stick", type=Path, metavar="DIR", help="write the release to a folder instead")
    parser.add_argument("--all", action="store_true", help="go on after a station that did not take it")
    parser.add_argument("--ssh", default="ssh", metavar="COMMAND", help="such as 'ssh -i key -p 2222'")
    parser.add_argument("--station-root", default=ROOT, metavar="DIR", help=f"there (default: {ROOT})")
    parser.add_argument("--again", action="store_true", help="also where this release failed before")
    options = parser.parse_intermixed_args(arguments)
    return command.run("push", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    repository = Repository(options.repository)
    check_published(repository)
    if bool(options.stick) == bool(options.hosts):
        raise InputError("name the hosts to push to, or a folder with --stick")
    if options.stick:
        copied = write_stick(repository, options.version, options.stick)
        say(f"{options.stick}: release {options.version}, {copied / 1e6:.1f} MB copied")
        return 0
    failed = 0
    for host in options.hosts:
        try:
            push(repository, options.version, host, options)
        except UpdateError as error:
            say(str(error))
            failed += 1
            if not options.all:
                break
    return 1 if failed else 0


def slice_of(repository: Repository, version: str, target: str | None = None, have: Collection[str] = ()) -> list[Path]:
    """The files of a repository, relative to it, that a station needs for a release.

    ``target`` is its platform and Python (``linux-aarch64-py3.11``; default: all); blobs whose hash is in ``have`` are
    left out.
    """
    signed = repository.targets.targets
    names = [
        name
        for name in signed
        if name.startswith(f"release/{version}/") and (target is None or name.endswith(f"/{target}.json"))
    ]
    if not names:
        raise InputError(f"release {version}: {repository.folder} has no signed build of it for {target or 'anything'}")
    paths = [*_metadata(repository)]
    rollout = repository.published("rollout").signed.targets.get(rings.TARGET)
    if rollout is not None:
        paths.append(Path(place_of(rollout)))
    blobs: set[str] = set()
    for name in names:
        place = Path(place_of(signed[name]))
        paths.append(place)
        blobs.update(file.sha256 for file in manifests.read((repository.folder / place).read_bytes(), name).files)
    return paths + [Path(place_of(signed[f"blob/{sha256}"])) for sha256 in sorted(blobs - set(have))]


def _metadata(repository: Repository) -> list[Path]:
    roots = [Path(METADATA) / f"{version}.root.json" for version in range(1, repository.version("root") + 1)]
    newest = [Path(METADATA) / f"{repository.version(role)}.{role}.json" for role in ("targets", "rollout", "snapshot")]
    return [*roots, *newest, Path(METADATA) / "timestamp.json"]


def write_stick(repository: Repository, version: str, folder: Path) -> int:
    """Copy the slice of a release for all targets into a folder; returns the bytes that were not there yet."""
    copied = 0
    for path in slice_of(repository, version):
        source, place = repository.folder / path, folder / path
        if path.parts[0] == METADATA or not place.exists() or place.stat().st_size != source.stat().st_size:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
            copied += source.stat().st_size
    return copied


def push(repository: Repository, version: str, host: str, options: argparse.Namespace) -> None:
    """To one station; raises :class:`~station.errors.UpdateError` with what it said."""
    root = shlex.quote(options.station_root)
    ssh = [*shlex.split(options.ssh), host]
    machine, python, *have = _ask(ssh, _QUESTION.format(root=root), host)
    target = f"linux-{machine}-py{python}"
    paths = slice_of(repository, version, target, {name.rpartition(".")[2] for name in have})
    size = sum((repository.folder / path).stat().st_size for path in paths)
    say(f"{host}: {target}, {size / 1e6:.1f} MB to send")
    pushed = f"{root}/update/pushed"
    _send(repository, paths, [*ssh, f"{_SUDO}$S mkdir -p {pushed} && $S tar -x -f - -C {pushed} --no-same-owner"], host)
    again = " --again" if options.again else ""
    apply = f"$S env HIPLINE_ROOT={root} {root}/current/venv/bin/station update apply --source {pushed}"
    done = subprocess.run(
        [*ssh, f"{_SUDO}{apply} --version {shlex.quote(version)}{again} && $S rm -rf {pushed}"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    for line in done.stdout.splitlines():
        say(f"{host}: {line}")
    if done.returncode:
        raise UpdateError(f"{host}: did not take release {version}: {_last(done.stderr)}")


def _ask(ssh: Sequence[str], question: str, host: str) -> list[str]:
    done = subprocess.run(
        [*ssh, question], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    lines = done.stdout.split("\n")
    if done.returncode or len(lines) < 2 or not _PYTHON.fullmatch(lines[1]):
        raise UpdateError(f"{host}: cannot be asked what it is: {_last(done.stderr)}; is a station installed there?")
    return [line for line in lines if line]


def _send(repository: Repository, paths: Sequence[Path], receiver: Sequence[str], host: str) -> None:
    with subprocess.Popen(receiver, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            with tarfile.open(fileobj=process.stdin, mode="w|") as archive:
                for path in paths:
                    archive.add(repository.folder / path, str(path), recursive=False)
            process.stdin.close()
        except OSError:
            process.kill()
        said = process.stderr.read().decode(errors="replace")
    if process.returncode:
        raise UpdateError(f"{host}: sending broke off: {_last(said)}")


def _last(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


if __name__ == "__main__":
    sys.exit(main())
