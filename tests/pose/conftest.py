"""The station's real pose models, and real frames of the bundled runner."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from station.inference import Model
from station.models.build import build
from station.models.recipes import RECIPES, built_model, models_folder
from station.pose import PoseEstimator
from station.types import Frame, Pixels


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of the built models, all of them."""
    build(tuple(RECIPES), say=lambda line: None)
    return models_folder()


@pytest.fixture(scope="session")
def shipped(models: Path) -> Path:
    """The folder of the files as their authors ship them."""
    return models / "shipped"


@pytest.fixture(scope="session")
def loaded(models: Path) -> tuple[Model, Model]:
    """The default landmark model and the detector."""
    return Model(*built_model("lite"), threads=2), Model(*built_model("detector"), threads=2)


@pytest.fixture
def estimator(loaded: tuple[Model, Model]) -> PoseEstimator:
    """An estimator that has seen nothing yet."""
    return PoseEstimator(*loaded)


@pytest.fixture(scope="session")
def clip_path(repository: Path) -> Path:
    """The bundled clip: one runner from behind."""
    return repository / "station" / "assets" / "runner.mp4"


@pytest.fixture(scope="session")
def clip(clip_path: Path) -> list[Pixels]:
    """Its first 60 pictures, BGR."""
    video, out = cv2.VideoCapture(str(clip_path)), []
    for _ in range(60):
        good, image = video.read()
        assert good, f"{clip_path} ends early"
        out.append(np.asarray(image, np.uint8))
    return out


def bgr(image: Pixels, index: int = 0) -> Frame:
    """A frame of a picture, 30 a second."""
    return Frame(index / 30, index, image, "bgr")
