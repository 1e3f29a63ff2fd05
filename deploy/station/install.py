"""A bare Raspberry Pi OS (or Debian) becomes a station, with one command (deploy/install)."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.station import parts
from deploy.station.parts import InstallError, Step, call
from station.update import base
from station.update.layout import Layout

HELP = """\
Make this machine a station: Debian packages, accounts, configuration, broker, updater, first release, units, screen.

  sudo deploy/install --gym north --name tm-07 --source https://updates.north.example --root root.json
  sudo deploy/install --gym north --name tm-07 --source /media/stick --root root.json --broker stations/tm-07 --kiosk

For stations that update themselves from signed releases. One station from a clone, without releases: systemd/install;
it becomes one of these by this command, and keeps its configuration and its data.

--source is an update repository (deploy/release, deploy/push --stick) and --root its metadata/1.root.json, which must
come by a way you trust: it decides who may sign for this station. --broker is the folder that deploy/broker/gym.py
made for the station; without it the station keeps to itself. Called again, it changes only what is missing.
Exit codes: 0 done, 1 failed, 2 bad input.
"""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PACKAGES = {"mosquitto": "mosquitto", "mosquitto_sub": "mosquitto-clients"}
_KIOSK_PACKAGES = {"cage": "cage", "seatd": "seatd", "chromium": "chromium", "curl": "curl"}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return parts.main_of("install", lambda: install(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deploy/install", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gym", required=True, help="the gym's name, a level of every MQTT topic")
    parser.add_argument("--name", required=True, help="the station's name in its gym")
    parser.add_argument("--source", required=True, metavar="URL|FOLDER", help="the update repository")
    parser.add_argument("--root", required=True, type=Path, metavar="FILE", help="its root metadata")
    parser.add_argument("--version", metavar="X.Y.Z", help="the first release (default: what the rings say)")
    parser.add_argument("--camera", default="auto", metavar="SOURCE", help="picamera2, v4l2:/dev/video0, a video file")
    parser.add_argument("--broker", type=Path, metavar="DIR", help="what gym.py add-station made for this station")
    parser.add_argument("--kiosk", action="store_true", help="the runner's screen on this machine's display")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")
    parser.add_argument(
        "--prefix", type=Path, default=Path("/"), metavar="DIR", help="an image instead of this machine"
    )
    parser.add_argument(
        "--bootstrap", type=Path, metavar="PYTHON", help="an interpreter that has the updater's packages"
    )
    return parser


def install(options: argparse.Namespace) -> int:
    """Do what is missing; returns the exit code."""
    _check(options)
    steps = [
        *_machine(options), *_configuration(options), *_broker(options), *_updater(options), *_release(options),
        *_enable(options),
    ]  # fmt: skip
    count = parts.run_steps(steps, dry=options.dry_run)
    if options.dry_run:
        print(f"{count} of {len(steps)} steps would be done")
    elif count and _is_live(options):
        _start(options)
    return 0


def _check(options: argparse.Namespace) -> None:
    for what, name in (("--gym", options.gym), ("--name", options.name)):
        if not _NAME.fullmatch(name):
            raise InstallError(f"{what} {name!r}: 1 to 64 letters, digits, - or _", 2)
    if not options.source.startswith(("http://", "https://")) and not Path(options.source).is_dir():
        raise InstallError(f"--source {options.source}: neither an address nor a folder", 2)
    try:
        found = json.loads(options.root.read_bytes())
        sound = found["signed"]["_type"] == "root"
    except (OSError, ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise InstallError(f"--root {options.root}: is no root metadata; it is REPO/metadata/1.root.json", 2)
    if options.broker is not None and not (options.broker / "hipline.conf").is_file():
        raise InstallError(f"--broker {options.broker}: holds no hipline.conf; gym.py add-station makes it", 2)
    if not options.dry_run and os.geteuid() != 0:
        raise InstallError("not root; run it with sudo")


def _is_live(options: argparse.Namespace) -> bool:
    return bool(options.prefix == Path("/") and Path("/run/systemd/system").is_dir())


def _has(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


def _machine(options: argparse.Namespace) -> Iterator[Step]:
    """Debian packages, accounts, folders."""
    prefix: Path = options.prefix
    if prefix == Path("/"):
        wanted = {**_PACKAGES, **(_KIOSK_PACKAGES if options.kiosk else {})}
        missing = sorted({package for program, package in wanted.items() if not _has(program)})
        if not list(Path("/usr/share/python-wheels").glob("pip-*.whl")):
            missing.append("python3-venv")
        yield Step(
            f"Debian packages {' '.join(missing or sorted(wanted.values()))}",
            lambda: bool(missing),
            lambda: _apt(missing),
        )
    for name, place in parts.DROP_INS.items():
        yield _file(prefix / place, (parts.SOURCE / "systemd" / name).read_bytes())
    yield _file(prefix / parts.COMMAND, (parts.SOURCE / "systemd/station").read_bytes(), 0o755)
    root = [] if prefix == Path("/") else [f"--root={prefix}"]
    yield Step(
        f"accounts {', '.join(parts.USERS)}",
        lambda: not _users_there(prefix),
        lambda: _quietly(
            "systemd-sysusers", *root, prefix / "etc/sysusers.d/hipline.conf" if not root else "hipline.conf"
        ),
    )
    folders = [prefix / "etc/station/secrets", prefix / parts.RELEASES / "releases"]
    yield Step(
        f"folders {prefix / 'etc/station'}, {prefix / parts.RELEASES}",
        lambda: not all(folder.is_dir() for folder in folders),
        lambda: _quietly("systemd-tmpfiles", "--create", *root, "hipline.conf"),
    )


def _apt(packages: Sequence[str]) -> None:
    call("apt-get", "update", "-q", show=True)
    install = ("apt-get", "install", "-y", "-q", "--no-install-recommends", *packages)
    call(*install, env={"DEBIAN_FRONTEND": "noninteractive"}, show=True)


def _quietly(*command: str | Path) -> None:
    call(*command)


def _users_there(prefix: Path) -> bool:
    try:
        known = {line.split(":", 1)[0] for line in (prefix / "etc/passwd").read_text(encoding="utf-8").splitlines()}
    except OSError:
        return False
    return set(parts.USERS) <= known


def _file(path: Path, data: bytes, mode: int = 0o644) -> Step:
    return Step(str(path), lambda: not parts.same(path, data), lambda: parts.put(path, data, mode))


def _configuration(options: argparse.Namespace) -> Iterator[Step]:
    """Who this station is and whom it trusts. What a person has changed since is theirs."""
    config = options.prefix / parts.CONFIG
    camera = _camera(options.camera)
    text = f"""\
# Every key: docs/configuration.md. After a change: sudo systemctl restart station station-web
[station]
gym = "{options.gym}"
name = "{options.name}"

[camera]
source = {json.dumps(camera)}

[mqtt]
host = "127.0.0.1"

[update]
source = {json.dumps(options.source)}
root = "/{parts.ROOT_METADATA}"
"""
    there = config.read_text(encoding="utf-8") if config.is_file() else None
    whole = text if there is None else _completed(there, text)
    yield Step(str(config), lambda: whole != there, lambda: parts.put(config, whole.encode()))
    yield _file(options.prefix / parts.ROOT_METADATA, options.root.read_bytes())


def _completed(there: str, text: str) -> str:
    """A configuration that is there, with the tables it lacks (systemd/install writes few); what it says stays."""
    try:
        said = tomllib.loads(there)
    except tomllib.TOMLDecodeError as error:
        raise InstallError(f"/{parts.CONFIG}: {error}; mend it, or move it away", 2) from None
    blocks = {block.split("]", 1)[0]: block for block in text.split("\n[")[1:]}
    added = "".join(f"\n[{block.rstrip()}\n" for table, block in blocks.items() if table not in said)
    return there + added


def _camera(wanted: str) -> str:
    """A source by name, so that a station whose camera is gone says so instead of playing the bundled clip."""
    if wanted != "auto":
        return wanted
    if _has("rpicam-hello") and "Available cameras" in _output("rpicam-hello", "--list-cameras"):
        return "picamera2"
    videos = sorted(Path("/dev").glob("video[0-9]*"), key=lambda path: int(path.name[5:]))
    return f"v4l2:{videos[0]}" if videos and not _is_pi() else "picamera2" if _is_pi() else "auto"


def _output(*command: str) -> str:
    try:
        return call(*command)
    except InstallError:
        return ""


def _is_pi() -> bool:
    try:
        return b"Raspberry Pi" in Path("/proc/device-tree/model").read_bytes()
    except OSError:
        return False


def _broker(options: argparse.Namespace) -> Iterator[Step]:
    """The station's own mosquitto; with the gym's bundle also the bridge."""
    prefix: Path = options.prefix
    if options.broker is not None:
        conf = (options.broker / "hipline.conf").read_text(encoding="utf-8")
        named = re.search(r"^remote_clientid hipline-(.*)$", conf, re.MULTILINE)
        if named is None or named[1] != f"{options.gym}-{options.name}":
            raise InstallError(f"--broker {options.broker}: is not that of {options.gym}/{options.name}", 2)
        yield _file(prefix / parts.BROKER_CA, (options.broker / "ca.crt").read_bytes())
    else:
        template = (parts.SOURCE / "deploy/broker/station.conf.in").read_text(encoding="utf-8")
        conf = template.partition("\nconnection gym")[0].rstrip() + "\n"
        if (prefix / parts.BROKER_CONFIG).is_file():  # enrolled before: an installation without --broker keeps that
            conf = (prefix / parts.BROKER_CONFIG).read_text(encoding="utf-8")
    place = prefix / parts.BROKER_CONFIG
    yield Step(str(place), lambda: not parts.same(place, conf.encode()), lambda: _put_broker(place, conf))


def _put_broker(place: Path, conf: str) -> None:
    parts.put(place, conf.encode(), 0o600)  # it may hold the bridge's password
    try:
        shutil.chown(place, "mosquitto", "mosquitto")
    except LookupError:  # an image without the package
        place.chmod(0o644 if "remote_password" not in conf else 0o600)


def _updater(options: argparse.Namespace) -> Iterator[Step]:
    """What must be there whatever becomes of a release: guard and its unit; links into and below releases."""
    prefix: Path = options.prefix
    files = parts.guard_files()
    guard = prefix / parts.GUARD
    yield Step(
        f"{guard} (the rollback outside of every release)",
        lambda: any(not parts.same(guard / name, data) for name, data in files.items()),
        lambda: parts.put_all(guard, files),
    )
    yield _file(prefix / parts.UNITS / parts.GUARD_UNIT, (parts.SOURCE / "systemd" / parts.GUARD_UNIT).read_bytes())
    layout = Layout(prefix / parts.RELEASES)
    yield Step(
        f"{layout.base} (the updater, until a release brings its own)",
        lambda: base.active(layout) is None,
        lambda: _first_base(layout),
    )
    links = [(unit, "base/current") for unit in parts.UPDATER_UNITS]
    links += [(unit, "current") for unit in _release_units(options)]
    for unit, folder in links:
        place, target = prefix / parts.UNITS / unit, f"/{parts.RELEASES}/{folder}/systemd/{unit}"
        yield Step(
            f"{place} -> {target}",
            lambda place=place, target=target: not parts.links_to(place, target),  # type: ignore[misc]
            lambda place=place, target=target: parts.link(place, target),  # type: ignore[misc]
        )


def _first_base(layout: Layout) -> None:
    layout.make()
    base.adopt(layout, parts.base_files())


def _release_units(options: argparse.Namespace) -> tuple[str, ...]:
    return (*parts.RELEASE_UNITS, *((parts.KIOSK_UNIT,) if options.kiosk else ()))


def _release(options: argparse.Namespace) -> Iterator[Step]:
    """The first release, by the updater itself: trust, staging and self-test are those of every later one."""
    current = options.prefix / parts.RELEASES / "current"
    yield Step(
        f"the first release, from {options.source}",
        lambda: not (current / "manifest.json").is_file(),
        lambda: _first_release(options),
    )
    built = current.parent / "releases/source"
    yield Step(f"without {built} (of systemd/install)", built.exists, lambda: shutil.rmtree(built))


def _first_release(options: argparse.Namespace) -> None:
    root = options.prefix / parts.RELEASES
    with tempfile.TemporaryDirectory(prefix="hipline-install-") as folder:
        python = options.bootstrap or _bootstrap(Path(folder), options.source)
        words = ["--config", options.prefix / parts.CONFIG, "--source", Path(options.source).resolve()]
        if options.source.startswith("http"):
            words[-1] = options.source
        words += ["--set", f"update.root={options.prefix / parts.ROOT_METADATA}"]
        words += ["--version", options.version] if options.version else []
        words += [] if _is_live(options) else ["--unwatched"]
        environment = {"PYTHONPATH": str(parts.SOURCE), "HIPLINE_ROOT": str(root)}
        if _is_live(options):
            call("systemctl", "daemon-reload")
            call("systemctl", "restart", "mosquitto.service")
        call(python, "-m", "station", "update", "apply", *words, env=environment, show=True, cwd=parts.SOURCE)
    if not (root / "current/manifest.json").is_file():
        raise InstallError(f"{options.source}: has no release for this station; name one with --version")


def _bootstrap(folder: Path, source: str) -> Path:
    """An environment for the updater: packages by the hashes of our lock, from the stick or from the package index."""
    call(sys.executable, "-m", "venv", folder / "venv")
    lock = (parts.SOURCE / "locks/run.txt").read_text(encoding="utf-8")
    blocks = re.findall(r"^\S.*(?:\n[ \t].*)*", lock, re.MULTILINE)
    chosen = [block for block in blocks if re.split(r"[=\s\[]", block, maxsplit=1)[0] in parts.UPDATER_PACKAGES]
    (folder / "lock.txt").write_text("\n".join(chosen) + "\n", encoding="utf-8")
    offline: list[str | Path] = []
    if not source.startswith("http"):
        wheels = folder / "wheels"
        wheels.mkdir()
        _wheels_of(Path(source), wheels)
        offline = ["--no-index", "--find-links", wheels]
    python = folder / "venv/bin/python"
    call(
        python, "-m", "pip", "--isolated", "--disable-pip-version-check", "--no-input", "install", "--quiet",
        "--no-deps", "--require-hashes", "--only-binary", ":all:", *offline, "-r", folder / "lock.txt",
    )  # fmt: skip
    return python


def _wheels_of(repository: Path, folder: Path) -> None:
    """Wheels of a repository under their names. Nothing of it is trusted: pip compares every one with our lock."""
    blobs = {path.name.split(".", 1)[0]: path for path in (repository / "targets/blob").glob("*")}
    for file in (repository / "targets/release").rglob("*.json"):
        try:
            entries = json.loads(file.read_bytes())["files"]
            wheels = {str(e["path"]).rpartition("/")[2]: str(e["sha256"]) for e in entries if e["kind"] == "wheel"}
        except (ValueError, KeyError, TypeError):
            continue
        for name, sha256 in wheels.items():
            blob = blobs.get(sha256)
            if blob is None or not re.fullmatch(r"[A-Za-z0-9._+-]+\.whl", name) or (folder / name).exists():
                continue
            if hashlib.sha256(blob.read_bytes()).hexdigest() == sha256:
                (folder / name).symlink_to(blob.resolve())


def _enable(options: argparse.Namespace) -> Iterator[Step]:
    """Everything starts with the machine. Links of our own: systemctl would pin them to one release."""
    prefix: Path = options.prefix
    units = {unit: parts.SOURCE / "systemd" / unit for unit in (*parts.LASTING_UNITS, *_release_units(options))}
    for unit, file in units.items():
        for target in parts.wanted_by(file):
            place = prefix / parts.UNITS / f"{target}.wants" / unit
            yield Step(
                f"{unit} starts with {target}",
                lambda place=place, unit=unit: not parts.links_to(place, f"../{unit}"),  # type: ignore[misc]
                lambda place=place, unit=unit: parts.link(place, f"../{unit}"),  # type: ignore[misc]
            )


def _start(options: argparse.Namespace) -> None:
    call("systemctl", "daemon-reload")
    call("systemctl", "restart", "mosquitto.service")
    call("systemctl", "enable", "--quiet", "mosquitto.service")
    services = [unit for unit in _release_units(options) if unit.endswith(".service")]
    call(
        "systemctl",
        "start",
        "--no-block",
        *services,
        "station-update.timer",
        "station-update.path",
        "station-retry.timer",
    )
    print("the station starts; look with: systemctl status station   and   journalctl -u station -f")


if __name__ == "__main__":
    sys.exit(main())
