"""From sightings of sheets to lens and place: one least-squares fit over all of them, with its uncertainty.

All sheets lie in one plane, the belt, each somewhere in it. Every sighting gives eight numbers, every sheet costs three
unknowns; shared are focal length, distortion, the lens axis, height, pitch and roll. What the belt alone hardly tells
(the axis of the lens, a distortion that no sheet has shown) is held by what is known of lenses in general, so that the
stated uncertainty is honest there too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from station.calibrate.model import Lens, Place, Spot, place_from_plane
from station.calibrate.register import Sighting
from station.calibrate.target import CORNERS_M
from station.types import Floats

#: How far a corner of a sheet that is taped down lies above or below the belt's plane [m, sd].
FLATNESS_M = 0.0003
#: The lens axis from the middle of the picture, as a share of the picture's width [sd].
AXIS_SPREAD = 0.008
#: Distortion of lenses in general [sd].
K1_SPREAD, K2_SPREAD = 0.12, 0.06
#: Focal length where nothing is known of the lens: a factor of e either way is one sd.
UNKNOWN_FOCAL_SPREAD = 1.0
#: Focal lengths from which the fit starts where nothing is known, in picture widths.
_STARTS = (0.5, 0.75, 1.1, 1.6, 2.4)
_SHARED = 8  # log focal, k1, k2, axis x, axis y, height, pitch, roll
_STEPS = 40


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """The camera as the sheets show it.

    ``sd``: standard deviations of what is written (``focal_px``, ``height_m``, ``distance_m``, ``roll_deg``,
    ``pitch_deg``, ``k1``), the doubt about the lens axis included; ``sd_views``: without it, which is the part that
    more views can mend. ``rest_px`` per sighting: rms distance of its corners from the fit; ``misfit`` per sighting:
    its chi-square with five degrees of freedom. ``spots`` are the sheets on the belt.
    """

    lens: Lens
    place: Place
    spots: tuple[Spot, ...]
    sd: dict[str, float]
    sd_views: dict[str, float]
    rest_px: tuple[float, ...]
    misfit: tuple[float, ...]
    cost: float


def fit(
    sightings: Sequence[Sighting],
    size_px: tuple[int, int],
    focals_px: Sequence[tuple[float, float]] = (),
    begin_px: float | None = None,
) -> Fit:
    """The best fit.

    ``focals_px`` are (focal length, relative sd) that the lens may have, none = unknown lens; ``begin_px`` is a focal
    length from an earlier fit, from which it then starts.
    """
    known = list(focals_px) or [(share * size_px[0], UNKNOWN_FOCAL_SPREAD) for share in _STARTS]
    if begin_px is not None:
        near = min(known, key=lambda one: abs(np.log(one[0] / begin_px)))
        return _fit_from(sightings, size_px, begin_px, near if focals_px else (begin_px, UNKNOWN_FOCAL_SPREAD))
    fits = [_fit_from(sightings, size_px, one[0], one) for one in known]
    return min(fits, key=lambda one: one.cost)


def _fit_from(
    sightings: Sequence[Sighting], size_px: tuple[int, int], begin_px: float, expected: tuple[float, float]
) -> Fit:
    axis, (focal_px, spread) = (size_px[0] / 2, size_px[1] / 2), expected
    lens = Lens(begin_px, axis)
    guesses = [place_from_plane(lens, one.corners_px, CORNERS_M) for one in sightings]
    place = np.median([(p.height_m, p.pitch_deg, p.roll_deg) for p, _ in guesses], axis=0)
    spots = [(spot.x_m, spot.depth_m, spot.turn_deg) for _, spot in guesses]
    known = np.array([np.log(focal_px), 0.0, 0.0, *axis])
    doubt = np.array([spread, K1_SPREAD, K2_SPREAD, AXIS_SPREAD * size_px[0], AXIS_SPREAD * size_px[0]])
    seen = np.concatenate([one.corners_px.ravel() for one in sightings])

    def residual(values: Floats, whiten: Floats) -> Floats:
        return np.concatenate([whiten @ (_predict(values) - seen), (values[:5] - known) / doubt])

    values = np.concatenate([[np.log(begin_px)], known[1:], place, np.ravel(spots)])
    whiten = np.eye(len(seen))
    for _ in range(3):  # what a curled sheet does to the picture depends on where it lies
        whiten = np.linalg.inv(np.linalg.cholesky(_covariance(values, sightings)))
        values, cost = _descend(lambda v, w=whiten: residual(v, w), values)  # type: ignore[misc]
    return _result(values, cost, sightings, seen, whiten, doubt)


def _predict(values: Floats, above_m: Floats | None = None) -> Floats:
    """Pixels of all corners, flat; ``above_m`` (sheets, 4): corners that are off the belt."""
    x_m, depth_m, turn_deg = values[_SHARED:].reshape(-1, 3).T[:, :, None]
    turn = np.radians(turn_deg)
    cos, sin, (right, far) = np.cos(turn), np.sin(turn), CORNERS_M.T  # as Spot.points_m, for all sheets at once
    points = np.zeros((len(x_m), 4, 3))
    points[..., 0] = x_m + cos * right - sin * far
    points[..., 2] = depth_m + sin * right + cos * far
    if above_m is not None:
        points[..., 1] = above_m
    return _lens(values).pixels(_place(values).ideal(points)).ravel()


def _lens(values: Floats) -> Lens:
    return Lens(float(np.exp(values[0])), (float(values[3]), float(values[4])), float(values[1]), float(values[2]))


def _place(values: Floats) -> Place:
    return Place(float(values[5]), float(values[6]), float(values[7]))


def _covariance(values: Floats, sightings: Sequence[Sighting]) -> Floats:
    """Of all corners: what the registration says, and what the flatness of the sheets adds."""
    count = len(sightings)
    out = np.zeros((8 * count, 8 * count))
    for number, one in enumerate(sightings):
        out[8 * number : 8 * number + 8, 8 * number : 8 * number + 8] = one.covariance
    lifted = _slopes(lambda above: _predict(values, above.reshape(count, 4)), np.zeros(4 * count), np.array([1e-4]))
    return np.asarray(out + FLATNESS_M**2 * lifted @ lifted.T)


def _steps(values: Floats) -> Floats:
    """Steps for the slopes, by the size of each unknown."""
    return np.concatenate([[1e-4, 1e-4, 1e-4, 0.1, 0.1, 1e-4, 1e-2, 1e-2], np.full(len(values) - _SHARED, 1e-3)])


def _slopes(of: Callable[[Floats], Floats], at: Floats, steps: Floats) -> Floats:
    steps = np.broadcast_to(steps, at.shape)
    columns = []
    for index, step in enumerate(steps):
        nudge = np.zeros_like(at)
        nudge[index] = step
        columns.append((of(at + nudge) - of(at - nudge)) / (2 * step))
    return np.stack(columns, axis=-1)


def _descend(residual: Callable[[Floats], Floats], values: Floats) -> tuple[Floats, float]:
    """Levenberg-Marquardt with slopes by differences; the place of least squares and the sum of squares there."""
    damping = 1e-3
    rest = residual(values)
    cost = float(rest @ rest)
    for _ in range(_STEPS):
        slopes = _slopes(residual, values, _steps(values))
        normal, pull = slopes.T @ slopes, slopes.T @ rest
        while damping < 1e9:
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -pull)
            tried = values + step
            rest_there = residual(tried)
            cost_there = float(rest_there @ rest_there)
            if np.isfinite(cost_there) and cost_there < cost:
                break
            damping *= 4.0
        else:
            break
        gained = cost - cost_there
        values, rest, cost = tried, rest_there, cost_there
        damping = max(damping / 8.0, 1e-9)
        if gained < 1e-7 * (1 + cost):
            break
    return values, cost


def _result(
    values: Floats, cost: float, sightings: Sequence[Sighting], seen: Floats, whiten: Floats, doubt: Floats
) -> Fit:
    slopes = whiten @ _slopes(_predict, values, _steps(values))
    information = slopes.T @ slopes
    prior = np.zeros(len(values))
    prior[:5] = doubt**-2.0
    white = (whiten @ (seen - _predict(values))).reshape(len(sightings), 8)
    rest = (seen - _predict(values)).reshape(len(sightings), 4, 2)
    freedom = max(1, 5 * len(sightings) - _SHARED + 3)
    swell = max(1.0, float((white**2).sum()) / freedom)  # a poor fit knows less than its model says
    fixed = prior.copy()
    fixed[3:5] = 1e12  # the axis taken for known
    return Fit(
        lens=_lens(values),
        place=_place(values),
        spots=tuple(Spot(*(float(v) for v in spot)) for spot in values[_SHARED:].reshape(-1, 3)),
        sd=_deviations(information / swell + np.diag(prior), values),
        sd_views=_deviations(information / swell + np.diag(fixed), values),
        rest_px=tuple(float(v) for v in np.sqrt((rest**2).sum(axis=2).mean(axis=1))),
        misfit=tuple(float(v) for v in (white**2).sum(axis=1)),
        cost=cost,
    )


def _deviations(information: Floats, values: Floats) -> dict[str, float]:
    sd = np.sqrt(np.clip(np.diag(np.linalg.inv(information)), 0.0, None))
    return {
        "focal_px": float(sd[0] * np.exp(values[0])),
        "k1": float(sd[1]),
        "height_m": float(sd[5]),
        "pitch_deg": float(sd[6]),
        "roll_deg": float(sd[7]),
        "distance_m": float(sd[_SHARED + 1]),
    }
