"""Delta tables: one atomic commit a write, by path or by catalog name.

A part of a table is written with ``replaceWhere``: what is there of that part goes and what is new comes in
the same commit, so that a write that is made twice is there once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pyspark.errors import AnalysisException
from pyspark.sql import functions as F
from pyspark.sql import types as T

from spark_shap.dataframes import quoted
from spark_shap.errors import InputError, RunError
from spark_shap.io.sources import SPARK_ERRORS, spark_reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession

    from spark_shap.io.location import Location

__all__ = ["delta_exists", "open_delta", "refuse_new_fields", "write_delta"]

_REFUSED = re.compile(r"[ ,;{}()\n\t=]")
# Names of columns are no longer names in files: needs reader 2 and writer 5.
_COLUMN_MAPPING = {
    "delta.columnMapping.mode": "name",
    "delta.minReaderVersion": "2",
    "delta.minWriterVersion": "5",
}
_TWO_WRITERS = ("CONCURRENT", "Concurrent")


def open_delta(spark: SparkSession, location: Location, table: str) -> DataFrame:
    """Return a table as it is now."""
    reader: DataFrameReader = spark.read.format("delta")
    return reader.load(location.path(table)) if location.root else spark.read.table(location.identifier(table))


def delta_exists(spark: SparkSession, location: Location, table: str) -> bool:
    """Whether there is such a table; never in a session without Delta's jars."""
    try:
        return bool(open_delta(spark, location, table).columns)
    except AnalysisException:
        return False
    except SPARK_ERRORS as error:
        if "DATA_SOURCE_NOT_FOUND" in str(error):
            return False
        raise


def write_delta(df: DataFrame, location: Location, table: str, *, part: Mapping[str, str]) -> None:
    """Write rows in place of a part of a table.

    Parameters
    ----------
    df
        Rows, all of the part.
    location, table
        Where; the table is made when it is not there, partitioned by the columns of `part`.
    part
        Column to value, safe to be quoted; nothing else is replaced.

    Raises
    ------
    RunError
        The rows do not fit the table that is there, or another writer was faster.
    """
    spark, name = df.sparkSession, location.identifier(table)
    exists, mapped = delta_exists(spark, location, table), _needs_mapping(df.schema)
    if exists:
        _check_types(df, open_delta(spark, location, table), f"{location}: table {table!r}")
    if exists and mapped:
        _turn_on_mapping(spark, name)
    # What a run may add to a table was checked before it started.
    writer = df.write.format("delta").partitionBy(*part).option("mergeSchema", "true")
    if mapped and not exists:
        writer = writer.options(**_COLUMN_MAPPING)
    try:
        if location.root is not None:
            where = " and ".join(f"{column} = '{value}'" for column, value in part.items())
            writer.option("replaceWhere", where).mode("overwrite").save(location.path(table))
        elif exists:
            # Not saveAsTable: on a catalog's table it plans to replace the table, and that fails (Delta 4.4).
            df.writeTo(name).option("mergeSchema", "true").overwrite(_is_part(part))
        else:
            writer.mode("append").saveAsTable(name)
    except Exception as error:
        if any(mark in type(error).__name__ or mark in str(error)[:2000] for mark in _TWO_WRITERS):
            raise RunError(
                f"{location}: another program wrote to table {table!r} at the same time ({spark_reason(error)}); "
                "start the same command again: what is committed is kept"
            ) from error
        raise


def refuse_new_fields(df: DataFrame, location: Location, table: str) -> None:
    """Raise `InputError` when a Delta table that is there would need new columns, or fields in its structs."""
    if location.format != "delta" or not delta_exists(df.sparkSession, location, table):
        return
    if new := _new_fields(df.schema, open_delta(df.sparkSession, location, table).schema):
        shown = ", ".join(new[:3]) + (f" and {len(new) - 3} more" if len(new) > 3 else "")
        raise InputError(
            f"{location}: table {table!r} has no {shown}; set output.evolve_schema: true to add what is missing, or "
            "write to another location"
        )


def _is_part(part: Mapping[str, str]) -> Column:
    whole = F.lit(True)
    for column, value in part.items():
        whole = whole & (F.col(quoted(column)) == value)
    return whole


def _new_fields(df: T.StructType, there: T.StructType) -> list[str]:
    """Return names of columns, and of fields of structs, that the first schema has and the second has not."""
    known = {field.name: field.dataType for field in there.fields}
    found = [field.name for field in df.fields if field.name not in known]
    for field in df.fields:
        other = known.get(field.name)
        if isinstance(field.dataType, T.StructType) and isinstance(other, T.StructType):
            found += [f"{field.name}.{name}" for name in field.dataType.names if name not in other.names]
    return found


def _check_types(df: DataFrame, there: DataFrame, what: str) -> None:
    # Delta would cast some, and a key that was cast is another key. Structs of features may differ.
    types = dict(there.dtypes)
    for name, kind in df.dtypes:
        if types.get(name, kind) != kind and not kind.startswith("struct"):
            raise RunError(f"{what}: column {name!r} is {types[name]}, not {kind}; write to another location")


def _turn_on_mapping(spark: SparkSession, name: str) -> None:
    now = {row[0]: row[1] for row in spark.sql(f"SHOW TBLPROPERTIES {name}").collect()}
    if now.get("delta.columnMapping.mode", "none") == "none":
        settings = ", ".join(f"'{key}' = '{value}'" for key, value in _COLUMN_MAPPING.items())
        spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ({settings})")


def _needs_mapping(kind: Any) -> bool:
    """Return whether a name anywhere in a type has a character that Delta refuses."""
    if isinstance(kind, T.StructType):
        return any(_REFUSED.search(f.name) or _needs_mapping(f.dataType) for f in kind.fields)
    if isinstance(kind, T.ArrayType):
        return _needs_mapping(kind.elementType)
    return isinstance(kind, T.MapType) and (_needs_mapping(kind.keyType) or _needs_mapping(kind.valueType))
