"""How good a run's numbers are: counts, additivity and standard errors, in one pass over what was written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spark_shap.core.sketch import Sketch, buckets, count_buckets, empty_sketch, merge_sketches, quantiles
from spark_shap.dataframes import column
from spark_shap.engine.types import spark_schema
from spark_shap.schema import ADDITIVITY_GAP, N_EVALUATIONS, OUTPUT, REFERENCE, STD_ERRORS, TOP4_AGREEMENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pyspark.sql import DataFrame

__all__ = ["Quality", "count_lines", "measure", "measure_batches", "reference_agreement"]

_SCHEMA = pa.schema(
    [
        ("n_rows", pa.int64()),
        ("n_evaluations", pa.int64()),
        ("gap", pa.float64()),
        ("codes", pa.list_(pa.int64())),
        ("counts", pa.list_(pa.float64())),
    ]
)


@dataclass(frozen=True)
class Quality:
    """Checks of a run.

    Attributes
    ----------
    n_rows
        Explained rows.
    n_evaluations
        Model evaluations spent on them.
    additivity_gap
        Largest absolute additivity gap.
    std_error_median, std_error_p99
        Of all values, within 0.5 %; 0 where values are exact.
    """

    n_rows: int
    n_evaluations: int
    additivity_gap: float
    std_error_median: float
    std_error_p99: float


def measure_batches(
    batches: Iterable[pa.RecordBatch], *, output: str, reference: str | None = None
) -> Iterator[pa.RecordBatch]:
    """Fold a partition of attributions into one row; `output` and `reference` name the first ones."""
    n_rows = n_evaluations = 0
    gap, sketch = 0.0, empty_sketch()
    for batch in batches:
        if not batch.num_rows:
            continue
        first = pc.equal(batch.column(OUTPUT), output)
        n_evaluations += pc.sum(batch.column(N_EVALUATIONS).filter(first)).as_py() or 0
        if reference is not None:
            first = pc.and_(first, pc.equal(batch.column(REFERENCE), reference))
        n_rows += pc.sum(first).as_py() or 0
        gap = max(gap, float(np.abs(batch.column(ADDITIVITY_GAP).to_numpy()).max()))
        # All features together: one column of values for the sketch.
        errors = np.concatenate([one.to_numpy(zero_copy_only=False) for one in batch.column(STD_ERRORS).flatten()])
        values = errors.astype(np.float64)[:, None]
        sketch = merge_sketches(sketch, count_buckets(buckets(values), np.ones(len(values))))
    if n_rows:
        row = [[n_rows], [n_evaluations], [gap], [sketch.codes.tolist()], [sketch.counts.tolist()]]
        yield pa.RecordBatch.from_arrays(
            [pa.array(value, kind) for value, kind in zip(row, _SCHEMA.types, strict=True)], schema=_SCHEMA
        )


def measure(rows: DataFrame, *, output: str, sampled: bool = True, reference: str | None = None) -> Quality:
    """Return the checks of written attributions.

    Parameters
    ----------
    rows
        Attributions.
    output
        Name of the first output.
    sampled
        False where all values should be exact: Spark then looks whether all standard errors are 0, and only if
        they are not do they go to Python.
    reference
        Name of the first reference, where there are several.
    """
    if not sampled:
        found = _exact(rows, output, reference)
        if found is not None:
            return found
    several = [] if reference is None else [REFERENCE]
    needed = rows.select(OUTPUT, N_EVALUATIONS, ADDITIVITY_GAP, STD_ERRORS, *several)
    fold = partial(measure_batches, output=output, reference=reference)
    parts = needed.mapInArrow(fold, spark_schema(_SCHEMA)).collect()
    sketch = empty_sketch()
    for part in parts:
        sketch = merge_sketches(sketch, Sketch(np.array(part["codes"], dtype=np.int64), np.array(part["counts"])))
    median, p99 = quantiles(sketch, (0.5, 0.99), n_features=1, scale=1.0)[:, 0].tolist() if parts else (0.0, 0.0)
    return Quality(
        sum(part["n_rows"] for part in parts),
        sum(part["n_evaluations"] for part in parts),
        max((part["gap"] for part in parts), default=0.0),
        median,
        p99,
    )


def _exact(rows: DataFrame, output: str, reference: str | None = None) -> Quality | None:
    """Return the checks of attributions without standard errors; None where one is not 0."""
    from pyspark.sql import functions as f

    errors = column(rows, STD_ERRORS)
    kind: Any = rows.schema[STD_ERRORS].dataType
    # To Spark NaN is larger than any number; a null is skipped, it stands for an exact value.
    largest = [f.max(errors.getField(name)) for name in kind.names]
    first = f.col(OUTPUT) == output
    counted = first if reference is None else first & (f.col(REFERENCE) == reference)
    found = rows.agg(
        f.count(f.when(counted, 1)),
        f.coalesce(f.sum(f.when(first, f.col(N_EVALUATIONS).cast("long"))), f.lit(0)),
        f.coalesce(f.max(f.abs(f.col(ADDITIVITY_GAP))), f.lit(0.0)),
        f.greatest(*largest, f.lit(0.0)),
    ).first()
    if found is None or found[3] != 0.0:
        return None
    return Quality(found[0], found[1], found[2], 0.0, 0.0)


def count_lines(rows: DataFrame) -> tuple[int, int]:
    """Return the number of lines of attributions, and the sum of the evaluations that they name."""
    from pyspark.sql import functions as F

    total = rows.agg(F.count(F.lit(1)), F.sum(N_EVALUATIONS)).first()
    return (0, 0) if total is None else (int(total[0]), int(total[1] or 0))


def reference_agreement(rows: DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Return the mean share of the four largest values that two references have in common, by ``"a & b"``."""
    from pyspark.sql import functions as F

    shares = column(rows, TOP4_AGREEMENT)
    means = [F.avg(shares.getField(name)).alias(f"_{place}") for place, name in enumerate(names)]
    found = {row[0]: row[1:] for row in rows.groupBy(REFERENCE).agg(*means).collect()}
    pairs = [(place, other) for place in range(len(names)) for other in range(place + 1, len(names))]
    return {f"{names[a]} & {names[b]}": float(found[names[a]][b]) for a, b in pairs if names[a] in found}
