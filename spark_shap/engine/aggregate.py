"""Per-feature aggregates of attributions: overall and by segment, on Spark or on one Arrow table.

Each partition folds its batches into one state a (run, segmentation, segment, output), the states meet by the
hash of that key, and what is left is result rows: the rows of the input never move and are read once. The
workers (`local_batches`, `merge_batches`) are plain functions on Arrow batches; `summarize` puts Spark
between them and `summarize_table` nothing. The formulas are those of `spark_shap.core.summary_result`.

Attributions that hold the exact parts of their values (`surrogate_values`) are read twice: how much of a
residual is signal must be known before rows are corrected (`spark_shap.engine.residual_pass`).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from spark_shap.core.summary import SummaryState, merge_summaries, reduce_rows
from spark_shap.engine.keyed_fold import fold_batches, keyed_groups, meet, without_absent
from spark_shap.engine.residual_pass import residual_models, table_models
from spark_shap.engine.summary_blocks import blocks, derive
from spark_shap.engine.summary_schema import (
    KEY_COLUMNS,
    STATE_SCHEMA,
    SUMMARY_SCHEMA,
    SummaryKey,
    read_states,
    result_batch,
    state_batch,
)
from spark_shap.engine.summary_spec import SummarySpec, make_spec, wanted_columns
from spark_shap.schema import REFERENCE, RUN_ID, SHAP_VALUES, SURROGATE_VALUES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pyspark.sql import DataFrame


__all__ = ["local_batches", "merge_batches", "summarize", "summarize_table"]

# A state of 23 features is up to some 400 kB: this bounds a worker's output batch.
_STATES_PER_BATCH = 64


def summarize(
    rows: DataFrame,
    *,
    by: Sequence[str | Sequence[str]] = (),
    weight: str | None = None,
    sampled_share: float = 1.0,
) -> DataFrame:
    """Return the aggregates of attributions as a Spark DataFrame.

    Parameters
    ----------
    rows
        Attributions, one row a key and output: ``output``, ``shap_values`` and, where there are,
        ``std_errors`` (struct<feature: float>; null for exact values), ``surrogate_values`` (the values' exact
        parts), ``error`` (rows where it is not null do not count) and ``run_id`` (aggregates are then by run).
        Lazy and evaluated once; with ``surrogate_values`` once now and once more.
    by
        Segmentations besides the overall one: column names, or lists of names for combinations.
    weight
        Column of row weights, each finite and at least 0.
    sampled_share
        Share of a portfolio's rows that the rows are, taken at random; 1 where they are all. Below 1 the column
        ``weight`` estimates the portfolio's, and ``sampling_error`` is that of the sample for the portfolio.

    Returns
    -------
    DataFrame
        One row a segment, output and feature: (run_id,) segment_by, segment, output, (reference,) feature, n_rows,
        weight, mean_abs_shap, mean_shap, sd, min, max, q01 .. q99, share_positive, rank, top4_share, sampling_error,
        monte_carlo_error, mean_shap_sampling_error, mean_shap_monte_carlo_error. A number that too few rows give is
        null.

    Raises
    ------
    InputError
        A column is missing. Inside the Spark job, with its message: a weight or value that cannot be used.
    UsageError
        `by` is a string, two segmentations would have the same name, or `sampled_share` is none.
    """
    kind = rows.schema[SHAP_VALUES].dataType if SHAP_VALUES in rows.columns else None
    features = getattr(kind, "names", [])
    spec = make_spec(rows.columns, features, by, weight=weight, sampled_share=sampled_share)
    if SURROGATE_VALUES in rows.columns:
        spec = replace(spec, models=residual_models(spec, rows))
    wanted = wanted_columns(spec, rows.columns)
    steps, schemas = (partial(local_batches, spec), partial(merge_batches, spec)), (STATE_SCHEMA, SUMMARY_SCHEMA)
    result = fold_batches(rows, wanted, steps, schemas, by=KEY_COLUMNS)
    return without_absent(result, spec.populations)


def summarize_table(
    rows: pa.Table,
    *,
    by: Sequence[str | Sequence[str]] = (),
    weight: str | None = None,
    sampled_share: float = 1.0,
) -> pa.Table:
    """Return the aggregates of attributions held in one Arrow table; as `summarize`, without Spark."""
    kind = rows.schema.field(SHAP_VALUES).type if SHAP_VALUES in rows.column_names else None
    features = [field.name for field in kind] if kind is not None and pa.types.is_struct(kind) else []
    spec = make_spec(rows.column_names, features, by, weight=weight, sampled_share=sampled_share)
    if SURROGATE_VALUES in rows.column_names:
        spec = replace(spec, models=table_models(spec, rows))
    wanted = wanted_columns(spec, rows.column_names)
    states = local_batches(spec, rows.select(wanted).to_batches())
    result = pa.Table.from_batches(merge_batches(spec, states), schema=SUMMARY_SCHEMA)
    return result.drop_columns([name for name in (RUN_ID, REFERENCE) if name not in spec.populations])


def local_batches(spec: SummarySpec, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Fold the attributions of a partition into one state a key; yields batches of `STATE_SCHEMA`."""
    every = (one for block in blocks(batches, len(spec.features)) for one in _block_states(spec, block))
    found = list(meet(every, merge_summaries).items())
    for start in range(0, len(found), _STATES_PER_BATCH):
        yield state_batch(found[start : start + _STATES_PER_BATCH])


def merge_batches(spec: SummarySpec, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Merge the states of a partition and yield their result rows, batches of `SUMMARY_SCHEMA`."""
    every = (one for batch in batches for one in read_states(batch))
    for key, state in meet(every, merge_summaries).items():
        yield result_batch(key, state, spec.features, sampled_share=spec.sampled_share)


def _block_states(spec: SummarySpec, block: pa.RecordBatch) -> Iterator[tuple[SummaryKey, SummaryState]]:
    rows = derive(spec, block)
    for order, groups in keyed_groups(block, spec.populations, spec.segmentations):
        ordered = rows if len(groups) == 1 else rows.take(order)
        for key, part in groups:
            yield key, reduce_rows(ordered.take(part))
