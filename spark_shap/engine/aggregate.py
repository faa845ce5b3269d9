"""Per-feature aggregates of attributions: overall and by segment, on Spark or on one Arrow table.

Each partition folds its batches into one state a (run, segmentation, segment, output), the states meet by the
hash of that key, and what is left is result rows: the rows of the input never move and are read once. The
workers (`local_batches`, `merge_batches`) are plain functions on Arrow batches; `summarize` puts Spark
between them and `summarize_table` nothing. The formulas are those of `spark_shap.core.summary`.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spark_shap.core.summary import SummaryRows, SummaryState, derive_rows, merge_summaries, reduce_rows
from spark_shap.dataframes import column
from spark_shap.engine.summary_schema import (
    KEY_COLUMNS,
    STATE_SCHEMA,
    SUMMARY_SCHEMA,
    SummaryKey,
    read_states,
    result_batch,
    state_batch,
)
from spark_shap.engine.types import spark_schema
from spark_shap.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pyspark.sql import DataFrame

    from spark_shap.core.arrays import FloatArray, IntArray

__all__ = ["SummarySpec", "local_batches", "merge_batches", "summarize", "summarize_table"]

# States are few and small next to the rows; more tasks would cost more than they carry.
_MERGE_PARTITIONS = 8
# A state of 23 features is up to some 400 kB: this bounds a worker's output batch.
_STATES_PER_BATCH = 64
# Rows x features folded at once, some 100 MB of temporaries. Arrow batches are joined up to it: with many
# segments the cost is a fixed one a segment and block.
_CELLS_PER_BLOCK = 1 << 20


@dataclass(frozen=True)
class SummarySpec:
    """What to aggregate, as it travels to the workers.

    Attributes
    ----------
    features
        Feature names, in the order of the ``shap_values`` struct.
    segmentations
        One tuple of column names a segmentation; the empty tuple is overall.
    weight
        Name of the weight column; None for weights of 1.
    """

    features: tuple[str, ...]
    segmentations: tuple[tuple[str, ...], ...]
    weight: str | None


def summarize(rows: DataFrame, *, by: Sequence[str | Sequence[str]] = (), weight: str | None = None) -> DataFrame:
    """Return the aggregates of attributions as a lazy Spark DataFrame.

    Parameters
    ----------
    rows
        Attributions, one row a key and output: ``output``, ``shap_values`` and, where there are,
        ``std_errors`` (struct<feature: float>; null for exact values), ``error`` (rows where it is not null
        do not count) and ``run_id`` (aggregates are then by run). Evaluated once.
    by
        Segmentations besides the overall one: column names, or lists of names for combinations.
    weight
        Column of row weights, each finite and at least 0.

    Returns
    -------
    DataFrame
        One row a segment, output and feature: (run_id,) segment_by, segment, output, feature, n_rows, weight,
        mean_abs_shap, mean_shap, sd, min, max, q01 .. q99, share_positive, rank, top4_share, sampling_error,
        monte_carlo_error. A number that too few rows give is null.

    Raises
    ------
    InputError
        A column is missing. Inside the Spark job, with its message: a weight or value that cannot be used.
    UsageError
        `by` is a string, or two segmentations would have the same name.
    """
    kind = rows.schema["shap_values"].dataType if "shap_values" in rows.columns else None
    spec = _spec(rows.columns, getattr(kind, "names", []), by, weight)
    wanted = _wanted(spec, rows.columns)
    # Whole columns only: taking fields or filtering here could evaluate an explaining column twice.
    # Numbered on the way: pyspark's mapInArrow takes a dot in a column's name for a field of a struct.
    numbered = rows.select(*(column(rows, name).alias(f"_{index}") for index, name in enumerate(wanted)))
    states = numbered.mapInArrow(partial(_named_local_batches, spec, wanted), spark_schema(STATE_SCHEMA))
    met = states.repartition(_MERGE_PARTITIONS, *KEY_COLUMNS)
    result = met.mapInArrow(partial(merge_batches, spec), spark_schema(SUMMARY_SCHEMA))
    return result if "run_id" in wanted else result.drop("run_id")


def summarize_table(rows: pa.Table, *, by: Sequence[str | Sequence[str]] = (), weight: str | None = None) -> pa.Table:
    """Return the aggregates of attributions held in one Arrow table; as `summarize`, without Spark."""
    kind = rows.schema.field("shap_values").type if "shap_values" in rows.column_names else None
    features = [field.name for field in kind] if kind is not None and pa.types.is_struct(kind) else []
    spec = _spec(rows.column_names, features, by, weight)
    wanted = _wanted(spec, rows.column_names)
    states = local_batches(spec, rows.select(wanted).to_batches())
    result = pa.Table.from_batches(merge_batches(spec, states), schema=SUMMARY_SCHEMA)
    return result if "run_id" in wanted else result.drop_columns(["run_id"])


def _named_local_batches(
    spec: SummarySpec, names: list[str], batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    return local_batches(spec, (pa.RecordBatch.from_arrays(batch.columns, names=names) for batch in batches))


def local_batches(spec: SummarySpec, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Fold the attributions of a partition into one state a key; yields batches of `STATE_SCHEMA`."""
    states: dict[SummaryKey, SummaryState] = {}
    for block in _blocks(batches, max(1, _CELLS_PER_BLOCK // len(spec.features))):
        for key, state in _block_states(spec, block):
            states[key] = merge_summaries(states[key], state) if key in states else state
    found = list(states.items())
    for start in range(0, len(found), _STATES_PER_BATCH):
        yield state_batch(found[start : start + _STATES_PER_BATCH])


def merge_batches(spec: SummarySpec, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Merge the states of a partition and yield their result rows, batches of `SUMMARY_SCHEMA`."""
    states: dict[SummaryKey, SummaryState] = {}
    for batch in batches:
        for key, state in read_states(batch):
            states[key] = merge_summaries(states[key], state) if key in states else state
    for key, state in states.items():
        yield result_batch(key, state, spec.features)


def _blocks(batches: Iterable[pa.RecordBatch], n_rows: int) -> Iterator[pa.RecordBatch]:
    """Join and cut batches to blocks of about `n_rows`, and never more."""
    pending: list[pa.RecordBatch] = []
    for batch in batches:
        pending.append(batch)
        if sum(part.num_rows for part in pending) >= n_rows:
            yield from pa.Table.from_batches(pending).combine_chunks().to_batches(max_chunksize=n_rows)
            pending = []
    if pending:
        yield from pa.Table.from_batches(pending).combine_chunks().to_batches(max_chunksize=n_rows)


def _block_states(spec: SummarySpec, block: pa.RecordBatch) -> Iterator[tuple[SummaryKey, SummaryState]]:
    if "error" in block.schema.names:
        block = block.filter(pc.is_null(block.column("error")))
    if block.num_rows == 0:
        return
    rows = _derive(spec, block)
    for columns in spec.segmentations:
        names = [name for name in ("run_id", "output") if name in block.schema.names]
        # Texts once a column: they are both what groups and what labels.
        texts = {name: _texts(block, name) for name in (*names, *columns)}
        for first, members in _groups(rows, list(texts.values())):
            run_id, output = (texts[name][first].as_py() if name in names else None for name in ("run_id", "output"))
            parts = [texts[name][first].as_py() for name in columns]
            # A combination is a JSON list: joined by commas, values that hold commas would meet.
            segment = json.dumps(parts, ensure_ascii=False) if len(columns) > 1 else next(iter(parts), None)
            yield SummaryKey(run_id, ", ".join(columns), segment, output), reduce_rows(members)


def _groups(rows: SummaryRows, columns: list[pa.Array]) -> Iterator[tuple[int, SummaryRows]]:
    """Yield the first row's index and the members of each combination of the columns' values."""
    codes: IntArray = np.zeros(len(rows.weights), dtype=np.intp)
    for values in columns:
        encoded = values.dictionary_encode(null_encoding="encode")
        step = codes * len(encoded.dictionary) + encoded.indices.to_numpy(zero_copy_only=False)
        # Compact after every column: the product of the cardinalities may overflow.
        codes = np.unique(step, return_inverse=True)[1].ravel()
    if not codes.any():
        yield 0, rows
        return
    order = np.argsort(codes, kind="stable")
    ordered = rows.take(order)
    bounds = np.concatenate([[0], np.cumsum(np.bincount(codes))])
    for start, stop in pairwise(bounds):
        yield int(order[start]), ordered.take(slice(start, stop))


def _derive(spec: SummarySpec, block: pa.RecordBatch) -> SummaryRows:
    values = _matrix(block.column("shap_values"), spec.features, null=np.nan)
    std_errors = None
    if "std_errors" in block.schema.names and block.column("std_errors").null_count < block.num_rows:
        std_errors = _matrix(block.column("std_errors"), spec.features, null=0.0)
    weights = None
    if spec.weight is not None:
        column = block.column(spec.weight)
        if column.null_count:
            raise InputError(f"weight column {spec.weight!r} has null values; fill them or drop the rows")
        weights = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return derive_rows(values, std_errors=std_errors, weights=weights)


def _matrix(column: pa.StructArray, features: Sequence[str], *, null: float) -> FloatArray:
    children = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
    matrix = np.empty((len(column), len(features)))
    for index, name in enumerate(features):
        if name not in children:
            raise InputError(f"std_errors has no field {name!r}; it needs the fields of shap_values")
        child = children[name].cast(pa.float64())
        matrix[:, index] = (child.fill_null(null) if child.null_count else child).to_numpy(zero_copy_only=False)
    return matrix


def _texts(block: pa.RecordBatch, name: str) -> pa.Array:
    column = block.column(name)
    try:
        return column.cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as problem:
        raise InputError(
            f"column {name!r} of type {column.type} has no text form; use a text, number, date or flag"
        ) from problem


def _spec(
    available: Sequence[str], features: Sequence[str], by: Sequence[str | Sequence[str]], weight: str | None
) -> SummarySpec:
    """Check the request against the columns there are."""
    if isinstance(by, str):
        raise UsageError(f"by={by!r} is a string; give a list of columns: by=[{by!r}]")
    combinations = [(item,) if isinstance(item, str) else tuple(item) for item in by]
    # A segmentation named twice would be counted twice.
    segmentations = tuple(dict.fromkeys([(), *combinations]))
    names = dict.fromkeys(["output", "shap_values", *(name for combination in segmentations for name in combination)])
    missing = [name for name in (*names, *([weight] if weight is not None else [])) if name not in available]
    if missing:
        raise InputError(f"no column {', '.join(map(repr, missing))} in the attributions; there are {list(available)}")
    if not features:
        raise InputError("column 'shap_values' is not a struct with a field a feature (the wide layout)")
    labels = Counter(", ".join(columns) for columns in segmentations)
    twice = [label for label, count in labels.items() if count > 1]
    if twice:
        raise UsageError(f"two segmentations in `by` would both be named {twice[0]!r}; rename a column")
    return SummarySpec(tuple(features), segmentations, weight)


def _wanted(spec: SummarySpec, available: Sequence[str]) -> list[str]:
    optional = [name for name in ("run_id", "std_errors", "error") if name in available]
    extra = [name for columns in spec.segmentations for name in columns]
    weight = [] if spec.weight is None else [spec.weight]
    return list(dict.fromkeys(["output", "shap_values", *optional, *extra, *weight]))
