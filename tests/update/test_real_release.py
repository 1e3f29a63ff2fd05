"""The real thing: this source as a release, its real wheels, models, engine and page; installed, updated, judged."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.ota import bundle
from deploy.ota.wheelhouse import Target
from station.camera import BUNDLED_CLIP
from station.update import manifest as manifests
from station.update.manifest import this_platform, this_python
from tests.update.toy import UNITS, Toy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def releases(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Version → folder of two releases of this commit, for this machine. Needs a package index."""
    folder = tmp_path_factory.mktemp("releases")
    clone, wheels = folder / "clone", folder / "wheels"
    subprocess.run(["git", "clone", "-q", "--shared", repository, clone], check=True)
    target, built = Target(this_platform(), this_python()), {}
    wheels.mkdir()
    for version in ("90.0.0", "90.1.0"):
        text = (clone / "pyproject.toml").read_text(encoding="utf-8")
        (clone / "pyproject.toml").write_text(re.sub('(?m)^version = ".*"$', f'version = "{version}"', text))
        who = ("-c", "user.name=x", "-c", "user.email=x@y")
        subprocess.run(["git", "-C", clone, *who, "commit", "-qam", version], check=True)
        subprocess.run(["git", "-C", clone, "tag", f"v{version}"], check=True)
        source = bundle.unpack(clone, f"v{version}", folder / f"source-{version}")
        known = wheels if any(wheels.iterdir()) else None
        manifest = bundle.build(source, folder / version, [target], print, known)[target]
        for file in manifest.of_kind("wheel"):
            shutil.copyfile(folder / version / "blobs" / file.sha256, wheels / Path(file.path).name)
        built[version] = folder / version
    return built


def arrive(toy: Toy, release: Path) -> Path:
    """The files of a release among the blobs, as a download leaves them; the file of its manifest."""
    for blob in (release / "blobs").iterdir():
        if not (toy.layout.blobs / blob.name).exists():
            shutil.copyfile(blob, toy.layout.blobs / blob.name)
    return next(release.glob("linux-*.json"))


def test_this_source_installs_offline_passes_its_self_test_serves_and_updates(
    make_toy: Callable[..., Toy], releases: dict[str, Path]
) -> None:
    toy = make_toy(limits={"within_s": 900.0, "hold_s": 5.0})
    config = Path(toy.environment["TOY_CONFIG"])
    camera = f"[camera]\nsource = {json.dumps(str(BUNDLED_CLIP))}\n"
    config.write_text(f'{config.read_text()}{camera}[session]\nstart = "tap"\n')  # the clip's runner waits for nobody
    state = toy.folder / "conf"
    state.mkdir()
    (state / "station.toml").write_text(config.read_text())
    toy.environment |= {"CONFIGURATION_DIRECTORY": str(state), "PIP_INDEX_URL": "http://127.0.0.1:9/"}
    toy.environment.pop("PYTHONPATH")  # the release has all it needs in itself
    for version in ("90.0.0", "90.1.0"):
        done = toy.update(arrive(toy, releases[version]))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "committed" in done.stdout
        assert toy.layout.active() == version
    for unit in UNITS:
        assert "ActiveState=active" in toy.systemctl("show", unit)
    spoilt = manifests.read(next(releases["90.1.0"].glob("linux-*.json")).read_bytes())
    model = toy.layout.release("90.1.0") / next(f.path for f in spoilt.of_kind("model") if "pose_lite" in f.path)
    other = model.with_name(next(Path(f.path).name for f in spoilt.of_kind("model") if "detector" in f.path))
    model.unlink()
    shutil.copyfile(other, model)
    station = toy.layout.release("90.1.0") / "venv/bin/station"
    environment = {**toy.environment, "HIPLINE_MODELS": str(model.parent)}
    refused = subprocess.run(
        [station, "update", "self-test"], env=environment, capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert model.name in refused.stderr
