"""In the kernel: what an estimator does not know, or reads off cloth, takes the pelvis metrics away and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from station.metrics.table import ANGLES_3D, PELVIC
from station.types import Observation, PelvisReading, State, StrideMetrics
from tests.kernel.runners import PLAIN, feed, good, seen, unknown_pelvis

TOLD = replace(PLAIN, pelvis_sd_deg=0.5)
OTHERS = ("cadence_spm", "contact_time_left_ms", "sway_hw", "step_width_hw", "trunk_lean_left_deg")


def spoken(
    change: Callable[[PelvisReading], PelvisReading], strange: Callable[[int], bool] = lambda _: True
) -> list[Observation]:
    _, frames = seen(TOLD)
    return [
        replace(frame, pelvis=change(frame.pelvis)) if frame.pelvis is not None and strange(i) else frame
        for i, frame in enumerate(frames)
    ]


def last(frames: list[Observation]) -> StrideMetrics:
    view, _ = seen(TOLD)
    return good(feed(view, frames))[-1]


@pytest.mark.parametrize("source", ["fused", "net", "optical"])
def test_cloth_that_rises_on_the_swing_side_is_no_pelvis(source: str) -> None:
    stride = last(spoken(lambda r: replace(r, obliquity_deg=-r.obliquity_deg, source=source)))
    for name in (*PELVIC, *ANGLES_3D):
        assert stride.metrics[name].value is None
        assert stride.metrics[name].reason == "waist_hidden"
    for name in OTHERS:
        assert stride.metrics[name].value is not None, name


def test_the_runner_is_asked_to_tuck_the_shirt_in() -> None:
    view, _ = seen(TOLD)
    outputs = feed(view, spoken(lambda r: replace(r, obliquity_deg=-r.obliquity_deg)))
    assert any(isinstance(out, State) and out.prompt == "tuck_shirt" for out in outputs)


def test_an_estimator_that_hardly_knows_is_a_hidden_waist() -> None:
    for frames in (
        spoken(lambda _: PelvisReading(source="fused"), lambda i: i % 3 > 0),  # a third of the frames
        spoken(lambda r: replace(r, sd_obliquity_deg=3.5)),
    ):
        stride = last(frames)
        assert stride.metrics["pelvic_drop_peak_left_deg"].reason == "waist_hidden"
        assert all(stride.metrics[name].value is not None for name in OTHERS)


def test_frames_lost_now_and_then_do_not_hide_the_waist() -> None:
    stride = last(spoken(lambda _: PelvisReading(source="fused"), lambda i: i % 5 == 0))
    assert stride.metrics["pelvic_drop_peak_left_deg"].value is not None


def test_hips_instead_of_an_estimator_stay_what_they_were() -> None:
    """Without a block the hips are read; a block that does not know is never replaced by them."""
    view, frames = seen(PLAIN)
    assert good(feed(view, frames))[-1].metrics["pelvic_drop_peak_left_deg"].value is not None
    nothing = good(feed(view, [unknown_pelvis(frame) for frame in frames]))[-1]
    assert nothing.metrics["pelvic_drop_peak_left_deg"].value is None


def test_an_sd_that_the_scatter_does_not_bear_out_widens_the_interval() -> None:
    """Errors that repeat with the stride do not scatter, and no pooling mends them."""
    plain = last(spoken(lambda r: r)).metrics["pelvic_drop_peak_left_deg"]
    unsure = last(spoken(lambda r: replace(r, sd_obliquity_deg=1.5))).metrics["pelvic_drop_peak_left_deg"]
    assert plain.ci95 is not None
    assert unsure.ci95 is not None
    assert plain.value == pytest.approx(unsure.value, abs=0.05)
    assert 1.5 < unsure.ci95 < 3.0
    assert plain.ci95 < 0.9
