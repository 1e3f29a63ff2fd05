"""Feet drawn as pose models draw them from behind: the pelvis keeps time, sides stay sides, feet tell nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from station.gait.events import LONE_PELVIS_SD_S
from station.lab.project import Condition, view_of
from station.types import KEYPOINT_INDEX, Floats, Observation, Pose, StrideMetrics
from tests.kernel.runners import feed, good, pose, seen, strides, trial

SEEN = Condition(fps=30.0, noise_px=2.0)
_FEET = {side: [KEYPOINT_INDEX[f"{side}_{joint}"] for joint in ("heel", "ankle", "toe")] for side in ("left", "right")}
_ALL = [*_FEET["left"], *_FEET["right"]]
Places = Floats  # (frames, 12, 2)


def _late(xy: Places) -> Places:
    """Feet half as high as they are, and a tenth of a second late, as those of BlazePose on rendered rear views."""
    xy[3:, _ALL] = xy[:-3, _ALL]
    xy[:, _ALL] = (xy[:, _ALL] + xy[:, _ALL].mean(axis=0)) / 2
    return xy


def _askew(xy: Places) -> Places:
    """One foot always drawn lower: the feet are hardly ever level."""
    xy[:, _FEET["left"], 1] += 25.0
    return xy


def _mixed(xy: Places) -> Places:
    """Every few frames the feet are mistaken for each other."""
    rng = np.random.default_rng(5)
    swap = np.repeat(rng.random(len(xy) // 4 + 1) < 0.4, 4)[: len(xy)]
    crossed = xy.copy()
    crossed[:, _ALL] = xy[:, [*_FEET["right"], *_FEET["left"]]]
    return np.where(swap[:, None, None], crossed, xy)


def _one(xy: Places) -> Places:
    """Both feet drawn at the same place: the knees alone tell the legs apart."""
    middle = (xy[:, _FEET["left"]] + xy[:, _FEET["right"]]) / 2
    xy[:, _FEET["left"]] = xy[:, _FEET["right"]] = middle
    return xy


def _drawn(frames: tuple[Observation, ...], how: Callable[[Places], Places]) -> list[Observation]:
    places = how(np.array([pose(f).xy_px for f in frames]))
    return [replace(f, pose=Pose(xy, pose(f).score)) for f, xy in zip(frames, places, strict=True)]


def _contact_errors_s(said: list[StrideMetrics], seed: int) -> list[float]:
    """Left contacts told against the nearest true one of the left foot."""
    true = np.asarray(trial(seed).events["left_contact_s"])
    return [float(t - true[np.abs(true - t).argmin()]) for s in said if (t := s.stride.left_contact_s) is not None]


@pytest.mark.parametrize("seed", [3, 101, 102])
@pytest.mark.parametrize("how", [_late, _askew, _mixed, _one])
def test_feet_drawn_badly_cost_neither_strides_nor_sides(how: Callable[[Places], Places], seed: int) -> None:
    _, frames = seen(SEEN, seed)
    plain = feed(view_of(SEEN), frames)
    said = feed(view_of(SEEN), _drawn(frames, how))
    after_s = frames[0].t_s + 3.0
    kept = [s for s in good(said) if s.stride.start_s > after_s]
    wanted = [s for s in good(plain) if s.stride.start_s > after_s]
    assert len(kept) >= 0.85 * len(wanted)
    errors = np.array(_contact_errors_s(kept, seed))
    assert np.abs(errors).max() < 0.12  # half a stride off would be the other foot
    assert abs(np.median(errors)) < 1.5 * LONE_PELVIS_SD_S  # the sd that is told of them
    cadence, true = (run[-1].metrics["cadence_spm"].value for run in (kept, wanted))
    assert cadence == pytest.approx(true, abs=0.7)


def test_what_only_feet_can_tell_is_null_and_the_drop_stays() -> None:
    _, frames = seen(SEEN)
    plain, said = (good(feed(view_of(SEEN), run))[-1].metrics for run in (frames, _drawn(frames, _late)))
    for name in ("contact_time_left_ms", "duty_factor", "step_time_left_s", "symmetry_time_pct", "step_width_hw"):
        assert plain[name].value is not None
        assert (said[name].value, said[name].reason) == (None, "feet not seen")
    for side in ("left", "right"):
        name = f"pelvic_drop_peak_{side}_deg"
        assert said[name].value == pytest.approx(plain[name].value, abs=0.4)


def test_who_bobs_up_and_down_on_the_spot_takes_no_steps() -> None:
    view, frames = seen(SEEN)
    still = pose(frames[100]).xy_px
    bobbing = []
    for f in frames:
        xy = still.copy()
        xy[:8, 1] += 12.0 * np.sin(2 * np.pi * 2.7 * f.t_s)  # shoulders, hips and knees; the feet stay
        bobbing.append(replace(f, pose=Pose(xy, pose(f).score)))
    assert strides(feed(view, bobbing)) == []
