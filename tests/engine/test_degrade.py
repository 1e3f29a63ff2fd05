"""What a hot or slow station gives up, when, and when it takes it back: by a clock and a thermometer of our own."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from station.engine.degrade import DOWN_S, STEPS, UP_MAX_S, UP_S, Degrader


class Day:
    """Five seconds at a time, as the engine asks."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.degrader = Degrader()
        self.history: list[str] = []

    def spend(
        self,
        seconds: float,
        *,
        temp_c: float | None = 60.0,
        throttled: bool | None = False,
        dropped_share: float | None = 0.0,
    ) -> str:
        for _ in range(round(seconds / 5)):
            step = self.degrader.update(self.now_s, temp_c=temp_c, throttled=throttled, dropped_share=dropped_share)
            self.history.append(step.name)
            self.now_s += 5
        return self.history[-1]


def test_a_well_station_does_everything() -> None:
    day = Day()
    assert day.spend(3600) == "none"
    assert day.degrader.cause is None
    assert (STEPS[0].live_hz, STEPS[0].pose_every) == (30.0, 1)


def test_the_page_goes_first_then_every_second_pose_and_no_further() -> None:
    day = Day()
    day.spend(60, temp_c=82.0)
    assert [name for name, _ in itertools.groupby(day.history)] == ["none", "page", "pose"]
    assert day.history.index("page") == DOWN_S / 5
    assert day.history.index("pose") == 2 * DOWN_S / 5
    assert day.degrader.cause == "hot"
    assert day.spend(3600, temp_c=90.0) == "pose"


def test_each_cause_is_named() -> None:
    for cause, how in (("hot", {"temp_c": 85.0}), ("throttled", {"throttled": True}), ("slow", {"dropped_share": 0.3})):
        day = Day()
        day.spend(15, **how)
        assert day.degrader.cause == cause


def test_a_short_burst_is_not_answered() -> None:
    day = Day()
    for _ in range(20):
        day.spend(10, dropped_share=0.5)
        day.spend(10)
    assert set(day.history) == {"none"}


def test_what_was_given_up_comes_back_after_a_minute_of_wellness() -> None:
    day = Day()
    day.spend(30, temp_c=82.0)
    assert day.spend(UP_S, temp_c=60.0) == "pose"
    assert day.spend(5, temp_c=60.0) == "page"
    assert day.spend(UP_S + 5, temp_c=60.0) == "none"
    assert day.degrader.cause is None


def test_lukewarm_changes_nothing_either_way() -> None:
    day = Day()
    day.spend(15, temp_c=82.0)
    assert day.spend(1800, temp_c=75.0) == "page"


def test_a_station_too_slow_for_everything_does_not_swing() -> None:
    """Slow at full work, well at less: each return fails, so returns become rare."""
    day = Day()
    while day.now_s < 4 * 3600:
        day.spend(5, dropped_share=0.3 if day.degrader.step.name == "none" else 0.0)
    changes = sum(one != other for one, other in itertools.pairwise(day.history))
    assert changes < 40  # without the patience it would be some 400
    late = day.history[-int(UP_MAX_S / 5) :]
    assert late.count("page") > 0.9 * len(late)


def test_a_machine_that_says_nothing_is_left_alone() -> None:
    day = Day()
    assert day.spend(600, temp_c=None, throttled=None, dropped_share=None) == "none"


@given(
    st.lists(
        st.tuples(st.floats(20, 95) | st.none(), st.booleans() | st.none(), st.floats(0, 1) | st.none()), max_size=200
    )
)
def test_one_step_at_a_time_whatever_comes(weather: list[tuple[float | None, bool | None, float | None]]) -> None:
    degrader, before = Degrader(), 0
    for tick, (temp_c, throttled, dropped_share) in enumerate(weather):
        step = degrader.update(5.0 * tick, temp_c=temp_c, throttled=throttled, dropped_share=dropped_share)
        now = STEPS.index(step)
        assert abs(now - before) <= 1
        assert (degrader.cause is None) == (now == 0)
        before = now
