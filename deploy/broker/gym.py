#!/usr/bin/env python3
"""Make and keep the broker of a gym: its certificates, its users, what each of them may do.

    gym.py FOLDER init --gym NAME --host broker.example [--host 10.0.0.5]
    gym.py FOLDER add-station tm-07       writes FOLDER/stations/tm-07/: what that station's broker needs
    gym.py FOLDER revoke-station tm-07
    gym.py FOLDER add-staff anna [--commands]      prints a password; --commands: may send commands, too
    gym.py FOLDER revoke-staff anna
    gym.py FOLDER renew                   a new server certificate (run it once a year)

Standard library and openssl only. The folder holds private keys and password hashes: give it to nobody but the user the
broker runs as. After a change the running broker reads users and rights again: ``systemctl reload mosquitto`` (or pass
``--reload PID``). Exit codes: 0 done, 1 failed, 2 bad input.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import ipaddress
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = "hipline/v1"
#: What a station says on its own topics, and the only things it may hear.
SAID = ("status", "state", "stride", "session", "cue", "health", "link", "cmd/+/result")
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: All that a strict check of the chain (the default from Python 3.13 on) asks of a server.
_SERVER_EXTENSIONS = """\
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
"""
CA_DAYS, SERVER_DAYS = 3650, 398


class InputError(Exception):
    """What is wrong with what was asked, in one line."""


class Gym:
    """The folder of one gym's broker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.users = folder / "users"
        self.rights = folder / "rights.acl"

    @property
    def name(self) -> str:
        """The gym's name in the topics."""
        return self._read("gym")

    @property
    def hosts(self) -> list[str]:
        """The names and addresses the broker is reached by; stations use the first."""
        return self._read("hosts").split()

    def _read(self, what: str) -> str:
        try:
            return (self.folder / what).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            raise InputError(f"{self.folder}: not the folder of a gym's broker: make it with init") from None

    def init(self, name: str, hosts: Sequence[str]) -> None:
        """Certificates, configuration, and nobody who may come in."""
        _named(name, "gym")
        if (self.folder / "gym").exists():
            raise InputError(f"{self.folder}: is one already: use another folder, or renew")
        for host in hosts:
            if not re.fullmatch(r"[A-Za-z0-9.:-]+", host):
                raise InputError(f"{host}: not a host name or address")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        (self.folder / "memory").mkdir()
        _write(self.folder / "hosts", "\n".join(hosts) + "\n")
        subject = f"/CN=Hipline broker CA of {name}"
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", str(CA_DAYS),
            "-subj", subject, "-addext", "keyUsage=critical,keyCertSign,cRLSign",  # Python 3.13 insists on it
            "-keyout", self.folder / "ca.key", "-out", self.folder / "ca.crt",
        )  # fmt: skip
        (self.folder / "ca.key").chmod(0o600)
        _write(self.folder / "gym", name + "\n")
        _write(self.users, "")
        self.renew()
        self._write_rights([], [])
        template = (HERE / "gym.conf.in").read_text(encoding="utf-8")
        _write(self.folder / "mosquitto.conf", template.replace("@FOLDER@", str(self.folder.resolve())))

    def renew(self) -> None:
        """A new server certificate for the broker's names; stations trust the CA and need nothing new."""
        names = ",".join(f"{'IP' if _is_address(host) else 'DNS'}:{host}" for host in self.hosts)
        request, extra = self.folder / "server.csr", self.folder / "server.ext"
        _write(extra, f"subjectAltName={names}\n{_SERVER_EXTENSIONS}")
        _openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={self.hosts[0]}",
            "-keyout", self.folder / "server.key", "-out", request,
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.folder / "ca.crt", "-CAkey", self.folder / "ca.key",
            "-CAcreateserial", "-days", str(SERVER_DAYS), "-extfile", extra, "-out", self.folder / "server.crt",
        )  # fmt: skip
        (self.folder / "server.key").chmod(0o600)
        request.unlink()
        extra.unlink()

    def add_station(self, station: str) -> Path:
        """Let a station in; returns the folder with what its own broker needs."""
        _named(station, "station")
        password = self._admit(station)
        bundle = self.folder / "stations" / station
        bundle.mkdir(parents=True, exist_ok=True)
        bundle.chmod(0o700)
        template = (HERE / "station.conf.in").read_text(encoding="utf-8")
        values = {
            "GYM": self.name, "STATION": station, "BROKER": self.hosts[0], "PASSWORD": password, "ROOT": ROOT,
        }  # fmt: skip
        for key, value in values.items():
            template = template.replace(f"@{key}@", value)
        _write(bundle / "hipline.conf", template)
        (bundle / "ca.crt").write_bytes((self.folder / "ca.crt").read_bytes())
        return bundle

    def revoke_station(self, station: str) -> None:
        """Keep a station out from the next reload on."""
        _named(station, "station")
        self._dismiss(station)
        bundle = self.folder / "stations" / station
        for file in bundle.glob("*"):
            file.unlink()
        if bundle.exists():
            bundle.rmdir()

    def add_staff(self, person: str, *, commands: bool) -> tuple[str, str]:
        """Let a person read everything (and command, if they may); returns user name and password."""
        _named(person, "staff")
        user = _staff(person)
        password = self._admit(user)
        readers, commanders = self._staff_rights()
        (commanders if commands else readers).append(user)
        self._write_rights(readers, commanders)
        return user, password

    def revoke_staff(self, person: str) -> None:
        """Keep a person out from the next reload on."""
        _named(person, "staff")
        user = _staff(person)
        self._dismiss(user)
        readers, commanders = self._staff_rights()
        self._write_rights([u for u in readers if u != user], [u for u in commanders if u != user])

    def _hashes(self) -> dict[str, str]:
        self._read("gym")
        lines = self.users.read_text(encoding="utf-8").splitlines()
        return dict(line.split(":", 1) for line in lines if line)

    def _admit(self, user: str) -> str:
        hashes = self._hashes()
        if user in hashes:
            raise InputError(f"{user}: is known already: revoke it first")
        password = secrets.token_urlsafe(32)
        self._write_hashes({**hashes, user: _hash(password)})
        return password

    def _dismiss(self, user: str) -> None:
        hashes = self._hashes()
        if user not in hashes:
            raise InputError(f"{user}: not known: there are {', '.join(hashes) or 'no users'}")
        del hashes[user]
        self._write_hashes(hashes)

    def _write_hashes(self, hashes: dict[str, str]) -> None:
        _write(self.users, "".join(f"{user}:{hash_}\n" for user, hash_ in hashes.items()))

    def _staff_rights(self) -> tuple[list[str], list[str]]:
        found = re.findall(r"^# (reads|commands): (.*)$", self.rights.read_text(encoding="utf-8"), re.MULTILINE)
        lists = {kind: users.split() for kind, users in found}
        return lists.get("reads", []), lists.get("commands", [])

    def _write_rights(self, readers: Sequence[str], commanders: Sequence[str]) -> None:
        gym = f"{ROOT}/{self.name}"
        lines = [
            "# Written by gym.py; changes are lost.",
            f"# reads: {' '.join(readers)}",
            f"# commands: {' '.join(commanders)}",
            "",
            "# A station (its user name is %u) writes its own topics, hears its own commands, and nothing else.",
            *(f"pattern write {gym}/%u/{topic}" for topic in SAID),
            f"pattern read {gym}/%u/cmd/+",
            "pattern write homeassistant/device/%u/config",
        ]
        for user in (*readers, *commanders):
            lines += ["", f"user {user}", f"topic read {gym}/#", "topic read homeassistant/#", "topic read $SYS/#"]
            if user in commanders:
                lines.append(f"topic write {gym}/+/cmd/+")
        _write(self.rights, "\n".join(lines) + "\n")


def _staff(person: str) -> str:
    # A plus keeps the station patterns from ever matching: mosquitto refuses all patterns to such names.
    return f"staff+{person}"


def _hash(password: str) -> str:
    """PBKDF2 as mosquitto_passwd writes it; our passwords are 256 random bits, so its few rounds are enough."""
    salt, rounds = secrets.token_bytes(12), 101
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds)
    return f"$7${rounds}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def _named(name: str, what: str) -> None:
    if not NAME.fullmatch(name):
        raise InputError(f"{name!r}: no name for a {what}: 1 to 64 letters, digits, - or _")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _write(path: Path, text: str) -> None:
    """Replace the file at once and for its owner only: the broker never reads half of it."""
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if path.exists() and os.geteuid() == 0:
        os.chown(new, path.stat().st_uid, path.stat().st_gid)
    new.replace(path)


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr.strip().splitlines()[-1:]}")


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make and keep the broker of a gym.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--reload", type=int, metavar="PID", help="the running mosquitto: reads users and rights again")
    commands = parser.add_subparsers(dest="command", required=True)
    init = commands.add_parser("init")
    init.add_argument("--gym", required=True)
    init.add_argument("--host", required=True, action="append", help="a name or address of the broker (repeatable)")
    commands.add_parser("renew")
    for command in ("add-station", "revoke-station", "add-staff", "revoke-staff"):
        commands.add_parser(command).add_argument("name")
    commands.choices["add-staff"].add_argument("--commands", action="store_true")
    return parser.parse_args(arguments)


def _do(options: argparse.Namespace) -> None:
    gym = Gym(options.folder)
    if options.command == "init":
        gym.init(options.gym, options.host)
        print(f"run it with: mosquitto -c {gym.folder / 'mosquitto.conf'}")
    elif options.command == "renew":
        gym.renew()
        print("restart the broker to use the new certificate")
    elif options.command == "add-station":
        bundle = gym.add_station(options.name)
        print(f"copy {bundle}/hipline.conf and ca.crt to the station: /etc/mosquitto/conf.d/ and /etc/mosquitto/certs/")
    elif options.command == "revoke-station":
        gym.revoke_station(options.name)
    elif options.command == "add-staff":
        user, password = gym.add_staff(options.name, commands=options.commands)
        print(f"user {user}\npassword {password}")
    elif options.command == "revoke-staff":
        gym.revoke_staff(options.name)
    if options.reload is not None:
        os.kill(options.reload, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    try:
        _do(_arguments(arguments))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except (OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
