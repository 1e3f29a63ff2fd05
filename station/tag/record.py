"""Records of ``station verify``: numbers of one runner each, kept in the state directory; what they say together."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from station.config import state_dir
from station.errors import HiplineError
from station.tag.agreement import Agreement, Difference

FORMAT = "hipline.verify/1"
ANGLES = ("obliquity", "rotation", "tilt")
#: Fewer people than this say nothing of others.
LEAST_PEOPLE = 3
#: How many times their rms error (0.975 quantile of Student's t) the next person's may be, after 3, 4, … 10 people; and
#: after many.
_NEXT = (3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
_NEXT_AT_LAST = 1.96


@dataclass(frozen=True, slots=True)
class Record:
    """One verification. ``when`` is wall time (a label); ``strides`` were measured by both; nothing says who ran.

    ``angles``: obliquity, rotation, tilt; ``metrics``: differences of stride metrics.
    """

    when: str
    station: str
    estimator: str
    model: str | None
    plate: str
    seconds: float
    frames: int
    tag_seen: float
    strides: int
    angles: Mapping[str, Agreement]
    metrics: Mapping[str, Difference]


@dataclass(frozen=True, slots=True)
class Trust:
    """How far a station's estimator can be trusted, over the people of its records.

    ``gain`` and its sd from person to person (``None``: fewer than two told it); ``bias_sd_deg``, ``scatter_deg``:
    rms over people; ``drop_error_deg``: rms over people and sides of the mean error of peak drop: what pooling strides
    does not mend.
    """

    people: int
    estimator: str
    gain: float | None
    gain_sd: float | None
    bias_sd_deg: float | None
    scatter_deg: float | None
    drop_error_deg: float | None


def folder() -> Path:
    """Where the records are."""
    return state_dir() / "verify"


def to_json(record: Record) -> dict[str, Any]:
    """The record as it is written: format ``hipline.verify/1``."""
    return {"format": FORMAT, **asdict(record)}


def from_json(content: Mapping[str, Any]) -> Record:
    """The record in ``content``. Raises ValueError, KeyError or TypeError when it is none."""
    if content.get("format") != FORMAT:
        raise ValueError(f"format is not {FORMAT}")
    fields = {name: content[name] for name in Record.__dataclass_fields__}
    fields["angles"] = {name: Agreement(**fields["angles"][name]) for name in ANGLES}
    fields["metrics"] = {str(name): Difference(**value) for name, value in fields["metrics"].items()}
    return Record(**fields)


def save(record: Record, where: Path | None = None) -> Path:
    """Write the record, whole or not at all; the file. Raises :class:`HiplineError` when it cannot be written."""
    place = where or folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=place, prefix=".verify-", suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(to_json(record), file, indent=1, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        stamp = record.when.replace(":", "").replace("-", "")
        target = next(path for n in range(1000) if not (path := place / f"{stamp}{f'-{n}' if n else ''}.json").exists())
        Path(name).replace(target)
    except OSError as error:
        raise HiplineError(f"{place}: cannot be written ({error.strerror}); free some space") from None
    return target


def load_all(where: Path | None = None) -> tuple[Record, ...]:
    """All records that can be read, oldest first; others are left alone."""
    records = []
    for path in sorted((where or folder()).glob("*.json")):
        try:
            records.append(from_json(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return tuple(sorted(records, key=lambda record: record.when))


def trust(records: tuple[Record, ...], estimator: str | None = None) -> Trust | None:
    """What the records of ``estimator`` (that of the newest one unless told) say together; ``None``: there is none."""
    if not records:
        return None
    name = estimator or records[-1].estimator
    own = [record for record in records if record.estimator == name]
    if not own:
        return None
    told = [record.angles["obliquity"] for record in own]
    gains = [a.gain for a in told if a.gain is not None]
    drops = [
        own_metric.mean
        for record in own
        for side in ("left", "right")
        if (own_metric := record.metrics.get(f"pelvic_drop_peak_{side}_deg")) is not None
    ]
    return Trust(
        people=len(own),
        estimator=name,
        gain=float(np.mean(gains)) if gains else None,
        gain_sd=float(np.std(gains, ddof=1)) if len(gains) > 1 else None,
        bias_sd_deg=_rms([a.bias_deg for a in told if a.bias_deg is not None]),
        scatter_deg=_rms([a.scatter_deg for a in told if a.scatter_deg is not None]),
        drop_error_deg=_rms(drops),
    )


def next_runner_deg(found: Trust) -> float | None:
    """Error of peak drop that the next person's stays within in 95 of 100; ``None`` after fewer than three people."""
    if found.drop_error_deg is None or found.people < LEAST_PEOPLE:
        return None
    at = found.people - LEAST_PEOPLE
    # from ten people on the quantile falls about as 1/n toward that of many
    factor = _NEXT[at] if at < len(_NEXT) else _NEXT_AT_LAST + (_NEXT[-1] - _NEXT_AT_LAST) * 10 / found.people
    return factor * found.drop_error_deg


def _rms(values: list[float]) -> float | None:
    return math.sqrt(sum(value * value for value in values) / len(values)) if values else None


def said(found: Trust) -> str:
    """One line for people."""
    parts = [f"{found.people} {'person' if found.people == 1 else 'people'}, estimator {found.estimator}"]
    if found.gain is not None:
        spread = "" if found.gain_sd is None else f" (sd {found.gain_sd:.2f} from person to person)"
        parts.append(f"gain {found.gain:.2f}{spread}")
    if found.scatter_deg is not None:
        parts.append(f"scatter {found.scatter_deg:.1f} deg a frame")
    if found.drop_error_deg is not None:
        parts.append(f"peak drop off by {found.drop_error_deg:.1f} deg")
    within = next_runner_deg(found)
    if within is not None:
        parts.append(f"the next runner's within {within:.1f} deg (95 %)")
    elif found.people < LEAST_PEOPLE:
        parts.append(f"{LEAST_PEOPLE} people are the least to speak for others")
    return "; ".join(parts)
