"""A toy station around the real updater, on a real broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.broker_fixture import Mosquitto, listen, mosquitto
from tests.update.toy import Toy

__all__ = ["listen", "mosquitto"]


@pytest.fixture
def make_toy(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Callable[..., Toy]]:
    """Makes toy stations, and ends all their processes."""
    made: list[Toy] = []

    def make(**settings: Any) -> Toy:
        folder = tmp_path / f"toy{len(made)}"
        folder.mkdir()
        made.append(Toy(folder, mosquitto, **settings))
        return made[-1]

    yield make
    for toy in made:
        toy.power_off()


@pytest.fixture
def toy(make_toy: Callable[..., Toy]) -> Toy:
    """A toy station without any release."""
    return make_toy()


@pytest.fixture
def station(toy: Toy) -> Toy:
    """A station that runs 1.0.0, with the updater and the guard that came with it."""
    done = toy.update(toy.release("1.0.0"))
    assert done.returncode == 0, done.stderr
    assert toy.updater == "1.0.0"
    return toy
