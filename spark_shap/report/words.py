"""How names, numbers and probabilities are written in a report."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from typing import Any

__all__ = [
    "LOST",
    "clean",
    "n_wide",
    "number",
    "percent",
    "plain",
    "probability",
    "segment_name",
    "segment_title",
    "short",
    "signed",
]

LOST = "\N{REPLACEMENT CHARACTER}"
# They turn the direction of what follows, so a name could make its neighbours read wrong.
_TURNING = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A)), "\u200e", "\u200f"}
_BLANKS = re.compile(r"[^\S\u00a0]+")  # a blank that does not break stays one
_NO_SEGMENT = "(no value)"
_DASH = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"


def clean(text: Any) -> str:
    """Return text as it can be shown: blanks for tabs and ends of lines, a mark for what has no picture.

    Markup is not touched: templates escape it, and so does the drawing of figures.
    """
    flat = _BLANKS.sub(" ", str(text)).strip()
    return "".join(
        LOST if char in _TURNING or unicodedata.category(char) in {"Cc", "Cs", "Cn"} else char for char in flat
    )


def short(text: Any, limit: int) -> str:
    """Return text that is at most so many letters wide, wide ones counting twice; what is cut ends in an ellipsis."""
    whole = clean(text)
    if len(whole) + n_wide(whole) <= limit:
        return whole
    while len(whole) + n_wide(whole) > limit - 1:
        whole = whole[:-1]
    return whole.rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def n_wide(text: str) -> int:
    """Return how many letters are twice as wide as others."""
    return sum(unicodedata.east_asian_width(char) in "WF" for char in text)


def number(value: Any, digits: int = 3) -> str:
    """Return a number with so many significant digits and a true minus sign; a dash for none."""
    if value is None or not math.isfinite(value):
        return _DASH
    if value == 0:
        return "0"
    size = abs(value)
    if not 1e-4 <= size < 1e6:
        text = f"{value:.{digits - 1}e}"
    else:
        text = f"{value:,.{max(0, digits - 1 - math.floor(math.log10(size)))}f}"
    return text.replace("-", _MINUS, 1) if value < 0 else text


def plain(value: Any) -> str:
    """Return a feature's own value: whole numbers whole, others with six digits; nothing for none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        text = f"{value:,.0f}" if value == round(value) and abs(value) < 1e15 else f"{value:,.6g}"
        return text.replace("-", _MINUS, 1) if value < 0 else text
    return clean(value)


def signed(value: Any, digits: int = 3) -> str:
    """Return a number with its sign."""
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 else text


def percent(share: Any, digits: int = 0) -> str:
    """Return a share as a percentage; neither 0 nor 100 % unless it is."""
    if share is None or not math.isfinite(share):
        return _DASH
    if share == 0:
        return "0 %"
    least = 10.0**-digits
    value = 100.0 * share
    if 0 < value < least / 2:
        return f"<{least:.{digits}f} %"
    if 100 - least / 2 < value < 100:
        return f">{100 - least:.{digits}f} %"
    return f"{value:.{digits}f} %".replace("-", _MINUS)


def probability(p: Any) -> str:
    """Return a p-value."""
    if p is None or not math.isfinite(p):
        return _DASH
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def segment_name(segment: Any, by: str) -> str:
    """Return what a segment is called; of a combination all its values."""
    if segment is None or (isinstance(segment, float) and math.isnan(segment)):
        return _NO_SEGMENT
    if ", " in by:  # then it is a JSON list
        parts = json.loads(segment)
        return " · ".join(_NO_SEGMENT if part is None else clean(part) for part in parts)
    return clean(segment) or '""'


def segment_title(segment: Any, by: str) -> str:
    """Return what a segment is called where it stands alone: each value after its column's name."""
    columns, values = by.split(", "), segment_name(segment, by).split(" · ")
    if len(columns) != len(values):  # a name or a value that holds what divides them
        return segment_name(segment, by)
    return " · ".join(f"{clean(column)}: {value}" for column, value in zip(columns, values, strict=True))
