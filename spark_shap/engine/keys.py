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

__all__ = ["hash_columns", "key_texts"]


def key_texts(column: pa.Array | pa.ChunkedArray, name: str) -> list[str | None]:
    """Return a key column as text; None where it is null.

    Raises
    ------
    InputError
        The type has no one text: floating point, or nested.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_floating(kind) or pa.types.is_nested(kind) or pa.types.is_binary(kind):
        raise InputError(
            f"key column {name!r} has type {kind}, which is no safe key; use integers, strings, booleans, dates, "
            "timestamps or decimals, or cast it to a string"
        )
    if not pa.types.is_timestamp(kind):
        texts: list[str | None] = pc.cast(column, pa.string()).to_pylist()
        return texts
    # An instant is one key whatever the session's time zone: UTC, without a zone, in microseconds; the text
    # shows as many digits as the unit has.
    unit = "ns" if kind.unit == "ns" else "us"
    clock = pc.cast(column.cast(pa.timestamp(unit)), pa.string()).to_pylist()
    return [text[:-3] if text and unit == "ns" and text.endswith("000") else text for text in clock]


def hash_columns(columns: Sequence[Any], names: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return (n,) hashes of the rows' keys, and (n,) True where a part of the key is null."""
    texts = [key_texts(column, name) for column, name in zip(columns, names, strict=True)]
    keys = list(zip(*texts, strict=True))
    null = np.fromiter((None in key for key in keys), dtype=bool, count=len(keys))
    hashes = hash_keys(tuple(part or "" for part in key) for key in keys)
    return hashes, null
