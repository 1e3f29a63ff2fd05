"""The wheels of a release for one platform and one Python: chosen on any machine, checked against the locks' hashes."""

from __future__ import annotations

import email
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from station.errors import UpdateError
from station.update.manifest import Platform, Python

#: What builds the station but does not run it.
_TOOLS = {"setuptools", "wheel"}
#: Of the Debian releases that stations run: the Python they bring, to the last digit, and their C library (2.x).
_DEBIAN: Mapping[Python, tuple[str, int]] = {"3.11": ("3.11.2", 36), "3.13": ("3.13.5", 41)}
_BLOCK, _VENV_SIZE = 4096, 30_000_000


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of station."""

    platform: Platform
    python: Python

    def __str__(self) -> str:
        return f"{self.platform}-py{self.python}"

    @property
    def machine(self) -> str:
        """What ``uname -m`` says there."""
        return self.platform.removeprefix("linux-")

    @property
    def markers(self) -> Mapping[str, str]:
        """The environment that dependency markers are evaluated in."""
        return {
            "implementation_name": "cpython", "platform_python_implementation": "CPython", "os_name": "posix",
            "sys_platform": "linux", "platform_system": "Linux", "platform_machine": self.machine,
            "platform_release": "", "platform_version": "", "extra": "",
            "python_version": self.python, "python_full_version": _DEBIAN[self.python][0],
            "implementation_version": _DEBIAN[self.python][0],
        }  # fmt: skip

    @property
    def platform_tags(self) -> list[str]:
        """Platform tags of wheels that run there, best first."""
        newest = [f"manylinux_2_{minor}_{self.machine}" for minor in range(_DEBIAN[self.python][1], 4, -1)]
        return [*newest, f"manylinux2014_{self.machine}", f"manylinux2010_{self.machine}", f"linux_{self.machine}"]


TARGETS = (
    Target("linux-aarch64", "3.11"),
    Target("linux-aarch64", "3.13"),
    Target("linux-x86_64", "3.11"),
    Target("linux-x86_64", "3.13"),
)


def wanted(lock: str, target: Target) -> list[str]:
    """The lines of a lock that a target installs: ``name==version --hash=…``, without markers.

    pip evaluates markers for the machine it runs on, so they are evaluated here, for the one it downloads for.
    """
    lines = []
    for line in _entries(lock):
        text, *hashes = line.split(" --hash=")
        requirement = Requirement(text.strip())
        if canonicalize_name(requirement.name) in _TOOLS:
            continue
        if requirement.marker is None or requirement.marker.evaluate(dict(target.markers)):
            pinned = f"{requirement.name}{requirement.specifier}"
            lines.append(" ".join([pinned, *(f"--hash={one.strip()}" for one in hashes)]))
    return lines


def _entries(lock: str) -> Iterator[str]:
    joined = lock.replace("\\\n", " ")
    for line in joined.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield " ".join(line.split())


def download(lock: str, target: Target, folder: Path, source: Path | None = None) -> list[Path]:
    """Fetch a target's wheels into ``folder`` with pip, every one by its hash.

    ``source`` is a folder of wheels to take them from instead of an index, for a machine without network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    requirements = folder / "requirements.txt"
    requirements.write_text("\n".join(wanted(lock, target)) + "\n", encoding="utf-8")
    abi = f"cp{target.python.replace('.', '')}"
    command = [
        sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet",
        "--require-hashes", "--no-deps", "--only-binary", ":all:", "--dest", str(folder),
        "--requirement", str(requirements), "--implementation", "cp", "--python-version", target.python,
        "--abi", abi, "--abi", "abi3", "--abi", "none",
    ]  # fmt: skip
    for tag in target.platform_tags:
        command += ["--platform", tag]
    if source is not None:
        command += ["--no-index", "--find-links", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    requirements.unlink()
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["said nothing"]
        raise UpdateError(f"wheels for {target}: pip download failed: {said[-1]}")
    return sorted(folder.glob("*.whl"))


def check_closed(wheels: Iterable[Path], extras: Sequence[str], app: str, target: Target) -> None:
    """Raises unless every requirement of every wheel is met by another: a station installs them and asks nobody.

    ``extras`` are those of ``app``, the station's own package, that a station has.
    """
    versions = {}
    requirements: list[tuple[str, Requirement]] = []
    for wheel in wheels:
        name, version, *_ = parse_wheel_filename(wheel.name)
        versions[name] = version
        chosen = extras if name == canonicalize_name(app) else ()
        requirements += [(wheel.name, one) for one in _requirements(wheel, chosen, target)]
    for wheel_name, requirement in requirements:
        have = versions.get(canonicalize_name(requirement.name))
        if have is None or not requirement.specifier.contains(have, prereleases=True):
            raise UpdateError(
                f"wheels for {target}: {wheel_name} wants {requirement}, the locks give {have or 'none'}; run make lock"
            )


def _requirements(wheel: Path, extras: Sequence[str], target: Target) -> Iterator[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    for text in metadata.get_all("Requires-Dist", []):
        requirement = Requirement(text)
        if requirement.marker is None or any(
            _holds(requirement.marker, {**target.markers, "extra": extra}) for extra in ("", *extras)
        ):
            yield requirement


def _holds(marker: Marker, environment: Mapping[str, str]) -> bool:
    return marker.evaluate(dict(environment))


def installed_size(wheels: Iterable[Path]) -> int:
    """What the wheels take on a station's disk: unpacked, in whole blocks, with their byte code and an environment."""
    size = _VENV_SIZE
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.infolist():
                times = 2 if entry.filename.endswith(".py") else 1
                size += times * -(-entry.file_size // _BLOCK) * _BLOCK
    return size
