"""Rows drawn by the hash of their keys: a sample that any cluster draws alike, of no more bytes than wanted.

A row's place in the sample is decided by ``xxhash64(seed, key)`` alone, so neither partitions nor the order of rows
matter. Nor do they where rows are so wide that they come in bytes before they come in number: the sample is then the
first of these rows, in the order of their hashes, that together hold no more. Spark never holds more than about that:
rows wider than their share come without their texts at first, and then by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pyspark.sql import functions as F

from spark_shap.dataframes import quoted
from spark_shap.io.references import collect_arrow
from spark_shap.io.sources import require_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from pyspark.sql import Column, DataFrame

__all__ = ["HashSample", "collect_sample"]

_FIRST_BYTES = 2**26  # that Spark looks at to find the rows: each task keeps as many, and wider ones come later
_HASHES = ("hash", "second", "content")  # of the key, of the key anew, of the whole row
_BYTES = "bytes"
_FIXED_BYTES = {"boolean": 1, "tinyint": 1, "smallint": 2, "int": 4, "float": 4, "date": 4}
_VARIABLE = ("string", "varchar", "char", "binary", "array", "map", "struct", "variant")
_VALUE_BYTES = 8  # of any other value


class HashSample(NamedTuple):
    """Rows on the driver, and how many more there would be but for their bytes (0 where none was left out)."""

    table: pa.Table
    n_left_out: int = 0


def collect_sample(
    df: DataFrame,
    columns: Sequence[str],
    *,
    key: Sequence[str] | None,
    size: int | None,
    seed: int,
    most_bytes: int | None = None,
) -> HashSample:
    """Bring some columns of a sample to the driver: rows chosen, and ordered, by a hash of their key.

    Parameters
    ----------
    df
        The population.
    columns
        What comes, each once.
    key
        Columns that name a row; without them all columns do. Rows of equal key are told apart by all columns.
    size
        Rows to take; None takes all of them, in the same order.
    seed
        Another seed draws another sample.
    most_bytes
        That the rows of a sample of some size may hold together: texts in UTF-8, other values in Arrow. None for any.

    Returns
    -------
    HashSample
        The first rows in the order of the hashes, `size` of them or as many as hold no more bytes; one at least. The
        same for every partitioning, row order and kind of session.

    Raises
    ------
    InputError
        A column is missing.
    """
    require_columns(df, columns, what="reference")
    widths = _Widths.of(df, columns)
    hashes = [one.alias(name) for one, name in zip(_hashes(df, key, seed), _HASHES, strict=False)]
    order = [F.col(name) for name in _HASHES[: len(hashes)]]
    # Numbered: no name of a column is one of the hashes'. What is not asked for stays where it is.
    values = [F.col(quoted(name)).alias(f"_{index}") for index, name in enumerate(columns)]
    if size is None:
        return HashSample(_named(collect_arrow(df.select(*hashes, *values).orderBy(*order)), columns))
    wanted, bound = size, np.inf if most_bytes is None else most_bytes
    size = int(max(1, min(size, bound // max(1, widths.fixed))))
    n_bytes, share = widths.row_bytes, max(widths.fixed, _FIRST_BYTES // size)
    narrow = [
        F.when(n_bytes <= share, F.col(quoted(name))).alias(f"_{index}") if index in widths.variable else values[index]
        for index, name in enumerate(columns)
    ]
    found = collect_arrow(df.select(*hashes, n_bytes.alias(_BYTES), *narrow).orderBy(*order).limit(size))
    held = found.column(_BYTES).to_numpy()
    n_rows = max(min(1, len(held)), int(np.searchsorted(np.cumsum(held), bound, side="right")))
    left_out = (wanted if len(held) == size else len(held)) - n_rows
    rows = found.slice(0, n_rows)
    if (held[:n_rows] > share).any():
        last = rows.column(_HASHES[0])[-1].as_py()
        rows = df.select(*hashes, *values).where(F.col(_HASHES[0]) <= F.lit(last))
        rows = collect_arrow(rows.orderBy(*order).limit(n_rows))
    return HashSample(_named(rows, columns), left_out)


class _Widths(NamedTuple):
    """What a row holds: bytes that every row has, and the columns whose values have their own."""

    fixed: int
    variable: dict[int, Column]

    @classmethod
    def of(cls, df: DataFrame, columns: Sequence[str]) -> _Widths:
        kinds = dict(df.dtypes)
        variable = {
            index: F.octet_length(F.col(quoted(name)) if kinds[name] == "binary" else _text(df, name))
            for index, name in enumerate(columns)
            if kinds[name].startswith(_VARIABLE)
        }
        fixed = sum(_FIXED_BYTES.get(kinds[name], _VALUE_BYTES) for name in columns)
        return cls(fixed, variable)

    @property
    def row_bytes(self) -> Column:
        total = F.lit(self.fixed).cast("long")
        for one in self.variable.values():
            total = total + F.coalesce(one, F.lit(0))
        return total


def _hashes(df: DataFrame, key: Sequence[str] | None, seed: int) -> list[Column]:
    """Return the columns that rows are ordered by: two hashes of the key, lest two keys share one, and the row's."""
    names = list(key) if key else list(df.columns)
    require_columns(df, names, what="reference")
    texts = [_text(df, name) for name in names]
    hashes = [F.xxhash64(F.lit(str(seed)), *texts), F.xxhash64(F.lit(f"{seed} anew"), *texts)]
    return [*hashes, F.xxhash64(*(_text(df, name) for name in df.columns))] if key else hashes


def _text(df: DataFrame, name: str) -> Column:
    column = F.col(quoted(name))
    if dict(df.dtypes)[name] == "timestamp":  # its text depends on the session's time zone
        column = F.expr(f"unix_micros({quoted(name)})")
    return column.cast("string")


def _named(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    return table.select([f"_{index}" for index in range(len(columns))]).rename_columns(list(columns))
