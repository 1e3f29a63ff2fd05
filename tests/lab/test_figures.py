"""The figures of docs/kernel.md draw, small and the same every time; lag and cost can be measured."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from station.lab import lag

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("name", ["swing", "events"])
def test_a_figure_is_small_and_the_same_every_time(name: str, tmp_path: Path) -> None:
    from station.lab import figures

    drawn = []
    for folder in ("first", "second"):
        assert figures.main([str(tmp_path / folder), "--only", name]) == 0
        (path,) = (tmp_path / folder).iterdir()
        drawn.append(path.read_bytes())
    assert drawn[0] == drawn[1]
    assert 5_000 < len(drawn[0]) < 60_000
    assert ET.fromstring(drawn[0]).tag.endswith("svg")


def test_the_gait_room_alone_reads_the_run_of_the_figures() -> None:
    from station.lab import figures

    seen = figures.watch(figures._trial(figures.RUNNER), figures.PLAIN)
    assert len(seen.cycles) > 30
    assert sum(not cycle.reasons for cycle in seen.cycles) >= len(seen.cycles) - 2


def test_a_stride_is_told_within_a_second_of_its_end() -> None:
    timed = lag.measure(30.0, 6.0)
    assert len(timed.lag_s) > 10
    assert np.all(timed.lag_s > 0.0)
    assert np.all(timed.lag_s < 0.9)
