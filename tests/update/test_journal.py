"""The journal: replaced at once, told in the report, taken up by whoever comes next; and the order of syncs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from station.errors import UpdateError
from station.update import journal as journals
from station.update.journal import Journal, only_one
from station.update.layout import Layout
from station.update.switch import activate
from station.wire import schema, status_json
from tests.update.toy import REPOSITORY, Toy


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "hipline")
    layout.make()
    return layout


def complete(layout: Layout, version: str) -> None:
    folder = layout.release(version)
    folder.mkdir()
    (folder / "manifest.json").write_text('{"files": []}')


STEPS = [
    (Journal(), "idle"),
    (Journal("staging", "1.0.0", "1.1.0"), "idle"),
    (Journal("staged", "1.0.0", "1.1.0", reason="session 4f9c2b7e is on"), "staged"),
    (Journal("activating", "1.0.0", "1.1.0"), "staged"),
    (Journal("probation", "1.0.0", "1.1.0", boots=1), "probation"),
    (Journal("returning", "1.0.0", "1.1.0", reason="the page is no page"), "probation"),
    (Journal().giving_up("1.1.0", "crashes", "1.0.0"), "failed"),
    (Journal().refusing(None, "no address", "1.0.0"), "failed"),
]


@pytest.mark.parametrize(("journal", "said"), STEPS)
def test_what_was_written_is_read_again_and_told(layout: Layout, journal: Journal, said: str) -> None:
    import jsonschema

    journals.store(layout, journal)
    assert journals.load(layout) == journal
    report = json.loads(layout.report.read_text())
    assert report["state"] == said
    block = {key: report[key] for key in ("state", "from", "to", "reason")}
    jsonschema.validate(status_json("online", None, "1.0.0", block), schema("status"))


@pytest.mark.parametrize("text", ["", "{", "[]", '"idle"', '{"step": "dancing"}', '{"boots": "many"}', "\x00" * 80])
def test_a_journal_that_cannot_be_read_is_an_idle_one(layout: Layout, text: str) -> None:
    layout.journal.write_text(text)
    assert journals.load(layout) == Journal()


def test_a_journal_of_a_newer_release_can_be_read_after_a_rollback(layout: Layout) -> None:
    journals.store(layout, Journal("probation", "1.0.0", "1.1.0"))
    layout.journal.write_text(json.dumps({**json.loads(layout.journal.read_text()), "mood": "good"}))
    assert journals.load(layout) == Journal("probation", "1.0.0", "1.1.0")


def test_the_list_of_failures_does_not_grow_for_ever() -> None:
    journal = Journal()
    for number in range(50):
        journal = journal.giving_up(f"1.{number}.0", "crashes", "1.0.0")
    assert list(journal.failed)[-1] == "1.49.0"
    assert len(journal.failed) == 20


def test_one_changer_at_a_time(layout: Layout) -> None:
    with only_one(layout), pytest.raises(UpdateError, match="another update is under way"), only_one(layout):
        pytest.fail("two at once")
    with only_one(layout):
        pass


def test_an_incomplete_release_is_not_switched_to(layout: Layout) -> None:
    complete(layout, "1.0.0")
    activate(layout, "1.0.0")
    layout.release("1.1.0").mkdir()
    with pytest.raises(UpdateError, match=r"1\.1\.0: is not complete"):
        activate(layout, "1.1.0")
    assert layout.active() == "1.0.0"
    with pytest.raises(UpdateError, match="is no version"):
        activate(layout, "../../etc")


def test_a_stranger_in_the_place_of_the_link_is_no_release(layout: Layout) -> None:
    layout.current.symlink_to("/etc")
    assert layout.active() is None
    layout.current.unlink()
    layout.current.symlink_to("releases/../../etc")
    assert layout.active() is None


def test_a_previous_release_that_is_left_is_not_gone_back_to_again() -> None:
    journal = replace(Journal(previous="1.0.0"), failed={"0.9.0": "old"})
    assert journal.giving_up("1.0.0", "by hand", "0.8.0").previous is None


# --- in which order the disk is told ---------------------------------------------------------------------------------

_CALL = re.compile(r"^\d+ +(fsync|syncfs|rename|renameat|renameat2)\((.*)\) += 0$")


def traced(toy: Toy, manifest: Path, log: Path) -> list[tuple[str, str]]:
    """Run an update under strace until services start; its syncs and renames under the root, each with its path."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed: nothing here can watch system calls")
    command: list[str | Path] = [
        program,
        "-f",
        "-y",
        "-qq",
        "-e",
        "trace=fsync,syncfs,rename,renameat,renameat2",
        "-o",
        log,
    ]
    done = subprocess.run(
        [*command, sys.executable, "tests/update/drive.py", manifest], cwd=REPOSITORY,
        env={**toy.environment, "HIPLINE_FAILPOINT": "probation.begun"}, capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip
    if "ptrace" in done.stderr and "not permitted" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == -9, done.stderr
    calls = []
    for line in log.read_text(errors="replace").splitlines():
        if found := _CALL.match(line):
            name, words = found[1], found[2]
            path = re.findall(r"<([^>]*)>", words)[-1] if "sync" in name else re.findall(r'"([^"]*)"', words)[-1]
            if path.startswith(str(toy.layout.root)):
                calls.append(
                    ("sync" if "sync" in name else "rename", path.removeprefix(f"{toy.layout.root}").strip("/"))
                )
    return calls


def test_nothing_is_relied_on_before_it_is_on_the_disk(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    toy = make_toy()
    assert toy.update(toy.release("1.0.0")).returncode == 0
    calls = traced(toy, toy.release("1.1.0"), tmp_path / "strace.log")
    renames = [number for number, (call, path) in enumerate(calls) if call == "rename" and "/venv/" not in path]
    assert len(renames) >= 10
    for number in renames:
        path = Path(calls[number][1])
        folder = "" if str(path.parent) == "." else str(path.parent)
        if path.name != "current":  # a file: its bytes first, then its name
            assert ("sync", str(path.with_name(f".{path.name}.new"))) in calls[:number][-2:], path
        after = calls[number + 1 :]
        assert after
        assert after[0] == ("sync", folder), f"{path}: the next thing after its rename is {after[0]}"
    release, switch = "releases/1.1.0", calls.index(("rename", "current"))
    marked = calls.index(("rename", f"{release}/manifest.json"))
    assert calls.index(("sync", release)) < marked  # the whole of it, before anybody may take it for complete
    assert calls.index(("sync", "releases")) < marked < switch
    journal_before = [number for number in renames if calls[number][1] == "update/journal.json" and number < switch]
    assert len(journal_before) >= 3  # staging, staged, activating: each on the disk before the switch
