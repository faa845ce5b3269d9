"""What a source is, told without reading its rows: the version of a table, or the files of a path.

Two looks that tell the same have seen the same rows. Where that cannot be promised, nothing is told: a view, a table
without versions, rows chosen by a predicate that may depend on the day.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from spark_shap.dataframes import is_connect
from spark_shap.io.files import hadoop_path
from spark_shap.io.location import absolute
from spark_shap.io.sources import SPARK_ERRORS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spark_shap.io.sources import TableVersion

__all__ = ["source_identity"]

_LISTED = 1000  # files that are asked one by one; of more Spark makes a hash
# A call of a function, a subquery, or a name that may be the day, the time, or who asks.
_MAY_CHANGE = re.compile(
    r"\b(?!(?:and|or|not|in)\b)\w+\s*\(|\b(?:select|now|current|local|session|user)", re.IGNORECASE
)


def source_identity(
    spark: SparkSession, *, path: str | None, table: str | None, where: str | None, version: TableVersion | None
) -> str | None:
    """Return what tells a source from any other, or from itself when it has changed; None where that is not known.

    Parameters
    ----------
    spark
        Classic or Connect session.
    path, table
        Exactly one, as in `spark_shap.io.sources.read_source`.
    where
        Predicate of the rows.
    version
        Of a Delta table, as `source_version` gave it before any row was read.
    """
    if where is not None and _MAY_CHANGE.search(where):
        return None
    if version is not None:
        return f"{table or absolute(str(path))} at {version.number} of {version.moment} where {where}"
    if path is None:
        return None
    try:
        files = None if is_connect(spark) else _files(spark, path)
        return f"{files or _hashed_files(spark, path)} where {where}"
    except SPARK_ERRORS:  # it is read, or is told to be unreadable, in another way
        return None


def _files(spark: SparkSession, path: str) -> str | None:
    """Return the files with their sizes and times, hashed; None where there are many."""
    files, pattern, _ = hadoop_path(spark, path)
    found: list[str] = []
    for place in files.globStatus(pattern) or ():
        inside = files.listFiles(place.getPath(), True)
        while inside.hasNext():
            found.append(_told(inside.next()))
            if len(found) > _LISTED:
                return None
    return f"{len(found)} files {sha256(repr(sorted(found)).encode()).hexdigest()}"


def _told(status: Any) -> str:
    return f"{status.getPath().toString()} {status.getLen()} {status.getModificationTime()}"


def _hashed_files(spark: SparkSession, path: str) -> str:
    """Return the same as Spark sees it, which opens no file for these columns."""
    listed = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(path)
    told = [listed[name] for name in ("path", "length", "modificationTime")]
    hashes = [F.xxhash64(F.lit(seed), *told) for seed in ("one", "another")]
    row = listed.select(*hashes, told[1]).toDF("a", "b", "length")
    found = row.agg(F.count("*"), F.bit_xor("a"), F.bit_xor("b"), F.sum("length")).first()
    return f"{list(found or ())} files"
