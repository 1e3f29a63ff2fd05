"""Configuration: what a technician writes, and the one line that comes back when it is wrong."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from station.config import TABLES, Config, load, state_dir
from station.errors import ConfigError
from station.types import Mount


def _file(folder: Path, text: str, name: str = "station.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _refused(path: Path | None, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_nothing_configured_is_a_working_station() -> None:
    config = load()
    assert config.camera.source == "auto"
    assert config.mqtt.host is None
    assert config.topic_root == "hipline/v1/gym/station"
    assert config.camera.mount == Mount()


def test_a_whole_file(tmp_path: Path) -> None:
    config = load(
        _file(
            tmp_path,
            """
            [station]
            gym = "north"
            name = "tm-07"
            [camera]
            source = "v4l2:/dev/video0"
            fps = 60
            width = 1280
            height = 720
            height_m = 1
            focal_px = 930.5
            center_px = [640, 360.5]
            distortion = [0.1, -0.2, 0, 0, 0.05]
            roll_deg = -1.5
            [mqtt]
            host = "broker.gym"
            password_file = "secret/mqtt"
            [outbox]
            path = "/var/lib/station/outbox.db"
            """,
        )
    )
    assert config.topic_root == "hipline/v1/north/tm-07"
    assert config.camera.fps == 60.0
    assert isinstance(config.camera.fps, float)
    assert config.camera.mount == Mount(
        height_m=1.0, focal_px=930.5, center_px=(640.0, 360.5), distortion=(0.1, -0.2, 0.0, 0.0, 0.05), roll_deg=-1.5
    )
    assert config.mqtt.password_file == tmp_path / "secret" / "mqtt"  # relative to the file
    assert config.outbox.path == Path("/var/lib/station/outbox.db")


def test_it_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().camera.fps = 30.0  # type: ignore[misc]


def test_an_override_wins_over_the_file_and_the_last_one_over_all(tmp_path: Path) -> None:
    path = _file(tmp_path, "[camera]\nheight_m = 0.9\nroll_deg = 1\n")
    config = load(path, ["camera.height_m=1.1", "camera.height_m=1.4"])
    assert config.camera.height_m == 1.4
    assert config.camera.roll_deg == 1.0


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("camera.source=/dev/video0", "source", "/dev/video0"),
        ('camera.source="a b.mp4"', "source", "a b.mp4"),
        ("camera.source=1=2.mp4", "source", "1=2.mp4"),
        ("camera.height_m=1", "height_m", 1.0),
        ("camera.center_px=[1, 2]", "center_px", (1.0, 2.0)),
    ],
)
def test_overrides_of_every_kind(override: str, key: str, value: object) -> None:
    assert getattr(load(None, [override]).camera, key) == value


def test_a_number_for_a_name_is_a_name() -> None:
    assert load(None, ["station.name=42"]).station.name == "42"


@pytest.mark.parametrize(
    ("text", "named", "mend"),
    [
        ("[camera]\nhight_m = 1", "camera.hight_m", "did you mean camera.height_m?"),
        ("[camra]\nheight_m = 1", "camra", "did you mean camera?"),
        ("height_m = 1.4", "height_m", "did you mean camera.height_m?"),
        ("[camera]\nport = 1", "camera.port", "did you mean"),
        ("camera = 3", "camera", "table"),
        ("[camera]\nheight_m = 'high'", "camera.height_m = 'high'", "a number from 0 to 5"),
        ("[camera]\nheight_m = 95", "camera.height_m = 95", "a number from 0 to 5"),
        ("[camera]\nheight_m = nan", "camera.height_m = nan", "a number from 0 to 5"),
        ("[camera]\nheight_m = true", "camera.height_m = True", "a number"),
        ("[camera]\nwidth = 12.5\nheight = 100", "camera.width = 12.5", "a whole number from 64"),
        ("[camera]\nwidth = 640", "camera.width and camera.height", "together"),
        ("[camera]\ncenter_px = [1]", "camera.center_px", "[x, y]"),
        ("[camera]\ncenter_px = ['a', 1]", "camera.center_px", "a number"),
        ("[camera]\ndistortion = 0.1", "camera.distortion", "k1, k2, p1, p2, k3"),
        ("[camera]\nsource = 7", "camera.source", "text"),
        ("[camera]\ncalibration = 'absent.toml'", "camera.calibration", "no such file"),
        ("[pose]\nmodel = 'heavy'", "pose.model = 'heavy'", "lite, full"),
        ("[pose]\nmodel = ['lite']", "pose.model", "lite, full"),
        ("[station]\nname = 'a/b'", "station.name = 'a/b'", "letters, digits"),
        ("[station]\nname = ''", "station.name", "text"),
        ("[mqtt]\nroot = 'a/#'", "mqtt.root", "without +, #"),
        ("[mqtt]\nusername = 'me'", "mqtt.username", "needs mqtt.host"),
        ("[camera\nx", "station.toml", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_file_key_and_mend(tmp_path: Path, text: str, named: str, mend: str) -> None:
    path = _file(tmp_path, text)
    message = _refused(path)
    assert str(path) in message
    assert named in message
    assert mend in message


@pytest.mark.parametrize(
    ("override", "mend"),
    [
        ("camera.height_m", "KEY=VALUE"),
        ("camera.height_m=", "KEY=VALUE"),
        ("camera=1", "camera.NAME=VALUE"),
        ("=1", "unknown key"),
        ("camera.height_m=x", "a number"),
        ("camera.height_m=[", "a number"),
        ("web.port=0", "1 to 65535"),
    ],
)
def test_a_wrong_override_is_named(override: str, mend: str) -> None:
    message = _refused(None, override)
    assert message.startswith("--set")
    assert mend in message


def test_a_file_that_is_absent_or_no_text(tmp_path: Path) -> None:
    assert "no such file" in _refused(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in _refused(tmp_path / "binary.toml")
    assert str(tmp_path) in _refused(tmp_path)


def test_a_calibration_gives_the_mount_and_the_file_wins_over_it(tmp_path: Path) -> None:
    _file(tmp_path, "[camera]\nheight_m = 1.2\nfocal_px = 900\nroll_deg = 0.4", "mount.toml")
    config = load(_file(tmp_path, "[camera]\ncalibration = 'mount.toml'\nheight_m = 1.3"))
    assert config.camera.mount == Mount(height_m=1.3, focal_px=900.0, roll_deg=0.4)


def test_a_calibration_with_other_keys_is_refused(tmp_path: Path) -> None:
    calibration = _file(tmp_path, "[camera]\nsource = 'auto'", "mount.toml")
    message = _refused(_file(tmp_path, "[camera]\ncalibration = 'mount.toml'"))
    assert str(calibration) in message
    assert "camera.source" in message


def test_state_lives_where_systemd_or_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_dir() == tmp_path / "hipline"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/station:/other")
    assert state_dir() == Path("/var/lib/station")


def test_systemds_configuration_directory_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(tmp_path))
    assert load() == Config()
    _file(tmp_path, "[station]\nname = 'tm-01'")
    assert load().station.name == "tm-01"


def test_the_page_about_configuration_names_every_key_and_no_other(repository: Path) -> None:
    page = (repository / "docs" / "configuration.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in page.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`((?:[a-z]+)\.[a-z_]+)`", table))
    keys = {f"{name}.{field.name}" for name, kind in TABLES.items() for field in dataclasses.fields(kind)}
    assert named == keys


def test_the_example_on_that_page_is_accepted(repository: Path, tmp_path: Path) -> None:
    page = (repository / "docs" / "configuration.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    config = load(_file(tmp_path, example))
    assert config.topic_root == "hipline/v1/north/tm-07"
    assert config.camera.mount.pitch_deg == -6.0
