"""Private keys on a disk somebody keeps: one file a role and owner, made and read by securesystemslib."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from station.errors import UpdateError

ROLES = ("root", "targets", "rollout", "snapshot", "timestamp")
#: The field of a public key that says whose it is, so that a person can tell keys apart.
OWNER = "x-hipline-owner"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")

#: Asked for the passphrase of a private key file; ``None`` when there is none to be had.
AskPassphrase = Callable[[Path], str | None]


class InputError(UpdateError):
    """A command was asked for something it cannot do as asked: the person at the keyboard mends it."""

    exit_code = 2


def make(folder: Path, roles: Sequence[str], name: str, passphrase: str | None = None) -> list[SSlibKey]:
    """An Ed25519 key pair for each role: ``<role>.<name>.pem`` (private, 0600), ``<role>.<name>.pub`` to give away."""
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r}: a name of letters, digits, - and _ is wanted, such as anna")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    taken = [path for role in roles if (path := folder / f"{role}.{name}.pem").exists()]
    if taken:
        raise InputError(f"{taken[0]}: there already, and never overwritten; choose another --name")
    return [_make_one(folder, role, name, passphrase) for role in roles]


def _make_one(folder: Path, role: str, name: str, passphrase: str | None) -> SSlibKey:
    private = Ed25519PrivateKey.generate()
    lock = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    public = CryptoSigner(private).public_key
    public.unrecognized_fields[OWNER] = name
    pem = folder / f"{role}.{name}.pem"
    pem.touch(0o600, exist_ok=False)
    pem.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
    text = json.dumps({"keyid": public.keyid, **public.to_dict()}, indent=1, sort_keys=True)
    (folder / f"{role}.{name}.pub").write_text(text + "\n", encoding="utf-8")
    return public


def public_keys(places: Iterable[Path], role: str) -> list[Key]:
    """The public keys for a role in folders or single ``.pub`` files."""
    keys: dict[str, Key] = {}
    for place in places:
        files = [place] if place.is_file() else sorted(place.glob("*.pub"))
        if not place.exists():
            raise InputError(f"{place}: no such folder of keys")
        for file in files:
            if file.name.split(".")[0] == role:
                key = _public(file)
                keys[key.keyid] = key
    return list(keys.values())


def _public(file: Path) -> Key:
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
        return Key.from_dict(table.pop("keyid"), table)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: is no public key ({error})") from error


def signers(places: Iterable[Path], ask: AskPassphrase = lambda _: None) -> Mapping[str, Signer]:
    """Every private key in the folders, by the id of its public key."""
    found: dict[str, Signer] = {}
    for place in places:
        if not place.is_dir():
            raise InputError(f"{place}: no such folder of keys")
        for file in sorted(place.glob("*.pem")):
            signer = _signer(file, ask)
            found[signer.public_key.keyid] = signer
    return found


def _signer(file: Path, ask: AskPassphrase) -> Signer:
    data = file.read_bytes()
    passphrase = ask(file) if b"ENCRYPTED" in data.partition(b"\n")[0] else None
    try:
        private = load_pem_private_key(data, passphrase.encode() if passphrase else None)
    except (ValueError, TypeError) as error:
        raise InputError(f"{file}: cannot be read as a private key; is the passphrase right?") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise InputError(f"{file}: is no Ed25519 key; make keys with deploy/keys make")
    return CryptoSigner(private)
