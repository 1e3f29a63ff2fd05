"""Many stations at once, and a broker that keeps dying: nothing missing, nothing out of order."""

from __future__ import annotations

import random
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from station.lab.fleet import Plan, Report, run
from tests.broker_fixture import Mosquitto


@pytest.fixture
def broker(mosquitto_path: Path, tmp_path: Path) -> Mosquitto:
    """As in deploy/broker: remembers, and has room for a receiver that is away."""
    made = Mosquitto(mosquitto_path, tmp_path / "broker")
    with made.config.open("a") as file:
        file.write("autosave_interval 60\nmax_queued_messages 20000\nlog_type error\n")
    return made.start()


def killed(broker: Mosquitto, plan: Plan, kills: int, seed: int) -> Report:
    """Play the plan while the broker is killed -9 at random times and started again."""
    dice = random.Random(seed)

    def mischief() -> None:
        time.sleep(2.0)
        broker.save()  # so that the receiver's session outlives the first kill; later its autosave does that
        for _ in range(kills):
            time.sleep(dice.uniform(0.2, 2.0) * plan.seconds / (kills + 2) * 0.8)
            broker.kill()
            time.sleep(dice.uniform(0.0, 2.0))
            broker.start()

    return run(plan, meanwhile=mischief)


def test_three_stations_and_a_broker_killed_three_times(broker: Mosquitto) -> None:
    try:
        report = killed(broker, Plan(port=broker.port, stations=3, seconds=15, session_s=8, pause_s=1), 3, seed=1)
    finally:
        broker.kill()
    assert report.good, asdict(report)
    assert report.strides > 30
    assert report.lost == {}


def test_links_that_break_lose_nothing(broker: Mosquitto) -> None:
    plan = Plan(port=broker.port, stations=10, seconds=12, session_s=6, pause_s=1, outages=3, outage_s=1.5)
    try:
        report = run(plan, broker_pid=broker.process.pid if broker.process else None)
    finally:
        broker.kill()
    assert report.good, asdict(report)
    assert report.broker_rss_mb is not None


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_three_stations_for_ten_minutes_and_a_broker_killed_fifty_times(broker: Mosquitto) -> None:
    plan = Plan(port=broker.port, stations=3, seconds=600, session_s=60, pause_s=5, drain_s=120)
    try:
        report = killed(broker, plan, 50, seed=2)
    finally:
        broker.kill()
    print(asdict(report))
    assert report.good, asdict(report)
    assert report.strides > 1500


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_three_hundred_stations(broker: Mosquitto) -> None:
    plan = Plan(port=broker.port, stations=300, seconds=60, processes=2, session_s=120, pause_s=5, drain_s=120)
    try:
        report = run(plan, broker_pid=broker.process.pid if broker.process else None)
    finally:
        broker.kill()
    print(asdict(report))
    assert report.good, asdict(report)
    assert report.lost == {}
