"""The station's pose models: which they are, how they are built, what they are made of."""

from station.models.recipes import LANDMARK_MODELS, built_model, models_folder

__all__ = ["LANDMARK_MODELS", "built_model", "models_folder"]
