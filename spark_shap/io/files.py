"""Files on the cluster's file systems: Hadoop's on classic sessions, where a driver has its JVM.

Spark Connect gives no file system; there Spark's own writers must do.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from pyspark.errors import AnalysisException

from spark_shap.dataframes import is_connect
from spark_shap.io.sources import spark_reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyspark.sql import SparkSession

__all__ = [
    "HadoopPath",
    "folder_names",
    "hadoop_path",
    "hadoop_reason",
    "is_link",
    "is_read_only",
    "remove_files",
    "remove_folder",
]


class HadoopPath(NamedTuple):
    """A path and the file system that it is on, objects of the JVM."""

    files: Any
    path: Any
    hadoop: Any


def hadoop_path(spark: SparkSession, path: str) -> HadoopPath:
    """Return a path of a classic session."""
    hadoop = spark._jvm.org.apache.hadoop.fs  # type: ignore[union-attr]  # a classic session has a JVM
    there = hadoop.Path(path)
    return HadoopPath(there.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf()), there, hadoop)


def hadoop_reason(error: BaseException) -> str:
    """Return what a file system says in one line."""
    java = getattr(error, "java_exception", None)
    return str(java.getMessage()) if java is not None else spark_reason(error)


def is_read_only(place: HadoopPath) -> bool:
    """Whether a path that is there lies on a file system of this machine that takes no writes: root may write else."""
    path = _own_path(place)
    return path is not None and bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def is_link(spark: SparkSession, folder: str) -> bool:
    """Whether a folder of a classic session is a link to another one on this machine."""
    path = _own_path(hadoop_path(spark, folder))
    return path is not None and os.path.islink(path)


def _own_path(place: HadoopPath) -> str | None:
    uri = place.files.makeQualified(place.path).toUri()
    return str(uri.getPath()) if uri.getScheme() == "file" else None


def folder_names(spark: SparkSession, folder: str) -> set[str]:
    """Return the names in a folder of a classic session's file system; none if it is not there."""
    files, path, _ = hadoop_path(spark, folder)
    return {status.getPath().getName() for status in files.listStatus(path)} if files.exists(path) else set()


def remove_files(spark: SparkSession, folder: str, names: Iterable[str]) -> None:
    """Remove files of a folder of a classic session's file system."""
    files, path, hadoop = hadoop_path(spark, folder)
    for name in names:
        files.delete(hadoop.Path(path, name), False)


def remove_folder(spark: SparkSession, folder: str) -> None:
    """Remove a folder of Parquet files, if it is there; on Connect its rows only, one file without any stays."""
    if is_connect(spark):
        try:
            # Any schema will do, and folders in it need not be partitions of one table.
            spark.read.option("recursiveFileLookup", "true").schema("id long").parquet(folder).columns  # noqa: B018
        except AnalysisException:  # not there
            return
        spark.range(0).coalesce(1).write.mode("overwrite").parquet(folder)
    else:
        files, path, _ = hadoop_path(spark, folder)
        files.delete(path, True)
