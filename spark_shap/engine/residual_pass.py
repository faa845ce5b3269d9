"""The first of two passes over lightly sampled attributions: how much of their residuals is signal.

Each partition folds its rows into one state a run and output, the states meet by that key, and one row of
each comes to the driver, however many rows or segments there are. The second pass, over the same written rows,
is `spark_shap.engine.aggregate`'s.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from spark_shap.core.moments import Moments
from spark_shap.core.shrinkage import (
    ResidualModel,
    ResidualMoments,
    fit_residuals,
    merge_residuals,
    residual_moments,
)
from spark_shap.core.summary_rows import checked_rows, split_values
from spark_shap.engine.keyed_fold import fold_batches, meet
from spark_shap.engine.summary_blocks import block_arrays, blocks, population_keys
from spark_shap.engine.summary_spec import PopulationKey, SummarySpec, wanted_columns
from spark_shap.schema import OUTPUT, RUN_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyspark.sql import DataFrame

__all__ = ["RESIDUAL_SCHEMA", "local_residuals", "merge_residual_batches", "residual_models", "table_models"]

_KEYS = (RUN_ID, OUTPUT)
_DOUBLES = pa.list_(pa.float64())
_NUMBERS = ("weight", "weight2")
_ARRAYS = ("excess", "noise", "magnitude")
RESIDUAL_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in _KEYS),
        *(pa.field(name, pa.float64()) for name in _NUMBERS),
        *(pa.field(name, _DOUBLES) for name in _ARRAYS),
        *(pa.field(f"excess2_{part}", _DOUBLES) for part in Moments._fields),
    ]
)


def residual_models(spec: SummarySpec, rows: DataFrame) -> dict[PopulationKey, ResidualModel]:
    """Return the model of each run and output from a Spark DataFrame; runs a job."""
    wanted = wanted_columns(spec, rows.columns, segments=False)
    steps = (partial(local_residuals, spec), merge_residual_batches)
    schemas = (RESIDUAL_SCHEMA, RESIDUAL_SCHEMA)
    met = fold_batches(rows, wanted, steps, schemas, by=_KEYS)
    return {key: fit_residuals(state) for key, state in map(_read, (row.asDict() for row in met.collect()))}


def table_models(spec: SummarySpec, rows: pa.Table) -> dict[PopulationKey, ResidualModel]:
    """Return the model of each run and output from one Arrow table."""
    batches = rows.select(wanted_columns(spec, rows.column_names, segments=False)).to_batches()
    merged = merge_residual_batches(local_residuals(spec, batches))
    return {key: fit_residuals(state) for batch in merged for key, state in map(_read, batch.to_pylist())}


def local_residuals(spec: SummarySpec, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Fold the attributions of a partition into one state a run and output, batches of `RESIDUAL_SCHEMA`."""
    yield from _batches(meet(_block_states(spec, batches), merge_residuals))


def _block_states(
    spec: SummarySpec, batches: Iterable[pa.RecordBatch]
) -> Iterator[tuple[PopulationKey, ResidualMoments]]:
    for block in blocks(batches, len(spec.features)):
        values, std_errors, surrogate_values, weights = block_arrays(spec, block)
        values, errors, weights = checked_rows(values, std_errors, weights)
        if surrogate_values is None:
            continue
        weights = weights * np.isfinite(surrogate_values).any(axis=1)
        known, residuals, sampled = split_values(values, errors, surrogate_values)
        noise = np.where(sampled, errors, 0.0) ** 2
        for key, members in population_keys(block):
            state = residual_moments(residuals[members], noise[members], known[members], weights[members])
            if state is not None:
                yield key, state


def merge_residual_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Merge the states of a partition by their keys, batches of `RESIDUAL_SCHEMA`."""
    every = (_read(row) for batch in batches for row in batch.to_pylist())
    yield from _batches(meet(every, merge_residuals))


def _batches(states: dict[PopulationKey, ResidualMoments]) -> Iterator[pa.RecordBatch]:
    if states:
        rows = [[*key, *_cells(state)] for key, state in states.items()]
        columns = zip(*rows, strict=True)
        arrays = [pa.array(cells, type=field.type) for cells, field in zip(columns, RESIDUAL_SCHEMA, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=RESIDUAL_SCHEMA)


def _cells(state: ResidualMoments) -> list[Any]:
    return [*(getattr(state, name) for name in (*_NUMBERS, *_ARRAYS)), *state.excess2]


def _read(row: dict[str, Any]) -> tuple[PopulationKey, ResidualMoments]:
    parts: dict[str, Any] = {name: row[name] for name in _NUMBERS} | {name: np.array(row[name]) for name in _ARRAYS}
    excess2 = Moments(*(np.array(row[f"excess2_{part}"]) for part in Moments._fields))
    return (row[RUN_ID], row[OUTPUT]), ResidualMoments(**parts, excess2=excess2)
