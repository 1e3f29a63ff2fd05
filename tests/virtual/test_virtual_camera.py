"""The real picamera2 on libcamera's virtual camera: the station's adapter from buffers to strides.

Proves how the adapter uses the interface: two streams, formats and strides read back, requests given back in time,
times that increase. Not the Pi's ISP, exposure or timing: the virtual camera has none.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from station.camera import BUNDLED_CLIP, frames
from station.camera.video import VideoFile

from . import rootfs

pytestmark = [pytest.mark.virtual, pytest.mark.timeout(1800)]

PYTHON = "/var/lib/hipline/current/venv/bin/python"
FRAMES = 600  # the whole clip, which has no seam
_CAMERA = """\
"Virtual0":
  supported_formats:
  - width: 1280
    height: 720
    frame_rates: [30, 60]
  - width: 320
    height: 180
    frame_rates: [30, 60]
  frames:
    path: "/frames"
  location: CameraLocationFront
  model: "Virtual"
"""


def _burn(picture: np.ndarray, number: int) -> np.ndarray:
    """Twelve squares on top: the number in binary, the lowest bit on the left."""
    side = picture.shape[1] // 40
    for bit in range(12):
        picture[:side, bit * side : (bit + 1) * side] = 255 if number >> bit & 1 else 0
    return picture


@pytest.fixture(scope="module")
def camera_root(installed: Path) -> Path:
    """The system with a virtual camera that plays the bundled clip, the number of each frame burnt in."""
    folder = installed / "frames"
    folder.mkdir()
    clip = VideoFile(BUNDLED_CLIP)
    for number, frame in enumerate(itertools.islice(frames(clip), FRAMES)):
        picture = _burn(np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_YUV2BGR_I420)), number)
        cv2.imwrite(str(folder / f"{number}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    clip.close()
    settings = installed / "usr/share/libcamera/pipeline/virtual/virtual.yaml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(_CAMERA)
    (installed / "root/on_virtual.py").write_text((rootfs.HERE / "on_virtual.py").read_text())
    return installed


def _command(*words: str) -> tuple[list[str], dict[str, str]]:
    environment = {"LD_PRELOAD": "/usr/local/lib/udmabuf_shim.so", "LIBCAMERA_LOG_LEVELS": "*:ERROR"}
    return [PYTHON, "/root/on_virtual.py", *words], environment


def test_two_streams_of_the_right_frames_in_order(camera_root: Path) -> None:
    words, environment = _command("read", "90")
    done = rootfs.in_root(camera_root, *words, env=environment, timeout_s=300)
    about, *seen = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert about["size"] == [1280, 720]
    assert "Virtual" in about["name"]
    assert [one["index"] for one in seen] == list(range(90))
    times = [one["t"] for one in seen]
    assert all(later > earlier for earlier, later in itertools.pairwise(times))
    numbers = [one["burnt"] for one in seen]
    steps = [(later - earlier) % FRAMES for earlier, later in itertools.pairwise(numbers)]
    assert all(
        0 <= step < 30 for step in steps
    )  # forward; the virtual camera shows some twice, a busy machine skips some
    assert len(set(numbers)) > 60
    assert all(one["small"] == one["burnt"] for one in seen)  # the small twin is the same picture
    assert all(120 < u < 135 and 120 < v < 135 for u, v in (one["chroma"] for one in seen))  # a grey hall


def test_from_the_camera_to_strides(camera_root: Path) -> None:
    words, environment = _command("strides", "400")
    environment["HIPLINE_MODELS"] = "/var/lib/hipline/current/models"
    done = rootfs.in_root(camera_root, *words, env=environment, timeout_s=1200)
    strides = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    sound = [stride for stride in strides if stride["status"] == "ok"]
    cadence = [stride["metrics"]["cadence_spm"]["value"] for stride in sound]
    known = [value for value in cadence if value is not None]
    print(f"\n{len(strides)} strides, {len(sound)} ok, cadence {known[-1] if known else None} (true 168.0)")
    assert len(sound) >= 8
    assert abs(known[-1] - 168.0) < 1.5


def test_the_camera_contract_on_the_real_library(camera_root: Path) -> None:
    """The suite that every camera passes, one process a test: the virtual pipeline starts once in a process."""
    source = camera_root / "usr/src/hipline/tests"
    if not source.exists():
        _put_tests(source)
    names = [
        "test_is_a_camera_and_says_what_it_is",
        "test_frames_have_the_size_and_layout_they_claim",
        "test_the_small_twin_is_the_same_picture",
        "test_times_increase_and_indices_count_from_zero",
        "test_the_view_is_known_at_once_and_stays",
        "test_a_frame_in_hand_is_not_overwritten_by_the_next",
        "test_after_close_there_is_nothing_and_closing_again_is_harmless",
    ]
    for name in names:
        at = f"/usr/src/hipline/tests/engine/test_camera_contract.py::{name}[picamera2]"
        words, environment = _command(
            "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib", "--rootdir",
            "/usr/src/hipline", at,
        )  # fmt: skip
        environment["PYTHONPATH"] = "/usr/src/hipline:/usr/src/pytest"
        done = rootfs.in_root(camera_root, *words, env=environment, timeout_s=180, check=False)
        assert "1 passed" in done.stdout, f"{name}: {done.stdout[-3000:]}{done.stderr[-2000:]}"


def _put_tests(target: Path) -> None:
    """The suite and pytest itself (plain Python, so this environment's copy serves)."""
    import shutil

    import _pytest
    import iniconfig
    import packaging
    import pluggy
    import pygments  # type: ignore[import-untyped]  # copied, not used

    (target / "engine").mkdir(parents=True)
    for name in ("conftest.py", "broker_fixture.py"):
        shutil.copy(rootfs.REPOSITORY / "tests" / name, target / name)
    for name in ("test_camera_contract.py", "clips.py", "fake_camera.py", "fake_picamera.py"):
        shutil.copy(rootfs.REPOSITORY / "tests" / "engine" / name, target / "engine" / name)
    library = target.parent.parent / "pytest"
    for package in (_pytest, pytest, packaging, pluggy, iniconfig, pygments):
        folder = Path(package.__file__ or "").parent
        shutil.copytree(folder, library / folder.name)
    shutil.copy(Path(_pytest.__file__ or "").parent.parent / "py.py", library)
