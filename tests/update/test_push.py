"""deploy/push: the slice of a repository reaches a station by ssh or stick, and is taken like any other source."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.ota import push
from station.update import fetch
from tests.update.publisher import Publisher, files_of, manifest_of

#: Instead of ssh: runs the command here, as ssh would there, and writes down what it was asked.
SSH = """\
#!/bin/sh
host=$1; shift
echo "$host $*" >> {log}
[ "$host" != gone ] || {{ echo "ssh: connect to host gone: No route to host" >&2; exit 255; }}
HOST=$host exec sh -c "$*"
"""
#: Instead of the station's update command, which has tests of its own: does what it does first.
STATION = """\
#!{python}
import os, sys, pathlib
sys.path.insert(0, {repository!r})
arguments = dict(zip(sys.argv[3::2], sys.argv[4::2]))
root = pathlib.Path(os.environ["HIPLINE_ROOT"])
if os.environ["HOST"] == "sick":
    print("station: release 1.4.0: left for 1.3.0: service not ready", file=sys.stderr)
    sys.exit(1)
from station.update import fetch
me = ("north/tm-09", 0, "linux-x86_64", "3.11")
settings = fetch.Settings(arguments["--source"], root / "update", pathlib.Path({root_file!r}), *me)
available = fetch.check(settings, arguments["--version"])
manifest = fetch.download(available, root / "update" / "blobs", print)
print("installed", manifest.version)
"""


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    """A release for a PC and for a Pi; the rings mean it for nobody."""
    publisher = Publisher(tmp_path / "publisher")
    publisher.release("1.4.0", files_of("1.4.0", size=300_000))
    pi = {**files_of("1.4.0"), "models/only-pi.tflite": b"pi"}
    publisher.sign(manifest_of("1.4.0", pi, platform="linux-aarch64"), pi, "pi")
    publisher.roll_out("1.4.0", percent=0, canary=("south/tm-01",))
    return publisher


@pytest.fixture
def host(publisher: Publisher, repository: Path, tmp_path: Path) -> Path:
    """The root of a station that can be reached."""
    root = tmp_path / "station root"
    programs = root / "current" / "venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(repository / ".venv" / "bin" / "python")
    station = STATION.format(
        python=repository / ".venv" / "bin" / "python", repository=str(repository), root_file=str(publisher.root_file)
    )
    for place, text in ((programs / "station", station), (tmp_path / "ssh", SSH.format(log=tmp_path / "ssh.log"))):
        place.write_text(text, encoding="utf-8")
        place.chmod(0o755)
    return root


def deploy_push(publisher: Publisher, tmp_path: Path, host: Path, *more: str) -> int:
    return push.main(
        [str(publisher.place), "1.4.0", "--ssh", str(tmp_path / "ssh"), "--station-root", str(host), *more]
    )


def only_here() -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the release of this test is for x86-64; it runs on such a machine only")


def test_a_station_is_brought_a_release_the_rings_do_not_mean_for_it(
    publisher: Publisher, host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only_here()
    assert deploy_push(publisher, tmp_path, host, "tm-09") == 0
    out = capsys.readouterr().out
    assert "tm-09: linux-x86_64-py3.11, 1.5 MB to send" in out
    assert "tm-09: installed 1.4.0" in out
    assert len(list((host / "update" / "blobs").iterdir())) == 7
    assert not (host / "update" / "pushed").exists()


def test_what_the_station_has_is_not_sent_again(
    publisher: Publisher, host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only_here()
    assert deploy_push(publisher, tmp_path, host, "tm-09") == 0
    capsys.readouterr()
    assert deploy_push(publisher, tmp_path, host, "tm-09") == 0
    assert "0.0 MB to send" in capsys.readouterr().out


def test_the_first_station_that_does_not_take_it_ends_it(
    publisher: Publisher, host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only_here()
    assert deploy_push(publisher, tmp_path, host, "sick", "tm-09") == 1
    assert "sick: did not take release 1.4.0: station: release 1.4.0: left for 1.3.0" in capsys.readouterr().out
    assert "tm-09" not in (tmp_path / "ssh.log").read_text()
    assert deploy_push(publisher, tmp_path, host, "gone", "tm-09", "--all") == 1
    out = capsys.readouterr().out
    assert "gone: cannot be asked what it is: ssh: connect to host gone: No route to host" in out
    assert "tm-09: installed 1.4.0" in out


def test_a_host_without_a_station_is_named(
    publisher: Publisher, host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy_push(publisher, tmp_path, tmp_path / "elsewhere", "tm-09") == 1
    assert "is a station installed there?" in capsys.readouterr().out


def test_a_slice_has_one_targets_files_and_no_others(publisher: Publisher) -> None:
    repository = publisher.repository
    everything = {str(path) for path in push.slice_of(repository, "1.4.0")}
    pi = {str(path) for path in push.slice_of(repository, "1.4.0", "linux-aarch64-py3.11")}
    assert pi < everything
    assert sum("release/1.4.0/" in path for path in pi) == 1
    assert all((repository.folder / path).is_file() for path in everything)


def test_a_stick_serves_a_station(publisher: Publisher, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    assert push.main([str(publisher.place), "1.4.0", "--stick", str(stick)]) == 0
    settings = publisher.settings(tmp_path / "state", str(stick), platform="linux-aarch64", station="south/tm-01")
    available = fetch.check(settings)
    assert available is not None
    manifest = fetch.download(available, tmp_path / "blobs", lambda _: None)
    assert any(file.path == "models/only-pi.tflite" for file in manifest.files)


def test_bad_input_is_said(publisher: Publisher, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([str(publisher.place), "1.4.0"], [str(publisher.place), "1.4.0", "tm-09", "--stick", "x"]):
        assert push.main(arguments) == 2
    assert push.main([str(publisher.place), "1.5.0", "--stick", str(tmp_path / "s")]) == 2
    assert "has no signed build of it" in capsys.readouterr().err
    assert push.main([str(tmp_path / "nowhere"), "1.5.0", "--stick", str(tmp_path / "s")]) == 1
