"""Random takes: other people, clothes, light, gyms and cameras, from one seed."""

from __future__ import annotations

import numpy as np

from station.lab.bodies import LIBRARY_SIZE, Build
from station.lab.gaitplan import DROP_KNOTS, Style
from station.lab.garments import Colour, Outfit
from station.lab.gl import Light, Look, Weave
from station.lab.pinhole import Pinhole
from station.lab.runner import Take
from station.lab.sensor import Sensor


def random_take(rng: np.random.Generator, bodies: tuple[int, int] = (0, LIBRARY_SIZE)) -> Take:
    """A plausible runner on a plausible treadmill in front of a plausibly mounted camera."""
    body = int(rng.integers(*bodies))
    return Take(
        body=body, style=random_style(rng), outfit=random_outfit(rng), camera=random_camera(rng),
        light=random_light(rng),
        look=Look(seed=_three(rng.uniform(0, 9, 3)), wall=int(rng.integers(3))),
        sensor=Sensor(float(rng.uniform(0.75, 1.35)), float(rng.uniform(0.003, 0.02)), float(rng.uniform(0.3, 1.0)),
                      float(rng.uniform(0.0, 0.25))),
        scene_seed=int(rng.integers(1 << 30)), exposure_s=float(rng.uniform(0.001, 0.008)),
        build=random_build(rng),
    )  # fmt: skip


def random_build(rng: np.random.Generator) -> Build:
    """A waist from soft (as in the library) to as firm as the bones under it, and another figure."""
    belt = float(rng.choice([0.0, 1.0, rng.uniform(0, 1)], p=[0.3, 0.35, 0.35]))
    low, high = float(rng.uniform(-0.02, 0.06)), float(rng.uniform(0.11, 0.16))
    width, depth = (rng.uniform(0.93, 1.08, 2)).tolist()
    return Build(belt, (low, high), width, depth, float(rng.normal(0, 0.004)))


def random_style(rng: np.random.Generator) -> Style:
    """A gait whose pelvis owes nothing to its legs: size, timing and shape of the drop are drawn by themselves."""
    strides = 8
    cadence = float(rng.uniform(150, 188))
    speed = float(rng.uniform(2.2, 3.1))
    shape = np.array(Style().drop_shape) + rng.normal(0, 0.10, len(DROP_KNOTS))
    return Style(
        strides=strides, period_s=strides * 120 / cadence, speed_mps=speed,
        contact_share=float(np.clip(rng.normal(0.35 - 0.03 * (speed - 2.6), 0.02), 0.29, 0.42)),
        drop_left_deg=float(rng.uniform(0.0, 11.0)), drop_right_deg=float(rng.uniform(0.0, 11.0)),
        obliquity_mean_deg=float(rng.normal(0, 1.5)), rotation_deg=float(rng.uniform(1, 10)),
        tilt_deg=float(rng.uniform(2, 17)), tilt_swing_deg=float(rng.uniform(1, 4)),
        sway_m=float(rng.uniform(0.015, 0.05)), bounce_m=float(rng.uniform(0.052, 0.085)),
        step_width_m=float(rng.normal(0.05, 0.03)), toe_out_deg=float(rng.uniform(0, 14)),
        strike_deg=float(rng.uniform(-0.5, 10)), heel_rise_deg=float(rng.uniform(44, 56)),
        knee_swing_deg=float(rng.uniform(80, 110)), thigh_swing_deg=float(rng.uniform(32, 46)),
        trunk_lean_deg=float(rng.uniform(2, 12)), trunk_turn_deg=float(rng.uniform(4, 14)),
        trunk_side_deg=float(rng.uniform(-1.5, 4)), arm_swing_deg=float(rng.uniform(14, 36)),
        drop_shape=tuple(float(v) for v in shape), seed=int(rng.integers(1 << 30)),
    )  # fmt: skip


def random_outfit(rng: np.random.Generator) -> Outfit:
    """Shorts to leggings, tucked to long shirts, plain waistbands and bright ones, every skin."""
    skin = np.array([0.66, 0.43, 0.31]) * float(rng.uniform(0.12, 1.12))
    bottoms = _dye(rng, 0.7)
    band = _dye(rng) if rng.uniform() < 0.6 else _near(bottoms, rng)
    tucked = rng.uniform() < 0.3
    hems = [rng.uniform(-0.12, 0.0), rng.uniform(0.0, 0.12), rng.uniform(0.08, 0.22)]
    hem = None if tucked else float(rng.choice(hems))
    leg = float(rng.choice([rng.uniform(0.3, 0.8), rng.uniform(1.3, 1.6), 1.97]))
    return Outfit(
        skin=_three(skin), hair=_three(np.array([0.35, 0.22, 0.11]) * float(rng.uniform(0.03, 1.2))), shirt=_dye(rng),
        bottoms=bottoms, band=band, stripe=_dye(rng), shoe=_dye(rng), sock=_dye(rng, 0.3), leg=leg,
        loose_m=float(rng.uniform(0.003, 0.022)) if leg < 1 else 0.002, hem_m=hem,
        shirt_loose_m=float(rng.uniform(0.003, 0.018)), sleeve=float(rng.choice([0.1, 0.4, 0.6])),
        waist_m=float(rng.uniform(0.075, 0.135)), band_m=float(rng.uniform(0.015, 0.07)),
        stripe_m=float(rng.choice([0.0, 0.012, 0.03])), sock_m=float(rng.uniform(0.09, 0.26)),
        hem_follow=float(max(0.0, rng.uniform(-0.5, 0.7))), bun=bool(rng.uniform() < 0.4),
        folds=float(rng.uniform(0.5, 1.8)),
    )  # fmt: skip


def random_weave(rng: np.random.Generator) -> Weave:
    """Plain cloth as often as printed, from cotton to shiny tights, from smooth to crumpled."""
    slants = [0.0, np.pi / 2, rng.uniform(0, np.pi)]
    return Weave(
        print=int(rng.integers(1, 7)) if rng.uniform() < 0.5 else 0,
        per_m=float(np.exp(rng.uniform(np.log(5), np.log(70)))), contrast=float(rng.uniform(0.25, 1.0)),
        slant=float(rng.choice(slants)), colour=_dye(rng, 0.3),
        fold_rate=float(np.exp(rng.normal(0, 0.4))), fold_depth=float(rng.uniform(0.2, 1.8)),
        shine=float(np.exp(rng.uniform(-1.5, 2.3))), wrap=float(max(0.0, rng.uniform(-0.5, 0.8))),
    )  # fmt: skip


def random_camera(rng: np.random.Generator) -> Pinhole:
    """A mount within what the station is meant for, looking at the hips or a little lower."""
    height, distance = float(rng.uniform(0.7, 1.5)), float(rng.uniform(1.9, 3.2))
    aim = float(rng.normal(np.degrees(np.arctan2(0.78 - height, distance)), 1.5))
    focal = float(np.clip(rng.normal(345 * distance, 60), 560, 1150))
    return Pinhole(
        focal_px=focal,
        height_m=height,
        distance_m=distance,
        x_m=float(rng.normal(0, 0.08)),
        pitch_deg=aim,
        roll_deg=float(rng.normal(0, 1.2)),
        yaw_deg=float(rng.normal(0, 1.2)),
    )


def random_light(rng: np.random.Generator) -> Light:
    """From a dim cellar to a sunny window; never from straight below."""
    warm = rng.uniform(0.82, 1.15, 3)
    return Light(
        key=(float(rng.uniform(-2.5, 2.5)), float(rng.uniform(0.8, 3)), float(rng.uniform(-1.0, 2.6))),
        key_colour=_three(np.array([0.80, 0.76, 0.69]) * warm * float(rng.uniform(0.1, 1.35))),
        ambient=_three(np.array([0.50, 0.52, 0.55]) * warm * float(rng.uniform(0.4, 1.6))),
        rim=(float(rng.uniform(-1, 1)), 0.6, float(rng.uniform(-1, 1))),
        rim_colour=_three(rng.uniform(0, 0.25, 3)), softness=float(rng.uniform(0.003, 0.02)),
    )  # fmt: skip


def _dye(rng: np.random.Generator, dark: float = 0.5) -> Colour:
    """A cloth's colour; ``dark`` is how often it is nearly black."""
    if rng.uniform() < 0.6 * dark:
        return _three(rng.uniform(0.012, 0.06) * rng.uniform(0.8, 1.2, 3))
    return _three(rng.uniform(0.03, 0.95, 3) ** rng.uniform(1.0, 2.2))


def _near(colour: Colour, rng: np.random.Generator) -> Colour:
    return _three(np.clip(np.asarray(colour) * rng.uniform(0.7, 1.5), 0.005, 0.95))


def _three(values: object) -> Colour:
    red, green, blue = (float(v) for v in np.asarray(values, dtype=float))
    return red, green, blue
