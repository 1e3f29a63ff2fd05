"""Build a release from a tag, and sign it into the update repository (deploy/release)."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy.ota import bundle, command, keyring, rollout
from deploy.ota.command import say
from deploy.ota.keyring import InputError
from deploy.ota.repository import Repository
from deploy.ota.wheelhouse import TARGETS
from station.errors import UpdateError
from station.update import manifest as manifest_format
from station.update.manifest import Manifest, target_of
from station.update.trust import TARGETS as TARGETS_FOLDER
from station.update.trust import place_of

HERE = Path(__file__).resolve().parents[2]
HELP = """\
Build a release from a tag of git, and sign it into the update repository.

  git tag v1.4.0                                  pyproject.toml must say the same version
  deploy/release v1.4.0                           builds build/release/1.4.0: blobs and one manifest for each target
  deploy/release v1.4.0 --compare build/release/1.4.0    builds it again and names every file that differs
  deploy/release v1.4.0 --sign /media/stick/keys --keys ~/online-keys --repo REPO

A release has the app's wheel, every dependency for aarch64 and x86-64 with Python 3.11 and 3.13 by the hashes of
locks/run.txt, the quantized models and the units. The working tree does not matter, only what the tag holds. Same
commit, same bytes: whoever else builds it can compare before signing. What is signed never changes: a mistake becomes
the next version.

With two persons and a threshold of two, the second one builds the tag on a machine of their own and signs what was
proposed only if it is the same:
  deploy/release v1.4.0 --check REPO              compares the build with what waits for signatures in REPO
  deploy/keys sign REPO --keys BEN

  deploy/release --forget 1.2.0 --sign /media/stick/keys --keys ~/online-keys --repo REPO
                                                  takes an old release and what only it needed out of the repository

After signing nobody runs it yet: deploy/rollout says who does.
Exit codes: 0 done, 1 failed or different, 2 bad input.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command.parser("release", HELP)
    parser.add_argument("tag", nargs="?", help="the tag to build, vX.Y.Z")
    parser.add_argument("--source", type=Path, default=HERE, metavar="DIR", help="the git repository (default: this)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to build (default: build/release/X.Y.Z)")
    parser.add_argument("--target", action="append", choices=[str(target) for target in TARGETS], help="default: all")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="take the dependencies from a folder, not an index")
    parser.add_argument("--compare", type=Path, metavar="DIR", help="build elsewhere and compare with this build")
    parser.add_argument("--check", type=Path, metavar="REPO", help="build and compare with what REPO has or proposes")
    parser.add_argument("--sign", type=Path, action="append", metavar="KEYS", help="sign with the keys in this folder")
    parser.add_argument("--keys", type=Path, action="append", default=[], metavar="KEYS", help="further keys: online")
    parser.add_argument("--repo", type=Path, metavar="REPO", help="the update repository to sign it into")
    parser.add_argument("--forget", metavar="X.Y.Z", help="remove this release from the repository instead")
    options = parser.parse_args(arguments)
    return command.run("release", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    if bool(options.sign) != bool(options.repo):
        raise InputError("--sign and --repo belong together: whose keys, and which repository")
    if bool(options.tag) == bool(options.forget):
        raise InputError("give the tag to build, or a release to --forget")
    if options.forget:
        if not options.sign:
            raise InputError("--forget is signed, too: give --sign and --repo")
        forget(Repository(options.repo), options.forget, [*options.sign, *options.keys])
        return 0
    if not options.wheels and not bundle.is_clean(options.source):
        say("note: the working tree has changes; they are not in the tag and not in this release")
    out = options.out or HERE / "build" / "release" / options.tag.removeprefix("v")
    if options.compare or options.check:
        with tempfile.TemporaryDirectory(prefix="hipline-release-") as folder:
            _build(options, Path(folder) / "again")
            return _compare(options, Path(folder) / "again")
    _build(options, out)
    if options.sign:
        sign(Repository(options.repo), out, [*options.sign, *options.keys])
    return 0


def _build(options: argparse.Namespace, out: Path) -> None:
    targets = [target for target in TARGETS if not options.target or str(target) in options.target]
    with tempfile.TemporaryDirectory(prefix="hipline-source-") as folder:
        source = bundle.unpack(options.source, options.tag, Path(folder))
        say(f"{options.tag}: commit {source.commit[:12]}")
        bundle.build(source, out, targets, say, options.wheels)
    say(f"{out}: built")


def _compare(options: argparse.Namespace, again: Path) -> int:
    lines = bundle.differences(options.compare, again) if options.compare else []
    if options.check:
        lines += unlike_proposed(Repository(options.check), again)
    for line in lines:
        say(line)
    if not lines:
        say("the same, to the byte")
    return 1 if lines else 0


def sign(repository: Repository, built: Path, places: Sequence[Path]) -> None:
    """Add a built release to the repository and sign for it; what is signed already may not change."""
    manifests = bundle.load(built)
    with repository.locked():
        signed = dict((repository.draft("targets") or repository.published("targets")).signed.targets)
        added = {}
        for manifest in manifests.values():
            name = target_of(manifest.version, manifest.platform, manifest.python)
            path = built / f"{manifest.platform}-py{manifest.python}.json"
            for target_name, source in ((name, path), *_blobs(manifest, built)):
                target = repository.add_file(target_name, source)
                if target_name in signed and signed[target_name].hashes != target.hashes:
                    raise UpdateError(
                        f"{target_name}: signed before with other bytes; releases never change, make a new one"
                    )
                added[target_name] = target

        def change(targets: Any) -> None:
            targets.targets.update(added)

        if any(name not in signed for name in added):
            repository.propose("targets", change)
        missing = repository.complete(keyring.signers(places, command.ask_passphrase))
        command.tell_missing(repository, missing)
        fresh = sum(target.length for name, target in added.items() if name not in signed)
    say(f"{repository.folder}: {len(added)} files signed for, {fresh / 1e6:.1f} MB of them new")
    if not missing and not repository.is_current:
        say(f"then:    deploy/keys refresh {repository.folder} --keys ONLINE-KEYS, or no station sees it")


def forget(repository: Repository, version: str, places: Sequence[Path]) -> None:
    """Sign the repository without a release, then delete the files that nothing signed names any more.

    Raises for a release that the rollout names: some station may be about to fetch it.
    """
    with repository.locked():
        now = rollout.current(repository)
        if now is not None and version in {now.version, now.stable}:
            raise InputError(f"release {version}: the rollout names it; start another one first")
        signed = repository.targets.targets
        kept = {name for name in signed if name.startswith("release/") and not name.startswith(f"release/{version}/")}
        if len(kept) == sum(name.startswith("release/") for name in signed):
            raise InputError(f"release {version}: is not in {repository.folder}")
        for name in list(kept):
            manifest = manifest_format.read((repository.folder / place_of(signed[name])).read_bytes(), name)
            kept.update(f"blob/{file.sha256}" for file in manifest.files)

        def change(targets: Any) -> None:
            targets.targets = {name: target for name, target in targets.targets.items() if name in kept}

        repository.propose("targets", change)
        missing = repository.complete(keyring.signers(places, command.ask_passphrase))
        command.tell_missing(repository, missing)
        if not missing and repository.is_current:
            freed = _sweep(repository)
            say(f"{repository.folder}: release {version} is gone, {freed / 1e6:.1f} MB freed")


def _sweep(repository: Repository) -> int:
    signed = [*repository.targets.targets.values(), *repository.published("rollout").signed.targets.values()]
    kept = {repository.folder / place_of(target) for target in signed}
    freed = 0
    for path in (repository.folder / TARGETS_FOLDER).rglob("*"):
        if path.is_file() and path not in kept:
            freed += path.stat().st_size
            path.unlink()
    return freed


def _blobs(manifest: Manifest, built: Path) -> list[tuple[str, Path]]:
    return [(f"blob/{file.sha256}", built / "blobs" / file.sha256) for file in manifest.files]


def unlike_proposed(repository: Repository, built: Path) -> list[str]:
    """What of a build is not what the repository has signed or proposes to sign, a line each."""
    wanted = (repository.draft("targets") or repository.published("targets")).signed.targets
    lines = []
    for target, manifest in bundle.load(built).items():
        name = target_of(manifest.version, manifest.platform, manifest.python)
        if name not in wanted:
            lines.append(f"{name}: is not in {repository.folder}")
        elif wanted[name].hashes["sha256"] != bundle.sha256_of(built / f"{target}.json"):
            lines.append(f"{name}: is another one in {repository.folder}")
        lines += [
            f"{target}/{file.path}: is not in {repository.folder}"
            for file in manifest.files
            if f"blob/{file.sha256}" not in wanted
        ]
    return lines


if __name__ == "__main__":
    sys.exit(main())
