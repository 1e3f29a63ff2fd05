"""The door to the interpreter: what it runs, and the one line it says when a file is not right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from station.errors import ModelError
from station.inference import Model
from station.models.recipes import built_model


def test_scale_and_offset_are_applied_and_outputs_found_by_name_and_by_size(models: Path) -> None:
    model = Model(*built_model("detector"))
    pixels = np.arange(224 * 224 * 3, dtype=np.uint8).reshape(1, 224, 224, 3)
    model.run(pixels, 1 / 127.5, -1)
    by_bytes = model.output("Identity").copy()
    model.run((pixels.astype(np.float64) / 127.5 - 1).astype(np.float32))
    assert by_bytes.shape == (1, 2254, 12)
    np.testing.assert_allclose(model.output(2254 * 12), by_bytes, atol=1e-2)
    with pytest.raises(ModelError, match=r"no output 7, it has Identity \(27048\), Identity_1 \(2254\)"):
        model.output(7)


def test_runs_again_and_again_with_the_same_result(models: Path) -> None:
    model = Model(*built_model("lite"), threads=2)
    crop = np.random.default_rng(1).integers(0, 256, model.inputs[0].shape, np.uint8)
    outputs = []
    for _ in range(3):
        model.run(crop, 1 / 255)
        outputs.append(model.output(195))
    assert np.isfinite(outputs[0]).all()
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.tflite: missing; run `station model build`"):
        Model(tmp_path / "nowhere.tflite")


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        Model(tmp_path)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"<html>404</html>", b"\0" * 64])
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not a TFLite model"):
        Model(path)


def test_another_model_than_the_pinned_one(models: Path) -> None:
    path, _ = built_model("lite")
    with pytest.raises(ModelError, match="not the pinned model"):
        Model(path, built_model("full")[1])


@pytest.mark.parametrize("kept", [8, 1000, 0.3, 0.9, 0.9999])
def test_a_truncated_model_is_an_error_and_not_a_crash(models: Path, tmp_path: Path, kept: float) -> None:
    path, pinned = built_model("lite")
    content = path.read_bytes()
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(ModelError, match="not the pinned model"):
        Model(cut, pinned)
    # Without a pin the interpreter itself must notice; in a process of its own, as a crash could not be caught here.
    code = "import sys\nfrom station.errors import ModelError\nfrom station.inference import Model\n"
    code += "try:\n    Model(sys.argv[1])\nexcept ModelError as error:\n    sys.exit(f'{error}')\n"
    done = subprocess.run([sys.executable, "-c", code, cut], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1, done
    assert "cut.tflite: refused by ai-edge-litert" in done.stderr
