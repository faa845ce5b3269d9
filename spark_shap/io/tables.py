"""Tables out and in: Parquet or Delta, every table partitioned by ``run_id``.

A run's rows in a table are written in place of those that are there: all of them, or, where a run fills a
table shard by shard, those of one shard. On Delta that is ``replaceWhere``, one atomic commit. On Parquet
new files take the place of the old when the job has succeeded, so a failed job leaves the old ones; a shard
has a folder of its own.

Runs may explain different models, so the structs of features differ between runs. A Parquet run is read from
its own folder alone and has its own schema; a Delta table has the union, which `read_table` cuts down to the
run's own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException
from pyspark.sql import functions as F
from pyspark.sql import types as T

from spark_shap import schema
from spark_shap.dataframes import is_connect, quoted
from spark_shap.errors import InputError, MissingTableError, UsageError
from spark_shap.io.delta import delta_exists, open_delta, write_delta
from spark_shap.io.files import folder_names, is_link, remove_files, remove_folder
from spark_shap.io.sources import SPARK_ERRORS, spark_reason

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pyspark.sql import DataFrame, SparkSession

    from spark_shap.io.location import Location

__all__ = [
    "files_of",
    "read_table",
    "remove_shards",
    "replace_row",
    "replace_run",
    "replace_shard",
    "run_folder",
    "tagged",
]

_SHARDED = (schema.ATTRIBUTIONS, schema.REJECTS)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
# Spark's and Delta's conditions; DATA_SOURCE_NOT_FOUND is about a session, not a table.
_NOT_THERE = re.compile(r"\[(?!DATA_SOURCE)[A-Z_.]*(?:NOT_FOUND|NOT_EXIST|MISSING_DELTA_TABLE|TO_INFER_SCHEMA)\]")


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
        write_delta(df, location, table, part={schema.RUN_ID: run_id})
        return
    spark, folder = df.sparkSession, run_folder(location, table, run_id)
    before = files_of(spark, folder)
    # The option, not the session's setting: Connect and serverless sessions may not change that.
    writer = df.write.mode("overwrite").option("partitionOverwriteMode", "dynamic")
    writer.partitionBy(schema.RUN_ID).parquet(location.path(table))
    if files_of(spark, folder) <= before:
        # No rows: dynamic overwrite touched nothing, and would leave an earlier attempt's rows. The folder
        # gets one file without rows, which also keeps the schema. Spark computes nothing for a limit of 0.
        df.drop(schema.RUN_ID).limit(0).write.mode("overwrite").parquet(folder)


def replace_row(df: DataFrame, location: Location, table: str, run_id: str) -> None:
    """Write the one row of a run in place of an earlier one, which goes when the new one is there.

    Dynamic overwrite removes the old before it moves the new: killed in between, it leaves none. Here both are
    there for a moment, and stay when that is when it is killed: readers take the later one, and the next write
    removes the other. Through Spark Connect, which removes no file, it is `replace_run`. Parameters and errors as in
    that.
    """
    spark, folder = df.sparkSession, run_folder(location, table, run_id)
    # What a link leads to is not ours to remove; dynamic overwrite removes the link.
    if location.format == "delta" or is_connect(spark) or is_link(spark, folder):
        replace_run(df, location, table, run_id)
        return
    _check_rows(df, run_id)
    before = folder_names(spark, folder)
    df.drop(schema.RUN_ID).coalesce(1).write.mode("append").parquet(folder)
    remove_files(spark, folder, {name for name in before if name.endswith(".parquet")})


def replace_shard(df: DataFrame, location: Location, table: str, run_id: str, shard: str) -> None:
    """Write the rows of one shard of a run in place of those that are there of that shard, if any.

    A table is filled either shard by shard or as a whole, not both. Parameters and errors as in `replace_run`.
    """
    _check_rows(df, run_id)
    if not _NAME.fullmatch(shard):
        raise UsageError(f"shard {shard!r}: use letters, digits, _ . and -, as it names a folder")
    if location.format == "delta":
        tagged = df.withColumn(schema.SHARD, F.lit(shard))
        part = {schema.RUN_ID: run_id, schema.SHARD: shard}
        write_delta(tagged, location, table, part=part)
    else:
        df.drop(schema.RUN_ID, schema.SHARD).write.mode("overwrite").parquet(
            _shard_folder(location, table, run_id, shard)
        )


def remove_shards(spark: SparkSession, location: Location, table: str, run_id: str, *, keep: Collection[str]) -> None:
    """Remove the shards of a run that are not named; nothing outside the run's own part of the table."""
    if location.format == "delta":
        if not delta_exists(spark, location, table):
            return
        there = open_delta(spark, location, table).where(F.col(schema.RUN_ID) == run_id)
        names = {row[0] for row in there.select(schema.SHARD).distinct().collect()}
        for name in sorted(names - set(keep)):
            replace_shard(there.limit(0), location, table, run_id, name)
        return
    for name in sorted(_shard_names(spark, run_folder(location, table, run_id)) - set(keep)):
        remove_folder(spark, _shard_folder(location, table, run_id, name))


def read_table(
    spark: SparkSession,
    location: Location,
    table: str,
    run_id: str | None = None,
    *,
    shards: Sequence[str] | None = None,
    struct_fields: Sequence[str] | None = None,
) -> DataFrame:
    """Return a table, or one run of it, ``run_id`` first, as it lies there, whole or not.

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
    shards
        Those of the run's shards to read, at least one; None reads all that is there.
    struct_fields
        The run's features in order, as the table of runs has them. On Delta without them, those with a
        value in any row are kept, which scans the structs once.

    Returns
    -------
    DataFrame

    Raises
    ------
    MissingTableError
        There is no such table, or no such run in it.
    InputError
        What is there cannot be read.
    """
    for name in (run_id, *(shards or ())):  # they become parts of paths, where * and .. would mean other runs
        if name is not None and not _NAME.fullmatch(name):
            raise InputError(f"{location}: no run or shard is called {name!r}: letters, digits, _ . and - name one")
    try:
        if location.format == "delta":
            df = open_delta(spark, location, table)
        elif run_id is None:
            df = _all_parquet(spark, location.path(table))
        else:
            # The run's folders alone, not below a basePath: run 0012 would come back as the number 12.
            whole = [run_folder(location, table, run_id)]
            parts = None if shards is None else [_shard_folder(location, table, run_id, shard) for shard in shards]
            df = spark.read.parquet(*(whole if parts is None else parts))
            df = df.withColumn(schema.RUN_ID, F.lit(run_id))
        names = df.columns  # Connect resolves here
    except SPARK_ERRORS as exc:
        what = f"run {run_id!r} in table {table!r}" if run_id else f"table {table!r}"
        reason = spark_reason(exc)
        if isinstance(exc, AnalysisException) and _NOT_THERE.search(str(exc)):
            raise MissingTableError(f"{location}: no {what} to read ({reason}); run the job") from None
        raise InputError(f"{location}: {what} cannot be read ({reason}); mend it, or name another place") from None
    if run_id is not None and location.format == "delta":
        df = df.where(F.col(schema.RUN_ID) == run_id)
        if shards is not None:
            df = df.where(F.col(schema.SHARD).isin(*shards))
        elif df.isEmpty() and table == schema.ATTRIBUTIONS:
            raise MissingTableError(f"{location}: no run {run_id!r} in table {table!r}; `runs` lists those there are")
        df = _own_fields(df, struct_fields)
    ours = (schema.RUN_ID, schema.SHARD) if table in _SHARDED else (schema.RUN_ID,)
    return df.select(schema.RUN_ID, *(F.col(quoted(name)) for name in names if name not in ours))


def tagged(df: DataFrame, run_id: str) -> DataFrame:
    """Return rows with their run's id as first column."""
    return df.select(F.lit(run_id).alias(schema.RUN_ID), "*")


def files_of(spark: SparkSession, folder: str) -> set[str]:
    """Return the URLs of a folder's Parquet files, at any depth; none if it is not there."""
    try:
        # Any schema will do, and giving one opens no file.
        return set(spark.read.schema("any int").parquet(folder).inputFiles())
    except AnalysisException:
        return set()


def run_folder(location: Location, table: str, run_id: str) -> str:
    """Return the folder of a run in a table of Parquet files."""
    return f"{location.path(table)}/{schema.RUN_ID}={run_id}"


def _shard_folder(location: Location, table: str, run_id: str, shard: str) -> str:
    return f"{run_folder(location, table, run_id)}/{schema.SHARD}={shard}"


def _shard_names(spark: SparkSession, folder: str) -> set[str]:
    if is_connect(spark):  # sees files only: not what a killed job left half written
        mark = f"/{schema.SHARD}="
        return {url.rsplit(mark, 1)[1].split("/")[0] for url in files_of(spark, folder) if mark in url}
    mark = f"{schema.SHARD}="
    return {name.removeprefix(mark) for name in folder_names(spark, folder) if name.startswith(mark)}


def _check_rows(df: DataFrame, run_id: str) -> None:
    if not _NAME.fullmatch(run_id):
        raise UsageError(f"run_id {run_id!r}: use letters, digits, _ . and -, as it names a folder")
    if df.columns[0] != schema.RUN_ID:
        raise UsageError(f"the first column must be {schema.RUN_ID}, not {df.columns[0]!r}")


def _all_parquet(spark: SparkSession, path: str) -> DataFrame:
    merged = spark.read.option("mergeSchema", "true").parquet(path).schema
    # Given as text, or Spark reads the folder names as numbers or days where they look so.
    texts = (schema.RUN_ID, schema.SHARD)
    fields = [T.StructField(f.name, T.StringType() if f.name in texts else f.dataType) for f in merged]
    return spark.read.schema(T.StructType(fields)).parquet(path)


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
