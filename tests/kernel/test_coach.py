"""The coach on runs that a person can follow, and on thousands that nobody would run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from station.coach import FAULTS, Coach, CoachSettings
from station.config import load
from station.errors import ConfigError
from station.lab.analytic import RunnerSpec
from station.lab.analytic import run as run_of_spec
from station.lab.project import Condition, observe, view_of
from station.metrics.table import BANDS, METRICS, Band, Zone, bands
from station.session import Session, SessionSettings
from station.types import Cue, Metric, SessionSummary, Stride, StrideMetrics

PERIOD_S = 0.7
LEFT, RIGHT = "pelvic_drop_peak_left_deg", "pelvic_drop_peak_right_deg"
#: A runner at whom nobody would complain.
GOOD = {
    LEFT: 4.0, RIGHT: 4.0, "pelvic_drop_difference_deg": 0.0, "sway_hw": 0.1, "obliquity_range_deg": 8.0,
    "hip_adduction_left_deg": 10.0, "hip_adduction_right_deg": 10.0, "step_width_mm": 60.0, "knee_gap_left_hw": 0.4,
    "knee_gap_right_hw": 0.4, "trunk_lean_left_deg": 2.0, "trunk_lean_right_deg": 2.0, "rotation_range_deg": 12.0,
    "cadence_spm": 120 / PERIOD_S,
}  # fmt: skip
#: and what is wrong with one who has each fault.
BAD = {
    "pelvic drop": {LEFT: 8.0},
    "crossover": {"step_width_mm": -10.0},
    "trunk lean": {"trunk_lean_right_deg": 7.0},
    "knee window": {"knee_gap_left_hw": 0.0},
    "sway, rotation": {"sway_hw": 0.28},
}
NO_METRONOME = CoachSettings(cadence_first=False)


class Run:
    """Strides one after the other, with zones as the kernel gives them."""

    def __init__(self, coach: Coach | None = None, table: dict[str, Band] | None = None) -> None:
        self.coach = coach or Coach(NO_METRONOME)
        self.table = table or dict(BANDS)
        self.zones: dict[str, Zone] = {}
        self.t_s, self.seq = 100.0, 0
        self.cues: list[Cue] = []
        self.latest: dict[str, Metric] = {}

    def stride(
        self, ci95: float = 0.01, period_s: float = PERIOD_S, own: float = 0.0, ok: bool = True, **changed: float
    ) -> tuple[Cue, ...]:
        """One stride; ``own`` is added to this stride's readings for the worse."""
        self.seq += 1
        values = GOOD | {"cadence_spm": 120 / period_s} | changed
        metrics = {name: Metric(reason="gap") for name in METRICS}
        if ok:
            for name, value in values.items():
                worse = own if name not in BANDS or BANDS[name].rising else -own
                metrics[name] = Metric(value, ci95, value + worse)
            for name, band in self.table.items():
                if name in values:
                    self.zones[name] = band.zone(values[name], ci95, self.zones.get(name, "green"))
        self.latest = metrics
        start_s, self.t_s = self.t_s, self.t_s + period_s
        at = Stride(self.seq, start_s, self.t_s, start_s, start_s + 0.25, start_s + 0.35, start_s + 0.6)
        said = self.coach.feed(
            StrideMetrics(
                at, "ok" if ok else "rejected", () if ok else ("gap",), metrics, dict(self.zones) if ok else {}
            )
        )
        self.cues += said
        return said

    def seconds(self, duration_s: float, **how: float) -> list[Cue]:
        """So many seconds of the same strides; the cues they brought."""
        before, end_s = len(self.cues), self.t_s + duration_s
        while self.t_s < end_s:
            self.stride(**how)  # type: ignore[arg-type]
        return self.cues[before:]

    @property
    def raised(self) -> list[Cue]:
        return [cue for cue in self.cues if cue.action == "raise"]


def warm(run: Run | None = None) -> Run:
    """After two minutes of good running."""
    run = run or Run()
    run.seconds(130)
    assert run.cues == []
    return run


def test_a_dropping_left_side_is_told_once_then_silence_then_again() -> None:
    run = warm()
    began_s = run.t_s
    cues = run.seconds(100, **{LEFT: 8.0})
    assert [(cue.cue, cue.side, cue.action, cue.metric) for cue in cues] == [
        ("belt_line_level", "left", "raise", LEFT),
        ("belt_line_level", "left", "clear", LEFT),
        ("squeeze_stance_glute", "left", "raise", LEFT),
        ("squeeze_stance_glute", "left", "clear", LEFT),
    ]
    first, gone, second, _ = (cue.t_s for cue in cues)
    assert first - began_s == pytest.approx(7 * PERIOD_S, abs=0.01)  # the seventh bad stride of the last ten
    assert 20.0 <= gone - first < 20.0 + PERIOD_S
    assert 45.0 <= second - gone < 45.0 + PERIOD_S
    assert len(cues[0].because) == 7
    assert max(cues[0].because) - min(cues[0].because) < 10


def test_nothing_is_said_of_a_good_runner() -> None:
    run = warm()
    assert run.seconds(1200) == []
    assert run.coach.log == ()
    assert run.coach.advice() == ()


def test_a_bad_runner_waits_two_minutes() -> None:
    run = Run()
    run.seconds(119, **{LEFT: 12.0})
    assert run.cues == []
    run.seconds(5, **{LEFT: 12.0})
    assert len(run.raised) == 1


def test_walking_does_not_use_up_the_two_minutes() -> None:
    run = Run()
    run.seconds(300, ok=False)
    run.seconds(100, **{LEFT: 12.0})
    assert run.cues == []


def test_the_return_is_praised_while_the_cue_stands() -> None:
    run = warm()
    run.seconds(8, **{LEFT: 8.0})
    cues = run.seconds(30)
    assert [(cue.action, cue.cue) for cue in cues] == [("praise", "belt_line_level")]
    assert cues[0].t_s - run.cues[0].t_s >= 10.0
    assert run.coach.log[0]["praised"] is True


def test_a_late_return_is_praised_after_the_silence() -> None:
    run = warm()
    run.seconds(35, **{LEFT: 8.0})
    assert [cue.action for cue in run.cues] == ["raise", "clear"]
    cues = run.seconds(60)
    assert [cue.action for cue in cues] == ["praise"]
    assert cues[0].t_s - run.cues[1].t_s >= 45.0
    assert run.seconds(200) == []


def test_what_was_answered_is_said_again_what_was_not_is_put_otherwise() -> None:
    run = warm()
    run.seconds(8, **{LEFT: 8.0})
    run.seconds(80)
    run.seconds(30, **{LEFT: 8.0})
    assert [cue.cue for cue in run.raised] == ["belt_line_level", "belt_line_level"]
    run.seconds(300, **{LEFT: 8.0})
    assert [cue.cue for cue in run.raised][2:5] == ["squeeze_stance_glute", "belt_line_level", "squeeze_stance_glute"]


def test_the_silence_grows_and_a_fault_without_answer_is_left_to_the_exercises() -> None:
    run = warm()
    run.seconds(1800, **{LEFT: 8.0})
    times = [cue.t_s for cue in run.raised]
    assert len(times) == CoachSettings().give_up_after
    gaps = [b - a for a, b in pairwise(times)]
    assert all(later > earlier + 3 for earlier, later in pairwise(gaps))
    assert run.coach.advice() == ("side plank", "lateral band walks", "glute work")


def test_a_given_up_fault_makes_room_for_the_next() -> None:
    run = warm()
    run.seconds(1800, **{LEFT: 8.0}, sway_hw=0.28)
    assert [cue.metric for cue in run.raised] == [LEFT] * 4 + ["sway_hw"] * 4


@pytest.mark.parametrize("fault", BAD)
def test_every_fault_has_its_words(fault: str) -> None:
    row = next(row for row in FAULTS if row.name == fault)
    run = warm()
    run.seconds(8, **BAD[fault])
    (cue,) = run.cues
    assert cue.cue == next(words for words in row.cues if words != "metronome")
    assert (cue.metric, cue.side) in row.metrics


def test_cadence_that_sinks_at_one_speed_calls_for_the_metronome() -> None:
    run = warm()
    for _ in range(400):
        run.stride(period_s=PERIOD_S * (1 + 0.1 * min(1.0, (run.seq - 180) / 300)))
    assert [(cue.cue, cue.metric) for cue in run.raised[:1]] == [("metronome", "cadence_spm")]


def test_priority() -> None:
    names = [fault.name for fault in FAULTS]
    assert names == [
        "pelvic drop", "crossover", "trunk lean", "knee window", "sway, rotation", "tilt", "low push-back",
        "low cadence",
    ]  # fmt: skip
    ailing = [name for name in names if name in BAD]
    for place, most_important in enumerate(ailing):
        run = warm()
        wrong: dict[str, float] = {}
        for name in ailing[place:]:
            wrong |= BAD[name]
        run.seconds(8, **wrong)
        assert run.cues[0].metric in BAD[most_important]


def test_the_worse_side_is_named() -> None:
    run = warm()
    run.seconds(8, **{LEFT: 7.0, RIGHT: 8.5})
    assert [cue.side for cue in run.cues] == ["right"]


def test_metronome_first_then_the_belt_line() -> None:
    run = warm(Run(Coach()))
    run.seconds(90, **{LEFT: 8.0})
    assert [(cue.cue, cue.metric) for cue in run.raised] == [("metronome", "cadence_spm"), ("belt_line_level", LEFT)]
    assert run.coach.log[0]["metric"] == LEFT


def test_no_metronome_for_quick_feet() -> None:
    run = Run(Coach())
    run.seconds(130, period_s=0.62)
    run.seconds(8, period_s=0.62, **{LEFT: 8.0})
    assert [cue.cue for cue in run.raised] == ["belt_line_level"]


def test_a_wide_interval_is_not_spoken_of() -> None:
    run = warm()
    run.seconds(120, ci95=1.6, **{LEFT: 9.0})
    assert run.cues == []
    run.seconds(10, ci95=1.4, **{LEFT: 9.0})
    assert len(run.raised) == 1


def test_bad_strides_alone_or_a_bad_level_alone_say_nothing() -> None:
    run = warm()
    assert run.seconds(60, own=3.0, **{LEFT: 5.0}) == []  # every stride out, the level in the green
    run.seconds(20)
    assert run.seconds(60, own=-2.0, **{LEFT: 7.0}) == []  # the level out, no stride


def test_six_of_ten_are_not_enough() -> None:
    run = warm()
    for k in range(200):
        run.stride(own=0.0 if k % 5 < 3 else -3.0, **{LEFT: 8.0})  # type: ignore[arg-type]
    assert run.cues == []


def test_rejected_strides_silence_the_coach() -> None:
    run = warm()
    for k in range(300):
        run.stride(ok=k % 10 >= 3, **{LEFT: 8.0})
    assert run.cues == []


def test_a_sudden_fall_of_cadence_is_the_belt_not_the_runner() -> None:
    run = warm()
    assert run.seconds(120, period_s=0.77) == []


def test_a_change_of_speed_silences_the_coach() -> None:
    run = warm()
    run.seconds(3, **{LEFT: 8.0})
    changed_s = run.t_s
    run.seconds(30, period_s=0.66, **{LEFT: 8.0})
    assert run.raised[0].t_s - changed_s >= CoachSettings().settle_s


def test_a_break_begins_the_count_anew() -> None:
    run = warm()
    run.seconds(4, **{LEFT: 8.0})
    run.t_s += 20
    assert run.seconds(6.0, **{LEFT: 8.0}) == []  # nine strides
    assert len(run.seconds(1.0, **{LEFT: 8.0})) == 1


def test_a_cue_is_withdrawn_when_the_runner_is_gone() -> None:
    run = warm()
    run.seconds(8, **{LEFT: 8.0})
    raised_s = run.cues[0].t_s
    assert run.coach.tick(raised_s + 19.9) == ()
    (gone,) = run.coach.tick(raised_s + 20.0)
    assert (gone.action, gone.cue) == ("clear", "belt_line_level")
    assert run.coach.tick(raised_s + 99.0) == ()
    assert run.coach.finish() == ()


def test_the_end_of_the_session_withdraws_the_cue() -> None:
    run = warm()
    run.seconds(8, **{LEFT: 8.0})
    assert [cue.action for cue in run.coach.finish()] == ["clear"]
    assert run.coach.finish() == ()


@pytest.mark.parametrize(("later", "answer"), [(5.0, "better"), (8.0, "unchanged"), (8.3, "unchanged"), (9.5, "worse")])
def test_the_answer_is_logged(later: float, answer: str) -> None:
    run = warm()
    run.seconds(8, ci95=0.3, **{LEFT: 8.0})
    run.seconds(30, ci95=0.3, **{LEFT: later})
    (entry,) = run.coach.log
    assert (entry["before"], entry["after"], entry["answer"]) == (8.0, later, answer)
    assert entry["t_s"] == pytest.approx(run.cues[0].t_s - 100.0 - PERIOD_S)
    assert entry["cadence_before"] == pytest.approx(120 / PERIOD_S)


def test_an_answer_to_the_other_direction() -> None:
    """Where smaller is worse, more is better."""
    run = warm()
    run.seconds(8, step_width_mm=10.0)
    run.seconds(30, step_width_mm=50.0)
    assert run.coach.log[0]["answer"] == "better"


def test_an_answer_at_another_speed_is_none() -> None:
    run = warm()
    run.seconds(8, **{LEFT: 8.0})
    run.seconds(40, period_s=0.6, **{LEFT: 3.0})
    assert run.coach.log[0]["answer"] == "interrupted"
    assert run.coach.log[0]["after"] is None


def test_profiles_move_the_border() -> None:
    table = dict(bands("women"))
    run = warm(Run(Coach(NO_METRONOME, table), table))
    assert run.seconds(60, **{LEFT: 6.9}) == []
    assert len(run.seconds(8, **{LEFT: 7.5})) == 1


def test_an_experimental_metric_speaks_only_with_a_zone() -> None:
    run = warm()
    assert run.seconds(60, tilt_mean_deg=30.0) == []
    table = dict(BANDS) | {"tilt_mean_deg": Band(8.0, 12.0)}
    run = warm(Run(Coach(NO_METRONOME, table), table))
    run.seconds(8, tilt_mean_deg=30.0)
    assert [cue.cue for cue in run.cues] == ["bucket_stays_level"]
    assert run.coach.advice() == ()


def test_times_that_run_backward_or_are_no_number_do_no_harm() -> None:
    run = warm()
    run.t_s = 5.0
    run.seconds(30, **{LEFT: 8.0})
    assert run.coach.tick(math.nan) == ()
    times = [cue.t_s for cue in run.cues]
    assert times == sorted(times)


@pytest.mark.parametrize(
    "change",
    [
        {"hold_s": 9.0}, {"show_s": 5.0}, {"refractory_s": 20.0}, {"refractory_max_s": 31.0}, {"fading": 0.9},
        {"window": 0}, {"out_of_band": 11}, {"back_in_band": 7}, {"measured": 11}, {"warm_up_s": math.nan},
        {"settle_s": -1.0}, {"warm_up_s": math.inf},
    ],
)  # fmt: skip
def test_settings_that_break_the_promise_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"coach.{next(iter(change))}"):
        replace(CoachSettings(), **change)  # type: ignore[arg-type]


def test_the_silence_never_overflows() -> None:
    assert CoachSettings(fading=10.0).silence_s(10**9) == 180.0
    assert CoachSettings().silence_s(1) == 45.0


# -- any run at all ----------------------------------------------------------------------------------------------------

SHORT = CoachSettings(warm_up_s=20.0, settle_s=3.0)
phases = st.lists(
    st.tuples(
        st.integers(1, 60),  # strides
        st.dictionaries(st.sampled_from(sorted(GOOD)), st.floats(-20.0, 20.0), max_size=4),
        st.sampled_from([0.01, 0.01, 0.4, 5.0]),  # ci95
        st.sampled_from([0.7, 0.7, 0.66, 0.9]),  # stride time
        st.sampled_from([1.0, 1.0, 0.8, 0.0]),  # share of ok strides
        st.sampled_from([0.0, 0.0, 1.0, 30.0]),  # break before [s]
    ),
    min_size=1,
    max_size=12,
)
Phase = tuple[int, dict[str, float], float, float, float, float]


def strides(plan: Sequence[Phase]) -> Iterator[Callable[[Run], tuple[Cue, ...]]]:
    for count, changed, ci95, period_s, share, break_s in plan:
        for k in range(count):
            ok = share == 1.0 or (k * share) % 1.0 + share >= 1.0

            def step(run: Run, pause: float = break_s if k == 0 else 0.0, ok: bool = ok, how: Phase = (
                count, changed, ci95, period_s, share, break_s)) -> tuple[Cue, ...]:  # fmt: skip
                run.t_s += pause
                return run.stride(ci95=how[2], period_s=how[3], ok=ok, **how[1])

            yield step


def run_of(plan: Iterable[Callable[[Run], tuple[Cue, ...]]], cadence_first: bool = True) -> Run:
    run = Run(Coach(replace(SHORT, cadence_first=cadence_first)))
    for step in plan:
        step(run)
    return run


#: Bad enough to be told: makes sure that the properties below have cues to judge.
TROUBLE: list[Phase] = [(60, {}, 0.01, 0.7, 1.0, 0.0), (120, {LEFT: 12.0}, 0.01, 0.7, 1.0, 0.0)]


@settings(max_examples=60, deadline=None)
@given(phases, st.booleans())
def test_one_cue_at_a_time_held_then_silence(plan: list[Phase], cadence_first: bool) -> None:
    run = run_of(strides([*TROUBLE, *plan]), cadence_first)
    assert run.raised
    shown: Cue | None = None
    quiet_since_s = -math.inf
    for cue in run.cues:
        if cue.action == "raise":
            assert shown is None
            assert cue.t_s - quiet_since_s >= SHORT.refractory_s - 1e-9
            shown = cue
            continue
        if shown is None:
            assert cue.action == "praise"  # owed, after the silence
            assert cue.t_s - quiet_since_s >= SHORT.refractory_s - 1e-9
        else:
            assert (cue.cue, cue.side, cue.metric) == (shown.cue, shown.side, shown.metric)
            assert cue.t_s - shown.t_s >= SHORT.hold_s - 1e-9
        shown, quiet_since_s = None, cue.t_s


@settings(max_examples=60, deadline=None)
@given(phases)
def test_never_in_warm_up_and_never_below_confidence(plan: list[Phase]) -> None:
    run = Run(Coach(SHORT))
    first_s: float | None = None
    lately: list[bool] = []
    for step in strides([*plan, *TROUBLE, *plan]):
        before = run.seq
        cues = step(run)
        assert run.seq == before + 1
        rejected = not any(metric.value is not None for metric in run.latest.values())
        lately = [*lately, not rejected][-10:]
        if not rejected and first_s is None:
            first_s = run.t_s - 2.0  # no earlier than a stride before
        for cue in cues:
            if cue.action == "raise":
                assert first_s is not None
                assert cue.t_s - first_s >= SHORT.warm_up_s
                assert sum(lately) >= SHORT.measured
                assert len(cue.because) >= SHORT.out_of_band
                if cue.metric in BANDS:
                    metric, band = run.latest[cue.metric], BANDS[cue.metric]
                    assert metric.ci95 is not None
                    assert metric.ci95 <= SHORT.max_interval_share * abs(band.red - band.green)
                    assert run.zones[cue.metric] != "green"


@settings(max_examples=20, deadline=None)
@given(phases, st.integers(0, 300))
def test_the_same_strides_give_the_same_cues_and_the_future_changes_none(plan: list[Phase], cut: int) -> None:
    steps = list(strides([*TROUBLE, *plan]))
    whole, again, part = run_of(steps), run_of(steps), run_of(steps[:cut])
    assert whole.cues == again.cues
    assert whole.coach.log == again.coach.log
    assert whole.coach.advice() == again.coach.advice()
    assert whole.cues[: len(part.cues)] == part.cues


MIRROR = {"left": "right", "right": "left"}


def mirrored(name: str) -> str:
    return name.replace("left", "#").replace("right", "left").replace("#", "right")


@settings(max_examples=20, deadline=None)
@given(st.floats(2.0, 12.0), st.floats(2.0, 12.0), st.floats(0.0, 10.0))
def test_the_mirrored_runner_hears_the_mirrored_cues(left: float, right: float, lean: float) -> None:
    if left == right:
        return
    wrong = {LEFT: left, RIGHT: right, "trunk_lean_left_deg": lean}
    one, other = warm(), warm()
    one.seconds(400, **wrong)
    other.seconds(400, **{mirrored(name): value for name, value in wrong.items()})
    assert [(c.t_s, c.cue, c.action, c.side and MIRROR[c.side], mirrored(c.metric)) for c in one.cues] == [
        (c.t_s, c.cue, c.action, c.side, c.metric) for c in other.cues
    ]


# -- from the configuration file ---------------------------------------------------------------------------------------


def test_the_configuration_reaches_the_coach(tmp_path: Path) -> None:
    file = tmp_path / "station.toml"
    file.write_text("[coach]\nwarm_up_s = 60\ncadence_first = false\n")
    assert load(file).coach == CoachSettings(warm_up_s=60.0, cadence_first=False)
    assert load(None).coach == CoachSettings()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("hold_s = 5", r"coach\.hold_s = 5: must be a number from 10 to 60"),
        ("window = 7.5", r"coach\.window = 7\.5: must be a whole number"),
        ("cadence_first = 1", r"coach\.cadence_first = 1: must be true or false"),
        ("show_s = 10\nhold_s = 12", r"coach\.show_s = 10\.0: must be at least hold_s"),
        ("patience = 3", r"unknown key coach\.patience"),
    ],
)
def test_a_wrong_key_is_refused_with_its_name(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "station.toml"
    file.write_text(f"[coach]\n{line}\n")
    with pytest.raises(ConfigError, match=said):
        load(file)


# -- from the frames ---------------------------------------------------------------------------------------------------


def test_a_dropping_runner_before_the_camera_is_told_and_the_summary_knows() -> None:
    """Through the real kernel: the pelvis of this runner drops by some 9° in both stances."""
    spec = RunnerSpec(obliquity_deg=((9.0, 3.1), (0.3, 0.5), (1.5, 1.0)))
    condition = Condition(fps=30.0, pelvis_sd_deg=1.0)
    session = Session(view_of(condition), SessionSettings(coach=CoachSettings(warm_up_s=20.0)))
    out = [said for seen in observe(run_of_spec(spec, seconds=60.0, seed=1), condition) for said in session.feed(seen)]
    out += session.finish()
    cues = [said for said in out if isinstance(said, Cue)]
    ok = [said for said in out if isinstance(said, StrideMetrics) and said.status == "ok"]
    assert [(cue.cue, cue.action) for cue in cues] == [("metronome", "raise"), ("metronome", "clear")]
    place = out.index(cues[0])
    known = [said for said in out[:place] if isinstance(said, StrideMetrics)]
    assert cues[0].t_s - known[-1].stride.end_s < 1.0  # on the screen within a second of its strides
    assert set(cues[0].because) <= {stride.stride.seq for stride in known}
    assert cues[0].t_s - ok[0].stride.start_s >= 20.0
    (summary,) = (said for said in out if isinstance(said, SessionSummary))
    assert summary.advice == ("side plank", "lateral band walks", "glute work")
    assert [entry["cue"] for entry in summary.cues] == ["metronome"]
    assert summary.cues[0]["answer"] == "unchanged"
