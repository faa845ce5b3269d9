"""What adapters share: a library that may be missing, and rows as arrays."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.errors import MissingDependencyError, ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["column_of", "input_column", "matrix", "need"]


def need(module: str, extra: str, what: str) -> Any:
    """Return a module of an optional library.

    Parameters
    ----------
    module
        Its name.
    extra
        The extra of this package that brings it.
    what
        Of the model, for the message: "an ONNX model".

    Raises
    ------
    MissingDependencyError
        It is not installed, with the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        # What a library lacks of its own is said by its own name.
        way = f"spark-shap[{extra}]" if missing.partition(".")[0] == module.partition(".")[0] else missing
        raise MissingDependencyError(f"model: {what} needs the package {missing!r}: pip install '{way}'") from error


def matrix(rows: Any, dtype: Any, names: Sequence[str] | None = None) -> NDArray[Any]:
    """Return rows as one array (n, M) of `dtype`.

    Parameters
    ----------
    rows
        (n, M) array or pandas frame of numbers and booleans.
    dtype
        Of the array.
    names
        Columns of a frame to take, in this order; all of them by default.

    Raises
    ------
    ModelError
        A column holds something else than numbers.
    """
    if isinstance(rows, np.ndarray):
        return np.ascontiguousarray(rows, dtype=dtype)
    frame = rows if names is None else rows[list(names)]
    out = np.empty((len(frame), frame.shape[1]), dtype=dtype)
    for place, name in enumerate(frame.columns):
        out[:, place] = column_of(frame.iloc[:, place], dtype, str(name))
    return out


def column_of(column: Any, dtype: Any, name: str) -> NDArray[Any]:
    """Return a pandas column as (n,) `dtype`; missing numbers are NaN.

    Raises
    ------
    ModelError
        It cannot be `dtype`: texts where numbers belong, or fractions where integers do.
    """
    from pandas.api import types

    wanted = np.dtype(dtype)
    if wanted.hasobject:
        return np.asarray(column.to_numpy(dtype=object))
    if not types.is_numeric_dtype(column.dtype):
        raise ModelError(
            f"model: feature {name!r} is {column.dtype} and the model takes numbers ({wanted}); encode it in the "
            "table, or explain a function that encodes and then calls the model"
        )
    if wanted.kind == "f":
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan).astype(wanted))
    values = column.to_numpy()
    with np.errstate(invalid="ignore"):
        out = np.asarray(values).astype(wanted)
    if not np.array_equal(out, values):
        raise ModelError(
            f"model: feature {name!r} is {column.dtype} and the model takes {wanted}: a value does not fit"
        )
    return out


def input_column(rows: Any, name: str, dtype: Any, what: str) -> NDArray[Any]:
    """Return the column of rows that a model of several inputs takes by name, (n,) `dtype`.

    Parameters
    ----------
    rows
        (n, M) pandas frame.
    name
        Of the input.
    dtype
        It takes.
    what
        Of the model, for the message: "an ONNX graph".

    Raises
    ------
    ModelError
        There is no such column, or it cannot be `dtype`.
    """
    try:
        column = rows[name]
    except (KeyError, IndexError, TypeError):
        raise ModelError(
            f"model: its input {name!r} is no column of the rows; {what} of several inputs takes a pandas frame with a "
            "column for each"
        ) from None
    return column_of(column, dtype, name)
