"""The pose on every second frame of a fast camera: the pelvis is read from each, and the kernel is told of it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from station.camera import BUNDLED_CLIP, frames
from station.camera.video import VideoFile
from station.config import load
from station.engine.observer import Observer, load_pose
from station.engine.pelvis import load_pelvis
from station.lab.analytic import RunnerSpec, run
from station.lab.project import Condition, observe, view_of
from station.session import Session
from station.types import Observation, PelvisReading, Pose, StrideMetrics, View

CONDITION = Condition(fps=60.0, pelvis_sd_deg=0.5)
DROP = "pelvic_drop_peak_left_deg"


@pytest.fixture(scope="module")
def running() -> list[Observation]:
    return list(observe(run(RunnerSpec(), seconds=16.0), CONDITION))


def last_stride(observations: list[Observation]) -> tuple[StrideMetrics, int]:
    """The last good stride, and how many there were."""
    session = Session(view_of(CONDITION))
    out = [said for observation in observations for said in session.feed(observation)] + list(session.finish())
    strides = [said for said in out if isinstance(said, StrideMetrics) and said.status == "ok"]
    return strides[-1], len(strides)


def test_strides_and_drops_are_those_of_a_pose_on_every_frame(running: list[Observation]) -> None:
    every, count = last_stride(running)
    second, count_too = last_stride([replace(o, pose=None) if i % 2 else o for i, o in enumerate(running)])
    assert count_too == count > 10
    for name, near in ((DROP, 0.3), ("contact_time_left_ms", 12.0), ("cadence_spm", 0.5)):
        want, got = every.metrics[name].value, second.metrics[name].value
        assert want is not None
        assert got == pytest.approx(want, abs=near)


def test_the_kernel_hears_of_the_pelvis_between_the_poses(running: list[Observation]) -> None:
    """Here it is known there alone."""
    blind = [replace(o, pose=None) if i % 2 else replace(o, pelvis=PelvisReading()) for i, o in enumerate(running)]
    want, got = (last_stride(told)[0].metrics[DROP].value for told in (running, blind))
    assert want is not None
    assert got == pytest.approx(want, abs=0.4)


def test_a_foot_out_of_the_picture_is_told_from_a_pose_that_was_not_run(running: list[Observation]) -> None:
    """Poses on every second frame, feet on every third of those: the picture is to blame."""

    def footless(pose: Pose | None) -> Pose | None:
        if pose is None:
            return None
        xy_px, score = pose.xy_px.copy(), pose.score.copy()
        xy_px[6:], score[6:] = np.nan, 0.0
        return Pose(xy_px, score)

    told = [
        replace(o, pose=None) if i % 2 else replace(o, pose=footless(o.pose) if i % 6 else o.pose)
        for i, o in enumerate(running)
    ]
    session = Session(view_of(CONDITION))
    out = [said for observation in told for said in session.feed(observation)]
    strides = [said for said in out if isinstance(said, StrideMetrics)]
    assert not any(stride.status == "ok" for stride in strides)


@pytest.mark.parametrize(("fps", "estimator", "usual", "most"), [
    (60.0, "fused", 2, 2), (60.0, "hips", 1, 2), (50.0, "fused", 2, 2), (30.0, "fused", 1, 1), (120.0, "fused", 2, 5),
])  # fmt: skip
def test_the_feet_keep_their_poses(fps: float, estimator: str, usual: int, most: int) -> None:
    config, view = load(None, [f"pelvis.estimator={estimator}"]), View(1280, 720, fps)

    class Nobody:
        def estimate(self, frame: object) -> Pose:
            del frame
            return Pose.nobody()

    observer = Observer(Nobody(), view, load_pelvis(config, view))
    assert observer.pose_every == usual
    observer.ease(99)
    assert observer.pose_every == most
    observer.ease(1)
    assert observer.pose_every == usual


def test_on_real_frames_the_pelvis_is_read_where_no_pose_was() -> None:
    video = VideoFile(BUNDLED_CLIP)
    pictures = list(itertools.islice(frames(video), 60))
    config = load(None, ["pelvis.estimator=fused"])
    said: dict[float, list[Observation]] = {}
    for fps in (30.0, 60.0):  # the clip's own rate, then the same frames as if they came twice as fast
        view = replace(video.view, fps=fps)
        observer = Observer(load_pose(config, lambda _: None), view, load_pelvis(config, view))
        said[fps] = [observer.observe(replace(frame, t_s=i / fps)) for i, frame in enumerate(pictures)]
    assert all(o.pose is not None for o in said[30.0])
    assert [o.pose is None for o in said[60.0]] == [bool(i % 2) for i in range(60)]
    level = {fps: np.array([o.pelvis.level_deg if o.pelvis else np.nan for o in told]) for fps, told in said.items()}
    assert np.isfinite(level[60.0][1::2]).mean() > 0.9
    apart = np.abs(level[60.0] - level[30.0])
    assert np.nanmedian(apart[1::2]) < 1.0
