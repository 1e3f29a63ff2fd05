"""deploy/keys as people use it: one person, two persons, a key lost, the daily renewal."""

from __future__ import annotations

import json
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.ota import keyring, keys
from deploy.ota.command import PASSPHRASE
from deploy.ota.repository import DAYS, Repository
from station.update import fetch
from tests.update.publisher import Publisher, days_ago


def deploy_keys(*arguments: object) -> int:
    return keys.main([str(argument) for argument in arguments])


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """One person's keys in k, a repository in r."""
    assert deploy_keys("make", tmp_path / "k", "--name", "anna") == 0
    assert deploy_keys("start", tmp_path / "r", "--keys", tmp_path / "k") == 0
    return tmp_path


def test_private_keys_are_private_and_never_overwritten(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted((one / "k").glob("*.pem"))
    assert len(files) == 5
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    before = files[0].read_bytes()
    assert deploy_keys("make", one / "k", "--name", "anna") == 2
    assert "never overwritten" in capsys.readouterr().err
    assert files[0].read_bytes() == before
    assert all(b"PRIVATE" not in file.read_bytes() for file in (one / "k").glob("*.pub"))
    assert not any(b"PRIVATE" in file.read_bytes() for file in (one / "r").rglob("*.*") if file.is_file())


def test_a_passphrase_protects_the_key_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    assert deploy_keys("make", tmp_path / "k", "--name", "anna", "--passphrase") == 0
    assert b"ENCRYPTED" in (tmp_path / "k" / "root.anna.pem").read_bytes()
    monkeypatch.setenv(PASSPHRASE, "wrong")
    assert deploy_keys("start", tmp_path / "r", "--keys", tmp_path / "k") == 2
    assert "is the passphrase right?" in capsys.readouterr().err
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    assert deploy_keys("sign", tmp_path / "r", "--keys", tmp_path / "k") == 0
    assert deploy_keys("status", tmp_path / "r") == 0


def test_status_says_who_and_until_when(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert deploy_keys("status", one / "r") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == list(keyring.ROLES)
    assert all("1 of: anna (" in line for line in lines[:5])
    assert lines[5] == "a station that knows the first root: accepts all of this"


def test_status_warns_in_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publisher = Publisher(tmp_path, days_ago(DAYS["timestamp"] - 2))
    assert deploy_keys("status", publisher.place) == 1
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines() if "EXPIRES SOON" in line] == ["timestamp"]
    assert deploy_keys("refresh", publisher.place, "--keys", publisher.keys) == 0
    assert deploy_keys("status", publisher.place) == 0


def test_the_online_machine_needs_no_other_key(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    online = one / "online"
    online.mkdir()
    for role in ("snapshot", "timestamp"):
        (one / "k" / f"{role}.anna.pem").rename(online / f"{role}.anna.pem")
    before = Repository(one / "r").version("timestamp")
    assert deploy_keys("refresh", one / "r", "--keys", online) == 0
    assert Repository(one / "r").version("timestamp") == before + 1
    assert deploy_keys("refresh", one / "r", "--keys", one / "k") == 2
    assert "add --keys ONLINE-KEYS" in capsys.readouterr().err
    assert deploy_keys("status", one / "r") == 0


def test_two_persons_sign_together_and_replace_one_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("anna", "ben", "safe", "cleo"):
        assert deploy_keys("make", tmp_path / name, "--name", name, "--roles", "root", "targets") == 0
    assert deploy_keys("make", tmp_path / "s", "--name", "server", "--roles", "rollout", "snapshot", "timestamp") == 0
    repo, online = tmp_path / "r", ("--keys", tmp_path / "s")
    public = ("--public", tmp_path / "ben", "--public", tmp_path / "safe" / "root.safe.pub",
              "--public", tmp_path / "safe" / "targets.safe.pub")  # fmt: skip
    capsys.readouterr()
    assert deploy_keys("start", repo, "--threshold", "2", "--keys", tmp_path / "anna", *public, *online) == 0
    shown = capsys.readouterr().out
    assert "waiting: root 1 needs 1 more signature(s) of: " in shown
    assert "ben (" in shown
    assert deploy_keys("status", repo) == 1, "nothing is published with one signature"
    assert deploy_keys("sign", repo, "--keys", tmp_path / "ben", *online) == 0
    assert deploy_keys("status", repo) == 0

    # Ben leaves: Anna and the safe replace his keys by Cleo's.
    for role in ("root", "targets"):
        new = [word for name in ("anna", "safe", "cleo") for word in ("--new", tmp_path / name / f"{role}.{name}.pub")]
        assert deploy_keys("rotate", repo, role, *new, "--keys", tmp_path / "anna", *online) == 0
        assert deploy_keys("sign", repo, "--keys", tmp_path / "safe", *online) == 0
    capsys.readouterr()
    assert deploy_keys("status", repo) == 0
    shown = capsys.readouterr().out
    assert "ben" not in shown
    assert shown.count("cleo (") == 2
    assert "2 of: anna" in shown


def test_revoke_takes_one_key_by_name_or_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("anna", "ben"):
        assert deploy_keys("make", tmp_path / name, "--name", name) == 0
    both = ("--keys", tmp_path / "anna", "--keys", tmp_path / "ben")
    repo = tmp_path / "r"
    assert deploy_keys("start", repo, *both) == 0
    assert deploy_keys("revoke", repo, "rollout", "ben", "--keys", tmp_path / "anna") == 0
    keyid = json.loads((tmp_path / "ben" / "targets.ben.pub").read_text())["keyid"]
    assert deploy_keys("revoke", repo, "targets", keyid[:8], *both) == 0
    capsys.readouterr()
    assert deploy_keys("status", repo) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "ben" in lines["root"]
    assert "ben" not in lines["rollout"] + lines["targets"]
    assert deploy_keys("revoke", repo, "targets", "anna", *both) == 2
    assert "rotate to new keys instead" in capsys.readouterr().err
    assert deploy_keys("revoke", repo, "root", "nobody", *both) == 2
    assert "0 keys are called nobody" in capsys.readouterr().err


def test_renewed_in_time_a_station_notices_nothing(tmp_path: Path) -> None:
    """Three years of a publisher's life: root once a year, targets and rollout twice, the online roles weekly."""
    today = datetime.now(UTC).replace(microsecond=0)
    clock = [today - timedelta(days=3 * 365)]
    publisher = Publisher(tmp_path, lambda: clock[0])
    publisher.publish("1.0.0")
    signers = keyring.signers([publisher.keys])
    for week in range(3 * 52 + 1):
        clock[0] = min(today, clock[0] + timedelta(days=7))
        for role, weeks in (("root", 52), ("targets", 26), ("rollout", 20)):
            if week % weeks == weeks - 1:
                publisher.repository.renew(role)
                assert publisher.repository.complete(signers) == []
        publisher.repository.refresh(signers)
    available = fetch.check(publisher.settings(tmp_path / "station enrolled three years ago"))
    assert available is not None
    assert available.version == "1.0.0"


@pytest.mark.parametrize("name", ["keys", "release", "rollout", "push"])
def test_help_teaches(repository: Path, tmp_path: Path, name: str) -> None:
    done = subprocess.run(
        [repository / "deploy" / name, "--help"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert f"deploy/{name} " in done.stdout
    assert "Exit codes: 0 done, 1 " in done.stdout


def test_what_cannot_be_done_is_said_in_one_line(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, fault in [
        (("start", one / "r", "--keys", one / "k"), "is a repository already"),
        (("start", one / "x", "--keys", one / "nowhere"), "no such folder of keys"),
        (("start", one / "x", "--keys", one / "k", "--threshold", "2"), "root: 1 keys, 2 wanted"),
        (("status", one / "x"), "no update repository"),
        (("sign", one / "r", "--keys", one / "r"), ""),
        (("rotate", one / "r", "root", "--new", one / "r", "--keys", one / "k"), "holds no public key for root"),
        (("make", one / "k", "--name", "a b"), "a name of letters"),
    ]:
        capsys.readouterr()
        code = deploy_keys(*arguments)
        error = capsys.readouterr().err
        assert code == (2 if fault else 0)
        assert fault in error
        assert error.count("\n") == (1 if fault else 0)
