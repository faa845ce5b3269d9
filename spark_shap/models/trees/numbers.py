"""Rows as the numbers that a model's trees compare: categories by the model's own numbering."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.models.trees.reading import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from spark_shap.models.frames import Layout, Rows

__all__ = ["Coded", "Known", "Looked", "Numbers", "coded", "is_categorical", "numeric_columns"]


@dataclass(frozen=True)
class Known:
    """The model's numbers of the categories that it knows; any other is missing."""

    numbers: dict[Any, int]

    def __call__(self, value: Any) -> float:
        """Return a value's number, NaN where it is not known."""
        return float(self.numbers.get(value, math.nan))


@dataclass(frozen=True)
class Coded:
    """A pandas category column: the model's number of each of its categories.

    Attributes
    ----------
    numbers
        (categories + 1,) float64; the last is that of a missing value.
    """

    numbers: NDArray[np.float64]

    def __call__(self, column: Any) -> NDArray[np.float64]:
        """Return (n,) numbers; pandas' code of a missing value is -1, the last."""
        return np.asarray(self.numbers[column.codes])


@dataclass(frozen=True)
class Looked:
    """A column of texts, or of numbers that stand for categories: each value is looked up.

    Attributes
    ----------
    number
        From a value to the model's number.
    missing
        The number of a missing value.
    """

    number: Callable[[Any], float]
    missing: float = math.nan

    def __call__(self, column: Any) -> NDArray[np.float64]:
        """Return (n,) numbers."""
        import pandas as pd

        codes, values = pd.factorize(column)
        numbers = [self.number(value.item() if isinstance(value, np.generic) else value) for value in values]
        # The code of a missing value is -1, the last.
        return np.asarray(np.array([*numbers, self.missing])[codes])


@dataclass(frozen=True)
class Numbers:
    """From rows to numbers.

    Attributes
    ----------
    columns
        One a feature: None where the value is the number.
    missing
        A number that the model takes for a missing value, NaN where there is none.
    """

    columns: tuple[Coded | Looked | None, ...]
    missing: float = math.nan

    def __call__(self, rows: Rows) -> NDArray[np.float64]:
        """Return (n, F) float64, NaN where a value is missing."""
        out = np.empty((len(rows), len(self.columns)))
        for place, (column, reader) in enumerate(zip(rows.columns, self.columns, strict=True)):
            out[:, place] = _plain(column) if reader is None else reader(column)
        if not math.isnan(self.missing):
            out[out.astype(np.float32) == np.float32(self.missing)] = np.nan
        return out


def _plain(column: Any) -> NDArray[np.float64]:
    if isinstance(column, np.ndarray):
        return column.astype(np.float64, copy=False)
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


def is_categorical(dtype: Any) -> bool:
    """Return True for pandas' category dtype."""
    import pandas as pd

    return isinstance(dtype, pd.CategoricalDtype)


def coded(dtype: Any, categories: Any) -> Coded:
    """Return the numbers of a category dtype's categories: their places among the model's, NaN where not there."""
    import pandas as pd

    codes = pd.Index(categories).get_indexer(pd.Index(dtype.categories))
    return Coded(np.array([*np.where(codes < 0, np.nan, codes), np.nan]))


def numeric_columns(layout: Layout, n_features: int, *, other: Mapping[int, Coded | Looked]) -> Numbers:
    """Return the reading of a layout whose columns are numbers, but for `other`.

    Raises
    ------
    UnreadableError
        A column is neither a number nor in `other`, or the model was fitted on another number of features.
    """
    from pandas.api import types

    if n_features != len(layout.names):
        raise UnreadableError(f"it was fitted on {n_features} features and the background has {len(layout.names)}")
    for place, (name, dtype) in enumerate(zip(layout.names, layout.dtypes, strict=True)):
        if place not in other and not types.is_numeric_dtype(dtype):
            raise UnreadableError(f"feature {name!r} has dtype {dtype}, which its trees do not compare as a number")
    return Numbers(tuple(other.get(place) for place in range(n_features)))
