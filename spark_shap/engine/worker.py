"""Explaining a partition: Arrow batches in, Arrow batches out, no Spark.

Rows are gathered across Arrow batches into portions of a planned size, so that neither the model's
block size nor memory depends on how the input was cut. A row that cannot be explained leaves as a row
with an error; none is lost.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from spark_shap import schema
from spark_shap.core.game import Failure
from spark_shap.engine.comparison import Comparison, compare
from spark_shap.engine.keys import hash_columns, null_keys
from spark_shap.engine.ranking_column import RANKING_TYPE, ranking_array
from spark_shap.errors import TooManyRejectsError
from spark_shap.models.conform import frame_from_arrow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from spark_shap.prepare import Prepared

__all__ = ["Columns", "RejectLimit", "explain_batches", "output_schema", "value_fields"]

_GUARD_ROWS = 200
_MESSAGES = 200  # that an error picks its few from
_FIRST_ROWS = 256
_PORTION_BYTES = 2**26  # of a worker's input at a time
_INFINITE = (float("inf"), float("-inf"))


@dataclass(frozen=True)
class Columns:
    """Which input columns are what.

    Attributes
    ----------
    key
        Key columns, in order.
    keep
        Columns that travel to the output unchanged.
    """

    key: tuple[str, ...]
    keep: tuple[str, ...]


@dataclass(frozen=True)
class RejectLimit:
    """When a partition gives up early.

    Attributes
    ----------
    share
        Largest share of rejected rows, or None.
    count
        Largest number of rejected rows, or None.
    """

    share: float | None = None
    count: int | None = None

    def check(self, n_rows: int, n_bad: int, messages: Sequence[str]) -> None:
        """Raise when the rows seen so far cannot belong to a run within the limit.

        A partition is a random part of the input, so that four standard deviations above the limit, after
        at least 200 rows, leave no doubt.
        """
        over = self.count is not None and n_bad > self.count
        if self.share is not None and n_rows >= _GUARD_ROWS:
            slack = 4.0 * np.sqrt(max(self.share, 1.0 / n_rows) * n_rows)
            over = over or n_bad > self.share * n_rows + slack
        if over:
            limit = f"{self.count} rows" if self.count is not None else f"{self.share:.4g} of the rows"
            shown = "; ".join(dict.fromkeys(messages))[:1500]
            raise TooManyRejectsError(
                f"{n_bad} of the first {n_rows} rows of a partition cannot be explained, more than max_rejects allows "
                f"({limit}). First messages: {shown}"
            )


def output_schema(prepared: Prepared, columns: Columns, source: pa.Schema) -> pa.Schema:
    """Return the Arrow schema of the output for input of schema `source`."""
    keys, kept = ([source.field(name) for name in names] for names in (columns.key, columns.keep))
    values, error = value_fields(prepared)
    return pa.schema([*keys, *values, *kept, error])


def value_fields(prepared: Prepared) -> tuple[list[pa.Field], pa.Field]:
    """Return the fields that explaining adds: values, what else is asked for beside them, and the error."""
    features, references = prepared.feature_names, prepared.reference_names
    kinds = {
        schema.OUTPUT: pa.string(),
        schema.PREDICTION: pa.float64(),
        schema.BASE_VALUE: pa.float64(),
        schema.SHAP_VALUES: pa.struct([(name, pa.float64()) for name in features]),
        schema.STD_ERRORS: pa.struct([(name, pa.float32()) for name in features]),
        schema.N_EVALUATIONS: pa.int32(),
        schema.CONVERGED: pa.bool_(),
        schema.ADDITIVITY_GAP: pa.float64(),
    }
    error = pa.struct([(name, pa.string()) for name in schema.REJECT_COLUMNS])
    fields = [pa.field(name, kinds[name]) for name in schema.WIDE_VALUE_COLUMNS]
    if prepared.keeps_surrogate_values:
        fields.append(pa.field(schema.SURROGATE_VALUES, kinds[schema.SHAP_VALUES]))
    if prepared.rule is not None:
        fields.append(pa.field(schema.RANKING, RANKING_TYPE))
    if prepared.bins is not None:
        fields.append(pa.field(schema.FEATURE_BINS, pa.list_(pa.int8())))
    if references:
        shares = pa.struct([(name, pa.float64()) for name in references])
        fields = [pa.field(schema.REFERENCE, pa.string()), *fields, pa.field(schema.TOP4_AGREEMENT, shares)]
    return fields, pa.field(schema.ERROR, error)


def explain_batches(
    batches: Iterable[pa.RecordBatch], prepared: Prepared, *, columns: Columns, limit: RejectLimit | None = None
) -> Iterator[pa.RecordBatch]:
    """Explain the rows of a partition.

    Parameters
    ----------
    batches
        Record batches with the key, kept and feature columns; any number of them, any size.
    prepared
        The method.
    columns
        Which columns are keys and which are kept.
    limit
        When to give up because too many rows fail.

    Yields
    ------
    RecordBatch
        One line for each row and output, in `output_schema`; for a row that could not be explained one
        line with an error.
    """
    n_seen, n_bad, messages = 0, 0, list[str]()
    for portion in _portions(batches, prepared.rows_in_memory):
        found, failed = _explain_portion(portion, prepared, columns)
        n_seen += portion.num_rows
        n_bad += len(failed)
        messages = [*messages, *failed][:_MESSAGES]
        if limit is not None:
            limit.check(n_seen, n_bad, messages)
        yield from found


def _portions(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Cut batches anew into tables of `size` rows; the last one takes what is left.

    The first ones are smaller, so that a partition full of bad rows is noticed early. Rows of long texts come
    in tables of fewer rows.
    """
    waiting: list[pa.RecordBatch] = []
    n_waiting, n_bytes, step = 0, 0, min(size, _FIRST_ROWS)
    for batch in batches:
        if batch.num_rows == 0:
            continue
        waiting.append(batch)
        n_waiting += batch.num_rows
        n_bytes += batch.nbytes
        if n_waiting >= step or n_bytes >= _PORTION_BYTES:
            table, start = pa.Table.from_batches(waiting), 0
            most = max(1, _PORTION_BYTES * n_waiting // max(1, n_bytes))
            while n_waiting - start >= min(step, most):
                yield table.slice(start, min(step, most))
                start, step = start + min(step, most), min(size, 4 * step)
            waiting = table.slice(start).to_batches()
            n_waiting -= start
            n_bytes = sum(one.nbytes for one in waiting)
    if n_waiting:
        yield pa.Table.from_batches(waiting)


def _explain_portion(portion: pa.Table, prepared: Prepared, columns: Columns) -> tuple[list[pa.RecordBatch], list[str]]:
    keys = [portion.column(name) for name in columns.key]
    if prepared.draws:
        hashes, null_key = hash_columns(keys, columns.key)
    else:  # the hashes seed draws, and take as long as a tenth of an exact row
        hashes, null_key = np.zeros(portion.num_rows, dtype=np.uint64), null_keys(keys, columns.key)
    frame = frame_from_arrow(portion.select(prepared.column_names), whole_integers=True)
    failures = {
        int(row): ("key", Failure("NullKey", f"a part of the key ({', '.join(columns.key)}) is null"))
        for row in np.flatnonzero(null_key)
    }
    comparison = compare(frame, hashes, prepared, failures)
    out = [
        _explained(portion, comparison, place, columns) for place in range(len(comparison.found)) if comparison.n_rows
    ]
    if failures:
        out.append(_rejected(portion, failures, prepared, columns))
    return out, [failure.message for _, failure in failures.values()]


def _explained(portion: pa.Table, comparison: Comparison, place: int, columns: Columns) -> pa.RecordBatch:
    """Return the lines of a portion's good rows against one reference."""
    prepared, found = comparison.prepared.references[place], comparison.found[place]
    names, positions = prepared.output_names, comparison.positions
    n_rows, n_outputs = len(positions), len(names)
    gap = (found.predictions - prepared.base_values - found.values.sum(axis=1)).ravel()
    arrow = output_schema(comparison.prepared, columns, portion.schema)
    data = [
        pa.array(np.tile(np.array(names, dtype=object), n_rows), pa.string()),
        pa.array(found.predictions.ravel()),
        pa.array(np.tile(prepared.base_values, n_rows)),
        _struct(found.values, arrow.field(schema.SHAP_VALUES).type, np.float64),
        _struct(found.std_errors, arrow.field(schema.STD_ERRORS).type, np.float32),
        pa.array(np.repeat(found.n_evaluations, n_outputs).astype(np.int32)),
        pa.nulls(n_rows * n_outputs, pa.bool_()) if found.converged is None else pa.array(found.converged.ravel()),
        pa.array(gap),
    ]
    if prepared.keeps_surrogate_values and found.known is not None:
        data.append(_struct(found.known, arrow.field(schema.SHAP_VALUES).type, np.float64))
    if found.ranking is not None:
        data.append(ranking_array(found.ranking, portion, positions, prepared))
    bins = comparison.bins
    if bins is not None:
        ends = np.arange(n_rows * n_outputs + 1, dtype=np.int32) * bins.shape[1]
        data.append(pa.ListArray.from_arrays(pa.array(ends), pa.array(np.repeat(bins, n_outputs, axis=0).ravel())))
    if comparison.prepared.others:
        name = np.full(n_rows * n_outputs, prepared.reference, dtype=object)
        shares = _struct(comparison.agreement(place), arrow.field(schema.TOP4_AGREEMENT).type, np.float64)
        data = [pa.array(name, pa.string()), *data, shares]
    # Without the features: they may be many, or long texts.
    taken = portion.select([*columns.key, *columns.keep]).take(pa.array(np.repeat(positions, n_outputs)))
    return _batch(taken, data, pa.nulls(n_rows * n_outputs, arrow.field(schema.ERROR).type), arrow, columns)


def _struct(values: NDArray[np.float64], kind: pa.StructType, dtype: Any) -> pa.StructArray:
    """Return (n, M, K) values as n K structs, one contiguous buffer a feature."""
    by_feature = np.ascontiguousarray(values.transpose(1, 0, 2), dtype=dtype)
    fields = [kind.field(index) for index in range(kind.num_fields)]
    return pa.StructArray.from_arrays([pa.array(one.ravel()) for one in by_feature], fields=fields)


def _rejected(
    portion: pa.Table, failures: dict[int, tuple[str, Failure]], prepared: Prepared, columns: Columns
) -> pa.RecordBatch:
    arrow = output_schema(prepared, columns, portion.schema)
    positions = sorted(failures)
    taken = portion.take(pa.array(positions, pa.int64()))
    error = [
        {
            "stage": failures[position][0],
            "error_class": failures[position][1].error_class,
            "message": failures[position][1].message,
            "row": _json(row),
        }
        for position, row in zip(positions, taken.to_pylist(), strict=True)
    ]
    first, last = len(columns.key), len(arrow) - len(columns.keep) - 1
    data = [pa.nulls(len(positions), arrow.field(index).type) for index in range(first, last)]
    return _batch(taken, data, pa.array(error, arrow.field(schema.ERROR).type), arrow, columns)


def _json(row: dict[str, Any]) -> str:
    # JSON has no NaN and no infinity: as texts, lest a reader stumbles over the row.
    plain = {name: str(value) if value != value or value in _INFINITE else value for name, value in row.items()}
    return json.dumps(plain, default=str, ensure_ascii=False)


def _batch(
    taken: pa.Table, data: list[pa.Array], error: pa.Array, arrow: pa.Schema, columns: Columns
) -> pa.RecordBatch:
    keys = [_one(taken, name) for name in columns.key]
    kept = [_one(taken, name) for name in columns.keep]
    # Spark takes output columns by position and ignores their names: the order is the schema's.
    return pa.RecordBatch.from_arrays([*keys, *data, *kept, error], schema=arrow)


def _one(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
