"""JSON as the station writes and reads it: UTF-8, never NaN or Infinity, numbers that read back exactly."""

from __future__ import annotations

import json
import math
from typing import Any

JsonObject = dict[str, Any]


def dumps(value: object) -> str:
    """``value`` as compact JSON on one line, in ASCII (so that any text survives any pipe).

    A float that is not finite raises ``ValueError``: records are cleaned by the functions that build them, and what
    slips through is a bug to be seen, not a "NaN" for a receiver to choke on.
    """
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def loads(text: str) -> Any:
    """The value of one JSON document; ``ValueError`` when it is none, or holds a number that is not finite."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def number(value: float | None) -> float | None:
    """A measured value for the wire: seven significant digits (a hundredth of any metric's noise), never NaN."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{float(value):.7g}")


def seconds(value: float | None) -> float | None:
    """A sensor time for the wire: to the microsecond, whatever its origin."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), 6)


def clean(value: object) -> Any:
    """``value`` as JSON can hold it: NaN becomes null, NumPy numbers plain ones, tuples lists."""
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return clean(value.tolist())
    if hasattr(value, "items"):
        return clean(dict(value.items()))
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"number {text[:20]} is not finite")
    return value


def _no_constant(text: str) -> float:
    raise ValueError(f"number {text} is not finite")


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant)
