"""Columns brought to a dtype without changing a value: one converter for each kind of dtype.

What cannot be brought over is marked, value by value, so that one bad row never depends on its company;
a column of another kind (text where numbers belong) is an error.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spark_shap.errors import InputError
from spark_shap.models.values import is_missing

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Converter", "converter"]

_EXACT_INTEGERS = 2**53

Converted = tuple[Any, NDArray[np.bool_]]
Converter = Callable[["pd.Series", Any, str], Converted]
"""A column, the dtype wanted and the feature's name to the column and (n,) True where a value does not fit."""


def converter(dtype: Any) -> Converter:
    """Return what brings a column to `dtype`."""
    import pandas as pd

    if isinstance(dtype, pd.CategoricalDtype):
        return _to_category
    if isinstance(dtype, pd.DatetimeTZDtype):
        return _to_zoned
    if not isinstance(dtype, np.dtype):
        masked = (pd.arrays.IntegerArray, pd.arrays.FloatingArray, pd.arrays.BooleanArray)
        return _to_masked if issubclass(dtype.construct_array_type(), masked) else _to_extension
    by_kind = {"f": _to_float, "i": _to_integer, "u": _to_integer, "b": _to_bool, "O": _to_object}
    return by_kind.get(dtype.kind, _to_time)


def _kind_error(name: str, source: pd.Series, dtype: Any) -> InputError:
    example = next((value for value in source if not is_missing(np.array([value], dtype=object))[0]), None)
    return InputError(
        f"feature {name!r}: the rows have dtype {source.dtype} (for example {example!r}), the background has "
        f"{dtype}; convert the column, or give a background of the same dtype"
    )


def _none(source: pd.Series) -> NDArray[np.bool_]:
    return np.zeros(len(source), dtype=bool)


def _numbers(source: pd.Series, dtype: Any, name: str) -> Converted:
    """Return a numeric column as float64 or as the integers that it holds, and where it is missing."""
    import pandas as pd
    from pandas.api import types

    missing = is_missing(source)
    if types.is_bool_dtype(source.dtype) or isinstance(source.dtype, pd.CategoricalDtype):
        raise _kind_error(name, source, dtype)
    if types.is_integer_dtype(source.dtype):
        if isinstance(source.dtype, np.dtype):
            return source.to_numpy(), missing
        return source.to_numpy(dtype=np.uint64 if source.dtype.kind == "u" else np.int64, na_value=0), missing
    if types.is_numeric_dtype(source.dtype):
        return source.to_numpy(dtype=np.float64, na_value=np.nan), missing
    if types.is_object_dtype(source.dtype):
        present = source[~missing]
        if all(not isinstance(value, (str, bytes, bool)) for value in present):
            try:
                if all(isinstance(value, Integral) for value in present):
                    return source.where(~missing, 0).to_numpy().astype(np.int64), missing
                return source.where(~missing, np.nan).to_numpy().astype(np.float64), missing  # decimals
            except (TypeError, ValueError, OverflowError):
                pass
    raise _kind_error(name, source, dtype)


def _to_float(source: pd.Series, dtype: Any, name: str) -> Converted:
    values, missing = _numbers(source, dtype, name)
    bad = _none(source)
    if values.dtype.kind in "iu" and dtype.itemsize == 8:
        bad = (values > _EXACT_INTEGERS) | (values < -_EXACT_INTEGERS if values.dtype.kind == "i" else False)
    with np.errstate(over="ignore"):
        out = np.array(values, dtype=dtype)
    if values.dtype.kind == "f" and dtype.itemsize < 8:
        bad = np.isinf(out) & np.isfinite(values)
    out[missing] = np.nan
    return out, np.asarray(bad & ~missing, dtype=bool)


def _to_integer(source: pd.Series, dtype: Any, name: str) -> Converted:
    values, missing = _numbers(source, dtype, name)
    limits = np.iinfo(dtype)
    with np.errstate(invalid="ignore"):
        bad = ~((values >= limits.min) & (values <= limits.max)) | missing
        if values.dtype.kind == "f":
            bad |= (np.abs(values) > _EXACT_INTEGERS) | (values != np.floor(values))
    return np.where(bad, 0, values).astype(dtype), np.asarray(bad)


def _to_bool(source: pd.Series, dtype: Any, name: str) -> Converted:
    bad = is_missing(source)
    if not all(isinstance(value, (bool, np.bool_)) for value in source[~bad].unique()):
        raise _kind_error(name, source, dtype)
    filled = source.astype(object).where(~bad, other=False)
    return filled.to_numpy().astype(dtype), bad


def _to_masked(source: pd.Series, dtype: Any, name: str) -> Converted:
    """Fill a nullable number or boolean: a missing value fits, all else is as without a mask."""
    kind = np.dtype(dtype.numpy_dtype)
    by_kind = {"b": _to_bool, "f": _to_float}
    values, bad = by_kind.get(kind.kind, _to_integer)(source, kind, name)
    missing = is_missing(source)
    if kind.kind == "f":
        values[missing] = 0.0
    return dtype.construct_array_type()(values, missing), bad & ~missing


def _to_object(source: pd.Series, dtype: Any, name: str) -> Converted:
    from pandas.api import types

    number = types.is_numeric_dtype(source.dtype) and not types.is_bool_dtype(source.dtype)
    # A datetime64 would reach the model as Timestamps where the background has dates or texts.
    if (number or types.is_datetime64_any_dtype(source.dtype)) and source.notna().any():
        raise _kind_error(name, source, dtype)
    return source.to_numpy(dtype=object, copy=True), _none(source)


def _times(source: pd.Series, dtype: Any, name: str) -> NDArray[Any]:
    """Return times or durations as numpy has them; an instant with a zone as that zone's clock shows it."""
    from pandas.api import types

    kind = np.dtype(dtype).kind
    if types.is_datetime64_any_dtype(source.dtype) and kind == "M":
        naive = source if isinstance(source.dtype, np.dtype) else source.dt.tz_localize(None)
        return np.asarray(naive.to_numpy())
    if isinstance(source.dtype, np.dtype) and source.dtype.kind == "m" == kind:
        return np.asarray(source.to_numpy())
    missing = is_missing(source)
    present = [value for value, gone in zip(source, missing, strict=True) if not gone]
    wanted = (dt.date, np.datetime64) if kind == "M" else (dt.timedelta, np.timedelta64)
    if any(not isinstance(value, wanted) or getattr(value, "tzinfo", None) is not None for value in present):
        raise _kind_error(name, source, dtype)
    out = np.full(len(source), "NaT", dtype=f"{kind}8[us]")
    out[~missing] = np.array(present, dtype=out.dtype)
    return out


def _within(values: NDArray[Any], dtype: Any) -> NDArray[np.bool_]:
    """Return whether times are within what the unit of `dtype` reaches."""
    own, other = (np.ones(1, dtype=f"m8[{np.datetime_data(kind)[0]}]") for kind in (values.dtype, dtype))
    ratio = int((own // other)[0])  # 0 where the other unit is coarser and so reaches farther
    most = np.iinfo(np.int64).max // max(ratio, 1)
    return np.asarray(np.abs(values.view(np.int64)) <= most)


def _to_time(source: pd.Series, dtype: Any, name: str) -> Converted:
    if np.dtype(dtype).kind not in "mM":
        raise _kind_error(name, source, dtype)
    values = _times(source, dtype, name)
    # What a finer unit cannot hold (the year 9999 in nanoseconds) numpy wraps, or refuses with all the rest.
    out = np.where(_within(values, dtype), values, np.array("NaT", dtype=values.dtype)).astype(dtype)
    # There and back: a coarser unit drops the time of the day.
    return out, (out.astype(values.dtype) != values) & ~np.isnat(values)


def _to_zoned(source: pd.Series, dtype: Any, name: str) -> Converted:
    import pandas as pd

    if not isinstance(source.dtype, pd.DatetimeTZDtype):
        if source.notna().any():
            raise _kind_error(name, source, dtype)
        return pd.Series(pd.NaT, index=source.index).astype(dtype).array, _none(source)
    values, bad = _to_time(source.dt.tz_convert("UTC"), np.dtype(f"M8[{dtype.unit}]"), name)
    values[bad] = "NaT"
    return pd.Series(values).dt.tz_localize("UTC").dt.tz_convert(dtype.tz).array, bad


def _to_category(source: pd.Series, dtype: Any, name: str) -> Converted:  # noqa: ARG001 - one signature
    import pandas as pd

    if isinstance(source.dtype, pd.CategoricalDtype):
        # By the codes: integer categories with a missing value have no column of integers.
        places = np.append(dtype.categories.get_indexer(source.cat.categories), -1)
        codes = places[source.cat.codes.to_numpy()]
    else:
        codes = dtype.categories.get_indexer(pd.Index(source))
    return pd.Categorical.from_codes(codes, dtype=dtype), (codes < 0) & ~is_missing(source)


def _to_extension(source: pd.Series, dtype: Any, name: str) -> Converted:
    import pandas as pd
    from pandas.api import types

    if types.is_string_dtype(dtype) and not all(isinstance(value, str) for value in source[source.notna()]):
        raise _kind_error(name, source, dtype)
    try:
        return pd.Series(source).astype(dtype).array, _none(source)
    except (TypeError, ValueError) as error:
        raise _kind_error(name, source, dtype) from error
