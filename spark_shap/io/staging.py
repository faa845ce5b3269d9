"""A run's own copy of its input, cut into shards by the hash of the keys.

A run of many shards would read its input once for each. It reads it once instead, whatever it is (files of
text, a view, a table that goes on changing), and writes the columns that it needs as Parquet, a folder a
shard. The copy is removed when the run is complete. In a catalog schema it is a table of the run's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException
from pyspark.sql import functions as F

from spark_shap import schema
from spark_shap.dataframes import column, quoted
from spark_shap.io.files import remove_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame, SparkSession

    from spark_shap.io.location import Location

__all__ = ["KEPT", "read_staged", "remove_staged", "stage", "staged_tables", "staging_folder", "staging_table"]

_FOLDER, _TABLE = "_staging", "staging_"  # the folder is hidden from readers of folders
_PART = "part"

KEPT = "kept"
"""What lies beside the copy: see `spark_shap.io.kept_work`."""


def stage(
    frame: DataFrame, location: Location, copy: tuple[str, str], *, key: Sequence[str], n_shards: int, files: int
) -> int:
    """Write the rows of a run, shard by shard; return how many.

    Parameters
    ----------
    frame
        Rows; all their columns are kept.
    location
        Where the run's tables are.
    copy
        The run, and the copy's own name: no program writes into another's.
    key
        Columns whose hash says which shard a row belongs to.
    n_shards
        2 or more.
    files
        Files of a shard.
    """
    hashed = F.xxhash64(F.lit("shard"), *(column(frame, name) for name in key))
    # Numbered: no name is refused by a format, and none is the partition's.
    values = [column(frame, name).alias(f"_{index}") for index, name in enumerate(frame.columns)]
    cut = frame.select(F.pmod(hashed, F.lit(n_shards)).cast("int").alias(_PART), *values)
    within = F.pmod(F.xxhash64(F.lit("file"), *(cut[f"_{frame.columns.index(name)}"] for name in key)), F.lit(files))
    writer = cut.repartition(n_shards * files, F.col(_PART), within).write.mode("overwrite").partitionBy(_PART)
    if location.root is not None:
        writer.parquet(_path(location, *copy))
    else:
        writer.format("delta").option("overwriteSchema", "true").saveAsTable(staging_table(location, copy[0]))
    return _open(frame.sparkSession, location, copy).count()


def read_staged(
    spark: SparkSession, location: Location, copy: tuple[str, str], part: int | None, columns: Sequence[str]
) -> DataFrame | None:
    """Return the rows of one shard, or of all, with their names back; None when there is no copy."""
    try:
        there = _open(spark, location, copy)
        names = there.columns  # Connect resolves here
    except AnalysisException:
        return None
    if len(names) != len(columns) + 1:
        return None
    rows = there if part is None else there.where(F.col(_PART) == part)
    return rows.select(*(F.col(f"_{index}").alias(name) for index, name in enumerate(columns)))


def remove_staged(spark: SparkSession, location: Location, run_id: str) -> None:
    """Remove all copies of a run, and what lies beside them, if there is anything."""
    if location.root is None:
        for what in ("", KEPT):
            spark.sql(f"DROP TABLE IF EXISTS {staging_table(location, run_id, what)}")
    else:
        remove_folder(spark, staging_folder(location, run_id))


def staging_folder(location: Location, run_id: str) -> str:
    """Return the folder of what a run keeps until it is complete."""
    return f"{location.path(_FOLDER)}/{schema.RUN_ID}={run_id}"


def staging_table(location: Location, run_id: str, what: str = "") -> str:
    """Return the name of a table of a run's own in a catalog schema: its copy, or what lies beside it."""
    return ".".join(quoted(part) for part in [*_schema(location), f"{_TABLE}{run_id}{what and '_'}{what}"])


def staged_tables(spark: SparkSession, location: Location, what: str) -> list[str]:
    """Return the names of such tables of all runs in a catalog schema."""
    where = ".".join(quoted(part) for part in _schema(location))
    rows = spark.sql(f"SHOW TABLES IN {where} LIKE '{_TABLE}*_{what}'").collect()
    return [f"{where}.{quoted(row['tableName'])}" for row in rows]


def _schema(location: Location) -> list[str]:
    return str(location.catalog_schema).split(".")


def _path(location: Location, run_id: str, copy: str) -> str:
    return f"{staging_folder(location, run_id)}/copy={copy}"


def _open(spark: SparkSession, location: Location, copy: tuple[str, str]) -> DataFrame:
    if location.root is None:
        return spark.read.table(staging_table(location, copy[0]))
    df = spark.read.parquet(_path(location, *copy))
    df.columns  # noqa: B018  # Connect resolves here
    return df
