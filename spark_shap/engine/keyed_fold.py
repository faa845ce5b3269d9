"""Folding attributions by run, reference, output and segment: on each partition, then where the states meet.

The rows of the input never move and are read once. What is folded is a state of flat arrays; `KeyedFold` says how one
is made of a block's rows, how two merge, and which rows of a table it becomes.
"""

from __future__ import annotations

import json
from dataclasses import astuple, fields
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import pyarrow as pa

from spark_shap.dataframes import column
from spark_shap.engine.summary_blocks import column_texts, group_bounds
from spark_shap.engine.summary_schema import KEY_COLUMNS, SummaryKey
from spark_shap.engine.types import spark_schema
from spark_shap.schema import OUTPUT, REFERENCE, RUN_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pyspark.sql import DataFrame

    from spark_shap.core.arrays import IntArray

    Batches = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]

__all__ = ["Folding", "fold_batches", "fold_frame", "keyed_groups", "keyed_members", "meet", "without_absent"]

_STATES_PER_BATCH = 64
_KEYS = [pa.field(name, pa.string()) for name in KEY_COLUMNS]

State = TypeVar("State", bound=Any)
Key = TypeVar("Key")


class Folding(Protocol, Generic[State]):
    """What is folded; it travels to workers."""

    @property
    def state(self) -> type[State]:
        """A dataclass of flat float64 arrays."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Columns of the table after the key columns."""
        ...

    def local(self, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[SummaryKey, State]]:
        """Yield states of parts of a partition, keys repeated at will."""
        ...

    def merge(self, left: State, right: State) -> State:
        """Return the state of both."""
        ...

    def result(self, state: State) -> list[pa.Array]:
        """Return the columns of the table that a state becomes, of equal length."""
        ...


def keyed_groups(
    block: pa.RecordBatch, populations: Sequence[str], segmentations: Sequence[Sequence[str]]
) -> Iterator[tuple[IntArray, list[tuple[SummaryKey, slice]]]]:
    """Yield for each segmentation an order of a block's rows, and what each segment is with its part of that order."""
    for columns in segmentations:
        # Texts once a column: they are both what groups and what labels.
        texts = {name: column_texts(block, name) for name in (*populations, *columns)}
        order, bounds = group_bounds(block.num_rows, list(texts.values()))
        label, groups = ", ".join(columns), []
        for start, stop in pairwise(bounds):
            first = {name: text[int(order[start])].as_py() for name, text in texts.items()}
            parts = [first[name] for name in columns]
            # A combination is a JSON list: joined by commas, values that hold commas would meet.
            segment = json.dumps(parts, ensure_ascii=False) if len(columns) > 1 else next(iter(parts), None)
            key = SummaryKey(first.get(RUN_ID), label, segment, first[OUTPUT], first.get(REFERENCE))
            groups.append((key, slice(start, stop)))
        yield order, groups


def keyed_members(
    block: pa.RecordBatch, populations: Sequence[str], segmentations: Sequence[Sequence[str]]
) -> Iterator[tuple[SummaryKey, IntArray]]:
    """Yield what each segment of each segmentation in a block is, with the positions of its rows."""
    for order, groups in keyed_groups(block, populations, segmentations):
        for key, part in groups:
            yield key, order[part]


def meet(found: Iterable[tuple[Key, State]], merge: Callable[[State, State], State]) -> dict[Key, State]:
    """Return one state a key."""
    states: dict[Key, State] = {}
    for key, state in found:
        states[key] = merge(states[key], state) if key in states else state
    return states


def fold_batches(
    rows: DataFrame,
    wanted: Sequence[str],
    steps: tuple[Batches, Batches],
    schemas: tuple[pa.Schema, pa.Schema],
    *,
    by: Sequence[str],
) -> DataFrame:
    """Return what attributions fold to, lazily; they are evaluated once.

    Parameters
    ----------
    rows
        Attributions.
    wanted
        The columns that are read.
    steps
        What makes states of a partition's batches, and what makes the result of states that meet.
    schemas
        Of the states, and of the result.
    by
        Columns of the states by which they meet, in as few tasks as Spark finds enough for their size.
    """
    # Whole columns only: taking fields or filtering here could evaluate an explaining column twice.
    # Numbered on the way: pyspark's mapInArrow takes a dot in a column's name for a field of a struct.
    numbered = rows.select(*(column(rows, name).alias(f"_{index}") for index, name in enumerate(wanted)))
    (local, merge), (state, result) = steps, schemas
    states = numbered.mapInArrow(partial(_named, local, tuple(wanted)), spark_schema(state))
    return states.repartition(*by).mapInArrow(merge, spark_schema(result))


def _named(local: Batches, names: tuple[str, ...], batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    return local(pa.RecordBatch.from_arrays(batch.columns, names=list(names)) for batch in batches)


def without_absent(result: DataFrame, populations: Sequence[str]) -> DataFrame:
    """Return a table without the key columns that the attributions have not."""
    absent = [name for name in (RUN_ID, REFERENCE) if name not in populations]
    return result.drop(*absent) if absent else result


def fold_frame(rows: DataFrame, wanted: Sequence[str], how: Folding[Any]) -> DataFrame:
    """Return the table that attributions fold to, lazily; they are evaluated once.

    Parameters
    ----------
    rows
        Attributions.
    wanted
        The columns that are read, key columns among them.
    how
        What is folded.
    """
    steps, schemas = (partial(_local, how), partial(_merge, how)), (_state_schema(how), _result_schema(how))
    result = fold_batches(rows, wanted, steps, schemas, by=KEY_COLUMNS)
    return without_absent(result, wanted)


def _state_schema(how: Folding[Any]) -> pa.Schema:
    return pa.schema([*_KEYS, *(pa.field(one.name, pa.list_(pa.float64())) for one in fields(how.state))])


def _result_schema(how: Folding[Any]) -> pa.Schema:
    return pa.schema([*_KEYS, *how.schema])


def _local(how: Folding[Any], batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    states = list(meet(how.local(batches), how.merge).items())
    schema = _state_schema(how)
    for start in range(0, len(states), _STATES_PER_BATCH):
        rows = [(*key, *astuple(state)) for key, state in states[start : start + _STATES_PER_BATCH]]
        arrays = [pa.array(cells, field.type) for cells, field in zip(zip(*rows, strict=True), schema, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _merge(how: Folding[Any], batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    schema = _result_schema(how)
    for key, state in meet(_read(how, batches), how.merge).items():
        columns = how.result(state)
        keys = [pa.array([part] * len(columns[0]), pa.string()) for part in key]
        yield pa.RecordBatch.from_arrays([*keys, *columns], schema=schema)


def _read(how: Folding[Any], batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[SummaryKey, Any]]:
    n_keys = len(KEY_COLUMNS)
    for batch in batches:
        for row in range(batch.num_rows):
            cells = [one[row] for one in batch.columns]
            arrays = [cell.values.to_numpy(zero_copy_only=False) for cell in cells[n_keys:]]
            yield SummaryKey(*(cell.as_py() for cell in cells[:n_keys])), how.state(*arrays)
