"""Numbers to bins: the only thing that trees see of a feature.

Borders are midpoints between distinct values where a feature has few, otherwise quantiles. A value's bin is
one more than the number of borders below it; bin 0 holds missing values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.core.arrays import FloatArray

__all__ = ["Binning", "fit_binning"]

_SAMPLE = 50_000


@dataclass(frozen=True)
class Binning:
    """Borders of each feature.

    Attributes
    ----------
    borders
        F ascending arrays of finite float64.
    """

    borders: tuple[FloatArray, ...]

    @property
    def n_bins(self) -> int:
        """Bins of the feature that has most, the one for missing values included."""
        return 2 + max(len(border) for border in self.borders)

    def encode(self, x: FloatArray) -> NDArray[np.uint8]:
        """Return the bins of rows x (n, F), NaN where missing, by feature: (F, n) uint8."""
        bins = np.empty((len(self.borders), len(x)), dtype=np.uint8)
        for feature, border in enumerate(self.borders):
            column = np.ascontiguousarray(x[:, feature])
            bins[feature] = 1 + border.searchsorted(column)
            bins[feature, np.isnan(column)] = 0
        return bins


def fit_binning(x: FloatArray, max_bins: int) -> Binning:
    """Choose borders for the columns of x (n, F), NaN where missing; at most ``max_bins`` bins a feature."""
    step = max(1, len(x) // _SAMPLE)
    return Binning(tuple(_borders(x[::step, feature], max_bins) for feature in range(x.shape[1])))


def _borders(column: FloatArray, max_bins: int) -> FloatArray:
    column = column[np.isfinite(column)]
    distinct = np.unique(column)
    if len(distinct) > max_bins:
        distinct = np.unique(np.quantile(column, np.linspace(0.0, 1.0, max_bins + 1)[1:-1]))
        return np.asarray(distinct)
    # Halves first: the sum of two huge values would overflow. Neighbouring floats may round up to the higher.
    middle = distinct[1:] / 2 + distinct[:-1] / 2
    return np.asarray(np.where(middle < distinct[1:], middle, distinct[:-1]))
