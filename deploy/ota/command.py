"""What the commands in deploy/ share: how they take keys, speak and fail."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from securesystemslib.signer import Key

from deploy.ota.keyring import OWNER
from deploy.ota.repository import Missing, Repository
from station.errors import HiplineError

PASSPHRASE = "HIPLINE_KEYS_PASSPHRASE"


def parser(name: str, text: str) -> argparse.ArgumentParser:
    """A parser whose help is ``text``: its first line what the command does, the rest how to use it."""
    return argparse.ArgumentParser(
        prog=f"deploy/{name}", description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def run(name: str, main: Callable[[], int]) -> int:
    """``main``, with expected failures as one line on standard error and their exit code."""
    try:
        return main()
    except HiplineError as error:
        print(f"deploy/{name}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 130


def add_repository(command: argparse.ArgumentParser, *, keys: bool = True) -> None:
    """The repository's folder, and the folders of private keys to sign with."""
    command.add_argument("repository", type=Path, metavar="REPO", help="the folder of the update repository")
    if keys:
        command.add_argument(
            "--keys", type=Path, action="append", required=True, metavar="DIR", help="private keys; may be repeated"
        )


def ask_passphrase(file: Path) -> str | None:
    """The passphrase of a key: from the environment, else from the person at the terminal."""
    if PASSPHRASE in os.environ:
        return os.environ[PASSPHRASE]
    return getpass.getpass(f"passphrase of {file}: ") if sys.stdin.isatty() else None


def say(text: str) -> None:
    """One line of progress."""
    print(text, flush=True)


def owner(key: Key) -> str:
    """Whose key it is, in a few letters."""
    return f"{key.unrecognized_fields.get(OWNER, '?')} ({key.keyid[:8]})"


def tell_missing(repository: Repository, missing: Sequence[Missing]) -> None:
    """Say what waits for whom, and what to do about it."""
    for one in missing:
        names = ", ".join(_owners(repository, one.owners)) or "nobody: something before it waits"
        say(f"waiting: {one.role} {one.version} needs {one.signatures} more signature(s) of: {names}")
    if missing:
        say(f"then:    deploy/keys sign {repository.folder} --keys THEIR-KEYS")


def _owners(repository: Repository, keyids: Iterable[str]) -> list[str]:
    known: dict[str, Key] = {}
    for role in ("root", "targets"):
        for metadata in (repository.draft(role), repository.published(role) if repository.version(role) else None):
            if metadata is not None:
                known.update(metadata.signed.keys if role == "root" else metadata.signed.delegations.keys)
    return [owner(known[keyid]) if keyid in known else keyid[:8] for keyid in keyids]
