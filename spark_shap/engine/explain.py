"""Explaining a Spark DataFrame, lazily, on classic sessions and Spark Connect."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow as pa

from spark_shap.dataframes import column
from spark_shap.engine.shipping import Carrier, dumps, load, ship
from spark_shap.engine.spark_ml import PipelineAnswer, check_pipeline, explain_with_pipeline, hybrids_of, shippable
from spark_shap.engine.spark_ml_model import pipeline_call
from spark_shap.engine.types import spark_type
from spark_shap.engine.worker import Columns, RejectLimit, explain_batches, value_fields
from spark_shap.errors import InputError
from spark_shap.schema import reserved_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

    from spark_shap.prepare import Prepared

__all__ = ["check_columns", "explain_frame", "spark_schema"]


@dataclass(frozen=True)
class _ExplainPartition:
    """The function that Spark runs; it holds where the method is, not the method."""

    carrier: Carrier
    columns: Columns
    limit: RejectLimit | None
    names: tuple[str, ...]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Explain one partition; an empty one loads nothing."""
        stream = (pa.RecordBatch.from_arrays(batch.columns, names=self.names) for batch in batches)
        first = next((batch for batch in stream if batch.num_rows), None)
        if first is not None:
            prepared = load(self.carrier)
            yield from explain_batches(chain([first], stream), prepared, columns=self.columns, limit=self.limit)


def check_columns(available: Sequence[str], columns: Columns, features: Sequence[str]) -> None:
    """Check that the columns exist and that their names are free.

    Raises
    ------
    InputError
        A column is missing or uses a name of the output.
    """
    for role, names in (("key column", columns.key), ("keep column", columns.keep), ("feature", features)):
        missing = [name for name in names if name not in available]
        if missing:
            raise InputError(
                f"{role} {missing[0]!r} is not in the input ({len(missing)} missing: {', '.join(missing[:5])}); "
                f"the input has {', '.join(available)}"
            )
    if not columns.key:
        raise InputError("key: name at least one column that identifies a row")
    travelling = [*columns.key, *columns.keep]
    twice = [name for name in travelling if travelling.count(name) > 1]
    taken = reserved_names(travelling)
    if twice or taken:
        what = f"{twice[0]!r} is named twice in key and keep" if twice else f"{taken[0]!r} is a column of the output"
        raise InputError(f"key, keep: {what}; rename the column, or leave it out of keep")


def spark_schema(frame: DataFrame, prepared: Prepared, columns: Columns) -> StructType:
    """Return the schema of the explanation of a DataFrame."""
    from pyspark.sql import types as t

    fields = {field.name: field for field in frame.schema.fields}
    values, error = value_fields(prepared)
    return t.StructType(
        [
            *(t.StructField(name, fields[name].dataType) for name in columns.key),
            *(t.StructField(field.name, spark_type(field.type)) for field in values),
            *(t.StructField(name, fields[name].dataType) for name in columns.keep),
            t.StructField(error.name, spark_type(error.type)),
        ]
    )


def explain_frame(
    frame: DataFrame,
    prepared: Prepared,
    *,
    columns: Columns,
    partitions: int | None = None,
    limit: RejectLimit | None = None,
    carrier: Carrier | None = None,
) -> DataFrame:
    """Return the explanation of every row, lazily.

    Parameters
    ----------
    frame
        Rows with key, kept and feature columns.
    prepared
        The method.
    columns
        Which columns are keys and which are kept.
    partitions
        Spread the rows over so many partitions by the hash of their keys; None leaves them as they are.
    limit
        When a partition gives up early.
    carrier
        The method as it was shipped to this session; None ships it.

    Returns
    -------
    DataFrame
        Key columns, output, prediction, base_value, shap_values, std_errors, n_evaluations, converged,
        additivity_gap, kept columns, error. One line a row and output; a row that could not be explained
        is one line whose `error` says why.
    """
    check_columns(frame.columns, columns, prepared.column_names)
    wanted = tuple(dict.fromkeys([*columns.key, *columns.keep, *prepared.column_names]))
    # Numbered on the way: pyspark's mapInArrow takes a dot in a column's name for a field of a struct.
    source = frame.select(*(column(frame, name).alias(f"_{index}") for index, name in enumerate(wanted)))
    schema = spark_schema(frame, prepared, columns)
    if partitions is not None:
        source = source.repartition(partitions, *(f"_{wanted.index(name)}" for name in columns.key))
    check_pipeline(prepared)
    carrier = carrier or ship(frame.sparkSession, dumps(shippable(prepared)))
    call = pipeline_call(prepared)
    if call is not None:
        spread = frame
        if partitions is not None:
            spread = frame.repartition(partitions, *(column(frame, name) for name in columns.key))
        hybrids = hybrids_of(spread, prepared, columns, carrier)
        return explain_with_pipeline(hybrids, call, PipelineAnswer(carrier, columns, limit), schema)
    return source.mapInArrow(_ExplainPartition(carrier, columns, limit, wanted), schema)
