"""Folding a background of any size where it is: a state a partition, merged on the driver."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from spark_shap.dataframes import column
from spark_shap.engine.session import parallelism
from spark_shap.engine.shipping import Carrier, ship
from spark_shap.errors import InputError
from spark_shap.models.conform import conform, frame_from_arrow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyspark.sql import DataFrame

    from spark_shap.closed_forms import BackgroundFold
    from spark_shap.models.frames import Layout

__all__ = ["fold_background"]

_ROWS = 65_536
_TASKS_A_CORE = 4
_STATE = "state"


@dataclass(frozen=True)
class _FoldPartition:
    """The function that Spark runs."""

    carrier: Carrier
    layout: Layout
    weighted: bool

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Fold a partition; an empty one gives nothing, and what is wrong travels as it is."""
        names = [*self.layout.names, *(["weight"] if self.weighted else [])]
        how: BackgroundFold | None = None
        state: Any = None
        try:
            for table in _portions(batches, names):
                how = how or pickle.loads(self.carrier.read())
                found = self._state(how, table)
                state = found if state is None else state.merge(found)
        except InputError as error:
            state = error
        if state is not None:
            yield pa.RecordBatch.from_arrays([pa.array([pickle.dumps(state)], pa.binary())], names=[_STATE])

    def _state(self, how: BackgroundFold, table: pa.Table) -> Any:
        features = table.select(range(len(self.layout.names)))
        rows, problems = conform(frame_from_arrow(features, whole_integers=True), self.layout)
        if problems:
            first = problems[min(problems)]
            raise InputError(f"reference: {len(problems)} of {len(rows)} rows do not fit, the first because: {first}")
        if not self.weighted:
            return how.local(rows, np.ones(len(rows)))
        weights = np.asarray(table.column(len(self.layout.names)).to_numpy(zero_copy_only=False), dtype=np.float64)
        if not (np.isfinite(weights) & (weights >= 0.0)).all():
            raise InputError("reference: a weight is null, negative or not finite; weights are 0 or more")
        return how.local(rows, weights)


def _portions(batches: Iterable[pa.RecordBatch], names: list[str]) -> Iterator[pa.Table]:
    """Join batches up to a size at which numpy's own cost a call does not show."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        if batch.num_rows:
            waiting.append(pa.RecordBatch.from_arrays(batch.columns, names=names))
        if sum(one.num_rows for one in waiting) >= _ROWS:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def fold_background(frame: DataFrame, how: BackgroundFold, layout: Layout, weight: str | None = None) -> Any:
    """Return the state of all rows of a DataFrame, in one pass; no row leaves its partition.

    Parameters
    ----------
    frame
        With at least the features.
    how
        Makes states of rows.
    layout
        Names and dtypes of the features.
    weight
        Column of weights.

    Raises
    ------
    InputError
        There are no rows, or some do not fit the layout or have no usable weight.
    """
    from pyspark import cloudpickle

    wanted = [*layout.names, *([weight] if weight else [])]
    # Numbered: pyspark's mapInArrow takes a dot in a column's name for a field of a struct.
    source = frame.select(*(column(frame, name).alias(f"_{index}") for index, name in enumerate(wanted)))
    source = source.coalesce(_TASKS_A_CORE * parallelism(frame.sparkSession))
    carrier = ship(frame.sparkSession, cloudpickle.dumps(how))  # type: ignore[no-untyped-call]  # pyspark's copy is untyped
    found = source.mapInArrow(_FoldPartition(carrier, layout, weight is not None), f"{_STATE} binary").collect()
    states = [pickle.loads(bytes(row[_STATE])) for row in found]  # our own workers' bytes
    for state in states:
        if isinstance(state, InputError):
            raise state
    if not states:
        raise InputError("reference: it has no rows; check its path and where")
    return reduce(lambda one, other: one.merge(other), states)
