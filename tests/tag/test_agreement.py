"""Tag against markerless: what of the two readings is told, and with what uncertainty."""

from __future__ import annotations

import numpy as np
import pytest

from station.tag.agreement import agree, difference, stands
from station.types import Floats

FPS = 30.0


def readings(
    gain: float, noise: float, tag_noise: float, seconds: float = 60.0, seed: int = 0, bias: float = 0.0
) -> tuple[Floats, Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    t_s = np.arange(round(seconds * FPS)) / FPS
    true = 4 * np.sin(2 * np.pi * 1.4 * t_s) + 1.0 * np.sin(2 * np.pi * 4.2 * t_s)
    tag = true + rng.normal(0, tag_noise, len(t_s))
    return t_s, gain * true + bias + rng.normal(0, noise, len(t_s)), tag, np.full(len(t_s), tag_noise)


@pytest.mark.parametrize("gain", [0.3, 0.7, 1.0, 1.3, -0.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_wrong_gain_is_recovered_within_a_twentieth(gain: float, seed: int) -> None:
    found = agree(*readings(gain, noise=1.5, tag_noise=0.3, seed=seed), None)
    assert found.gain == pytest.approx(gain, abs=0.05)
    assert found.gain_ci95 is not None
    assert found.gain_ci95 < 0.06
    assert found.scatter_deg == pytest.approx(1.5, rel=0.1)


def test_noise_of_the_tag_does_not_dilute_the_gain() -> None:
    found = agree(*readings(1.0, noise=0.5, tag_noise=1.5), None)
    assert found.gain == pytest.approx(1.0, abs=0.05)


def test_the_interval_holds_the_gain_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(60):
        found = agree(*readings(0.8, noise=2.0, tag_noise=0.2, seconds=20, seed=seed), None)
        assert found.gain is not None
        assert found.gain_ci95 is not None
        inside += abs(found.gain - 0.8) <= found.gain_ci95
    assert 51 <= inside <= 60


def test_bias_counts_from_standing() -> None:
    t_s, said, tag, sd = readings(0.8, noise=0.5, tag_noise=0.2, bias=2.0)
    standing = (t_s < 3.0).astype(float)
    tag[t_s < 3.0], said[t_s < 3.0] = 1.5, 3.5 - 1.2  # the markerless one is 1.2 degrees low when nothing moves
    found = agree(t_s, said, tag, sd, standing)
    assert found.bias_deg == pytest.approx(2.0 - 0.8, abs=0.1)
    assert agree(t_s, said, tag, sd, None).bias_deg is None


def test_what_hardly_moves_or_is_hardly_seen_has_no_gain() -> None:
    t_s, said, tag, sd = readings(1.0, noise=0.5, tag_noise=0.2)
    assert agree(t_s, 0.1 * said, 0.1 * tag, 0.1 * sd, None).gain is None
    said[40:] = np.nan
    assert agree(t_s, said, tag, sd, None).frames == 40
    assert agree(t_s, said, tag, sd, None).gain is None


def test_standing_is_where_nothing_moves() -> None:
    t_s = np.arange(180) / FPS
    angles = np.random.default_rng(0).normal(0, 0.2, (180, 3))
    angles[90:, 0] += 4 * np.sin(9 * t_s[90:])
    still = stands(t_s, angles)
    assert still[15:75].all()
    assert not still[110:].any()
    assert not stands(t_s, np.full((180, 3), np.nan)).any()


def test_a_difference_needs_three_strides() -> None:
    assert difference([(1.0, 0.0), (2.0, 0.0)]) is None
    found = difference([(3.0, 1.0), (4.0, 1.0), (5.0, 1.0)])
    assert found is not None
    assert (found.mean, found.sd, found.strides) == (3.0, 1.0, 3)
    assert found.ci95 == pytest.approx(1.96 / np.sqrt(3))
