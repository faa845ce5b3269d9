"""Spark DataFrames told apart and their columns named, without importing pyspark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["column", "is_connect", "is_spark_frame", "quoted"]


def is_spark_frame(value: Any) -> bool:
    """Whether a value is a Spark DataFrame, classic or Connect.

    On Spark 3.5 a Connect frame is no subclass of `pyspark.sql.DataFrame`, hence by module.
    """
    return type(value).__module__.startswith("pyspark.sql") and hasattr(value, "mapInArrow")


def is_connect(value: Any) -> bool:
    """Whether a DataFrame or session belongs to Spark Connect."""
    return type(value).__module__.startswith("pyspark.sql.connect")


def quoted(name: str) -> str:
    """Return a column name as Spark takes it literally, whatever dots, spaces or backticks it has."""
    return "`" + name.replace("`", "``") + "`"


def column(frame: DataFrame, name: str) -> Column:
    """Return the top-level column of this very name."""
    return frame[quoted(name)]
