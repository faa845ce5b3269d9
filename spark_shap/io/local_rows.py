"""Rows of the driver as a DataFrame, without a Python worker.

A classic session makes a DataFrame of a list in a Python worker, and of another kind than those that run functions of
Arrow batches: to write one row, another process is started, imports everything, and takes a core meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import types as T

from spark_shap.dataframes import is_connect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame, SparkSession

__all__ = ["local_rows"]

_TAKES_ARROW = 4  # the first Spark whose sessions take Arrow tables
_ARROW: dict[T.DataType, pa.DataType] = {
    T.StringType(): pa.string(),
    T.BinaryType(): pa.binary(),
    T.LongType(): pa.int64(),
    T.DoubleType(): pa.float64(),
    T.DateType(): pa.date32(),
    T.TimestampType(): pa.timestamp("us", tz="UTC"),
}


def local_rows(spark: SparkSession, rows: Sequence[tuple[Any, ...]], kind: T.StructType) -> DataFrame:
    """Return a few rows as a DataFrame.

    Parameters
    ----------
    spark
        Classic or Connect session.
    rows
        Values in the order of the fields; times have a zone.
    kind
        Texts, bytes, whole and real numbers, days, times, lists and maps of those.
    """
    if is_connect(spark) or int(spark.version.split(".")[0]) < _TAKES_ARROW:
        return spark.createDataFrame(list(rows), kind).coalesce(1)
    arrays = [_array([row[at] for row in rows], field.dataType) for at, field in enumerate(kind.fields)]
    return spark.createDataFrame(pa.Table.from_arrays(arrays, names=kind.names), kind)


def _array(values: Sequence[Any], kind: T.DataType) -> pa.Array:
    if isinstance(kind, T.MapType):
        values = [None if value is None else list(value.items()) for value in values]
    return pa.array(values, _arrow_type(kind))


def _arrow_type(kind: T.DataType) -> pa.DataType:
    if isinstance(kind, T.ArrayType):
        return pa.list_(_arrow_type(kind.elementType))
    if isinstance(kind, T.MapType):
        return pa.map_(_arrow_type(kind.keyType), _arrow_type(kind.valueType))
    return _ARROW[kind]
