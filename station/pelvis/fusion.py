"""The fused estimator: the witnesses through the filter and into the world; and the model's word alone."""

from __future__ import annotations

import math
from dataclasses import replace

from station.geometry import RayCaster
from station.pelvis.filter import MEAN_SD_DEG, SWING_SD_DEG, Belief, LevelFilter
from station.pelvis.frames import USUAL_SD_DEG, Angles, Sightline
from station.types import KEYPOINT_INDEX, PelvisLevel, PelvisRate, PelvisReading, Pose

#: An sd this wide says no more than that it is a runner: not known. Obliquity, rotation, tilt [deg]. A swing unsure in
#: its size alone is seen all the same: that part of its sd is told but does not count here.
BLIND_SD_DEG = (4.0, USUAL_SD_DEG[1], USUAL_SD_DEG[2])
#: A word of the model vaguer than what is known of runners beforehand is none [deg].
VAGUE_SD_DEG = math.hypot(MEAN_SD_DEG, SWING_SD_DEG / math.sqrt(2))
_UNKNOWN = Angles((math.nan,) * 3, (math.nan,) * 3)


class PelvisFusion:
    """World angles from level and rate. Either witness may be missing on any frame, or always.

    Rotation and tilt are the model's alone. ``source`` is the name that readings carry.
    """

    def __init__(self, caster: RayCaster, source: str = "fused") -> None:
        self._sightline = Sightline(caster)
        self._filter = LevelFilter()
        self._source = source

    def feed(self, t_s: float, level: PelvisLevel | None, rate: PelvisRate | None, pose: Pose) -> PelvisReading:
        """What is known of the pelvis now, both witnesses beside it. Nobody there: the runner is forgotten."""
        if not pose.someone:
            self._filter.reset()
            return PelvisReading(source=self._source)
        seen = _angles(level)
        turn = Belief(math.nan, math.inf) if rate is None else Belief(rate.rate_dps, rate.sd_dps)
        waist = math.nan if level is None else level.waist
        fused = self._filter.feed(t_s, _worth_hearing(seen), turn, waist)
        sight = self._sightline.at(*hips_px(level, pose))
        if sight is None:
            return PelvisReading(source=self._source)
        whole = Angles((fused.value, *seen.deg[1:]), (fused.sd, *seen.sd_deg[1:]))
        reading = _reading(sight.to_world(whole), self._source, waist, self._filter.size_sd_deg)
        alone = sight.to_world(seen)
        return replace(
            reading,
            level_deg=alone.deg[0],
            level_sd_deg=alone.sd_deg[0],
            rate_dps=turn.value if turn.known else math.nan,
            rate_sd_dps=turn.sd if turn.known else math.nan,
        )


def level_reading(level: PelvisLevel | None, pose: Pose, sightline: Sightline, source: str = "net") -> PelvisReading:
    """The model's word alone, in the world; NaN where it does not know."""
    sight = sightline.at(*hips_px(level, pose))
    if level is None or sight is None:
        return PelvisReading(source=source)
    world = sight.to_world(_angles(level))
    return replace(_reading(world, source, level.waist), level_deg=world.deg[0], level_sd_deg=world.sd_deg[0])


def hips_px(level: PelvisLevel | None, pose: Pose) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where left and right hip are in the picture: the model's own place for them, else that of the pose."""
    if level is not None and all(map(math.isfinite, (*level.left_px, *level.right_px))):
        return level.left_px, level.right_px
    left, right = (pose.xy_px[KEYPOINT_INDEX[name]].tolist() for name in ("left_hip", "right_hip"))
    return (left[0], left[1]), (right[0], right[1])


def _angles(level: PelvisLevel | None) -> Angles:
    """The model's angles; one without a finite sd is not known."""
    if level is None:
        return _UNKNOWN
    angles = (level.obliquity_deg, level.rotation_deg, level.tilt_deg)
    sds = (level.sd_obliquity_deg, level.sd_rotation_deg, level.sd_tilt_deg)
    return _where([Belief(angle, sd).known for angle, sd in zip(angles, sds, strict=True)], Angles(angles, sds))


def _worth_hearing(seen: Angles) -> Belief:
    """The model's obliquity; a word that says no more than that it is a runner would only spoil the gyroscope's."""
    vague = seen.sd_deg[0] > VAGUE_SD_DEG
    return Belief(math.nan, math.inf) if vague else Belief(seen.deg[0], seen.sd_deg[0])


def _reading(world: Angles, source: str, waist: float, size_sd_deg: float = 0.0) -> PelvisReading:
    allowed = (math.hypot(BLIND_SD_DEG[0], size_sd_deg), *BLIND_SD_DEG[1:])
    known = _where([sd <= blind for sd, blind in zip(world.sd_deg, allowed, strict=True)], world)
    return PelvisReading(*known.deg, *known.sd_deg, source=source, waist=waist)


def _where(known: list[bool], angles: Angles) -> Angles:
    """The angles that are known, NaN for the others."""
    a, b, c = (value if there else math.nan for value, there in zip(angles.deg, known, strict=True))
    sd_a, sd_b, sd_c = (sd if there else math.nan for sd, there in zip(angles.sd_deg, known, strict=True))
    return Angles((a, b, c), (sd_a, sd_b, sd_c))
