"""Work that a run keeps until it is complete, so that an attempt that follows a killed one need not do it again.

It lies beside the run's copy of its input, as one small Parquet file, or a table in a catalog schema, and is removed
with it. An attempt finds what is its own by a hash of all that it was made of, before it knows which run it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F
from pyspark.sql import types as T

import spark_shap
from spark_shap.io.local_rows import local_rows
from spark_shap.io.references import collect_arrow
from spark_shap.io.sources import SPARK_ERRORS
from spark_shap.io.staging import KEPT, staged_tables, staging_folder, staging_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyspark.sql import DataFrame, SparkSession

    from spark_shap.io.location import Location

__all__ = ["KeptWork"]

_NAME, _BYTES = "name", "bytes"
_SCHEMA = T.StructType([T.StructField(_NAME, T.StringType()), T.StructField(_BYTES, T.BinaryType())])
_MOST_BYTES = 2**25  # of one; a message of Spark Connect holds 128 MB


class KeptWork:
    """The work kept at a place by runs on their way, and that of this attempt.

    Parameters
    ----------
    spark
        Classic or Connect session.
    location
        Where the tables of the runs are.
    """

    def __init__(self, spark: SparkSession, location: Location) -> None:
        self._spark, self._location = spark, location
        self._own: list[tuple[Callable[[], str], Callable[[], bytes]]] = []
        self._found: set[str] = set()
        self._there: tuple[DataFrame, ...] | None = None

    @property
    def used(self) -> bool:
        """Whether something was found."""
        return bool(self._found)

    def look(self) -> None:
        """Look what runs on their way have kept, as `find` does where nobody has looked."""
        self._there = tuple(self._kept())

    def find(self, name: Callable[[], str]) -> bytes | None:
        """Return what has this name if a run on its way has kept it; if none has kept a thing, nothing is called."""
        if self._there is None:
            self.look()
        for rows in self._there or ():
            digest = name()
            try:
                found = collect_arrow(rows.where(F.col(_NAME) == _named(digest)).select(_BYTES).limit(1))
            except SPARK_ERRORS:  # of a run that was killed while it wrote, or is complete by now
                continue
            if found.num_rows:
                self._found.add(digest)
                return bytes(found.column(_BYTES)[0].as_py())
        return None

    def keep(self, name: Callable[[], str], work: Callable[[], bytes]) -> None:
        """Remember work of this attempt by a hash of what it is made of; `write` asks for both, and keeps it."""
        self._own.append((name, work))

    def write(self, run_id: str) -> None:
        """Keep the work of this attempt with its run, unless all of it was found."""
        own, self._own = [(name(), work) for name, work in self._own], []
        if all(digest in self._found for digest, _ in own):
            return
        work = [(_named(digest), done()) for digest, done in own]
        if not (small := [one for one in work if len(one[1]) <= _MOST_BYTES]):
            return
        rows = local_rows(self._spark, small, _SCHEMA)
        writer = rows.coalesce(1).write.mode("overwrite")
        if self._location.root is None:
            writer.format("delta").saveAsTable(staging_table(self._location, run_id, KEPT))
        else:
            writer.parquet(f"{staging_folder(self._location, run_id)}/{KEPT}")

    def _kept(self) -> Iterator[DataFrame]:
        """Return what all runs on their way have kept, lazily."""
        reader = self._spark.read
        try:
            if self._location.root is None:
                yield from (reader.table(name) for name in staged_tables(self._spark, self._location, KEPT))
            else:
                there = reader.schema(_SCHEMA).parquet(f"{staging_folder(self._location, '*')}/{KEPT}")
                there.columns  # noqa: B018  # Connect resolves here
                yield there
        except SPARK_ERRORS:  # there are none
            return


def _named(digest: str) -> str:
    """Return the name of some work: another version may do it in another way."""
    return f"{spark_shap.__version__} {digest}"
