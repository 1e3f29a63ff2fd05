"""The sine-wave runner speaks as the engine does: its payloads pass the published schemas."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from station.wire.schemas import schema
from tests.web import runner


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("state", runner.state("running")),
        ("state", runner.state("idle", None, "tuck_shirt")),
        ("cue", runner.cue()),
        ("live", runner.live(1.0)),
        ("status", runner.STATUS),
        ("health", runner.HEALTH),
        ("session", runner.session()),
    ],
)
def test_payloads_of_the_tests_are_payloads_of_the_station(name: str, payload: dict[str, Any]) -> None:
    Draft202012Validator(schema(name)).validate(payload)
