"""Which models the station has: where each file comes from, what is done with it, and the hash of the result."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from station.errors import ModelError

NPM_PACKAGE = "@mediapipe/pose@0.5.1675469404"
PYPI_PACKAGE = "mediapipe==0.10.21"
#: The wheel is taken for its models alone, so any machine can take this one.
PYPI_TARGET = ("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_17_x86_64")

Origin = Literal["npm", "pypi"]


@dataclass(frozen=True, slots=True)
class Shipped:
    """A model file as its authors ship it: for each package its path there and its sha256."""

    file: str
    places: Mapping[Origin, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one model is made: folded, pruned to ``outputs`` and to some ``channels`` of them, narrowed, then mixed int8.

    ``ranges`` is the file of its activation ranges; without one the model stays float32. ``width_px``: of its input,
    where that is not square. ``sha256`` is that of the result, the same on every machine and for every package the
    file came from.
    """

    name: str
    file: str
    shipped: Shipped
    outputs: tuple[str, ...]
    sha256: str
    ranges: str | None = None
    width_px: int | None = None
    channels: Mapping[str, Sequence[int]] = field(default_factory=dict)


_LITE = Shipped(
    "pose_landmark_lite.tflite",
    {"npm": ("package/pose_landmark_lite.tflite", "f17bfbecadb61c3be1baa8b8d851cc6619c870a87167b32848ad20db306b9d61")},
)
_FULL_SHA256 = "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f"
_FULL = Shipped(
    "pose_landmark_full.tflite",
    {
        "npm": ("package/pose_landmark_full.tflite", _FULL_SHA256),
        "pypi": ("mediapipe/modules/pose_landmark/pose_landmark_full.tflite", _FULL_SHA256),
    },
)
_DETECTOR = Shipped(
    "pose_detection.tflite",
    {
        # The npm package carries the detector under the name of a resource bundle, but it is the bare model.
        "npm": (
            "package/pose_solution_packed_assets.data",
            "a63c614bef30d35947f13be361820b1e4e3bec9cfeebf4d11216a18373108e85",
        ),
        "pypi": (
            "mediapipe/modules/pose_detection/pose_detection.tflite",
            "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
        ),
    },
)
_POINTS_PRESENCE_HEATMAPS = ("Identity", "Identity_1", "Identity_3")  # not the segmentation and the world points
#: Heatmaps are kept for the station's keypoints only, in this order: shoulders, hips, knees, ankles, heels, toes.
_HEATMAPS = {"Identity_3": (11, 12, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32)}
_BOXES_AND_SCORES = ("Identity", "Identity_1")

RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "detector", "pose_detector_float.tflite", _DETECTOR, _BOXES_AND_SCORES,
            "f0b5b5ffc7772a322f0dcfc8406ec19421d81859bf2cbc9403da838871fbf47c",
        ),
        Recipe(
            "lite", "pose_lite_192_int8.tflite", _LITE, _POINTS_PRESENCE_HEATMAPS,
            "21c17f106a012353bb8b0b7198811b28e161b11d23d6cbfbb441dd7ca4681c36",
            ranges="ranges_lite.json",
            width_px=192,
            channels=_HEATMAPS,
        ),
        Recipe(
            "full", "pose_full_192_int8.tflite", _FULL, _POINTS_PRESENCE_HEATMAPS,
            "17dc2bf274c004eed0b453872684459da0c3e6954044159522226a281d26388e",
            ranges="ranges_full.json",
            width_px=192,
            channels=_HEATMAPS,
        ),
        Recipe(
            "lite-float", "pose_lite_float.tflite", _LITE, _POINTS_PRESENCE_HEATMAPS,
            "d032abd637d1555c8f145cf4bbb35a8e4eaf441bea52ae09ee96b9dd87efc084",
            channels=_HEATMAPS,
        ),
        Recipe(
            "full-float", "pose_full_float.tflite", _FULL, _POINTS_PRESENCE_HEATMAPS,
            "570e6ea86071252725867873204b8adebaf4e0a9055e294faa6aa9c25e50285f",
            channels=_HEATMAPS,
        ),
    )
}  # fmt: skip

#: Landmark models by the name the configuration uses; each needs the detector too.
LANDMARK_MODELS = ("lite", "full", "lite-float", "full-float")


def models_folder() -> Path:
    """Where built models are: ``$HIPLINE_MODELS``, else the user's cache."""
    if chosen := os.environ.get("HIPLINE_MODELS"):
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "hipline" / "models"


def built_model(name: str, folder: Path | None = None) -> tuple[Path, str]:
    """Path and sha256 of a built model, ready for :class:`station.inference.Model`.

    Raises :class:`ModelError` for an unknown name; whether the file is there and right is seen when it is loaded.
    """
    if name not in RECIPES:
        raise ModelError(f"{name}: no such pose model; choose one of {', '.join(LANDMARK_MODELS)}")
    return (folder or models_folder()) / RECIPES[name].file, RECIPES[name].sha256
