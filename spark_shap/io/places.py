"""Whether a place may take runs at all, told before hours are spent."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from spark_shap import schema
from spark_shap.dataframes import is_connect
from spark_shap.errors import InputError
from spark_shap.io.files import HadoopPath, hadoop_path, hadoop_reason, is_read_only
from spark_shap.io.sources import SPARK_ERRORS, spark_reason

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spark_shap.io.location import Location

__all__ = ["check_location"]

_OURS = (*schema.TABLES, schema.SHARDS, schema.CLAIMS)


def check_location(spark: SparkSession, location: Location) -> None:
    """Raise unless tables can be written to a location; nothing is written, made or deleted.

    Parameters
    ----------
    spark
        Classic session, whose Hadoop file system is asked; or Connect, which can only try to read.
    location
        Where the tables will be. A folder that is not there is fine if it can be made.

    Raises
    ------
    InputError
        The root is a file, holds other things, holds tables of the other format or cannot be written; or the
        catalog schema is not there.
    """
    if location.root is None:
        name = str(location.catalog_schema)
        if not spark.catalog.databaseExists(name):
            raise InputError(f"output.schema: no schema {name}; create it: CREATE SCHEMA {name}")
        return
    listed = _list_by_reading(spark, location.root) if is_connect(spark) else _list(spark, location.root)
    ours = [name for name in listed if name.split("/")[0] in _OURS]
    if listed and not ours:
        some = ", ".join(sorted(set(listed))[:3])
        raise InputError(
            f"{location.root}: this folder holds other things ({some}) and none of our tables; "
            "name a new or empty folder in output.path"
        )
    is_delta = any(name.endswith("/_delta_log") for name in ours)
    is_parquet = not is_delta and any(f"/{schema.RUN_ID}=" in name for name in ours)
    if (location.format == "delta" and is_parquet) or (location.format == "parquet" and is_delta):
        found = "delta" if is_delta else "parquet"
        raise InputError(f"{location.root}: holds {found} tables; set output.format: {found}, or another path")


def _list(spark: SparkSession, root: str) -> list[str]:
    """Return the names in a folder, and in the folders of our tables, if it can be written."""
    try:
        files, path, hadoop = hadoop_path(spark, root)
        nearest = path
        while not files.exists(nearest):
            nearest = nearest.getParent()
        if not files.getFileStatus(nearest).isDirectory():
            raise InputError(f"{root}: {nearest.toString()} is a file, not a folder; name another output.path")
        files.access(nearest, hadoop.permission.FsAction.WRITE_EXECUTE)
        if is_read_only(HadoopPath(files, nearest, hadoop)):
            raise InputError(f"{root}: cannot be written: Read-only file system; name another output.path")
        if nearest is not path:
            return []
        names = [status.getPath().getName() for status in files.listStatus(path)]
        names = [name for name in names if not name.startswith((".", "_"))]
        inner = [name for name in names if name in _OURS]
        return names + [
            f"{name}/{status.getPath().getName()}"
            for name in inner
            for status in files.listStatus(hadoop.Path(path, name))
        ]
    except SPARK_ERRORS as exc:
        reason = hadoop_reason(exc)
        raise InputError(f"{root}: cannot be written: {reason}; name another output.path") from None


def _list_by_reading(spark: SparkSession, root: str) -> list[str]:
    """Return names below a folder as far as Spark reads them; none where there is nothing to read."""
    # Only the column of paths: no file is opened.
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    try:
        found = reader.load(root).select("path")
        ours = found.where(F.col("path").rlike(f"/({'|'.join(_OURS)})/")).limit(20)
        rows = ours.collect() or found.limit(3).collect()
    except SPARK_ERRORS as exc:
        if "PATH_NOT_FOUND" in str(exc):
            return []
        raise InputError(f"{root}: cannot be read: {spark_reason(exc)}; name another output.path") from None
    tail = "/" + PurePosixPath(root).name
    if any(row.path.endswith(tail) for row in rows):
        raise InputError(f"{root}: is a file, not a folder; name another output.path")
    # Without the folders below: _delta_log is hidden from this reader, so they would not tell the format.
    return [row.path.split(f"{tail}/", 1)[-1].split("/")[0] for row in rows]
