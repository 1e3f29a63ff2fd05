"""The pelvis stage: which estimators there are, and each of them behind the same door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from station.config import Config
from station.engine.tag_first import TagFirst, Verified
from station.geometry import RayCaster
from station.pelvis import PelvisFusion, Sightline, hips_reading, level_reading
from station.types import Frame, PelvisLevel, PelvisRate, PelvisReading, Pose, View


class PelvisEstimator(Protocol):
    """Whatever says how the pelvis stands on a frame; call it on every frame in turn.

    ``source`` is the name that its readings carry; ``model`` begins the sha256 of the file behind it, if any.
    """

    source: str
    model: str | None

    @property
    def sees(self) -> bool:
        """Whether it looks at the picture, and so can tell what no pose does."""

    def read(self, frame: Frame, pose: Pose) -> PelvisReading:
        """World angles with their sd; NaN where it does not know. Nobody in the picture: the runner is forgotten."""


class LevelWitness(Protocol):
    """The inclinometer: :class:`station.pelvis_net.PelvisNet`."""

    def read(self, frame: Frame, pose: Pose) -> PelvisLevel | None:
        """Angles along the line of sight; ``None`` where there is nothing to look at."""


class RateWitness(Protocol):
    """The optical gyroscope: :class:`station.optical_rate.OpticalRate`."""

    def read(self, frame: Frame, pose: Pose) -> PelvisRate:
        """How fast the pelvis turns in the picture."""


class HipsEstimator:
    """The pose model's hip line, flagged: it follows the legs."""

    source = "hips"
    model: str | None = None
    sees = False

    def __init__(self, view: View) -> None:
        self._caster = RayCaster(view)

    def read(self, frame: Frame, pose: Pose) -> PelvisReading:
        """Obliquity alone, with a wide sd."""
        del frame
        return hips_reading(pose, self._caster)


class NetEstimator:
    """The model's level alone."""

    source = "net"
    sees = True

    def __init__(self, view: View, net: LevelWitness, model: str | None = None) -> None:
        self._net, self.model = net, model
        self._sightline = Sightline(RayCaster(view))

    def read(self, frame: Frame, pose: Pose) -> PelvisReading:
        """The level in the world."""
        return level_reading(self._net.read(frame, pose), pose, self._sightline, self.source)


class WitnessesEstimator:
    """Model and gyroscope fused, or the gyroscope alone (``net`` is ``None``)."""

    sees = True

    def __init__(self, view: View, net: LevelWitness | None, gyroscope: RateWitness, model: str | None = None) -> None:
        self.source = "optical" if net is None else "fused"
        self.model = model
        self._net, self._gyroscope = net, gyroscope
        self._fusion = PelvisFusion(RayCaster(view), self.source)

    def read(self, frame: Frame, pose: Pose) -> PelvisReading:
        """Both witnesses heard, and what follows."""
        # Both also hear of frames without a runner: nothing may be measured across them.
        rate = self._gyroscope.read(frame, pose)
        level = None if self._net is None else self._net.read(frame, pose)
        return self._fusion.feed(frame.t_s, level, rate, pose)


class TagEstimator:
    """The runner's belt with its tags."""

    source = "tag"
    model: str | None = None
    sees = True

    def __init__(self, view: View) -> None:
        from station.tag import TagEstimator as Plates  # noqa: PLC0415 (needs OpenCV's detector)

        self._tags = Plates(view)

    def read(self, frame: Frame, pose: Pose) -> PelvisReading:
        """The tag's attitude; NaN where no tag is seen."""
        return self._tags.read(frame, pose) or PelvisReading(source=self.source)


def verified(estimator: PelvisEstimator | None) -> Mapping[str, object] | None:
    """What ``station verify`` found of the estimator (the markerless one of ``auto``); ``None`` = it was never run."""
    found: Mapping[str, object] | None = getattr(estimator, "verified", None)
    return found


def load_pelvis(config: Config, view: View) -> PelvisEstimator:
    """The estimator of ``[pelvis] estimator``; ``auto`` is the tag where one is worn, else ``fused``.

    What ``station verify`` found of an estimator is in its sd. Raises :class:`ModelError` when the model that was
    asked for is missing, or damaged.
    """
    from station.tag.record import load_all, trust  # noqa: PLC0415 (as below)

    estimator = load_plain(config, view)
    found = trust(load_all(), estimator.source)
    checked = estimator if found is None else Verified(estimator, found)
    return TagFirst(view, checked) if config.pelvis.estimator == "auto" else checked


def load_plain(config: Config, view: View) -> PelvisEstimator:
    """The estimator itself, by its own word alone; ``auto`` is ``fused``, and ``hips`` where there is no model at all.

    Raises :class:`ModelError` when the model that was asked for is missing, or damaged.
    """
    # the interpreter and OpenCV take long to load: not for those who only replay a track
    from station.pelvis_net import PelvisNet, model_path  # noqa: PLC0415

    chosen = config.pelvis.estimator
    if chosen == "hips" or (chosen == "auto" and not model_path().is_file()):
        return HipsEstimator(view)
    if chosen == "tag":
        return TagEstimator(view)
    from station.optical_rate import OpticalRate  # noqa: PLC0415

    if chosen == "optical":
        return WitnessesEstimator(view, None, OpticalRate(view))
    net = PelvisNet.load(config.pose.threads)
    if chosen == "net":
        return NetEstimator(view, net, net.sha256[:12])
    return WitnessesEstimator(view, net, OpticalRate(view), net.sha256[:12])
