"""Bins of features' values, for curves: made once on the driver from applicants drawn at random.

Numbers and times are cut at quantiles, other values into the most frequent ones and the rest; a missing value has a bin
of its own. A group of columns has no value, and no bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.models.values import is_missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from spark_shap.models.frames import Rows

__all__ = ["FeatureBins", "fit_bins"]


@dataclass(frozen=True)
class _Cuts:
    """Bins of numbers: the first ends with the first border, and so on; times are nanoseconds."""

    borders: NDArray[np.float64]
    is_time: bool

    def encode(self, column: Any) -> NDArray[np.int8]:
        return np.searchsorted(self.borders, _numbers(column), side="left").astype(np.int8)

    def label(self, place: int) -> tuple[str, float | None, float | None]:
        low = float(self.borders[place - 1]) if place > 0 else None
        high = float(self.borders[place]) if place < len(self.borders) else None
        if low is None and high is None:
            return "all", None, None
        if low is None:
            return f"up to {self._text(high)}", low, high
        if high is None:
            return f"above {self._text(low)}", low, high
        return f"above {self._text(low)} up to {self._text(high)}", low, high

    def _text(self, border: float | None) -> str:
        if self.is_time:
            return str(np.datetime64(int(border or 0), "ns")).removesuffix("T00:00:00.000000000")
        return f"{border:.12g}"


@dataclass(frozen=True)
class _Levels:
    """Bins of other values: one for each of the most frequent, one for the rest."""

    values: pd.Index

    def encode(self, column: Any) -> NDArray[np.int8]:
        place = self.values.get_indexer(_plain(column))
        return np.where(place < 0, len(self.values), place).astype(np.int8)

    def label(self, place: int) -> tuple[str, None, None]:
        return (str(self.values[place]) if place < len(self.values) else "other"), None, None


@dataclass(frozen=True)
class FeatureBins:
    """The bins of all features.

    Attributes
    ----------
    features
        Those of each feature; None for a group.
    columns
        Where the column of each feature stands; None for a group.
    n_bins
        B, of every feature, the last of which is that of missing values; few use them all.
    """

    features: tuple[_Cuts | _Levels | None, ...]
    columns: tuple[int | None, ...]
    n_bins: int

    def encode(self, rows: Rows) -> NDArray[np.int8]:
        """Return (n, M) bins; -1 for a group."""
        out = np.full((len(rows), len(self.features)), -1, dtype=np.int8)
        for feature, (bins, place) in enumerate(zip(self.features, self.columns, strict=True)):
            if bins is not None and place is not None:
                column = rows.columns[place]
                out[:, feature] = np.where(is_missing(column), self.n_bins - 1, bins.encode(column))
        return out

    def label(self, feature: int, place: int) -> tuple[str, float | None, float | None]:
        """Return a bin in words, and its ends: above the first, up to the second; None where it has none."""
        bins = self.features[feature]
        return ("missing", None, None) if bins is None or place == self.n_bins - 1 else bins.label(place)


def fit_bins(rows: Rows, columns: Sequence[int | None], n_bins: int) -> FeatureBins:
    """Return the bins of features from some rows.

    Parameters
    ----------
    rows
        Like those that will be explained.
    columns
        Where the column of each feature stands; None for a group.
    n_bins
        Of a feature, at most, beside that of missing values; up to 100.
    """
    fitted = tuple(None if place is None else _fit(rows.columns[place], n_bins) for place in columns)
    return FeatureBins(fitted, tuple(columns), n_bins + 1)


def _fit(column: Any, n_bins: int) -> _Cuts | _Levels:
    import pandas as pd

    known = column[~is_missing(column)]
    kind = getattr(column.dtype, "kind", "O")
    if kind in "iufmM" and str(column.dtype) != "category":
        numbers = _numbers(known)
        numbers = np.unique(numbers[np.isfinite(numbers)]) if len(numbers) else np.empty(0)
        if len(numbers) > n_bins:
            finite = _numbers(known)
            finite = finite[np.isfinite(finite)]
            borders = np.quantile(finite, np.arange(1, n_bins) / n_bins, method="inverted_cdf")
            return _Cuts(np.unique(borders), kind in "mM")
        return _Cuts(numbers[:-1], kind in "mM")
    values, counts = np.unique([str(value) for value in _plain(known)], return_counts=True)
    first = {str(value): value for value in _plain(known)}
    order = np.argsort(-counts, kind="stable")
    kept = order if len(order) <= n_bins else order[: n_bins - 1]
    return _Levels(pd.Index([first[str(values[index])] for index in kept], dtype=object))


def _numbers(column: Any) -> NDArray[np.float64]:
    """Return numbers, times as nanoseconds; NaN where there is none, which sorts above all borders."""
    if getattr(column.dtype, "kind", "O") in "mM":
        return np.asarray(np.asarray(column, dtype=f"{column.dtype.kind}8[ns]").astype(np.int64), dtype=np.float64)
    if isinstance(column, np.ndarray):
        return column.astype(np.float64)
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


def _plain(column: Any) -> NDArray[Any]:
    return np.asarray(column, dtype=object)
