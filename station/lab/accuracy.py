"""``station bench accuracy``: every estimator of the pelvis on the same rendered frames, against the truth.

Clips are the bundled one and the set of :mod:`station.lab.rear` where it was rendered, or those that are named; beside
each lies its ``.truth.json``. Pose, model and gyroscope run once a frame; what each estimator makes of them is scored
frame by frame, and stride by stride through the kernel. Truth of rendered clips is simulated truth.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from station.camera import BUNDLED_CLIP, frames
from station.camera.video import VideoFile
from station.config import Config
from station.engine.observer import load_pose
from station.errors import SourceError
from station.geometry import RayCaster
from station.optical_rate import OpticalRate
from station.pelvis import PelvisFusion, Sightline, hips_reading, level_reading
from station.pelvis_net import PelvisNet
from station.session import Session
from station.types import Floats, Observation, PelvisReading, Pose, StrideMetrics, View
from station.wire import mount_from_json

#: In the order of the table; ``truth`` is the true angle through the same kernel, for the drops.
ESTIMATORS = ("fused", "net", "optical", "hips")
ANGLES = ("obliquity", "rotation", "tilt")
DROPS = ("pelvic_drop_peak_left_deg", "pelvic_drop_peak_right_deg", "pelvic_drop_left_deg", "pelvic_drop_right_deg")
#: Frames before this are not scored: filters settle [s].
SETTLE_S = 1.0
#: Strides that begin before this are not counted: the kernel warms up [s].
SETTLED_S = 3.0
TRUTH_SD_DEG = 0.05


@dataclass(frozen=True, slots=True)
class AngleScore:
    """One angle of one estimator on one clip, degrees. ``known``: share of frames; ``within``: errors within one sd."""

    known: float
    r: float | None = None
    gain: float | None = None
    bias: float | None = None
    rmse: float | None = None
    within: float | None = None
    sd: float | None = None


@dataclass(frozen=True, slots=True)
class StrideScore:
    """Strides of one clip after the first three seconds: how many came out with status ``ok``, of how many true ones.

    ``contact_s``: median error of initial contact and its sd, over both feet, against the nearest of the same foot.
    """

    ok: int
    true: int
    contact_s: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class ClipScore:
    """One estimator on one clip.

    ``drops``: metric → error of the kernel's last pooled value against the one from the true angle, or the reason why
    there is none; ``ci95`` what the kernel said of it. ``asymmetry``: error of left minus right peak drop. ``leak``:
    degrees of false obliquity for each degree of true rotation.
    """

    clip: str
    sweep: str | None
    estimator: str
    angles: dict[str, AngleScore]
    drops: dict[str, float | str] = field(default_factory=dict)
    ci95: dict[str, float] = field(default_factory=dict)
    asymmetry: float | None = None
    leak: float | None = None
    strides: StrideScore | None = None


def accuracy(config: Config, clips: Sequence[Path], *, as_json: bool) -> int:
    """Score all estimators on ``clips`` (none: the bundled one and the rendered set) and print the table; 0.

    Raises :class:`SourceError` for a clip without truth.
    """
    scores: list[ClipScore] = []
    for clip in clips or default_clips():
        print(f"accuracy: {clip.name}", file=sys.stderr, flush=True)
        scores += score_clip(config, clip)
    print(json.dumps([asdict(score) for score in scores], indent=2) if as_json else table(scores))
    return 0


def default_clips() -> list[Path]:
    """The bundled clip and whatever of the rendered set is there."""
    from station.lab.rear import rear_dir  # noqa: PLC0415 (the renderer is needed by those only who render)

    return [BUNDLED_CLIP, *sorted(rear_dir().glob("*.mp4"))]


def score_clip(config: Config, clip: Path) -> list[ClipScore]:
    """Every estimator on one clip."""
    truth = _truth(clip)
    video = VideoFile(clip, mount_from_json(truth["camera"]))
    try:
        t_s, poses, readings = hear(config, video)
    finally:
        video.close()
    return score_readings(clip.stem, truth, video.view, t_s, poses, readings)


def _truth(clip: Path) -> dict[str, Any]:
    path = clip.with_suffix(".truth.json")
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: cannot be read ({error}): a clip is scored with its truth beside it") from None
    return found


def hear(config: Config, video: VideoFile) -> tuple[Floats, list[Pose], dict[str, list[PelvisReading]]]:
    """Times, poses and what each estimator says on every frame."""
    pose_of, net, gyroscope = load_pose(config, _tell), PelvisNet.load(config.pose.threads), OpticalRate(video.view)
    caster = RayCaster(video.view)
    sightline, fused, optical = Sightline(caster), PelvisFusion(caster), PelvisFusion(caster, "optical")
    times: list[float] = []
    poses: list[Pose] = []
    readings: dict[str, list[PelvisReading]] = {name: [] for name in ESTIMATORS}
    for frame in frames(video):
        pose = pose_of.estimate(frame)
        level, rate = net.read(frame, pose), gyroscope.read(frame, pose)
        times.append(frame.t_s)
        poses.append(pose)
        readings["fused"].append(fused.feed(frame.t_s, level, rate, pose))
        readings["net"].append(level_reading(level, pose, sightline))
        readings["optical"].append(optical.feed(frame.t_s, None, rate, pose))
        readings["hips"].append(hips_reading(pose, caster))
    return np.array(times), poses, readings


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


# --- scoring ----------------------------------------------------------------------------------------------------------


def score_readings(
    clip: str, truth: dict[str, Any], view: View, t_s: Floats, poses: list[Pose],
    readings: dict[str, list[PelvisReading]],
) -> list[ClipScore]:  # fmt: skip
    """The scores of each estimator's readings (one a frame) on a clip whose truth is given frame by frame."""
    true = {angle: np.array(truth[f"{angle}_deg"][: len(t_s)]) for angle in ANGLES}
    settled = t_s >= t_s[0] + SETTLE_S
    told = _strides(view, t_s, poses, [_true_reading(true, i) for i in range(len(t_s))])
    wanted, strides = _drops(told), score_strides(told, truth, float(t_s[0]), float(t_s[-1]))
    out = []
    for name, own in readings.items():
        said = {angle: np.array([getattr(r, f"{angle}_deg") for r in own]) for angle in ANGLES}
        sd = {angle: np.array([getattr(r, f"sd_{angle}_deg") for r in own]) for angle in ANGLES}
        angles = {a: score_angle(said[a][settled], true[a][settled], sd[a][settled]) for a in ANGLES}
        got = _drops(_strides(view, t_s, poses, own))
        errors: dict[str, float | str] = {}
        ci95: dict[str, float] = {}
        for metric in DROPS if wanted else ():
            value, right = got.get(metric), wanted[metric]
            if value is None or right is None or isinstance(right, str):
                errors[metric] = "no stride"
            elif isinstance(value, str):
                errors[metric] = value
            else:
                errors[metric], ci95[metric] = value[0] - right[0], value[1]
        leak = _leak(said["obliquity"][settled], true["rotation"][settled], true["obliquity"][settled])
        out.append(ClipScore(clip, truth.get("sweep"), name, angles, errors, ci95, _asymmetry(errors), leak, strides))
    return out


def score_angle(said: Floats, true: Floats, sd: Floats) -> AngleScore:
    """Correlation, gain (slope of said over true), mean error, RMSE and calibration where the angle was known."""
    known = np.isfinite(said)
    share = float(known.mean()) if len(known) else 0.0
    if known.sum() < 10:
        return AngleScore(share)
    error = said[known] - true[known]
    moves = float(true[known].std()) > 0.2 and float(said[known].std()) > 1e-6
    return AngleScore(
        known=share,
        r=float(np.corrcoef(said[known], true[known])[0, 1]) if moves else None,
        gain=float(np.polyfit(true[known], said[known], 1)[0]) if moves else None,
        bias=float(error.mean()),
        rmse=float(np.sqrt((error**2).mean())),
        within=float((np.abs(error) <= sd[known]).mean()) if np.isfinite(sd[known]).any() else None,
        sd=float(np.nanmedian(sd[known])) if np.isfinite(sd[known]).any() else None,
    )


def _leak(said: Floats, rotation: Floats, obliquity: Floats) -> float | None:
    """Slope of the error on rotation, where obliquity does not go with rotation by itself."""
    known = np.isfinite(said)
    if known.sum() < 10 or rotation.std() < 1 or obliquity.std() > 0.2:
        return None
    return float(np.polyfit(rotation[known], said[known] - obliquity[known], 1)[0])


def _true_reading(true: dict[str, Floats], row: int) -> PelvisReading:
    obliquity, rotation, tilt = (float(true[angle][row]) for angle in ANGLES)
    return PelvisReading(obliquity, rotation, tilt, TRUTH_SD_DEG, TRUTH_SD_DEG, TRUTH_SD_DEG, "truth")


def score_strides(told: Sequence[StrideMetrics], truth: dict[str, Any], start_s: float, end_s: float) -> StrideScore:
    """What the kernel made of the pose's points on a clip, which may show the recorded run more than once."""
    after_s, sides = start_s + SETTLED_S, ("left", "right")
    if not truth.get("events"):
        return StrideScore(len(told), 0, None)
    runs = math.ceil((end_s - start_s) / truth["period_s"])
    events = {side: np.asarray(truth["events"][f"{side}_contact_s"], float) for side in sides}
    true = {
        side: np.unique(
            np.round(np.concatenate([at[at < truth["period_s"]] + i * truth["period_s"] for i in range(runs)]), 6)
        )
        for side, at in events.items()
    }
    kept = [s.stride for s in told if s.stride.start_s > after_s]
    errors = [
        float(at - true[side][np.abs(true[side] - at).argmin()])
        for stride in kept
        for side in sides
        if (at := getattr(stride, f"{side}_contact_s")) is not None
    ]
    whole = int(((true["left"] > after_s) & (true["left"] < end_s - SETTLED_S / 3)).sum())
    return StrideScore(len(kept), whole, (float(np.median(errors)), float(np.std(errors))) if errors else None)


def _strides(view: View, t_s: Floats, poses: list[Pose], readings: list[PelvisReading]) -> list[StrideMetrics]:
    """The good strides of the kernel."""
    session = Session(view)
    strides: list[StrideMetrics] = []

    def take(outputs: tuple[object, ...]) -> None:
        strides.extend(out for out in outputs if isinstance(out, StrideMetrics) and out.status == "ok")

    for t, pose, reading in zip(t_s, poses, readings, strict=True):
        take(session.feed(Observation(float(t), pose, reading if pose.someone else None)))
    take(session.finish())
    return strides


def _drops(strides: Sequence[StrideMetrics]) -> dict[str, tuple[float, float] | str | None]:
    """The drops of the last good stride with their ci95, or why there are none; empty where there was no stride."""
    if not strides:
        return {}
    last = strides[-1].metrics
    return {name: (m.value, m.ci95 or 0.0) if (m := last[name]).value is not None else m.reason for name in DROPS}


def _asymmetry(errors: dict[str, float | str]) -> float | None:
    left, right = errors.get(DROPS[0]), errors.get(DROPS[1])
    return left - right if isinstance(left, float) and isinstance(right, float) else None


# --- telling ----------------------------------------------------------------------------------------------------------


def table(scores: Sequence[ClipScore]) -> str:
    """All of it as Markdown: obliquity, then drops, then rotation and tilt."""
    head = "| clip | estimator | known | r | gain | bias | RMSE | sd | within sd | leak |"
    lines = ["Obliquity, frame by frame (degrees; simulated truth)", "", head, _rule(head)]
    for s in scores:
        a = s.angles["obliquity"]
        cells = [f"{100 * a.known:.0f} %", *map(_two, (a.r, a.gain, a.bias, a.rmse, a.sd)), _percent(a.within)]
        lines.append("| " + " | ".join([s.clip, s.estimator, *cells, _two(s.leak)]) + " |")
    head = "| clip | estimator | peak left | peak right | excursion left | excursion right | asymmetry | ci95 |"
    lines += ["", "Drop, errors of the kernel's last pooled value (degrees)", "", head, _rule(head)]
    for s in scores:
        if s.drops:
            cells = [_two(s.drops[name]) for name in DROPS]
            widest = max(s.ci95.values(), default=math.nan)
            lines.append("| " + " | ".join([s.clip, s.estimator, *cells, _two(s.asymmetry), _two(widest)]) + " |")
    head = "| clip | strides ok | contact off by, median ± sd |"
    lines += ["", "Strides of the kernel after 3 s, by the points of the pose model (ms)", "", head, _rule(head)]
    for s in {s.clip: s for s in scores if s.strides is not None}.values():
        count, off = s.strides, s.strides.contact_s if s.strides else None
        if count is not None and count.true:
            cells = [f"{count.ok} of {count.true}", f"{1e3 * off[0]:+.0f} ± {1e3 * off[1]:.0f}" if off else "-"]
            lines.append("| " + " | ".join([s.clip, *cells]) + " |")
    head = "| clip | estimator | rotation gain | RMSE | within sd | tilt gain | RMSE | within sd |"
    lines += ["", "Rotation and tilt (degrees)", "", head, _rule(head)]
    for s in scores:
        turns = [s.angles[angle] for angle in ANGLES[1:]]
        if any(turn.rmse is not None for turn in turns):
            cells = [cell for turn in turns for cell in (_two(turn.gain), _two(turn.rmse), _percent(turn.within))]
            lines.append("| " + " | ".join([s.clip, s.estimator, *cells]) + " |")
    return "\n".join([*lines, "", *_together(scores)])


def _together(scores: Sequence[ClipScore]) -> list[str]:
    lines = []
    for name in dict.fromkeys(s.estimator for s in scores):
        own = [s for s in scores if s.estimator == name]
        mean: Callable[[list[float]], str] = lambda values: f"{np.mean(values):.2f}" if values else "-"  # noqa: E731
        rmse = [s.angles["obliquity"].rmse for s in own]
        within = [s.angles["obliquity"].within for s in own]
        drops = [abs(e) for s in own for e in s.drops.values() if isinstance(e, float)]
        apart = [abs(s.asymmetry) for s in own if s.asymmetry is not None]
        lines.append(
            f"{name}: RMSE {mean([v for v in rmse if v is not None])}, "
            f"within one sd {mean([v for v in within if v is not None])}, "
            f"drop off by {mean(drops)} ({len(drops)} values, worst {max(drops, default=math.nan):.2f}), "
            f"asymmetry off by {mean(apart)}"
        )
    return lines


def _rule(head: str) -> str:
    return "|" + "---|" * (head.count("|") - 1)


def _two(value: float | str | None) -> str:
    return "-" if value is None else value if isinstance(value, str) else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"
