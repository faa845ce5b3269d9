"""Row keys: from key columns to the 64-bit hashes that seed a row's draws.

A key is hashed as text, so that it is the same key in pandas, Arrow and Spark, whatever the width of
its integer type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spark_shap.core.seeding import hash_keys
from spark_shap.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spark_shap.models.frames import Rows

__all__ = ["content_hashes", "given_keys", "hash_columns", "key_texts", "null_keys"]


def key_texts(column: pa.Array | pa.ChunkedArray, name: str) -> list[str | None]:
    """Return a key column as text; None where it is null.

    Raises
    ------
    InputError
        The type has no one text: floating point, or nested.
    """
    column = _checked(column, name)
    kind = column.type
    if not pa.types.is_timestamp(kind):
        texts: list[str | None] = pc.cast(column, pa.string()).to_pylist()
        return texts
    # An instant is one key whatever the session's time zone: UTC, without a zone, in microseconds; the text
    # shows as many digits as the unit has.
    unit = "ns" if kind.unit == "ns" else "us"
    clock = pc.cast(column.cast(pa.timestamp(unit)), pa.string()).to_pylist()
    return [text[:-3] if text and unit == "ns" and text.endswith("000") else text for text in clock]


def _checked(column: pa.Array | pa.ChunkedArray, name: str) -> pa.Array | pa.ChunkedArray:
    """Return a key column as plain values."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_floating(kind) or pa.types.is_nested(kind) or pa.types.is_binary(kind):
        raise InputError(
            f"key column {name!r} has type {kind}, which is no safe key; use integers, strings, booleans, dates, "
            "timestamps or decimals, or cast it to a string"
        )
    return column


def null_keys(columns: Sequence[Any], names: Sequence[str]) -> NDArray[np.bool_]:
    """Return (n,) True where a part of the key is null; checks the columns as `hash_columns` does, hashes nothing."""
    nulls = [pc.is_null(_checked(column, name)) for column, name in zip(columns, names, strict=True)]
    return np.asarray(np.logical_or.reduce([np.asarray(one) for one in nulls]))


def hash_columns(columns: Sequence[Any], names: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return (n,) hashes of the rows' keys, and (n,) True where a part of the key is null."""
    texts = [key_texts(column, name) for column, name in zip(columns, names, strict=True)]
    keys = list(zip(*texts, strict=True))
    null = np.fromiter((None in key for key in keys), dtype=bool, count=len(keys))
    hashes = hash_keys(tuple(part or "" for part in key) for key in keys)
    return hashes, null


def given_keys(rows: Any, key: Any, n_rows: int) -> NDArray[np.uint64]:
    """Return the hashes of rows in memory, from a column, several, or one value a row.

    Parameters
    ----------
    rows
        The rows; a pandas frame where `key` names columns.
    key
        A column's name, a list or tuple of names, or (n,) values.
    n_rows
        n.

    Raises
    ------
    InputError
        A named column is missing, there is not one key a row, or a key is null.
    """
    there = list(getattr(rows, "columns", ()))
    names = [key] if isinstance(key, str) else list(key) if isinstance(key, (list, tuple)) else []
    texts = bool(names) and all(isinstance(name, str) for name in names)
    if isinstance(key, str) or (texts and any(name in there for name in names)):
        missing = [name for name in names if name not in there]
        if missing:
            raise InputError(f"key: X has no column {missing[0]!r}; pass columns of X, or one value a row")
        given = [rows[name] for name in names]
    else:
        given = [key]
    columns = [pa.array(one if hasattr(one, "array") else np.asarray(one)) for one in given]
    if any(len(one) != n_rows for one in columns):
        raise InputError(f"key: {len(columns[0])} keys for {n_rows} rows; pass one a row")
    hashes, null = hash_columns(columns, ["key"] * len(columns))
    if null.any():
        raise InputError(f"key: the key of row {int(np.flatnonzero(null)[0])} is null")
    return hashes


def content_hashes(rows: Rows) -> NDArray[np.uint64]:
    """Return (n,) hashes of the rows' own values, for rows without a key."""
    import pandas as pd

    frame = pd.DataFrame({index: pd.Series(column) for index, column in enumerate(rows.columns)})
    return np.asarray(pd.util.hash_pandas_object(frame, index=False).to_numpy(), dtype=np.uint64)
