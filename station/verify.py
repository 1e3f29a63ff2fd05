"""``station verify``: a runner who wears the reference tag, measured by the tag and without it at once."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from station.camera import frames, open_camera
from station.camera.video import VideoFile
from station.config import Config
from station.engine.observer import PoseSource, load_pose
from station.engine.pelvis import PelvisEstimator, load_plain
from station.errors import ConfigError, HiplineError
from station.session import Session, SessionSettings
from station.tag import TagEstimator
from station.tag.agreement import Agreement, Difference, agree, difference, stands
from station.tag.record import ANGLES, Record, folder, load_all, said, save, to_json, trust
from station.types import Floats, Frame, Observation, PelvisReading, Pose, StrideMetrics, View

#: Metrics of a stride that both can measure.
METRICS = (
    "pelvic_drop_peak_left_deg", "pelvic_drop_peak_right_deg", "pelvic_drop_difference_deg", "obliquity_range_deg",
    "rotation_range_deg", "tilt_range_deg",
)  # fmt: skip
#: Two readings of one stride begin within so much of each other [s].
SAME_STRIDE_S = 0.1
#: Less of the tag than this is no reference.
LEAST_SEEN = 0.5
_TELL_EVERY_S = 5.0


class Reader(Protocol):
    """An estimator of the pelvis: tag or markerless."""

    def read(self, frame: Frame, pose: Pose) -> PelvisReading | None:
        """What it says of the pelvis on a frame."""


@dataclass(slots=True, eq=False)
class Comparison:
    """Both readings of every frame, and both kernels' strides."""

    view: View
    t_s: list[float] = field(default_factory=list)
    said: list[Floats] = field(default_factory=list)
    tag: list[Floats] = field(default_factory=list)
    tag_sd: list[Floats] = field(default_factory=list)
    with_someone: int = 0
    _sessions: tuple[Session, Session] = field(init=False)
    _strides: tuple[list[StrideMetrics], list[StrideMetrics]] = field(init=False)

    def __post_init__(self) -> None:
        self._sessions = (Session(self.view, SessionSettings()), Session(self.view, SessionSettings()))
        self._strides = ([], [])

    def add(self, t_s: float, pose: Pose, markerless: PelvisReading | None, tag: PelvisReading | None) -> None:
        """One frame."""
        if not pose.someone:
            markerless = tag = None
        self.with_someone += pose.someone
        self.t_s.append(t_s)
        self.said.append(_angles(markerless))
        self.tag.append(_angles(tag))
        self.tag_sd.append(_sds(tag))
        for session, strides, reading in zip(
            self._sessions,
            self._strides,
            (markerless or PelvisReading(), tag or PelvisReading(source="tag")),
            strict=True,
        ):
            outputs = session.feed(Observation(t_s, pose, reading if pose.someone else None))
            strides.extend(output for output in outputs if isinstance(output, StrideMetrics))

    def finish(self) -> None:
        """The recording is over."""
        for session, strides in zip(self._sessions, self._strides, strict=True):
            strides.extend(output for output in session.finish() if isinstance(output, StrideMetrics))

    @property
    def tag_seen(self) -> float:
        """Share of the frames with a runner on which the tag was read."""
        read = sum(bool(np.isfinite(row[0])) for row in self.tag)
        return read / max(self.with_someone, 1)

    def angles(self) -> dict[str, Agreement]:
        """The three angles compared."""
        t_s, tag, sd, other = (np.array(rows) for rows in (self.t_s, self.tag, self.tag_sd, self.said))
        if not len(t_s):
            return {name: Agreement(None, None, None, None, None, 0) for name in ANGLES}
        standing = stands(t_s, tag)
        return {name: agree(t_s, other[:, i], tag[:, i], sd[:, i], standing) for i, name in enumerate(ANGLES)}

    def metrics(self) -> tuple[dict[str, Difference], int]:
        """Differences of the stride metrics, and how many strides both have."""
        pairs = list(_paired(*self._strides))
        found: dict[str, Difference] = {}
        for name in METRICS:
            both = [(a.metrics[name].stride, b.metrics[name].stride) for a, b in pairs]
            apart = difference([(x, y) for x, y in both if x is not None and y is not None])
            if apart is not None:
                found[name] = apart
        return found, len(pairs)


def _paired(
    said: Sequence[StrideMetrics], tag: Sequence[StrideMetrics]
) -> Iterator[tuple[StrideMetrics, StrideMetrics]]:
    """Strides that both kernels found good."""
    good = [stride for stride in tag if stride.status == "ok"]
    starts = np.array([stride.stride.start_s for stride in good])
    for stride in said:
        if stride.status != "ok" or not len(starts):
            continue
        nearest = int(np.abs(starts - stride.stride.start_s).argmin())
        if abs(starts[nearest] - stride.stride.start_s) <= SAME_STRIDE_S:
            yield stride, good[nearest]


def _angles(reading: PelvisReading | None) -> Floats:
    if reading is None:
        return np.full(3, np.nan)
    return np.array([reading.obliquity_deg, reading.rotation_deg, reading.tilt_deg])


def _sds(reading: PelvisReading | None) -> Floats:
    if reading is None:
        return np.full(3, np.nan)
    return np.array([reading.sd_obliquity_deg, reading.sd_rotation_deg, reading.sd_tilt_deg])


def compare(source: Iterable[Frame], view: View, pose: PoseSource, markerless: Reader, tag: Reader) -> Comparison:
    """Both estimators on every frame of ``source``."""
    comparison = Comparison(view)
    for frame in source:
        found = pose.estimate(frame)
        comparison.add(frame.t_s, found, markerless.read(frame, found), tag.read(frame, found))
    comparison.finish()
    return comparison


def verify(config: Config, source: Path | None, *, seconds: float, keep: bool, as_json: bool) -> int:
    """The command: 0 when both could be compared, 1 when not. Raises :class:`HiplineError`."""
    if config.pelvis.estimator == "tag":
        raise ConfigError(
            f"{config.origin}: pelvis.estimator = 'tag' cannot be checked against the tag; verify with auto, fused, "
            "net, optical or hips"
        )
    camera = open_camera(config.camera) if source is None else VideoFile(source, config.camera.mount)
    try:
        pose, markerless = load_pose(config, _tell), load_plain(config, camera.view)
        tag = TagEstimator(camera.view)
        _tell(camera.name)
        shown = frames(camera) if source is not None else _guided(frames(camera), tag, seconds)
        comparison = compare(shown, camera.view, pose, markerless, tag)
    finally:
        camera.close()
    if comparison.tag_seen < LEAST_SEEN:
        share = 100 * comparison.tag_seen
        raise HiplineError(
            f"{source or 'camera'}: the tag was read on {share:.0f} % of the frames with a runner; wear it over the "
            "waistband, flat, uncovered and lit (docs/tag.md), then verify again"
        )
    record = _record(config, comparison, markerless, tag)
    _report(record, as_json=as_json)
    if keep:
        _tell(f"kept {save(record)}")
    return 0


def _record(config: Config, comparison: Comparison, markerless: PelvisEstimator, tag: TagEstimator) -> Record:
    metrics, strides = comparison.metrics()
    return Record(
        when=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        station=config.station.name,
        estimator=markerless.source,
        model=markerless.model,
        plate=tag.plate or "",
        seconds=round(comparison.t_s[-1] - comparison.t_s[0], 3),
        frames=len(comparison.t_s),
        tag_seen=round(comparison.tag_seen, 4),
        strides=strides,
        angles=comparison.angles(),
        metrics=metrics,
    )


def _guided(source: Iterator[Frame], tag: TagEstimator, seconds: float) -> Iterator[Frame]:
    """Tell the runner what to do; ``seconds`` after the tag was first seen it is over."""
    _tell("put the tag on: over the waistband at the spine, shirt tucked in; step onto the belt")
    began_s: float | None = None
    told_s, step = -np.inf, 0
    steps = (
        (0.0, "tag seen: stand still for 5 seconds"),
        (5.0, "now run at your usual pace until told"),
        (seconds, "done: slow down"),
    )
    for frame in source:
        if began_s is None and np.isfinite(tag.seen_s):
            began_s = frame.t_s
        if began_s is None:
            if frame.t_s - told_s > 2 * _TELL_EVERY_S:
                told_s = frame.t_s
                _tell("no tag seen yet")
            yield frame
            continue
        while step < len(steps) and frame.t_s - began_s >= steps[step][0]:
            _tell(steps[step][1])
            step += 1
        if step == len(steps):
            return
        if frame.t_s - tag.seen_s > _TELL_EVERY_S and frame.t_s - told_s > _TELL_EVERY_S:
            told_s = frame.t_s
            _tell("the tag is not seen: is it covered, or has it slipped?")
        yield frame


def _tell(line: str) -> None:
    print(f"verify: {line}", file=sys.stderr, flush=True)


def _report(record: Record, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(to_json(record), indent=2, allow_nan=False))
        return
    print(
        f"{record.estimator} against the tag ({record.plate}): {record.frames} frames, {record.seconds:.0f} s; tag "
        f"read on {100 * record.tag_seen:.1f} %, {record.strides} strides"
    )
    print(f"{'':28}{'gain':>14}{'bias':>8}{'scatter':>9}{'r':>7}")
    for name, a in record.angles.items():
        gain = "-" if a.gain is None else f"{a.gain:.2f}" + ("" if a.gain_ci95 is None else f" ± {a.gain_ci95:.2f}")
        print(f"  {name + ', deg':26}{gain:>14}{_text(a.bias_deg):>8}{_text(a.scatter_deg):>9}{_text(a.r, 2):>7}")
    if record.metrics:
        print("markerless minus tag, per stride")
    for metric, d in record.metrics.items():
        print(f"  {metric:30} {d.mean:+6.2f} ± {d.ci95:.2f}  (sd {d.sd:.2f}, {d.strides} strides)")


def _text(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def summary(*, as_json: bool, where: Path | None = None, write: Callable[[str], None] = print) -> int:
    """What all records say together; 1 when there is none."""
    records = load_all(where)
    each = [trust(records, name) for name in dict.fromkeys(record.estimator for record in records)]
    if as_json:
        write(json.dumps([asdict(found) for found in each if found is not None], indent=2))
    for found in each:
        if found is not None and not as_json:
            write(said(found))
    if not records:
        _tell(f"no record in {where or folder()}: run `station verify` with a runner who wears the tag")
    return int(not records)
