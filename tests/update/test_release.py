"""deploy/release on a small project of its own: from a tag, the same bytes again, nothing missing, signed once."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from deploy.ota import bundle, keyring, release, wheelhouse
from deploy.ota.repository import Repository
from deploy.ota.wheelhouse import TARGETS, Target
from station.errors import UpdateError
from station.update import fetch
from tests.update.publisher import Publisher
from tests.update.server import serving

PI = Target("linux-aarch64", "3.11")
PC = Target("linux-x86_64", "3.13")
PYPROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "hipline-station"
version = "{version}"
dependencies = ["alpha>=1", "beta>=1; platform_machine == 'aarch64'"]
[project.optional-dependencies]
update = ["gamma"]
lab = ["torch"]
[tool.setuptools]
packages = ["station"]
[tool.hipline.release]
minimum-previous = "1.0.0"
extras = ["update"]
models = []
units = ["systemd/*.service", "systemd/**/*.d/*", "systemd/*.timer"]
scripts = ["deploy/rollback"]
"""


def make_wheel(folder: Path, name: str, tag: str = "py3-none-any", requires: str = "") -> Path:
    """A wheel of one module."""
    version = "1.0"
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + (
        f"Requires-Dist: {requires}\n" if requires else ""
    )
    files = {
        f"{name}.py": f"tag = {tag!r}\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    folder.mkdir(exist_ok=True)
    wheel = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)  # always the same moment
    return wheel


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


class Project:
    """A git repository with one tag, and a folder of the wheels it needs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.wheels = folder / "project", folder / "wheels"
        wheels = {
            "alpha": [make_wheel(self.wheels, "alpha")],
            "beta": [
                make_wheel(self.wheels, "beta", tag)
                for tag in ("cp311-cp311-manylinux_2_28_aarch64", "cp313-cp313-manylinux_2_39_aarch64")
            ],
            "gamma": [
                make_wheel(self.wheels, "gamma", tag, "alpha")
                for tag in ("cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64", "cp39-abi3-manylinux_2_28_aarch64")
            ],
            "wheel": [],
        }
        lines = []
        for name, files in wheels.items():
            marker = " ; platform_machine == 'aarch64'" if name == "beta" else ""
            hashes = [bundle.sha256_of(file) for file in files] or ["0" * 64]
            lines.append(" \\\n    ".join([f"{name}==1.0{marker}", *(f"--hash=sha256:{one}" for one in hashes)]))
        self.lock = "# a comment\n" + "\n".join(lines) + "\n"
        for path, text in {
            "pyproject.toml": PYPROJECT.format(version="1.4.0"),
            "station/__init__.py": "", "station/gait.py": "cadence_spm = 170\n",
            "systemd/station.service": "[Unit]\n", "systemd/a.timer": "[Timer]\n", "systemd/b/c.d/x": "y",
            "systemd/not-for-stations": "", "deploy/rollback": "#!/bin/sh\n", "locks/run.txt": self.lock,
        }.items():  # fmt: skip
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text, encoding="utf-8")
        self.git("init", "-q")
        self.commit("v1.4.0")

    def git(self, *arguments: str) -> None:
        who = {f"GIT_{role}_{what}": "x@y" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        subprocess.run(
            ["git", "-C", self.folder, *arguments], check=True, env={**os.environ, **who}, capture_output=True
        )

    def commit(self, tag: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "x")
        self.git("tag", tag)

    def build(self, out: Path, tag: str = "v1.4.0", *targets: Target) -> Path:
        source = bundle.unpack(self.folder, tag, out.with_name(f"{out.name}-source"))
        bundle.build(source, out, targets or (PI,), lambda _: None, self.wheels)
        return out


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build for both targets, only to be looked at; the project's commit is another one (another second)."""
    folder = tmp_path_factory.mktemp("built")
    return Project(folder).build(folder / "out", "v1.4.0", PI, PC)


def test_a_release_has_what_each_target_needs(built: Path) -> None:
    manifests = bundle.load(built)
    pi, pc = manifests["linux-aarch64-py3.11"], manifests["linux-x86_64-py3.13"]
    assert [file.path for file in pi.files] == [
        "scripts/rollback", "systemd/a.timer", "systemd/b/c.d/x", "systemd/station.service",
        "wheels/alpha-1.0-py3-none-any.whl",
        "wheels/beta-1.0-cp311-cp311-manylinux_2_28_aarch64.whl",
        "wheels/gamma-1.0-cp39-abi3-manylinux_2_28_aarch64.whl", "wheels/hipline_station-1.4.0-py3-none-any.whl",
    ]  # fmt: skip
    assert [file.path for file in pc.of_kind("wheel")] == [
        "wheels/alpha-1.0-py3-none-any.whl",
        "wheels/gamma-1.0-cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "wheels/hipline_station-1.4.0-py3-none-any.whl",
    ]
    assert (pi.version, pi.sequence, pi.minimum_previous) == ("1.4.0", 1_004_000, 1_000_000)
    assert pi.installed_size > 30_000_000


def test_the_same_commit_gives_the_same_bytes(project: Project, tmp_path: Path) -> None:
    """Elsewhere, later, under another umask, with rubbish in the working tree and newer files on disk."""
    project.build(tmp_path / "one")
    (project.folder / "station" / "gait.py").write_text("broken(", encoding="utf-8")
    (project.folder / "station" / "left_over.py").write_text("1", encoding="utf-8")
    before = os.umask(0o077)
    try:
        project.build(tmp_path / "elsewhere")
    finally:
        os.umask(before)
    assert bundle.differences(tmp_path / "one", tmp_path / "elsewhere") == []
    names = [sorted(path.name for path in (tmp_path / out).rglob("*")) for out in ("one", "elsewhere")]
    assert names[0] == names[1]
    for name in ("linux-aarch64-py3.11.json", "built-with.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "elsewhere" / name).read_bytes()


def test_what_differs_is_named(project: Project, built: Path, tmp_path: Path) -> None:
    (project.folder / "station" / "gait.py").write_text("cadence_spm = 171\n", encoding="utf-8")
    (project.folder / "pyproject.toml").write_text(PYPROJECT.format(version="1.4.1"), encoding="utf-8")
    (project.folder / "systemd" / "new.timer").write_text("[Timer]\n", encoding="utf-8")
    project.commit("v1.4.1")
    project.build(tmp_path / "other", "v1.4.1", PI, PC)
    lines = bundle.differences(built, tmp_path / "other")
    text = "\n".join(lines)
    assert "linux-aarch64-py3.11/systemd/new.timer: only in" in text
    assert "linux-aarch64-py3.11/wheels/hipline_station-1.4.0-py3-none-any.whl: only in" in text
    assert any(line.startswith("built with commit") for line in lines)
    assert not any("alpha" in line for line in lines)


def test_a_tag_that_is_not_the_version_is_refused(project: Project, tmp_path: Path) -> None:
    project.git("tag", "v1.5.0")
    with pytest.raises(UpdateError, match=r"v1\.5\.0: its pyproject\.toml says version 1\.4\.0"):
        project.build(tmp_path / "out", "v1.5.0")
    with pytest.raises(UpdateError, match=r"v9\.9\.9: no such tag"):
        project.build(tmp_path / "out", "v9.9.9")
    with pytest.raises(UpdateError, match="HEAD: no such tag"):
        project.build(tmp_path / "out", "HEAD")


def test_a_wheel_with_another_hash_is_refused(project: Project, tmp_path: Path) -> None:
    make_wheel(project.wheels, "alpha", requires="evil")
    with pytest.raises(UpdateError, match=r"pip download failed: ERROR: .*HASHES"):
        project.build(tmp_path / "out")


def test_a_requirement_that_nothing_meets_is_found_here_and_not_on_the_station(tmp_path: Path) -> None:
    alone = make_wheel(tmp_path, "gamma", requires="alpha>=2")
    old = make_wheel(tmp_path, "alpha")
    with pytest.raises(UpdateError, match=r"gamma-1\.0-.* wants alpha>=2, the locks give none; run make lock"):
        wheelhouse.check_closed([alone], [], "hipline-station", PI)
    with pytest.raises(UpdateError, match=r"wants alpha>=2, the locks give 1\.0"):
        wheelhouse.check_closed([alone, old], [], "hipline-station", PI)
    marked = make_wheel(tmp_path, "delta", requires="alpha>=2; python_version >= '3.13' or extra == 'x'")
    wheelhouse.check_closed([marked, old], [], "hipline-station", PI)
    with pytest.raises(UpdateError, match="wants alpha"):
        wheelhouse.check_closed([marked, old], [], "hipline-station", PC)


def test_the_real_locks_are_whole_for_every_target(repository: Path) -> None:
    """Each target has one version of what the station imports, and nothing of what only builds it."""
    lock = (repository / "locks" / "run.txt").read_text(encoding="utf-8")
    for target in TARGETS:
        names = {line.split("==")[0] for line in wheelhouse.wanted(lock, target)}
        assert {"numpy", "ai-edge-litert", "flask", "paho-mqtt", "tuf", "cryptography"} <= names
        assert not {"setuptools", "wheel"} & names
        assert ("simplejpeg" in names) == (target.machine == "aarch64")


def test_a_build_is_signed_once_and_reaches_a_station(built: Path, tmp_path: Path) -> None:
    publisher = Publisher(tmp_path / "publisher")
    release.sign(publisher.repository, built, [publisher.keys])
    version = publisher.repository.version("targets")
    release.sign(publisher.repository, built, [publisher.keys])
    assert publisher.repository.version("targets") == version, "what is signed is not signed again"
    publisher.roll_out("1.4.0")
    settings = publisher.settings(tmp_path / "state", platform="linux-aarch64")
    available = fetch.check(settings)
    assert available is not None
    manifest = fetch.download(available, tmp_path / "state" / "blobs", lambda _: None)
    assert {file.sha256 for file in manifest.files} == {path.name for path in (tmp_path / "state" / "blobs").iterdir()}


def test_a_build_that_was_damaged_is_not_signed(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "out")
    blob = sorted((tmp_path / "out" / "blobs").iterdir())[0]
    blob.write_bytes(b"changed")
    with pytest.raises(UpdateError, match="build the release again"):
        bundle.load(tmp_path / "out")


def test_the_command_builds_compares_and_signs(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    publisher = Publisher(tmp_path / "publisher")
    common = ["v1.4.0", "--source", "project", "--wheels", "wheels", "--target", str(PC)]
    out = "out"
    assert release.main([*common, "--out", out, "--sign", str(publisher.keys), "--repo", str(publisher.place)]) == 0
    assert release.main([*common, "--compare", out, "--check", str(publisher.place)]) == 0
    assert "the same, to the byte" in capsys.readouterr().out
    assert release.main(["v1.4.0", "--sign", out]) == 2
    assert "--sign and --repo belong together" in capsys.readouterr().err
    assert release.main([]) == 2
    assert "give the tag to build, or a release to --forget" in capsys.readouterr().err
    assert release.main(["v7.7.7", "--source", str(project.folder), "--out", out]) == 2


def test_the_second_person_sees_a_release_that_was_tampered_with(built: Path, tmp_path: Path) -> None:
    """Two must sign: the other one builds the tag on a machine of their own and compares before signing."""
    keys = tmp_path / "keys"
    for name in ("anna", "ben"):
        keyring.make(keys / name, ("root", "targets"), name)
    keyring.make(keys / "server", ("rollout", "snapshot", "timestamp"), "server")
    places = [keys / name for name in ("anna", "ben", "server")]
    repository = Repository(tmp_path / "repository")
    repository.start({role: keyring.public_keys(places, role) for role in keyring.ROLES}, 2)
    assert repository.complete(keyring.signers(places)) == []
    evil = tmp_path / "evil"
    shutil.copytree(built, evil)
    manifest = evil / "linux-aarch64-py3.11.json"
    wrong = b'{"backdoor": true}'
    (evil / "blobs" / hashlib.sha256(wrong).hexdigest()).write_bytes(wrong)
    rollback = hashlib.sha256(b"#!/bin/sh\n").hexdigest().encode()
    text = manifest.read_bytes().replace(rollback, hashlib.sha256(wrong).hexdigest().encode())
    manifest.write_bytes(text.replace(b'"size":10}', b'"size":%d}' % len(wrong)))
    release.sign(repository, evil, [keys / "anna", keys / "server"])
    assert repository.draft("targets") is not None, "waits for Ben"
    assert release.unlike_proposed(repository, built) == [
        f"release/1.4.0/linux-aarch64-py3.11.json: is another one in {repository.folder}"
    ]
    repository.discard()
    release.sign(repository, built, [keys / "anna", keys / "server"])
    assert release.unlike_proposed(repository, built) == []
    assert repository.complete(keyring.signers([keys / "ben", keys / "server"])) == []
    assert "release/1.4.0/linux-aarch64-py3.11.json" in repository.targets.targets


@pytest.mark.slow
def test_a_release_of_this_project_for_every_target(repository: Path, tmp_path: Path) -> None:
    """The real thing, from the locks and with the models. Needs a package index.

    Built twice it is the same to the byte; the release after it, with one line changed, costs a station of every kind
    less than a twentieth of a release.
    """
    clone, publisher = tmp_path / "clone", Publisher(tmp_path / "publisher")
    subprocess.run(["git", "clone", "-q", "--shared", repository, clone], check=True)

    def build(version: str, *more: str) -> int:
        text = (clone / "pyproject.toml").read_text(encoding="utf-8")
        (clone / "pyproject.toml").write_text(re.sub('(?m)^version = ".*"$', f'version = "{version}"', text))
        who = ("-c", "user.name=x", "-c", "user.email=x@y")
        subprocess.run(["git", "-C", clone, *who, "commit", "-qam", version], check=False)
        subprocess.run(["git", "-C", clone, "tag", "--force", f"v{version}"], check=True)
        return release.main([f"v{version}", "--source", str(clone), "--out", str(tmp_path / version), *more])

    sign = ["--sign", str(publisher.keys), "--repo", str(publisher.place)]
    assert build("90.0.0", *sign) == 0
    manifests = bundle.load(tmp_path / "90.0.0")
    assert set(manifests) == {str(target) for target in TARGETS}
    for manifest in manifests.values():
        assert 100e6 < manifest.download_size < 300e6
        assert {path.path for path in manifest.of_kind("model")} >= {"models/pose_lite_192_int8.tflite"}
        assert {path.path for path in manifest.of_kind("unit")} >= {"systemd/station.service"}
    assert release.main(["v90.0.0", "--source", str(clone), "--compare", str(tmp_path / "90.0.0")]) == 0
    assert build("90.0.1", *sign) == 0
    with serving(publisher.place) as server:
        for target in TARGETS:
            state = tmp_path / f"station-{target}"
            sent = []
            for version, sequence in (("90.0.0", 0), ("90.0.1", 90_000_000)):
                server.sent.clear()
                publisher.roll_out(version)
                settings = publisher.settings(
                    state, server.url, platform=target.platform, python=target.python, sequence=sequence
                )
                available = fetch.check(settings)
                assert available is not None
                fetch.download(available, state / "blobs", lambda _: None)
                sent.append(server.bytes_sent)
            print(f"{target}: {sent[0] / 1e6:.1f} MB, then {sent[1] / 1e6:.2f} MB ({sent[1] / sent[0]:.1%})")
            assert sent[1] < 0.05 * sent[0]
