"""A finished session as a page to take home: what was measured, how sure that is, what is not known, what to work on.

Everything here is a view of one ``hipline.session/1``; nothing is computed that the station did not publish.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from station.web.texts import Texts

#: Metrics of the report in reading order, with the digits worth reading.
ROWS: Mapping[str, int] = {
    "pelvic_drop_peak_left_deg": 1, "pelvic_drop_peak_right_deg": 1, "pelvic_drop_difference_deg": 1,
    "obliquity_range_deg": 1, "rotation_range_deg": 1, "tilt_mean_deg": 1, "sway_mm": 0, "sway_hw": 2,
    "vertical_oscillation_mm": 0, "vertical_oscillation_hw": 2, "hip_adduction_left_deg": 1,
    "hip_adduction_right_deg": 1, "knee_gap_left_hw": 2, "knee_gap_right_hw": 2, "step_width_mm": 0,
    "trunk_lean_left_deg": 1, "trunk_lean_right_deg": 1, "cadence_spm": 0, "contact_time_left_ms": 0,
    "contact_time_right_ms": 0, "symmetry_time_pct": 1, "stride_time_cv_pct": 1,
}  # fmt: skip
CURVES: Mapping[str, str] = {
    "obliquity": "°", "rotation": "°", "tilt": "°", "sway": " hw", "pelvis_height": " hw"
}  # fmt: skip
#: Advice words that mean one of our exercises, as they may come over the wire.
_ALIASES = {
    "glutes": "glute_work", "hip_flexor_stretch": "hip_flexor_and_quad_stretch", "plank": "plank",
    "hip_flexor_and_quad_stretches": "hip_flexor_and_quad_stretch", "hills": "hill_training",
    "quad_stretch": "hip_flexor_and_quad_stretch", "lateral_band_walk": "lateral_band_walks",
}  # fmt: skip
_ZONES = ("green", "amber", "red")
#: An interval wider than this either way allows no verdict on a drop [deg]: it spans the target and what lies outside.
_UNSURE_DEG = 4.5
_WIDTH, _HEIGHT = 600.0, 220.0


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of the table, as text; ``zone`` is empty where there is none."""

    name: str
    label: str
    value: str
    spread: str
    drift: str
    zone: str


@dataclass(frozen=True, slots=True)
class CurveView:
    """One curve over the stride: SVG path of the mean and of the band (mean ± sd) in a 600 × 220 box."""

    title: str
    unit: str
    mean: str
    band: str
    zero_y: float | None
    low: str
    high: str


@dataclass(frozen=True, slots=True)
class Checked:
    """Who measured the pelvis, and what comparing it with the reference tag found: label and value each."""

    text: str
    note: str
    found: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What the template shows."""

    session: str
    start: str
    minutes: str
    strides: int
    stability: int | None
    headline: tuple[Row, Row]
    rows: tuple[Row, ...]
    unknown: tuple[tuple[str, str], ...]
    curves: tuple[CurveView, ...]
    cues: tuple[tuple[str, str, str], ...]
    exercises: tuple[str, ...]
    rejected: tuple[tuple[str, int], ...]
    checked: Checked | None
    versions: tuple[tuple[str, str], ...]


def report_of(session: Mapping[str, Any], t: Texts) -> Report:
    """The report of a session; fields that are missing or malformed are left out, never invented."""
    metrics = _table(session, "metrics")
    zones = _table(session, "zones")
    duration_s = finite(session.get("duration_s")) or 0.0
    rows = {name: _row(name, metrics.get(name), zones.get(name), duration_s, t) for name in ROWS}
    left, right = rows["pelvic_drop_peak_left_deg"], rows["pelvic_drop_peak_right_deg"]
    stability = finite(_entry(metrics, "stability").get("median"))
    return Report(
        session=str(session.get("session")),
        start=local_time(session.get("start")),
        minutes=f"{int(duration_s // 60)}:{int(duration_s % 60):02d}",
        strides=int(finite(session.get("strides")) or 0),
        stability=None if stability is None else round(stability),
        headline=(left or _unknown_row("pelvic_drop_peak_left_deg", t),
                  right or _unknown_row("pelvic_drop_peak_right_deg", t)),
        rows=tuple(row for row in rows.values() if row),
        unknown=tuple((t.words("metric", name), _why(metrics.get(name), t))
                      for name in ROWS if rows[name] is None and not _twin_known(name, rows)),
        curves=tuple(view for name in CURVES if (view := _curve(name, _entry(_table(session, "curves"), name), t))),
        cues=tuple(_cue(cue, t) for cue in _list(session, "cues") if isinstance(cue, dict)),
        exercises=exercises_of(session.get("advice"), t),
        rejected=tuple((t.words("reason", str(reason)), int(finite(count) or 0))
                       for reason, count in _table(session, "rejected").items()),
        checked=_checked(session, metrics, t),
        versions=tuple((str(name).replace("_", " "), str(version or "–"))
                       for name, version in _table(session, "versions").items()),
    )  # fmt: skip


def _checked(session: Mapping[str, Any], metrics: Mapping[str, Any], t: Texts) -> Checked | None:
    """``None`` where nobody measured the pelvis."""
    sources = (_entry(metrics, name).get("source") for name in ROWS)
    source = next((name for name in sources if isinstance(name, str) and name), None)
    if source is None:
        return None
    text = t("report.checked_text", estimator=t.words("estimator", source))
    if source == "tag":
        return Checked(text, t("report.checked_tag"), ())
    verified = _table(session, "verified")
    people = int(finite(verified.get("people")) or 0)
    if people < 1 or verified.get("estimator") != source:
        return Checked(text, t("report.checked_never"), ())
    gain, sd = finite(verified.get("gain")), finite(verified.get("gain_sd"))
    drop, scatter = finite(verified.get("drop_error_deg")), finite(verified.get("scatter_deg"))
    found = []
    if gain is not None:
        found.append((t("report.checked_gain"), f"{gain:.2f}°" + ("" if sd is None else f" ± {sd:.2f}")))
    if drop is not None:
        found.append((t("report.checked_drop"), f"{drop:.1f}°"))
    if scatter is not None:
        found.append((t("report.checked_scatter"), f"{scatter:.1f}°"))
    key = "report.checked_found_one" if people == 1 else "report.checked_found"
    return Checked(text, t(key, people=people), tuple(found))


def exercises_of(advice: object, t: Texts) -> tuple[str, ...]:
    """The keys of our exercises that the advice names, in its order, each once."""
    known = t.group("exercise")
    found: list[str] = []
    for item in advice if isinstance(advice, Sequence) and not isinstance(advice, str) else ():
        slug = re.sub(r"[^a-z]+", "_", str(item).lower()).strip("_")
        slug = _ALIASES.get(slug, slug)
        if slug in known and slug not in found:
            found.append(slug)
    return tuple(found)


def csv_of(session: Mapping[str, Any]) -> str:
    """The metrics of a session as CSV, one a line; empty = not measured."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(("metric", "median", "iqr", "ci95", "n", "trend_per_min", "zone"))
    zones = _table(session, "zones")
    for name, entry in _table(session, "metrics").items():
        if isinstance(entry, dict):
            cells = [entry.get(key) for key in ("median", "iqr", "ci95", "n", "trend_per_min")]
            table.writerow((_cell(name), *("" if finite(c) is None else c for c in cells), _cell(zones.get(name, ""))))
    return out.getvalue()


def local_time(label: object) -> str:
    """A wall time label (UTC on the wire) as the clock on the gym's wall shows it; empty when it is none."""
    try:
        return datetime.fromisoformat(str(label)).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return ""


def finite(value: object) -> float | None:
    """The number, or ``None`` when it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _cell(text: object) -> str:
    # A spreadsheet would run a cell that begins with one of these.
    return str(text).lstrip("=+-@\t\r")


def _table(session: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = session.get(key)
    return value if isinstance(value, dict) else {}


def _list(session: Mapping[str, Any], key: str) -> list[Any]:
    value = session.get(key)
    return value if isinstance(value, list) else []


def _entry(table: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def _row(name: str, entry: object, zone: object, duration_s: float, t: Texts) -> Row | None:
    table = entry if isinstance(entry, dict) else {}
    median = finite(table.get("median"))
    if median is None:
        return None
    digits = ROWS[name]
    ci95, trend = finite(table.get("ci95")), finite(table.get("trend_per_min"))
    drift = "" if trend is None else _signed(trend * duration_s / 60.0, digits)
    if name.startswith("pelvic_drop") and zone in _ZONES and ci95 is not None and ci95 > _UNSURE_DEG:
        zone = "unsure"
    return Row(
        name=name,
        label=t.words("metric", name),
        value=_signed(median, digits).removeprefix("+") + _unit(name),
        spread="" if ci95 is None else f"± {ci95:.{max(1, digits)}f}",
        drift=drift,
        zone=str(zone) if zone in (*_ZONES, "unsure") else "",
    )


def _signed(value: float, digits: int) -> str:
    """A number with its sign, and zero without."""
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0.0:.{digits}f}"


def _unknown_row(name: str, t: Texts) -> Row:
    return Row(name, t.words("metric", name), "–", "", "", "")


def _why(entry: object, t: Texts) -> str:
    reason = entry.get("reason") if isinstance(entry, dict) else None
    return t.words("reason", str(reason)) if reason else t("report.not_measured")


def _twin_known(name: str, rows: Mapping[str, Row | None]) -> bool:
    """Whether the same quantity is known in the other unit of length."""
    stem, _, unit = name.rpartition("_")
    other = {"hw": f"{stem}_mm", "mm": f"{stem}_hw"}.get(unit)
    return other is not None and rows.get(other) is not None


def _unit(name: str) -> str:
    unit = name.rpartition("_")[2]
    return {"deg": "°", "mm": " mm", "hw": " hw", "ms": " ms", "pct": " %"}.get(unit, "")


def _curve(name: str, curve: Mapping[str, Any], t: Texts) -> CurveView | None:
    mean = [finite(value) for value in _list(curve, "mean")]
    known = [value for value in mean if value is not None]
    if len(known) < 2:
        return None
    sd = [finite(value) or 0.0 for value in _list(curve, "sd")]
    sd += [0.0] * (len(mean) - len(sd))
    low = min(value - s for value, s in zip(mean, sd, strict=False) if value is not None)
    high = max(value + s for value, s in zip(mean, sd, strict=False) if value is not None)
    room = max(high - low, 1e-6) * 0.06
    low, high = low - room, high + room

    def place(i: int, value: float) -> str:
        return f"{_WIDTH * i / (len(mean) - 1):.1f} {_HEIGHT * (high - value) / (high - low):.1f}"

    points = [(i, value) for i, value in enumerate(mean) if value is not None]
    upper = [place(i, value + sd[i]) for i, value in points]
    lower = [place(i, value - sd[i]) for i, value in reversed(points)]
    digits = 0 if high - low > 4 else 2
    return CurveView(
        title=t.words("curve", name),
        unit=CURVES[name],
        mean="M" + "L".join(place(i, value) for i, value in points),
        band="M" + "L".join(upper + lower) + "Z",
        zero_y=_HEIGHT * high / (high - low) if low < 0.0 < high else None,
        low=f"{low:.{digits}f}".replace("-", "−"),
        high=f"{high:.{digits}f}".replace("-", "−"),
    )


def _cue(cue: Mapping[str, Any], t: Texts) -> tuple[str, str, str]:
    """When, what, and how the metric answered."""
    at_s = finite(cue.get("t_s"))
    when = "" if at_s is None else f"{int(at_s // 60)}:{int(at_s % 60):02d}"
    before, after = finite(cue.get("before")), finite(cue.get("after"))
    moved = "" if before is None or after is None else f"{before:.1f} → {after:.1f}".replace("-", "−")
    if cue.get("answer"):
        moved = f"{moved} · {t.words('answer', str(cue['answer']))}".removeprefix(" · ")
    return when, t.words("cue", str(cue.get("cue"))), moved
