r"""The additive part: a piecewise linear function of each feature, beside the trees.

A smooth model's main effects are staircases to trees. Here :math:`h(x) = \sum_i h_i(x_i)` takes them off first,
by ridge regression on the hat functions of quantile knots; its Shapley values are :math:`h_i(x_i) - \bar h_i`,
the bar being the mean over the background. Heights are integers in the units of the trees' leaves.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.core.arrays import FloatArray

__all__ = ["Additive", "fit_additive"]

_ROWS = 20_000
_COLUMNS = 480
_KNOTS = (2, 11)
_PENALTY = 30.0  # rows with residual 0 a standardised column


@dataclass(frozen=True)
class Additive:
    """Piecewise linear functions of F features.

    Attributes
    ----------
    knots
        F ascending arrays (m,); none where a feature has no function.
    heights
        F arrays (m + 1, K) int32: the functions at the knots, and last at a missing value.
    """

    knots: tuple[FloatArray, ...]
    heights: tuple[NDArray[np.int32], ...]

    @classmethod
    def none(cls, n_features: int, n_outputs: int) -> Additive:
        """Return the functions that are 0."""
        empty = np.zeros((1, n_outputs), dtype=np.int32)
        return cls((np.empty(0),) * n_features, (empty,) * n_features)

    @property
    def features(self) -> NDArray[np.intp]:
        """The A features that have a function."""
        return np.flatnonzero([len(knots) > 0 for knots in self.knots])

    def encode(self, x: FloatArray) -> NDArray[np.int32]:
        """Return the functions of the rows x (n, F), (n, A, K)."""
        features, n_outputs = self.features, self.heights[0].shape[1]
        parts = np.empty((len(x), len(features), n_outputs), dtype=np.int32)
        for place, feature in enumerate(features):
            column, knots, heights = x[:, feature], self.knots[feature], self.heights[feature]
            missing = np.isnan(column)
            for output in range(n_outputs):
                height = np.interp(column, knots, heights[:-1, output])
                parts[:, place, output] = np.rint(np.where(missing, heights[-1, output], height))
        return parts


def fit_additive(x: FloatArray, order: NDArray[np.intp], targets: FloatArray, units: FloatArray) -> Additive:
    """Fit functions to targets (N, K), whose mean is 0, of the rows ``x[order]`` (N, F), NaN where missing."""
    x, targets = x[order[:_ROWS]], targets[:_ROWS]
    count = int(np.clip(_COLUMNS // x.shape[1], *_KNOTS))
    knots = tuple(_knots(column, count) for column in x.T)
    columns = np.concatenate([_hats(column, knot) for column, knot in zip(x.T, knots, strict=True)], axis=1)
    mean, spread = columns.mean(axis=0), columns.std(axis=0)
    # Single precision: the heights are rounded far above it.
    spread = np.where(spread > 0.0, spread, np.inf)
    columns = ((columns - mean) / spread).astype(np.float32)
    gram = (columns.T @ columns).astype(np.float64) + _PENALTY * np.eye(len(mean))
    slopes = np.linalg.solve(gram, (columns.T @ targets.astype(np.float32)).astype(np.float64)) / spread[:, None]
    starts = np.cumsum([0] + [len(knot) + 1 for knot in knots])
    heights = [np.rint(slopes[a:b] / units).astype(np.int32) for a, b in itertools.pairwise(starts)]
    return Additive(knots, tuple(heights))


def _knots(column: FloatArray, count: int) -> FloatArray:
    column = column[np.isfinite(column)]
    if len(column) == 0:
        return np.zeros(1)
    return np.unique(np.quantile(column, np.linspace(0.0, 1.0, count)))


def _hats(column: FloatArray, knots: FloatArray) -> FloatArray:
    """Return (N, m + 1) the hat functions, and last the indicator of a missing value."""
    hats = np.zeros((len(column), len(knots) + 1))
    rows = np.arange(len(column))
    missing = np.isnan(column)
    place = np.interp(column, knots, np.arange(float(len(knots))))
    place = np.where(missing, len(knots), place)
    left = np.minimum(place.astype(np.intp), len(knots))
    hats[rows, left] = 1.0 - (place - left)
    hats[rows, np.minimum(left + 1, len(knots))] += place - left
    return hats
