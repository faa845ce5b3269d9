"""Rows from outside brought into the background's layout, value by value or not at all.

A value that cannot become the background's dtype without being changed (a missing value in an integer
feature, a category that the background does not know) rejects its row; a whole column of the wrong
kind is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.errors import InputError
from spark_shap.models.convert import converter
from spark_shap.models.frames import Layout, Rows
from spark_shap.models.values import is_missing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from spark_shap.models.adapters.mlflow import InputColumns

__all__ = ["Problems", "as_declared", "conform", "frame_from_arrow"]

_SHOWN = 200  # of a value, in a message
Problems = dict[int, str]
"""Why a row cannot be explained, by position."""


def frame_from_arrow(table: pa.Table, *, whole_integers: bool = False) -> pd.DataFrame:
    """Return a table as pandas reads files: nulls make integers floats and booleans objects.

    Dates come as `datetime.date`, decimals as `decimal.Decimal`, timestamps as ``datetime64``. With
    `whole_integers`, integers next to nulls come as pandas' nullable ones: a float would round the large
    ones, so that a row would depend on its company.
    """
    frame = table.to_pandas(split_blocks=True, date_as_object=True)
    if not whole_integers:
        return frame
    import pandas as pd
    import pyarrow as pa

    for place, column in enumerate(table.columns):
        if pa.types.is_int64(column.type) and column.null_count:
            values, null = column.fill_null(0).to_numpy(), column.is_null().to_numpy()
            frame.isetitem(place, pd.Series(pd.arrays.IntegerArray(values, null)))
    return frame


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
        column, bad = converter(dtype)(source, dtype, name)
        if isinstance(dtype, np.dtype) and dtype.kind == "O":
            # pandas marks a missing string with NaN, Arrow with None: a row must be the same to the
            # model wherever it came from.
            column[is_missing(column)] = marker
        for row in np.flatnonzero(bad):
            value = source.iloc[row]
            value = value.item() if isinstance(value, np.generic) else value
            problems.setdefault(int(row), f"feature {name!r}: value {_shown(value)} does not fit dtype {dtype}")
        columns.append(column)
    return Rows(layout, tuple(columns)), problems


def _shown(value: Any) -> str:
    text = repr(value)  # the whole of a long one stands in the row itself
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def as_declared(frame: pd.DataFrame, columns: InputColumns | None) -> pd.DataFrame:
    """Return background rows with the dtypes that a model's signature declares, no value changed.

    Parameters
    ----------
    frame
        (B, M) rows.
    columns
        Names and dtypes; None leaves the rows as they are. Features that it does not name keep their dtype.

    Raises
    ------
    InputError
        A value does not fit, such as a missing one where the signature has integers.
    """
    if columns is None:
        return frame
    names = [name for name in columns.names if name in frame.columns]
    dtypes = tuple(dtype for name, dtype in zip(columns.names, columns.dtypes, strict=True) if name in frame.columns)
    rows, problems = conform(frame[names], Layout(tuple(names), tuple(names), dtypes, True, (np.nan,) * len(names)))
    if problems:
        first = min(problems)
        raise InputError(
            f"reference: {len(problems)} of its {len(frame)} rows are not as the model's signature declares them, the "
            f"first: {problems[first]}; leave such rows out (reference.where), or log the model with a signature that "
            "allows them"
        )
    declared = rows.to_input()
    declared.index = frame.index
    return frame.assign(**{name: declared[name] for name in names})
