"""The virtual station: made once for a commit (an hour, most of it emulated), resumed in seconds for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import station
from .image import ImageError
from .machine import Machine
from .station import Place


@pytest.fixture(scope="session")
def place() -> Place:
    """Where the machine lies that a station was installed on."""
    try:
        return station.place()
    except ImageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def serving(place: Place) -> Iterator[Machine]:
    """A station that serves, as it was installed; one for all tests of a file."""
    machine = place.start(station.SERVING)
    yield machine
    machine.cut()
