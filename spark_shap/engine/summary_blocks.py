"""Attributions in Arrow batches as the arrays that aggregates are made of."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spark_shap.core.shrinkage import no_signal, stack_models
from spark_shap.core.summary_rows import Split, SummaryRows, derive_rows
from spark_shap.errors import InputError
from spark_shap.schema import ERROR, OUTPUT, RUN_ID, SHAP_VALUES, STD_ERRORS, SURROGATE_VALUES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from spark_shap.core.arrays import FloatArray, IntArray
    from spark_shap.core.shrinkage import ResidualModel
    from spark_shap.engine.summary_spec import PopulationKey, SummarySpec

__all__ = [
    "BlockArrays",
    "block_arrays",
    "block_weights",
    "blocks",
    "column_texts",
    "derive",
    "group_bounds",
    "population_keys",
]

# Rows x features folded at once, some 100 MB of temporaries. Arrow batches are joined up to it: with many
# segments the cost is a fixed one a segment and block.
_CELLS_PER_BLOCK = 1 << 20


class BlockArrays(NamedTuple):
    """The numbers of a block as they are, not checked yet."""

    values: FloatArray  # (n_rows, n_features), as are the next two where there are any
    std_errors: FloatArray | None
    surrogate_values: FloatArray | None
    weights: FloatArray | None  # (n_rows,)


def blocks(batches: Iterable[pa.RecordBatch], n_features: int) -> Iterator[pa.RecordBatch]:
    """Join and cut batches to blocks of about, and never more than, a planned size; without rows of errors."""
    n_rows = max(1, _CELLS_PER_BLOCK // n_features)
    pending: list[pa.RecordBatch] = []
    for batch in batches:
        pending.append(batch)
        if sum(part.num_rows for part in pending) >= n_rows:
            yield from _good_blocks(pending, n_rows)
            pending = []
    if pending:
        yield from _good_blocks(pending, n_rows)


def _good_blocks(batches: Sequence[pa.RecordBatch], n_rows: int) -> Iterator[pa.RecordBatch]:
    for block in pa.Table.from_batches(batches).combine_chunks().to_batches(max_chunksize=n_rows):
        good = block.filter(pc.is_null(block.column(ERROR))) if ERROR in block.schema.names else block
        if good.num_rows:
            yield good


def block_arrays(spec: SummarySpec, block: pa.RecordBatch) -> BlockArrays:
    """Return the numbers of a block.

    Raises
    ------
    InputError
        A struct lacks a feature, or a weight is null.
    """
    values = _matrix(block, SHAP_VALUES, spec.features, null=np.nan)
    std_errors, surrogate_values = (
        _matrix(block, name, spec.features, null=null) if _has_any(block, name) else None
        for name, null in ((STD_ERRORS, 0.0), (SURROGATE_VALUES, np.nan))
    )
    return BlockArrays(values, std_errors, surrogate_values, block_weights(spec, block))


def block_weights(spec: SummarySpec, block: pa.RecordBatch) -> FloatArray | None:
    """Return the weights of a block's rows, None where rows have none.

    Raises
    ------
    InputError
        A weight is null.
    """
    if spec.weight is None:
        return None
    column = block.column(spec.weight)
    if column.null_count:
        raise InputError(f"weight column {spec.weight!r} has null values; fill them or drop the rows")
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))


def derive(spec: SummarySpec, block: pa.RecordBatch) -> SummaryRows:
    """Return the derived rows of a block."""
    values, std_errors, surrogate_values, weights = block_arrays(spec, block)
    split = None
    if surrogate_values is not None:
        split = Split(surrogate_values, _row_models(spec, block))
    return derive_rows(values, std_errors=std_errors, weights=weights, split=split)


def population_keys(block: pa.RecordBatch) -> Iterator[tuple[PopulationKey, IntArray]]:
    """Yield each run and output in a block with the positions of its rows."""
    texts = {name: column_texts(block, name) for name in (RUN_ID, OUTPUT) if name in block.schema.names}
    order, bounds = group_bounds(block.num_rows, list(texts.values()))
    for start, stop in pairwise(bounds):
        members = order[start:stop]
        run_id, output = (texts[name][int(members[0])].as_py() if name in texts else None for name in (RUN_ID, OUTPUT))
        yield (run_id, output), members


def group_bounds(n_rows: int, columns: Sequence[pa.Array]) -> tuple[IntArray, IntArray]:
    """Return an order of rows that puts equal combinations of the columns together, and the bounds of the groups."""
    codes: IntArray = np.zeros(n_rows, dtype=np.intp)
    for values in columns:
        encoded = values.dictionary_encode(null_encoding="encode")
        step = codes * len(encoded.dictionary) + encoded.indices.to_numpy(zero_copy_only=False)
        # Compact after every column: the product of the cardinalities may overflow.
        codes = np.unique(step, return_inverse=True)[1].ravel()
    return np.argsort(codes, kind="stable"), np.concatenate([[0], np.cumsum(np.bincount(codes))])


def column_texts(block: pa.RecordBatch, name: str) -> pa.Array:
    """Return a column as texts.

    Raises
    ------
    InputError
        Its type has no text form.
    """
    column = block.column(name)
    try:
        return column.cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as problem:
        raise InputError(
            f"column {name!r} of type {column.type} has no text form; use a text, number, date or flag"
        ) from problem


def _row_models(spec: SummarySpec, block: pa.RecordBatch) -> ResidualModel:
    """Return the model of each row's run and output; of all rows at once where there is only one."""
    found = list(population_keys(block))
    models = [spec.models.get(key) or no_signal(len(spec.features)) for key, _ in found]
    if len(models) == 1:
        return models[0]
    place = np.empty(block.num_rows, dtype=np.intp)
    for index, (_, members) in enumerate(found):
        place[members] = index
    return stack_models(models).take(place)


def _has_any(block: pa.RecordBatch, name: str) -> bool:
    return name in block.schema.names and block.column(name).null_count < block.num_rows


def _matrix(block: pa.RecordBatch, column_name: str, features: Sequence[str], *, null: float) -> FloatArray:
    column = block.column(column_name)
    children = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
    matrix = np.empty((len(column), len(features)))
    for index, name in enumerate(features):
        if name not in children:
            raise InputError(f"{column_name} has no field {name!r}; it needs the fields of shap_values")
        child = children[name].cast(pa.float64())
        matrix[:, index] = (child.fill_null(null) if child.null_count else child).to_numpy(zero_copy_only=False)
    return matrix
