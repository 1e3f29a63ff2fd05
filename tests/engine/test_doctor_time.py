"""``station doctor`` ends in its time whatever hangs, names what did, and tells all the rest."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from station.doctor import LIMIT_S
from station.doctor.finding import Finding
from station.doctor.watch import Check, look, process_began_s

from .clips import make_video
from .test_replay import REPOSITORY, pose_models, station

__all__ = ["pose_models"]

#: A camera whose driver hangs in a call that does not let go of the interpreter: no thread of that process goes on.
HANGING_CAMERA = """
import ctypes

class MappedArray: pass

class Picamera2:
    @staticmethod
    def global_camera_info():
        return [{"Num": 0, "Id": "/base/i2c/imx708@1a", "Model": "imx708"}]
    def __init__(self, number):
        ctypes.PyDLL(None).sleep(600)
"""


def said(what: str) -> Iterator[Finding]:
    yield Finding(what, "ok", f"looked in process {os.getpid()}")


def hang(what: str) -> Iterator[Finding]:
    ctypes.PyDLL(None).sleep(600)  # holds the interpreter
    yield Finding(what, "ok", "never")


def die(what: str) -> Iterator[Finding]:
    os.kill(os.getpid(), signal.SIGKILL)
    yield Finding(what, "ok", "never")


def check(what: str, run: object = said, budget_s: float = 5.0) -> Check:
    assert callable(run)
    return Check(what, budget_s, lambda: run(what), f"mend {what}", "fail")


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_what_hangs_is_late_and_everything_else_tells() -> None:
    before, start_s = children(), time.monotonic()
    groups = [[check("a")], [check("b", hang, 0.5), check("c"), check("d")], [check("e", die)], [check("f")]]
    found = list(look(groups, time.monotonic()))
    assert [one.what for one in found] == ["a", "b", "c", "d", "e", "f"]
    assert [one.verdict for one in found] == ["ok", "fail", "ok", "ok", "fail", "ok"]
    assert found[1] == Finding("b", "fail", "did not answer within 0.5 s", "mend b")
    assert "ended without an answer" in found[4].seen
    assert found[2].seen == found[3].seen != found[0].seen  # one process for the rest of the group
    assert time.monotonic() - start_s < 3
    time.sleep(0.2)
    assert all(Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z" for pid in children() - before)


def test_a_later_check_uses_what_an_earlier_one_made() -> None:
    made: list[str] = []

    def make(what: str) -> Iterator[Finding]:
        made.append(what)
        yield from said(what)

    def use(what: str) -> Iterator[Finding]:
        yield Finding(what, "ok", " ".join(made))

    assert list(look([[check("a", make), check("b", use)]], time.monotonic()))[1].seen == "a"
    # one that hung made nothing
    assert not list(look([[check("a", hang, 0.2), check("b", use)]], time.monotonic()))[1].seen


def test_several_findings_and_a_fault_of_the_check_itself(capfd: pytest.CaptureFixture[str]) -> None:
    def two(what: str) -> Iterator[Finding]:
        os.write(1, b"a library that prints\n")
        yield from (Finding(what, "ok", ""), Finding("more", "warn", ""))

    def fault(what: str) -> Iterator[Finding]:
        raise ZeroDivisionError(what)

    found = list(look([[check("a", two)], [check("b", fault)]], time.monotonic()))
    assert [(one.what, one.verdict) for one in found] == [("a", "ok"), ("more", "warn"), ("b", "fail")]
    assert "ZeroDivisionError: b" in found[2].seen
    told = capfd.readouterr()
    assert not told.out
    assert "a library that prints" in told.err


def test_the_limit_holds_for_all_together() -> None:
    start_s = time.monotonic()
    groups = [[check("a", hang), check("b", hang), check("c")], [check("d")]]
    found = list(look(groups, start_s - LIMIT_S + 5.0))  # a second is left, four to leave
    assert time.monotonic() - start_s < 1.5
    assert [one.what for one in found] == ["a", "b", "c", "d"]
    assert [one.verdict for one in found if one.what != "c"] == ["fail", "fail", "ok"]  # c is as quick as it gets


def test_when_the_process_began() -> None:
    program = "import time; from station.doctor.watch import process_began_s as s; print(time.monotonic() - s())"
    start_s = time.monotonic()
    age_s = float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)
    assert 0.02 < age_s <= time.monotonic() - start_s + 0.02
    assert process_began_s() < start_s


@pytest.fixture
def mute_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def take() -> None:
            try:
                while True:
                    held.append(server.accept()[0])
            except OSError:
                pass

        threading.Thread(target=take, daemon=True).start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
        for one in held:
            one.close()


def report_of(*arguments: str) -> tuple[dict[str, dict[str, str]], float]:
    start_s = time.monotonic()
    done = station("doctor", "--json", *arguments)
    took_s = time.monotonic() - start_s
    report = json.loads(done.stdout)
    assert done.returncode == int(not report["ok"])
    assert report["took_s"] <= took_s + 0.05
    return {one["what"]: one for one in report["checks"]}, took_s


ALL = [
    "versions", "model", "camera", "broker", "page", "disk", "clock", "temperature", "throttling", "power", "verified",
    "update",
]  # fmt: skip


@pytest.mark.usefixtures("pose_models")
def test_a_broker_and_a_page_that_are_mute(mute_port: int, tmp_path: Path) -> None:
    video = make_video(tmp_path / "clip.mp4", frames=60, fps=60, size=(320, 180))
    mute = ("--set", "mqtt.host=127.0.0.1", "--set", f"mqtt.port={mute_port}", "--set", f"web.port={mute_port}")
    found, took_s = report_of("--set", f"camera.source={video}", *mute)
    assert took_s < LIMIT_S
    assert found["broker"]["verdict"] == "fail"
    assert "says nothing for 3 s" in found["broker"]["seen"]
    assert found["page"]["verdict"] == "warn"
    assert "timed out" in found["page"]["seen"]
    assert found["camera"]["verdict"] == "warn"  # seen, its mount is unknown
    assert "frames a second" in found["camera"]["seen"]


@pytest.mark.slow
@pytest.mark.usefixtures("pose_models")
def test_a_camera_whose_driver_hangs(tmp_path: Path, mute_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "picamera2.py").write_text(HANGING_CAMERA)
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from station.__main__ import main; sys.exit(main())"
    arguments = [
        "doctor", "--json", "--set", "camera.source=picamera2", "--set", "mqtt.host=127.0.0.1",
        "--set", f"mqtt.port={mute_port}", "--set", "mqtt.ca_file=/etc/ssl/certs/ca-certificates.crt",
    ]  # fmt: skip
    start_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), *arguments], cwd=REPOSITORY, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert time.monotonic() - start_s < LIMIT_S
    assert done.returncode == 1
    found = {one["what"]: one for one in json.loads(done.stdout)["checks"]}
    assert list(found) == ALL
    assert found["camera"]["verdict"] == "fail"
    assert found["camera"]["seen"].startswith("did not answer within 1")
    assert "pull it off" in found["camera"]["mend"]
    assert found["broker"]["verdict"] == "fail"  # no TLS there either
    assert found["model"]["verdict"] in ("ok", "warn")


@pytest.mark.slow
@pytest.mark.usefixtures("pose_models", "mosquitto_path")
def test_a_starved_machine() -> None:
    count = 10 * (os.cpu_count() or 1)
    spinners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        found, took_s = report_of()
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()
    late = [name for name, one in found.items() if "did not answer" in one["seen"]]
    print(f"\none of {count} processes on {os.cpu_count()} cores: {took_s:.1f} s, late: {', '.join(late) or 'nothing'}")
    assert took_s < LIMIT_S
    assert set(ALL) <= set(found)
