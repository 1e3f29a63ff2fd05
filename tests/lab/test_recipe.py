"""The whole recipe of the pelvis model, on so few crops that it proves the steps and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("moderngl", reason="the renderer is in the extra `lab`")
pytest.importorskip("torch", reason="training needs the extra `lab`")

from station.inference import Model
from station.lab import recipe
from station.pelvis_net import INPUT_PX, OUTPUTS


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_smoke_recipe_makes_a_model_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    target = tmp_path / "pelvis.tflite"
    arguments = [str(target), "--smoke", "--work", str(tmp_path / "work")]
    assert recipe.main(arguments) == 0
    model = Model(target)
    assert model.inputs[0].shape == (1, INPUT_PX, INPUT_PX, 3)
    assert model.outputs[0].size == len(OUTPUTS)
    shards = {path: path.stat().st_mtime_ns for path in (tmp_path / "work" / "crops").iterdir()}
    before = target.read_bytes()
    assert recipe.main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in shards} == shards
    assert target.read_bytes() == before
