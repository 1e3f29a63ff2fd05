"""The reference tag: a printed clip or belt at the waistband that shows the pelvis's angles directly."""

from station.tag.estimator import TagEstimator
from station.tag.plates import PLATES, Plate

__all__ = ["PLATES", "Plate", "TagEstimator"]
