"""Arrow forms of aggregates: states as they travel between workers, and the rows of the summary table.

`mapInArrow` matches columns by position, so every batch is built against one of the two schemas here. A
state is a row of plain columns: numbers and lists of double or bigint.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from spark_shap.core.moments import Moments
from spark_shap.core.sketch import Sketch
from spark_shap.core.summary import SummaryState
from spark_shap.core.summary_result import QUANTILES, summary_result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


__all__ = [
    "KEY_COLUMNS",
    "STATE_SCHEMA",
    "SUMMARY_SCHEMA",
    "SummaryKey",
    "read_states",
    "result_batch",
    "state_batch",
]


class SummaryKey(NamedTuple):
    """What one state is of; ``run_id`` and ``reference`` are None where the attributions carry none."""

    run_id: str | None
    segment_by: str
    segment: str | None
    output: str | None
    reference: str | None = None


KEY_COLUMNS = SummaryKey._fields

_KEY_FIELDS = [pa.field(name, pa.string()) for name in KEY_COLUMNS]
_COUNTS = dict.fromkeys(("n_rows", "n_weighted", "n_split"), pa.int64())
_COUNTS |= dict.fromkeys(("weight", "weight2"), pa.float64())
_MOMENTS = ("value", "magnitude", "magnitude2")
# Every other field of a state: a new one travels without a change here.
_ARRAYS = tuple(field.name for field in fields(SummaryState) if field.name not in {*_COUNTS, *_MOMENTS, "sketch"})
_DOUBLES = pa.list_(pa.float64())
STATE_SCHEMA = pa.schema(
    [
        *_KEY_FIELDS,
        *(pa.field(name, kind) for name, kind in _COUNTS.items()),
        *(pa.field(f"{name}_{part}", _DOUBLES) for name in _MOMENTS for part in Moments._fields),
        *(pa.field(name, _DOUBLES) for name in _ARRAYS),
        pa.field("sketch_codes", pa.list_(pa.int64())),
        pa.field("sketch_counts", _DOUBLES),
    ]
)

_BEFORE_QUANTILES = ("mean_abs_shap", "mean_shap", "sd", "min", "max")
_AFTER_QUANTILES = ("share_positive", "rank", "top4_share", "sampling_error", "monte_carlo_error")
_MEAN_ERRORS = ("mean_shap_sampling_error", "mean_shap_monte_carlo_error")
_NUMBERS = (*_BEFORE_QUANTILES, *QUANTILES, *_AFTER_QUANTILES, *_MEAN_ERRORS)
# The column order of the summary table; `rank` has to sit where the table has it.
SUMMARY_SCHEMA = pa.schema(
    [
        *_KEY_FIELDS,
        pa.field("feature", pa.string()),
        pa.field("n_rows", pa.int64()),
        pa.field("weight", pa.float64()),
        *(pa.field(name, pa.int32() if name == "rank" else pa.float64()) for name in _NUMBERS),
    ]
)


def state_batch(states: Sequence[tuple[SummaryKey, SummaryState]]) -> pa.RecordBatch:
    """Return states as a batch of `STATE_SCHEMA`, one row each."""
    rows = [[*key, *_cells(state)] for key, state in states]
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, STATE_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=STATE_SCHEMA)


def read_states(batch: pa.RecordBatch) -> Iterator[tuple[SummaryKey, SummaryState]]:
    """Yield the states of a batch that `state_batch` made."""
    n_keys, n_counts = len(KEY_COLUMNS), len(_COUNTS)
    for row in range(batch.num_rows):
        cells = [column[row] for column in batch.columns]
        key = SummaryKey(*(cell.as_py() for cell in cells[:n_keys]))
        counts = [cell.as_py() for cell in cells[n_keys : n_keys + n_counts]]
        arrays = [cell.values.to_numpy(zero_copy_only=False) for cell in cells[n_keys + n_counts :]]
        parts: dict[str, Any] = dict(zip(_COUNTS, counts, strict=True))
        parts |= {name: Moments(*arrays[3 * i : 3 * i + 3]) for i, name in enumerate(_MOMENTS)}
        parts |= zip(_ARRAYS, arrays[3 * len(_MOMENTS) : -2], strict=True)
        yield key, SummaryState(**parts, sketch=Sketch(*arrays[-2:]))


def result_batch(
    key: SummaryKey, state: SummaryState, features: Sequence[str], *, sampled_share: float = 1.0
) -> pa.RecordBatch:
    """Return the summary rows of one state, one a feature, as a batch of `SUMMARY_SCHEMA`.

    With a `sampled_share` below 1 the weight is the portfolio's, as the sample estimates it.
    """
    n_features = len(features)
    keys = [pa.array([part] * n_features, type=pa.string()) for part in key]
    numbers = summary_result(state, sampled_share=sampled_share)
    arrays = [
        *keys,
        pa.array(features, type=pa.string()),
        pa.array([state.n_rows] * n_features, type=pa.int64()),
        pa.array([state.weight / sampled_share] * n_features, type=pa.float64()),
        *(
            # NaN (too few rows to say) is null in the table.
            pa.array(numbers[name], from_pandas=True).cast(SUMMARY_SCHEMA.field(name).type)
            for name in _NUMBERS
        ),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SUMMARY_SCHEMA)


def _cells(state: SummaryState) -> list[Any]:
    moments = [part for name in _MOMENTS for part in getattr(state, name)]
    return [
        *(getattr(state, name) for name in _COUNTS),
        *moments,
        *(getattr(state, name) for name in _ARRAYS),
        *state.sketch,
    ]
