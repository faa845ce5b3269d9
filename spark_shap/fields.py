"""Types of configuration values: what YAML gives, read strictly, with a message that says what it must be."""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

__all__ = [
    "Day",
    "Groups",
    "Limit",
    "Name",
    "Names",
    "Report",
    "Scalars",
    "Size",
    "Tolerance",
    "Values",
    "names_of",
]


Scalar = str | int | float | bool | date


def names_of(value: Any) -> Any:
    """Read one name or a list of names as a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def groups_of(value: Any) -> Any:
    """Read groups of names."""
    return tuple(names_of(group) for group in value) if isinstance(value, list) else names_of(value)


def day_of(value: Any) -> date:
    """Read a day."""
    try:
        day = date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        day = None
    if not isinstance(day, date) or isinstance(day, datetime):
        raise PydanticCustomError("as_of", "must be a day such as 2026-06-30")
    return day


def size_of(value: Any) -> int | Literal["all"]:
    """Read a number of rows, or all."""
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value  # type: ignore[no-any-return]  # checked in the line above
    raise PydanticCustomError("size", 'must be a number of rows, at least 1, or "all"')


def limit_of(value: Any) -> int | float:
    """Read a share or a number of rows."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        if 0 <= value < 1:
            return float(value)
        if value >= 1 and value == int(value):
            return int(value)
    raise PydanticCustomError("limit", "must be a share (0 to below 1) or a whole number of rows (1: one row)")


def scalars_of(value: Any) -> dict[str, str | int | float | bool]:
    """Read settings of Spark."""
    settings: dict[Any, Any] = value if isinstance(value, dict) else {None: value}
    if all(isinstance(key, str) and not isinstance(item, dict | list) for key, item in settings.items()):
        return {key: item for key, item in settings.items() if item is not None}
    raise PydanticCustomError("scalars", "must hold Spark keys with one value each: spark.executor.memory: 4g")


def values_of(value: Any) -> dict[str, Scalar]:
    """Read a row: a value for each feature, null for a missing one."""
    row: dict[Any, Any] = value if isinstance(value, dict) else {None: value}
    if row and all(isinstance(key, str) and (item is None or isinstance(item, Scalar)) for key, item in row.items()):
        return row
    raise PydanticCustomError("values", "must hold features with one value each, null for a missing one: age: 40")


def tolerance_of(value: Any) -> float | str:
    """Read a standard error: a positive number, or a percentage."""
    share = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*%\s*", value) if isinstance(value, str) else None
    if share and float(share[1]) > 0:
        return str(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
        return float(value)
    raise PydanticCustomError("tolerance", 'must be a positive number (output units) or a share such as "2%"')


def report_of(value: Any) -> bool | str:
    """Read whether there shall be a report, or in which file."""
    if isinstance(value, bool) or (isinstance(value, str) and value):
        return value
    raise PydanticCustomError("report", "must be true, false or the name of a file, such as report.html")


Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], BeforeValidator(names_of)]
Groups = Annotated[tuple[Annotated[tuple[Name, ...], Field(min_length=1)], ...], BeforeValidator(groups_of)]
Size = Annotated[int | Literal["all"], BeforeValidator(size_of)]
Day = Annotated[date, BeforeValidator(day_of)]
Limit = Annotated[int | float, BeforeValidator(limit_of)]
Scalars = Annotated[dict[str, str | int | float | bool], BeforeValidator(scalars_of)]
Report = Annotated[bool | str, BeforeValidator(report_of)]
Tolerance = Annotated[float | str, BeforeValidator(tolerance_of)]
Values = Annotated[dict[str, Scalar | None], BeforeValidator(values_of)]
