"""Runners made of formulas, with every event exactly known: more bodies and gaits than any recording holds.

A :class:`RunnerSpec` becomes one gait cycle (:class:`Cycle`): the feet obey the belt while they are on it and are exact
in contact and off; the pelvis' height is the double integral of a ground reaction force, so that it falls freely in
flight; pelvis angles are sums of harmonics. :func:`run` strings cycles with natural jitter into a
:class:`~station.lab.truth.Trial`; :mod:`station.lab.visit` makes whole visits of them.

Shapes and sizes were drawn from the common form of treadmill recordings (heel, ankle and toe around contact and off),
not fitted to one runner. Contact is the instant the lowest point of the shoe meets the belt, off the instant it leaves.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from station.lab.gait_cycle import GRAVITY, Cycle, cycle
from station.lab.runner_spec import RunnerSpec
from station.lab.truth import Trial, save_trial
from station.types import Floats

__all__ = ["GRAVITY", "Cycle", "RunnerSpec", "cycle", "main", "run"]

# --- from a cycle to a run -------------------------------------------------------------------------------------------


def run(spec: RunnerSpec, seconds: float = 30.0, seed: int = 0, fs: float = 200.0) -> Trial:
    """A steady run with natural jitter of strides and events; the events are exact."""
    rng = np.random.default_rng([seed, 77])
    one = cycle(spec)
    knots_s, knots, events = _jittered(one, seconds, rng)
    t_s = np.arange(0.0, seconds, 1 / fs)
    marks = one.at(_monotone(knots_s, knots, t_s))
    shift = np.cumsum(rng.normal(0, 1, (len(t_s), 3)), axis=0)
    shift = shift - np.linspace(0, 1, len(t_s))[:, None] * shift[-1]
    slow = np.stack([_slow(shift[:, j], fs) for j in range(3)], 1) * [spec.drift_m, 0, 2 * spec.drift_m]
    marks = {k: v + slow for k, v in marks.items()}
    return Trial(f"analytic{seed}", t_s, marks, events, "exact", spec.speed_mps)


def _jittered(one: Cycle, seconds: float, rng: np.random.Generator) -> tuple[Floats, Floats, dict[str, Floats]]:
    spec = one.spec
    n = int(seconds / spec.stride_s) + 3
    stride_s = spec.stride_s * (1 + spec.stride_sd * rng.normal(0, 1, n))
    start_s = np.concatenate([[0], np.cumsum(stride_s)]) - rng.uniform(1, 2) * spec.stride_s
    names = {"left_contact_s": 0.0, "left_off_s": one.left_off, "right_contact_s": 0.5, "right_off_s": one.right_off}
    events, knots_s, knots = {}, [], []
    for name, at in names.items():
        early = 0.0 if name == "left_contact_s" else spec.jitter_s
        times = np.interp(np.arange(n) + at, np.arange(n + 1), start_s) + early * rng.normal(0, 1, n)
        knots_s.append(times)
        knots.append(np.arange(n) + at)
        events[name] = times[(times > 0) & (times < seconds)]
    order = np.argsort(np.concatenate(knots))
    return np.concatenate(knots_s)[order], np.concatenate(knots)[order], events


def _monotone(x: Floats, y: Floats, at: Floats) -> Floats:
    """Monotone cubic interpolation (harmonic-mean slopes): an increasing clock stays one."""
    h, slope = np.diff(x), np.diff(y) / np.diff(x)
    m = np.concatenate([slope[:1], 2 / (1 / slope[:-1] + 1 / slope[1:]), slope[-1:]])
    i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    u = (at - x[i]) / h[i]
    out: Floats = (
        (1 + 2 * u) * (1 - u) ** 2 * y[i]
        + u * (1 - u) ** 2 * h[i] * m[i]
        + u * u * (3 - 2 * u) * y[i + 1]
        - u * u * (1 - u) * h[i] * m[i + 1]
    )
    return out


def _slow(x: Floats, fs: float) -> Floats:
    """The part of ``x`` below 0.2 Hz, scaled to SD 1."""
    f_hz = np.fft.rfftfreq(len(x), 1 / fs)
    y = np.fft.irfft(np.fft.rfft(x - x.mean()) * (f_hz < 0.2), len(x))
    out: Floats = y / max(float(y.std()), 1e-9)
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Write random runners as canonical files for the scorer."""
    p = argparse.ArgumentParser(prog="python -m station.lab.analytic", description=main.__doc__)
    p.add_argument("folder", type=Path)
    p.add_argument("--runners", type=int, default=10)
    p.add_argument("--first", type=int, default=1, help="seed of the first one")
    p.add_argument("--seconds", type=float, default=30.0)
    o = p.parse_args(argv)
    o.folder.mkdir(parents=True, exist_ok=True)
    for seed in range(o.first, o.first + o.runners):
        save_trial(run(RunnerSpec.random(seed), o.seconds, seed), o.folder / f"analytic{seed:03d}.npz")
    return 0


if __name__ == "__main__":
    sys.exit(main())
