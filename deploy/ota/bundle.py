"""A release in a folder: the source of a tag becomes wheels, models, units, scripts and a manifest for each target."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deploy.ota import wheelhouse
from deploy.ota.keyring import InputError
from deploy.ota.wheelhouse import Target
from deploy.station import archive
from station.errors import UpdateError
from station.update import base
from station.update import manifest as manifests
from station.update.manifest import FOLDER, Kind, Manifest, ReleaseFile, sequence_of

Say = Callable[[str], None]
LOCK = "locks/run.txt"
#: What any front end does, without one: pip would start four processes for it.
_WHEEL = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
_MODELS = """\
import pathlib, sys
from station.models.build import build
for path in build(sys.argv[1:], say=lambda text: print(text, file=sys.stderr)):
    print(path)
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a release of this source consists of: ``[tool.hipline.release]`` in its pyproject.toml."""

    version: str
    package: str
    minimum_previous: str
    extras: Sequence[str]
    models: Sequence[str]
    units: Sequence[str]
    scripts: Sequence[str]
    guard: Sequence[str]


@dataclass(frozen=True, slots=True)
class Source:
    """The unpacked source of a commit."""

    folder: Path
    commit: str
    time_s: int
    recipe: Recipe = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "recipe", _recipe(self.folder / "pyproject.toml"))


def _recipe(file: Path) -> Recipe:
    table: Mapping[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    release = table.get("tool", {}).get("hipline", {}).get("release")
    if release is None:
        raise InputError(f"{file.name}: has no [tool.hipline.release]; this source is older than releases")
    return Recipe(
        version=table["project"]["version"],
        package=table["project"]["name"],
        minimum_previous=release["minimum-previous"],
        extras=release["extras"],
        models=release["models"],
        units=release["units"],
        scripts=release["scripts"],
        guard=release.get("guard", ()),
    )


def unpack(repository: Path, tag: str, folder: Path) -> Source:
    """The source of a tag ``vX.Y.Z``, as git has it: what lies about in the working tree cannot get in.

    Raises when there is no such tag, or it is not that of the version in pyproject.toml.
    """
    commit = _git(
        repository, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}", fault=f"{tag}: no such tag"
    )
    time_s = int(_git(repository, "show", "--no-patch", "--format=%ct", commit))
    archive = subprocess.run(
        ["git", "-C", str(repository), "archive", "--format=tar", commit], capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    source = Source(folder, commit, time_s)
    if tag != f"v{source.recipe.version}":
        raise InputError(f"{tag}: its pyproject.toml says version {source.recipe.version}; the two must agree")
    sequence_of(source.recipe.version)
    return source


def is_clean(repository: Path) -> bool:
    """Whether the working tree has nothing that git does not."""
    return not _git(repository, "status", "--porcelain")


def _git(repository: Path, *arguments: str, fault: str | None = None) -> str:
    done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(fault or f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def build(
    source: Source, out: Path, targets: Sequence[Target], say: Say, wheels: Path | None = None
) -> dict[Target, Manifest]:
    """Build the release in ``out``: ``blobs/<sha256>`` and one ``<target>.json`` each. The same source, the same bytes.

    ``wheels`` is a folder of wheels to take the dependencies from, for a machine without network.
    """
    out = out.resolve()  # some of what follows runs in folders of its own
    shutil.rmtree(out, ignore_errors=True)
    work = out / "work"
    app = _app_wheel(source, work / "app")
    say(f"app: {app.name}, {_mb(app.stat().st_size)}")
    common = [*_others(source, work)]
    lock = (source.folder / LOCK).read_text(encoding="utf-8")
    built = {}
    for target in targets:
        house = wheelhouse.download(lock, target, work / str(target), wheels)
        wheelhouse.check_closed([app, *house], source.recipe.extras, source.recipe.package, target)
        files: list[tuple[Kind, Path]] = [("wheel", path) for path in (app, *house)]
        built[target] = _manifest(source, target, [*_files(files), *common], [app, *house])
        for _, path in files:
            _keep(path, out)
        (out / f"{target}.json").write_bytes(manifests.write(built[target]))
        say(f"{target}: {len(built[target].files)} files, {_mb(built[target].download_size)}")
    shutil.rmtree(work)
    (out / "built-with.json").write_text(json.dumps(_built_with(source), indent=1, sort_keys=True) + "\n", "utf-8")
    return built


def _manifest(source: Source, target: Target, files: Sequence[ReleaseFile], wheels: Sequence[Path]) -> Manifest:
    manifest = Manifest(
        version=source.recipe.version,
        sequence=sequence_of(source.recipe.version),
        minimum_previous=sequence_of(source.recipe.minimum_previous),
        platform=target.platform,
        python=target.python,
        installed_size=wheelhouse.installed_size(wheels),
        files=tuple(sorted(files, key=lambda file: file.path)),
    )
    return manifests.read(manifests.write(manifest), f"manifest of {target}")  # what the station would refuse, we do


def _app_wheel(source: Source, folder: Path) -> Path:
    """The station's own wheel. ``SOURCE_DATE_EPOCH`` makes every time in it that of the commit."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(source.time_s), "PYTHONHASHSEED": "0"}
    folder.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", _WHEEL, str(folder)],
        cwd=source.folder, capture_output=True, text=True, env=environment, check=False, umask=0o022,
    )  # fmt: skip
    found = sorted(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        raise UpdateError(f"app wheel: cannot be built: {done.stderr.strip()[-300:]}")
    return found[0]


def _others(source: Source, work: Path) -> Iterator[ReleaseFile]:
    """Models, units and scripts, laid into the blobs. Units keep their folders below systemd/, the others have none."""
    recipe = source.recipe
    paths: list[tuple[Kind, Path]] = [("model", path) for path in _models(source)]
    paths += [("unit", path) for path in _matching(source, recipe.units)]
    paths += [("script", path) for path in _matching(source, recipe.scripts)]
    if recipe.guard:
        guard = work / base.GUARD
        guard.write_bytes(archive.pack(source.folder))
        paths.append(("script", guard))
    for _, path in paths:
        _keep(path, work.parent)
    for file, (kind, path) in zip(_files(paths), paths, strict=True):
        within = path.relative_to(source.folder).as_posix() if kind == "unit" else file.path
        yield replace(file, path=within)


def _matching(source: Source, patterns: Sequence[str]) -> Iterator[Path]:
    for pattern in patterns:
        matching = sorted(path for path in source.folder.glob(pattern) if path.is_file())
        if not matching:
            raise InputError(f"pyproject.toml: [tool.hipline.release] names {pattern}, there is none")
        yield from matching


def _models(source: Source) -> list[Path]:
    if not source.recipe.models:
        return []
    done = subprocess.run(
        [sys.executable, "-c", _MODELS, *source.recipe.models],
        cwd=source.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise UpdateError(f"models: {done.stderr.strip().splitlines()[-1]}")
    return [Path(line) for line in done.stdout.split()]


def _files(paths: Sequence[tuple[Kind, Path]]) -> Iterator[ReleaseFile]:
    for kind, path in paths:
        yield ReleaseFile(f"{FOLDER[kind]}/{path.name}", sha256_of(path), path.stat().st_size, kind)


def _keep(path: Path, out: Path) -> None:
    blob = out / "blobs" / sha256_of(path)
    blob.parent.mkdir(parents=True, exist_ok=True)
    if not blob.exists():
        shutil.copyfile(path, blob)


def _built_with(source: Source) -> Mapping[str, str]:
    tools = {name: importlib.metadata.version(name) for name in ("pip", "setuptools", "wheel")}
    return {**tools, "python": sys.version.split()[0], "commit": source.commit, "version": source.recipe.version}


def load(folder: Path) -> dict[str, Manifest]:
    """The manifests of a built release by target, each with all its files there and whole."""
    found = {path.stem: manifests.read(path.read_bytes(), path.name) for path in sorted(folder.glob("linux-*.json"))}
    if not found:
        raise InputError(f"{folder}: no release was built here")
    for manifest in found.values():
        for file in manifest.files:
            blob = folder / "blobs" / file.sha256
            if not blob.is_file() or blob.stat().st_size != file.size or sha256_of(blob) != file.sha256:
                raise UpdateError(f"{blob}: is not {file.path} as it was built; build the release again")
    return found


def differences(one: Path, other: Path) -> list[str]:
    """Which files differ between two builds, a line each; nothing when they are the same to the byte."""
    ours, theirs = _listing(one), _listing(other)
    lines = [f"{name}: only in {one}" for name in sorted(ours.keys() - theirs.keys())]
    lines += [f"{name}: only in {other}" for name in sorted(theirs.keys() - ours.keys())]
    lines += [
        f"{name}: {ours[name][:12]}… and {theirs[name][:12]}…"
        for name in sorted(ours.keys() & theirs.keys())
        if ours[name] != theirs[name]
    ]
    if lines:
        with_one, with_other = (json.loads((folder / "built-with.json").read_text("utf-8")) for folder in (one, other))
        lines += [f"built with {key} {with_one[key]} and {with_other[key]}" for key in with_one
                  if with_one[key] != with_other.get(key)]  # fmt: skip
    return lines


def _listing(folder: Path) -> dict[str, str]:
    return {
        f"{target}/{file.path}": file.sha256 for target, manifest in load(folder).items() for file in manifest.files
    }


def sha256_of(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
