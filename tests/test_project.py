"""The project around the code: locks that cover what is declared, scripts that parse, links that lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = ("run", "dev", "lab")
SCRIPTS = ("deploy/setup", "deploy/lock", ".ci/run")


def locked(text: str) -> dict[str, list[str]]:
    """Name → versions of a lock file, which must hold nothing but exact versions with their hashes."""
    text = text.replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r"([a-z0-9-]+)==([^ ;]+)( ; [^-]*?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", line)
        assert match, f"not an exact version with hashes: {line[:100]}"
        found.setdefault(match[1], []).append(match[2])
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_hashed_versions_and_no_address(repository: Path, name: str) -> None:
    text = (repository / "locks" / f"{name}.txt").read_text(encoding="utf-8")
    assert len(locked(text)) > 20
    assert "://" not in text


@pytest.mark.parametrize(
    "line",
    ["numpy>=2 --hash=sha256:" + "0" * 64, "numpy==2.0", "--index-url x", "x @ file:y --hash=sha256:" + "0" * 64],
)
def test_a_loose_line_in_a_lock_is_noticed(line: str) -> None:
    with pytest.raises(AssertionError, match="not an exact version"):
        locked(line)


@pytest.mark.parametrize(("name", "extras"), [("run", ["plot", "picamera"]), ("dev", ["plot", "picamera", "dev"])])
def test_a_lock_covers_what_is_declared(repository: Path, name: str, extras: list[str]) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [
        *project["dependencies"],
        *(line for extra in extras for line in project["optional-dependencies"][extra]),
    ]
    have = locked((repository / "locks" / f"{name}.txt").read_text(encoding="utf-8"))
    for line in declared:
        wanted = Requirement(line)
        versions = have.get(canonicalize_name(wanted.name), [])
        assert versions, f"locks/{name}.txt lacks {wanted.name}: run `make lock`"
        assert all(wanted.specifier.contains(version, prereleases=True) for version in versions), line


def test_the_locks_agree(repository: Path) -> None:
    run, dev = (locked((repository / "locks" / f"{name}.txt").read_text(encoding="utf-8")) for name in ("run", "dev"))
    assert {name: dev.get(name) for name in run} == run


def test_this_environment_is_the_locked_one(repository: Path) -> None:
    """Numbers are only worth what the versions they were measured with are."""
    if "CI" not in os.environ:
        pytest.skip("only CI is sure to have been made by `make setup-test`")
    from importlib.metadata import version

    lines = (repository / "locks" / "dev.txt").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    for line in lines:
        if "==" not in line:
            continue
        wanted = Requirement(line.split(" --hash")[0])
        if wanted.marker is None or wanted.marker.evaluate():
            assert wanted.specifier.contains(version(wanted.name), prereleases=True), line


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse_and_can_be_run(repository: Path, script: str) -> None:
    subprocess.run(["bash", "-n", script], cwd=repository, check=True)
    assert os.access(repository / script, os.X_OK)


def test_make_without_a_target_teaches(repository: Path, tmp_path: Path) -> None:
    done = subprocess.run(["make", "-C", repository], cwd=tmp_path, check=True, capture_output=True, text=True)
    for target in ("run", "test", "setup", "lint"):
        assert f"make {target} " in done.stdout


def test_links_in_the_documents_lead_somewhere(repository: Path) -> None:
    documents = [*repository.glob("*.md"), *(repository / "docs").rglob("*.md")]
    links = [
        (document, link)
        for document in documents
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8"))
        if "://" not in link
    ]
    assert len(links) > 5
    broken = [
        f"{document.relative_to(repository)}: {link}"
        for document, link in links
        if not (document.parent / link).exists()
    ]
    assert not broken, "\n".join(broken)


def test_every_decision_is_listed_and_numbered_once(repository: Path) -> None:
    folder = repository / "docs" / "decisions"
    listed = re.findall(r"\]\((\d{4}-[^)]+)\)", (folder / "README.md").read_text(encoding="utf-8"))
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [int(name[:4]) for name in listed] == list(range(1, len(listed) + 1))
