"""Tables out and in: Parquet or Delta, every table partitioned by ``run_id``.

A run is written by replacing its own partition, so that running it again replaces and nothing else is
touched. On Delta that is ``replaceWhere``, one atomic commit. On Parquet it is dynamic partition overwrite:
new files take the place of the old when the job has succeeded, so a failed job leaves the old run as it was.

Runs may explain different models, so the structs of features differ between runs. A Parquet run is read from
its own folder alone and has its own schema; a Delta table has the union, which `read_table` cuts down to the
run's own.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pyspark.errors import AnalysisException
from pyspark.sql import functions as F
from pyspark.sql import types as T

from spark_shap import schema
from spark_shap.dataframes import quoted
from spark_shap.errors import InputError, RunError, UsageError
from spark_shap.io.sources import SPARK_ERRORS, spark_reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame, DataFrameReader, SparkSession

__all__ = ["Location", "append_run", "read_table", "replace_run"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
_DELTA_REFUSES = re.compile(r"[ ,;{}()\n\t=]")
# Names of columns are no longer names in files: needs reader 2 and writer 5.
_COLUMN_MAPPING = {
    "delta.columnMapping.mode": "name",
    "delta.minReaderVersion": "2",
    "delta.minWriterVersion": "5",
}


@dataclass(frozen=True)
class Location:
    """Where the tables are: folders under a root path, or Delta tables of a catalog schema.

    Attributes
    ----------
    root
        Path or URL of the folder that holds one folder a table; a relative path is made absolute.
    catalog_schema
        ``schema`` or ``catalog.schema``, instead of a root.
    format
        ``"parquet"`` or ``"delta"``; a catalog schema holds Delta tables.
    """

    root: str | None = None
    catalog_schema: str | None = None
    format: Literal["parquet", "delta"] = "parquet"

    def __post_init__(self) -> None:
        """Refuse what is no place for tables."""
        if (self.root is None) == (self.catalog_schema is None):
            raise UsageError("a location needs a root path or a catalog schema, and not both")
        if self.catalog_schema is not None and self.format != "delta":
            # A Parquet table in a catalog has one schema, and runs of different models have several.
            raise UsageError(f"{self.catalog_schema}: tables in a catalog schema are Delta tables: use delta")
        if self.root is not None and not _SCHEME.match(self.root):
            # Delta's SQL takes absolute paths only.
            object.__setattr__(self, "root", os.path.abspath(self.root))

    def __str__(self) -> str:
        """Return the path or schema."""
        return str(self.root or self.catalog_schema)

    def path(self, table: str) -> str:
        """Return the folder of a table under the root."""
        return f"{str(self.root).rstrip('/')}/{table}"

    def identifier(self, table: str) -> str:
        """Return what SQL calls a table: its quoted name, or the format and path."""
        if self.catalog_schema is None:
            return f"{self.format}.{quoted(self.path(table))}"
        return ".".join(quoted(part) for part in [*self.catalog_schema.split("."), table])


def replace_run(df: DataFrame, location: Location, table: str, run_id: str) -> None:
    """Write one run's rows in place of those that the table has of that run, if any.

    Parameters
    ----------
    df
        Rows with ``run_id`` as first column, with that one value; evaluated once. It may have no rows.
    location
        Where the tables are; the table is made when it is not there.
    table
        One of `schema.TABLES`.
    run_id
        Letters, digits, ``_``, ``.`` and ``-``.

    Raises
    ------
    RunError
        The rows do not fit the table that is there. Errors of the job that computes the rows pass unchanged.
    """
    _check_rows(df, run_id)
    if location.format == "delta":
        _write_delta(df, location, table, mode="overwrite", run_id=run_id)
        return
    spark, folder = df.sparkSession, _run_folder(location, table, run_id)
    before = _files(spark, folder)
    # The option, not the session's setting: Connect and serverless sessions may not change that.
    writer = df.write.mode("overwrite").option("partitionOverwriteMode", "dynamic")
    writer.partitionBy(schema.RUN_ID).parquet(location.path(table))
    if _files(spark, folder) <= before:
        # No rows: dynamic overwrite touched nothing, and would leave an earlier attempt's rows. The folder
        # gets one file without rows, which also keeps the schema.
        rowless = spark.createDataFrame([], df.drop(schema.RUN_ID).schema)
        rowless.coalesce(1).write.mode("overwrite").parquet(folder)


def append_run(df: DataFrame, location: Location, table: str, run_id: str) -> None:
    """Add rows to those that the table has of one run; parameters and errors as in `replace_run`."""
    _check_rows(df, run_id)
    if location.format == "delta":
        _write_delta(df, location, table, mode="append", run_id=run_id)
    else:
        df.write.mode("append").partitionBy(schema.RUN_ID).parquet(location.path(table))


def read_table(
    spark: SparkSession,
    location: Location,
    table: str,
    run_id: str | None = None,
    *,
    struct_fields: Sequence[str] | None = None,
) -> DataFrame:
    """Return a table, or one run of it, ``run_id`` first.

    Parameters
    ----------
    spark
        Classic or Connect session.
    location
        Where the tables are.
    table
        One of `schema.TABLES`.
    run_id
        The run to read; its structs have its own features only. Without it, all features of all runs.
    struct_fields
        The run's features in order, as the table of runs has them. On Delta without them, those with a
        value in any row are kept, which scans the structs once.

    Returns
    -------
    DataFrame

    Raises
    ------
    InputError
        There is no such table, or no such run in it.
    """
    try:
        if location.format == "delta":
            df = _reader(spark, location, table)
        elif run_id is None:
            df = _all_parquet(spark, location.path(table))
        else:
            # The run's folder alone, not below a basePath: run 0012 would come back as the number 12.
            df = spark.read.parquet(_run_folder(location, table, run_id))
            df = df.withColumn(schema.RUN_ID, F.lit(run_id))
        names = df.columns  # Connect resolves here
    except SPARK_ERRORS as exc:
        what = f"run {run_id!r} in table" if run_id else "table"
        raise InputError(f"{location}: no {what} {table!r} to read ({spark_reason(exc)}); run the job") from None
    if run_id is not None and location.format == "delta":
        df = df.where(F.col(schema.RUN_ID) == run_id)
        if df.isEmpty() and table == schema.ATTRIBUTIONS:
            raise InputError(f"{location}: no run {run_id!r} in table {table!r}; `runs` lists those there are")
        df = _own_fields(df, struct_fields)
    return df.select(schema.RUN_ID, *(F.col(quoted(name)) for name in names if name != schema.RUN_ID))


def _check_rows(df: DataFrame, run_id: str) -> None:
    if not _RUN_ID.fullmatch(run_id):
        raise UsageError(f"run_id {run_id!r}: use letters, digits, _ . and -, as it names a folder")
    if df.columns[0] != schema.RUN_ID:
        raise UsageError(f"the first column must be {schema.RUN_ID}, not {df.columns[0]!r}")


def _run_folder(location: Location, table: str, run_id: str) -> str:
    return f"{location.path(table)}/{schema.RUN_ID}={run_id}"


def _files(spark: SparkSession, folder: str) -> set[str]:
    """Return a folder's data files; none if it is not there."""
    try:
        # Any schema will do, and giving one opens no file.
        return set(spark.read.schema("any int").parquet(folder).inputFiles())
    except AnalysisException:
        return set()


def _all_parquet(spark: SparkSession, path: str) -> DataFrame:
    merged = spark.read.option("mergeSchema", "true").parquet(path).schema
    # Given as text, or Spark reads the folder names as numbers or days where they look so.
    fields = [T.StructField(f.name, T.StringType() if f.name == schema.RUN_ID else f.dataType) for f in merged]
    return spark.read.schema(T.StructType(fields)).parquet(path)


def _reader(spark: SparkSession, location: Location, table: str) -> DataFrame:
    reader: DataFrameReader = spark.read.format("delta")
    return reader.load(location.path(table)) if location.root else spark.read.table(location.identifier(table))


def _write_delta(
    df: DataFrame, location: Location, table: str, *, mode: Literal["overwrite", "append"], run_id: str
) -> None:
    spark, name = df.sparkSession, location.identifier(table)
    exists, mapped = _delta_exists(spark, location, table), _needs_mapping(df.schema)
    if exists:
        _check_types(df, _reader(spark, location, table), f"{location}: table {table!r}")
    if exists and mapped:
        _turn_on_mapping(spark, name)
    # mergeSchema: another run's features join the table's struct.
    writer = df.write.format("delta").partitionBy(schema.RUN_ID).option("mergeSchema", "true")
    if mapped and not exists:
        writer = writer.options(**_COLUMN_MAPPING)
    if location.root is not None:
        if mode == "overwrite":
            writer = writer.option("replaceWhere", f"{schema.RUN_ID} = '{run_id}'")
        writer.mode(mode).save(location.path(table))
    elif exists and mode == "overwrite":
        # Not saveAsTable: on a catalog's table it plans to replace the table, and that fails (Delta 4.4).
        df.writeTo(name).option("mergeSchema", "true").overwrite(F.col(schema.RUN_ID) == run_id)
    else:
        writer.mode("append").saveAsTable(name)


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


def _delta_exists(spark: SparkSession, location: Location, table: str) -> bool:
    try:
        return bool(_reader(spark, location, table).columns)
    except AnalysisException:
        return False


def _needs_mapping(kind: Any) -> bool:
    """Return whether a name anywhere in a type has a character that Delta refuses."""
    if isinstance(kind, T.StructType):
        return any(_DELTA_REFUSES.search(f.name) or _needs_mapping(f.dataType) for f in kind.fields)
    if isinstance(kind, T.ArrayType):
        return _needs_mapping(kind.elementType)
    return isinstance(kind, T.MapType) and (_needs_mapping(kind.keyType) or _needs_mapping(kind.valueType))


def _own_fields(df: DataFrame, struct_fields: Sequence[str] | None) -> DataFrame:
    """Cut the structs of features down to the run's own fields."""
    structs = [name for name in (schema.SHAP_VALUES, schema.STD_ERRORS, schema.SURROGATE_VALUES) if name in df.columns]
    if not structs:
        return df
    own = list(struct_fields) if struct_fields is not None else _fields_with_values(df, structs[0])
    for name in structs:
        there = _struct_names(df, name)
        fields = [F.col(name).getField(field).alias(field) for field in own if field in there]
        value = F.when(F.col(name).isNotNull(), F.struct(*fields)) if fields else F.col(name)
        df = df.withColumn(name, value)
    return df


def _fields_with_values(df: DataFrame, struct: str) -> list[str]:
    names = _struct_names(df, struct)
    counts = df.select(*(F.count(F.col(struct).getField(name)) for name in names)).first()
    return [name for name, count in zip(names, counts or (), strict=False) if count]


def _struct_names(df: DataFrame, struct: str) -> list[str]:
    kind = df.schema[struct].dataType
    return list(kind.names) if isinstance(kind, T.StructType) else []
