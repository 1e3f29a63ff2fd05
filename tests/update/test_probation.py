"""A good release is kept, a bad one is left by itself, for the reason that a technician will read."""

from __future__ import annotations

import re

import pytest

from tests.update.toy import Toy

pytestmark = pytest.mark.timeout(900)  # seconds on a free machine; a busy one takes its time


def test_a_good_release_is_committed_and_serves(station: Toy) -> None:
    assert station.serves() == "1.0.0"
    done = station.update(station.release("1.1.0"))
    assert done.returncode == 0, done.stderr
    assert station.serves() == "1.1.0"
    assert station.report["state"] == "idle"
    assert (station.journal.previous, dict(station.journal.failed)) == ("1.0.0", {})


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("crash", r"station.service crashes \(started \d times by itself"),
        ("hang", r"within 20 s it did not get well: station.service is activating.*of 30 frames"),
        ("no camera", "the camera is lost"),
        ("memory", "the engine takes 9000 MB of memory, more than 650"),
        ("page", "within 20 s it did not get well: the page's /app.js answers 500"),
    ],
)
def test_a_bad_release_is_left_by_itself(station: Toy, behaviour: str, reason: str) -> None:
    station.be_patient_for(20.0)
    bad = station.release("1.1.0", behaviour)
    done = station.update(bad)
    assert done.returncode == 1
    assert station.serves() == "1.0.0"
    report = station.report
    assert (report["state"], report["from"], report["to"]) == ("failed", "1.0.0", "1.1.0")
    assert re.search(reason, report["reason"]), report["reason"]
    assert not station.layout.release("1.1.0").exists()
