"""Rows from outside brought into the background's layout, value by value or not at all.

A value that cannot become the background's dtype without being changed (a missing value in an integer
feature, a category that the background does not know) rejects its row; a whole column of the wrong
kind is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spark_shap.errors import InputError
from spark_shap.models.frames import Layout, Rows, is_missing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["Problems", "conform", "encode", "frame_from_arrow"]

Problems = dict[int, str]
"""Why a row cannot be explained, by position."""

_EXACT_INTEGERS = 2**53


def frame_from_arrow(table: pa.Table) -> pd.DataFrame:
    """Return a table as pandas reads files: nulls make integers floats and booleans objects.

    Dates come as `datetime.date`, decimals as `decimal.Decimal`, timestamps as ``datetime64``.
    """
    return table.to_pandas(split_blocks=True, date_as_object=True)


def conform(frame: pd.DataFrame | NDArray[Any], layout: Layout) -> tuple[Rows, Problems]:
    """Bring rows into a layout.

    Parameters
    ----------
    frame
        (n, >= M) pandas frame with the layout's columns in any order, or an (n, M) array.
    layout
        The background's layout.

    Returns
    -------
    rows, problems
        All n rows, and what is wrong with some of them (their values there are placeholders).

    Raises
    ------
    InputError
        A feature is missing, or a column is of a kind that the background's dtype cannot hold.
    """
    import pandas as pd

    problems: Problems = {}
    if isinstance(frame, np.ndarray):
        if frame.ndim != 2 or frame.shape[1] != len(layout.names):
            raise InputError(
                f"X: an array of shape {frame.shape} where the background has {len(layout.names)} features; pass "
                f"(n, {len(layout.names)})"
            )
        sources = [pd.Series(frame[:, index]) for index in range(frame.shape[1])]
    else:
        given = {str(name): place for place, name in enumerate(frame.columns)}
        missing = [name for name in layout.names if name not in given]
        if missing:
            raise InputError(
                f"feature {missing[0]!r} is missing ({len(missing)} of {len(layout.names)} features: "
                f"{', '.join(missing[:5])}); the rows have {', '.join(map(str, list(frame.columns)[:30]))}"
            )
        sources = [frame.iloc[:, given[name]] for name in layout.names]
    columns = []
    for name, dtype, marker, source in zip(layout.names, layout.dtypes, layout.missing, sources, strict=True):
        column, bad = _converter(dtype)(source, dtype, name)
        if isinstance(dtype, np.dtype) and dtype.kind == "O":
            # pandas marks a missing string with NaN, Arrow with None: a row must be the same to the
            # model wherever it came from.
            column[is_missing(column)] = marker
        for row in np.flatnonzero(bad):
            value = source.iloc[row]
            problems.setdefault(int(row), f"feature {name!r}: value {value!r} does not fit dtype {dtype}")
        columns.append(column)
    return Rows(layout, tuple(columns)), problems


_Converter = Callable[["pd.Series", Any, str], tuple[Any, NDArray[np.bool_]]]


def _converter(dtype: Any) -> _Converter:
    import pandas as pd

    if isinstance(dtype, pd.CategoricalDtype):
        return _to_category
    if not isinstance(dtype, np.dtype):
        return _to_extension
    by_kind = {"f": _to_float, "i": _to_integer, "u": _to_integer, "b": _to_bool, "O": _to_object}
    return by_kind.get(dtype.kind, _to_time)


def _kind_error(name: str, source: pd.Series, dtype: Any) -> InputError:
    example = next((value for value in source if not is_missing(np.array([value], dtype=object))[0]), None)
    return InputError(
        f"feature {name!r}: the rows have dtype {source.dtype} (for example {example!r}), the background has "
        f"{dtype}; convert the column, or give a background of the same dtype"
    )


def _numbers(source: pd.Series, dtype: Any, name: str) -> NDArray[Any]:
    """Return a numeric column as float64 with NaN for missing, or as the integers that it holds."""
    import pandas as pd
    from pandas.api import types

    if types.is_bool_dtype(source.dtype) or isinstance(source.dtype, pd.CategoricalDtype):
        raise _kind_error(name, source, dtype)
    if types.is_numeric_dtype(source.dtype):
        integers = types.is_integer_dtype(source.dtype) and not source.isna().any()
        if integers and isinstance(source.dtype, np.dtype):
            return np.asarray(source.to_numpy())
        return np.asarray(source.to_numpy(dtype=np.int64 if integers else np.float64, na_value=np.nan))
    if types.is_object_dtype(source.dtype):
        present = source[source.notna()]
        if all(not isinstance(value, (str, bytes, bool)) for value in present):
            try:  # decimals
                return np.asarray(source.astype(np.float64).to_numpy())
            except (TypeError, ValueError):
                pass
    raise _kind_error(name, source, dtype)


def _to_float(source: pd.Series, dtype: Any, name: str) -> tuple[Any, NDArray[np.bool_]]:
    numbers = _numbers(source, dtype, name)
    bad = np.zeros(len(numbers), dtype=bool)
    if numbers.dtype.kind in "iu" and dtype.itemsize == 8:
        bad = (numbers > _EXACT_INTEGERS) | (numbers < -_EXACT_INTEGERS if numbers.dtype.kind == "i" else False)
    return np.ascontiguousarray(numbers, dtype=dtype), np.asarray(bad, dtype=bool)


def _to_integer(source: pd.Series, dtype: Any, name: str) -> tuple[Any, NDArray[np.bool_]]:
    numbers = _numbers(source, dtype, name)
    limits = np.iinfo(dtype)
    with np.errstate(invalid="ignore"):
        bad = ~((numbers >= limits.min) & (numbers <= limits.max))
        if numbers.dtype.kind == "f":
            bad |= (np.abs(numbers) > _EXACT_INTEGERS) | (numbers != np.floor(numbers))
    return np.where(bad, 0, numbers).astype(dtype), np.asarray(bad)


def _to_bool(source: pd.Series, dtype: Any, name: str) -> tuple[Any, NDArray[np.bool_]]:
    bad = is_missing(source)
    if not all(isinstance(value, (bool, np.bool_)) for value in source[~bad].unique()):
        raise _kind_error(name, source, dtype)
    filled = source.astype(object).where(~bad, other=False)
    return filled.to_numpy().astype(dtype), bad


def _to_object(source: pd.Series, dtype: Any, name: str) -> tuple[Any, NDArray[np.bool_]]:
    from pandas.api import types

    if types.is_numeric_dtype(source.dtype) and not types.is_bool_dtype(source.dtype) and source.notna().any():
        raise _kind_error(name, source, dtype)
    return source.to_numpy(dtype=object, copy=True), np.zeros(len(source), dtype=bool)


def _to_time(source: pd.Series, dtype: Any, name: str) -> tuple[Any, NDArray[np.bool_]]:
    try:
        return source.astype(dtype).to_numpy(), np.zeros(len(source), dtype=bool)
    except (TypeError, ValueError) as error:
        raise _kind_error(name, source, dtype) from error


def _to_category(source: pd.Series, dtype: Any, name: str) -> tuple[Any, NDArray[np.bool_]]:  # noqa: ARG001 - one signature
    import pandas as pd

    plain = source.astype(source.cat.categories.dtype) if isinstance(source.dtype, pd.CategoricalDtype) else source
    category = pd.Categorical(plain.to_numpy(dtype=object), dtype=dtype)
    return category, is_missing(category) & ~is_missing(source)


def _to_extension(source: pd.Series, dtype: Any, name: str) -> tuple[Any, NDArray[np.bool_]]:
    import pandas as pd
    from pandas.api import types

    textual = types.is_string_dtype(dtype)
    present = source[source.notna()]
    if textual and not all(isinstance(value, str) for value in present):
        raise _kind_error(name, source, dtype)
    try:
        return pd.Series(source).astype(dtype).array, np.zeros(len(source), dtype=bool)
    except (TypeError, ValueError) as error:
        raise _kind_error(name, source, dtype) from error


def encode(rows: Rows, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows as numbers, (B, M): standardised, categories by their mean score.

    Parameters
    ----------
    rows
        The background.
    scores
        (B,) their predictions.
    """
    import pandas as pd

    out = np.zeros((len(rows), len(rows.columns)))
    for index, column in enumerate(rows.columns):
        numeric = isinstance(column, np.ndarray) and column.dtype.kind in "biuf"
        if numeric:
            values = column.astype(np.float64)
        else:
            codes, labels = pd.factorize(pd.Series(column), use_na_sentinel=False)
            count = np.bincount(codes, minlength=len(labels))
            values = (np.bincount(codes, scores, minlength=len(labels)) / np.maximum(count, 1))[codes]
        finite = np.isfinite(values)
        center = values[finite].mean() if finite.any() else 0.0
        spread = values[finite].std() if finite.any() else 0.0
        if spread > 0.0:
            out[finite, index] = (values[finite] - center) / spread
    return out
