"""What a run knows of its applicants before it explains them: how many they are, and some to prepare methods with.

Both take a look at every row. An attempt that follows a killed one need not look again where the source tells that
it is what it was, see `spark_shap.io.source_identity`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from spark_shap.engine.door import Census
from spark_shap.io.hash_samples import HashSample
from spark_shap.io.sources import SPARK_ERRORS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_shap.io.kept_work import KeptWork

__all__ = ["Known", "KnownInput"]

_META = b"spark_shap"
_SETTINGS = "spark.sql."  # may change what a file is read as
_NO_MATTER = "spark.sql.warehouse.dir"  # another in each working directory


class Known(NamedTuple):
    """The applicants counted, and some of them."""

    census: Census
    alike: HashSample


@dataclass(frozen=True)
class KnownInput:
    """Where to look for what is known of some applicants, and to keep it.

    Attributes
    ----------
    kept
        What attempts have kept.
    frame
        The applicants, with the columns that matter.
    identity
        Of their source; None where nothing tells whether it has changed.
    sampled
        All that the sample depends on beside them.
    """

    kept: KeptWork
    frame: DataFrame
    identity: str | None
    sampled: tuple[Any, ...]

    def find(self) -> Known | None:
        """Return what an attempt that did not end has kept, if these are the same applicants."""
        if self.identity is None:
            return None
        there = self.kept.find(self._name)
        return None if there is None else _known(there)

    def keep(self, known: Known) -> None:
        """Keep what is known, where it will be known again."""
        if self.identity is not None:
            self.kept.keep(self._name, partial(_bytes, known))

    def _name(self) -> str:
        what = [self.identity, self.frame.schema.json(), self.sampled, _settings(self.frame.sparkSession)]
        return sha256(json.dumps(what).encode()).hexdigest()


def _settings(spark: SparkSession) -> list[Any]:
    """Return what files are read by, beside what they are; something else each time where a platform does not tell."""
    try:
        rows = [tuple(row) for row in spark.sql("SET").collect()]
    except SPARK_ERRORS:
        return [uuid4().hex]
    return [spark.version, sorted(row for row in rows if row[0].startswith(_SETTINGS) and row[0] != _NO_MATTER)]


def _bytes(known: Known) -> bytes:
    import pyarrow as pa

    said = json.dumps({"census": asdict(known.census), "n_left_out": known.alike.n_left_out})
    table = known.alike.table
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _META: said.encode()})
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return bytes(out.getvalue())


def _known(there: bytes) -> Known | None:
    import pyarrow as pa

    try:
        table = pa.ipc.open_stream(there).read_all()
        table.validate(full=True)
        metadata = dict(table.schema.metadata)
        said = json.loads(metadata.pop(_META))
        return Known(Census(**said["census"]), HashSample(table.replace_schema_metadata(metadata), said["n_left_out"]))
    except (pa.ArrowException, KeyError, TypeError, ValueError):  # damaged
        return None
