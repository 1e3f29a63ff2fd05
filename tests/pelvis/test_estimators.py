"""The pelvis stage on real frames of the bundled clip: each estimator behind one door, and a replay that is exact."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from station.camera import BUNDLED_CLIP, frames
from station.camera.video import VideoFile
from station.config import load
from station.engine.observer import Observer, load_pose
from station.engine.pelvis import load_pelvis
from station.session import Session
from station.types import Frame, Observation, Pose
from station.wire import TrackWriter, read_track

COUNT = 75


@pytest.fixture(scope="module")
def clip() -> tuple[VideoFile, list[Frame]]:
    video = VideoFile(BUNDLED_CLIP)
    return video, list(itertools.islice(frames(video), COUNT))


def observed(clip: tuple[VideoFile, list[Frame]], estimator: str) -> list[Observation]:
    video, pictures = clip
    config = load(None, [f"pelvis.estimator={estimator}"])
    observer = Observer(load_pose(config, lambda _: None), video.view, load_pelvis(config, video.view))
    told = [observer.observe(frame) for frame in pictures]
    assert (observer.pelvis_times.percentiles() or {"p50": 0.0})["p50"] > 0
    return told


@pytest.mark.parametrize("estimator", ["fused", "net", "optical", "hips"])
def test_each_estimator_speaks_under_its_own_name(clip: tuple[VideoFile, list[Frame]], estimator: str) -> None:
    told = [observation.pelvis for observation in observed(clip, estimator)]
    assert all(reading is not None and reading.source == estimator for reading in told)
    known = [r for r in told if r is not None and math.isfinite(r.obliquity_deg)]
    assert len(known) > 0.8 * COUNT
    assert all(r.sd_obliquity_deg > 0 for r in known)
    if estimator in ("fused", "optical"):
        assert sum(math.isfinite(r.rate_dps) for r in known) > 0.8 * COUNT
    if estimator in ("fused", "net"):
        assert all(0.0 <= r.waist <= 1.0 for r in known)


def test_auto_is_the_fused_estimator(clip: tuple[VideoFile, list[Frame]]) -> None:
    estimator = load_pelvis(load(None), clip[0].view)
    assert estimator.source == "fused"
    assert estimator.model is not None
    assert len(estimator.model) == 12


def test_no_tag_in_sight_is_not_known_and_never_the_hips(clip: tuple[VideoFile, list[Frame]]) -> None:
    told = observed((clip[0], clip[1][:3]), "tag")
    for observation in told:
        assert observation.pelvis is not None
        assert math.isnan(observation.pelvis.obliquity_deg)
        assert observation.pelvis.source == "tag"


def test_nobody_in_the_picture_is_no_reading(clip: tuple[VideoFile, list[Frame]]) -> None:
    class Empty:
        def estimate(self, frame: Frame) -> Pose:
            return Pose.nobody()

    observer = Observer(Empty(), clip[0].view, load_pelvis(load(None), clip[0].view))
    assert all(observer.observe(frame).pelvis is None for frame in clip[1][:3])


def test_a_track_of_fused_readings_replays_number_for_number(
    clip: tuple[VideoFile, list[Frame]], tmp_path: Path
) -> None:
    told = observed(clip, "fused")
    path = tmp_path / "run.track.jsonl"
    with path.open("w", encoding="utf-8") as file:
        writer = TrackWriter(file, clip[0].view)
        for observation in told:
            writer.write(observation)
    view, again = read_track(path)
    back = list(again)
    assert len(back) == len(told)
    for before, after in zip(told, back, strict=True):
        assert repr(before.pelvis) == repr(after.pelvis)  # NaN equals itself in words
    one, two = Session(clip[0].view), Session(view)
    assert repr([one.feed(o) for o in told]) == repr([two.feed(o) for o in back])
    assert np.isfinite([o.pelvis.obliquity_deg for o in back if o.pelvis]).any()
