"""The table of reasons from written attributions, read back, on classic sessions and Spark Connect."""

from __future__ import annotations

from functools import partial, reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from spark_shap.audit.reasons import (
    ReasonCounts,
    ReasonSpec,
    add_counts,
    count_reasons,
    name_reasons,
    reason_columns,
)
from spark_shap.dataframes import column
from spark_shap.engine.ranking_column import read_ranking
from spark_shap.engine.types import spark_schema
from spark_shap.errors import InputError
from spark_shap.schema import RANKING, REASON_COLUMNS, SHAP_VALUES, STD_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

    from spark_shap.core.arrays import FloatArray

__all__ = ["check_reasons", "count_batches", "reason_batches", "reason_counts", "reason_frame"]

_TYPES = dict.fromkeys(REASON_COLUMNS, pa.string()) | {
    "rank": pa.int32(),
    "shap_value": pa.float64(),
    "std_error": pa.float64(),
    "p_swap": pa.float64(),
    "stable": pa.bool_(),
}
_FIELDS = [pa.field(name, _TYPES[name]) for name in REASON_COLUMNS]
_COUNTS = pa.schema(
    [("rows", pa.int64()), ("stable", pa.int64()), ("touched", pa.int64()), ("excluded", pa.list_(pa.int64()))]
)


def reason_frame(rows: DataFrame, spec: ReasonSpec, *, key: Sequence[str]) -> DataFrame:
    """Return the reasons of attributions, lazily; each evaluation reads them, and explains nothing anew.

    Parameters
    ----------
    rows
        Wide attributions of one run as they were written, with the column `ranking`; evaluated once.
    spec
        Names, rule and codes.
    key
        Columns that name a row, which the reasons begin with.

    Returns
    -------
    DataFrame
        Key columns, output, rank, code_set, code, text, feature, shap_value, std_error, p_swap, stable: one line a
        row, rank and code set.

    Raises
    ------
    InputError
        The rows were explained without reasons, or a key column would meet a column of the table.
    """
    from pyspark.sql import types as t

    wanted = [*key, SHAP_VALUES, STD_ERRORS, RANKING]
    _check_rows(rows)
    _check_key(key)
    fields = {field.name: field for field in rows.schema.fields}
    keys = [t.StructField(name, fields[name].dataType) for name in key]
    # Numbered on the way: pyspark's mapInArrow takes a dot in a column's name for a field of a struct.
    numbered = rows.select(*(column(rows, name).alias(f"_{index}") for index, name in enumerate(wanted)))
    kind = t.StructType([*keys, *spark_schema(pa.schema(_FIELDS)).fields])
    return numbered.mapInArrow(partial(reason_batches, spec), kind)


def reason_counts(rows: DataFrame, spec: ReasonSpec) -> ReasonCounts:
    """Return what reasons written attributions have; runs a job."""
    _check_rows(rows)
    needed = rows.select(SHAP_VALUES, STD_ERRORS, RANKING)
    parts = needed.mapInArrow(partial(count_batches, spec), spark_schema(_COUNTS)).collect()
    names = spec.excluded
    found = [ReasonCounts(part[0], part[1], part[2], dict(zip(names, part[3], strict=True))) for part in parts]
    return reduce(add_counts, found, ReasonCounts(0, 0, 0, dict.fromkeys(names, 0)))


def check_reasons(spark: SparkSession, schema: StructType, key: Sequence[str], where: str | None) -> None:
    """Refuse, before rows are explained, key columns and a predicate that the table of reasons cannot be made with.

    Raises
    ------
    InputError
        A key column has the name of one of the table's, or the predicate does not fit attributions of this schema.
    """
    from pyspark.errors import AnalysisException

    _check_key(key)
    if where is None:
        return
    try:
        spark.createDataFrame([], schema).where(where).schema  # noqa: B018 - Connect looks at the predicate only here
    except AnalysisException as error:
        reason = str(error).splitlines()[0]
        columns = ", ".join(schema.names)
        raise InputError(
            f"reasons.where: {where}: {reason}; attributions have {columns}; applicants.keep adds"
        ) from None


def _check_key(key: Sequence[str]) -> None:
    taken = [name for name in key if name.casefold() in REASON_COLUMNS]
    if taken:
        raise InputError(f"key {taken[0]!r} is a column of the table of reasons; rename it")


def _check_rows(rows: DataFrame) -> None:
    if RANKING not in rows.columns:
        raise InputError("these rows were explained without reasons; explain them with reasons=Reasons(harm=...)")


def reason_batches(spec: ReasonSpec, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Return the reasons of batches: key columns, then values, standard errors and rankings."""
    for batch in batches:
        *keys, shap_values, std_errors, rankings = batch.columns
        ranking, texts = read_ranking(rankings, spec.features, spec.rule.top)
        if not len(texts):
            continue
        named = name_reasons(ranking, _matrix(shap_values, spec), _matrix(std_errors, spec), spec.rule)
        index, columns = reason_columns(named, spec, texts)
        taken = [one.take(pa.array(index)) for one in keys]
        arrays = [pa.array(columns[field.name], field.type) for field in _FIELDS]
        schema = pa.schema([*batch.schema][: len(keys)] + _FIELDS)
        yield pa.RecordBatch.from_arrays([*taken, *arrays], schema=schema)


def count_batches(spec: ReasonSpec, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Count the reasons of a partition: values, standard errors and rankings."""
    total = None
    for batch in batches:
        shap_values, _, rankings = batch.columns
        ranking, _ = read_ranking(rankings, spec.features, spec.rule.top)
        found = count_reasons(ranking, _matrix(shap_values, spec), spec)
        total = found if total is None else add_counts(total, found)
    if total is not None:
        row = [[total.rows], [total.stable], [total.touched], [list(total.excluded.values())]]
        arrays = [pa.array(value, kind) for value, kind in zip(row, _COUNTS.types, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=_COUNTS)


def _matrix(structs: pa.StructArray, spec: ReasonSpec) -> FloatArray:
    """Return (n, M) numbers, in the order of the features."""
    names = [field.name for field in structs.type]
    flat = structs.flatten()
    columns = [flat[names.index(name)].to_numpy(zero_copy_only=False) for name in spec.features]
    return np.stack(columns, axis=1).astype(np.float64)
