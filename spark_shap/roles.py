"""Which columns of the applicants are what, and whether they can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_shap.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame

    from spark_shap.config import RunConfig

__all__ = ["check_key_types", "check_names", "features_of", "kept_columns"]

_NO_KEYS = frozenset({"float", "double", "binary", "array", "map", "struct", "variant"})


def check_names(names: Sequence[str]) -> None:
    """Refuse names that differ only in case: Spark takes them for one column."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise InputError(f"applicants: the columns {other!r} and {name!r} differ only in case; rename one of them")


def check_key_types(frame: DataFrame, key: Sequence[str]) -> None:
    """Refuse key columns whose values are no safe keys."""
    types = dict(frame.dtypes)
    for name in key:
        if types[name].split("<")[0] in _NO_KEYS:
            raise InputError(
                f"applicants: key column {name!r} has type {types[name]}, which is no safe key; use integers, strings, "
                "booleans, dates, timestamps or decimals"
            )


def kept_columns(config: RunConfig) -> tuple[str, ...]:
    """Return columns to carry along: those asked for, the segments, the weight."""
    segments = [name for group in config.summary.by for name in group]
    weight = [config.applicants.weight] if config.applicants.weight else []
    key = set(config.applicants.key)
    return tuple(name for name in dict.fromkeys([*config.applicants.keep, *segments, *weight]) if name not in key)


def features_of(
    config: RunConfig, known: Sequence[str] | None, frames: Sequence[DataFrame], keep: Sequence[str]
) -> list[str]:
    """Return the features: as configured, else as the model says, else all columns with no other role."""
    if config.applicants.features is not None:
        return list(config.applicants.features)
    if known is not None:
        return list(known)
    roles = {*config.applicants.key, *keep, *(one.weight for one in config.populations)}
    applicants, first, *others = frames
    everywhere = set(applicants.columns).intersection(*(one.columns for one in others))
    return [name for name in first.columns if name in everywhere and name not in roles]
