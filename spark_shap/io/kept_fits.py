"""Surrogates that a run keeps until it is complete: an attempt that follows a killed one does not fit them again.

They lie beside the run's copy of its input, as one small Parquet file, or a table in a catalog schema, and are removed
with it. An attempt finds those of its own run by what they were fitted to, before it knows which run it is.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pyspark.sql import functions as F
from pyspark.sql import types as T

import spark_shap
from spark_shap.io.local_rows import local_rows
from spark_shap.io.references import collect_arrow
from spark_shap.io.sources import SPARK_ERRORS
from spark_shap.io.staging import FITS, staged_tables, staging_folder, staging_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import DataFrame, SparkSession

    from spark_shap.io.location import Location

__all__ = ["KeptFits"]

_log = logging.getLogger(__name__)
_NAME, _FIT = "name", "fit"
_SCHEMA = T.StructType([T.StructField(_NAME, T.StringType()), T.StructField(_FIT, T.BinaryType())])
_MOST_BYTES = 2**26  # of one; a message of Spark Connect holds 128 MB


class KeptFits:
    """The surrogates kept at a place by runs on their way, and those of this attempt.

    Parameters
    ----------
    spark
        Classic or Connect session.
    location
        Where the tables of the runs are.
    """

    def __init__(self, spark: SparkSession, location: Location) -> None:
        self._spark, self._location = spark, location
        self._own: dict[str, bytes] = {}
        self._there: set[str] = set()

    def find(self, digest: str) -> bytes | None:
        """Return the fit of this name, if a run on its way has kept it."""
        for rows in self._kept():
            try:
                found = collect_arrow(rows.where(F.col(_NAME) == _named(digest)).select(_FIT).limit(1))
            except SPARK_ERRORS:  # of a run that was killed while it wrote, or is complete by now
                continue
            if found.num_rows:
                self._there.add(digest)
                _log.info("the surrogate is there already: an attempt that did not end had fitted it")
                return bytes(found.column(_FIT)[0].as_py())
        return None

    def keep(self, digest: str, fit: bytes) -> None:
        """Remember a fit of this attempt; `write` keeps it."""
        if len(fit) <= _MOST_BYTES:
            self._own[digest] = fit

    def write(self, run_id: str) -> None:
        """Keep the fits of this attempt with its run, unless they are."""
        if self._own.keys() <= self._there:
            return
        rows = local_rows(self._spark, [(_named(digest), fit) for digest, fit in self._own.items()], _SCHEMA)
        writer = rows.coalesce(1).write.mode("overwrite")
        if self._location.root is None:
            writer.format("delta").saveAsTable(staging_table(self._location, run_id, FITS))
        else:
            writer.parquet(f"{staging_folder(self._location, run_id)}/{FITS}")
        self._there |= self._own.keys()

    def _kept(self) -> Iterator[DataFrame]:
        """Return the kept fits of all runs on their way, lazily."""
        reader = self._spark.read
        try:
            if self._location.root is None:
                yield from (reader.table(name) for name in staged_tables(self._spark, self._location, FITS))
            else:
                yield reader.schema(_SCHEMA).parquet(f"{staging_folder(self._location, '*')}/{FITS}")
        except SPARK_ERRORS:  # there are none
            return


def _named(digest: str) -> str:
    """Return the name of a fit: another version may fit another surrogate to the same rows."""
    return f"{spark_shap.__version__} {digest}"
