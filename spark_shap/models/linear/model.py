r"""What a linear model's features contribute: the columns that each of them became, weighted and added up.

A feature contributes :math:`c_i(x_i) = \sum_c w_c t_c(x_i)` over its columns c, which the model's own first steps
make. Columns are added one after another, elementwise, so that a row's bits do not depend on its company.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.models.frames import Rows

__all__ = ["LinearModel"]

_BLOCK_CELLS = 2**21  # 16 MB of transformed columns at a time ..
_LEAST_ROWS = 512  # .. but a call of a pipeline costs milliseconds, whatever the number of rows


@dataclass(frozen=True)
class LinearModel:
    """A model that is linear in columns of which each comes from one feature.

    Attributes
    ----------
    transformers
        The fitted steps before the linear one.
    slopes
        (C, K) of the transformed columns.
    feature_of_column
        (C,) the feature that a column comes from; -1 for a constant column.
    n_features
        F, those without a column included.
    plain_array
        True when the model wants a bare two-dimensional array although the rows are a frame.
    """

    transformers: tuple[Any, ...]
    slopes: NDArray[np.float64]
    feature_of_column: NDArray[np.intp]
    n_features: int
    plain_array: bool

    def columns(self, rows: Rows) -> NDArray[np.float64]:
        """Return the transformed columns of n rows, (n, C)."""
        matrix = self._transform(rows)
        return _dense(matrix.toarray() if _is_sparse(matrix) else matrix)

    def contributions(self, rows: Rows) -> NDArray[np.float64]:
        """Return what each feature adds to each output, (n, F, K); 0 for a feature without a column."""
        n_columns, n_outputs = self.slopes.shape
        out = np.zeros((len(rows), self.n_features, n_outputs))
        step = max(_LEAST_ROWS, _BLOCK_CELLS // max(n_columns, 1))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            matrix = self._transform(rows.take(part))
            out[part] = self._fold_sparse(matrix) if _is_sparse(matrix) else self._fold_dense(_dense(matrix))
        return out

    def _transform(self, rows: Rows) -> Any:
        if not self.transformers and _all_numeric(rows):
            return _numbers(rows)
        matrix = rows.to_input()
        if self.plain_array:
            matrix = np.asarray(matrix)
        for transformer in self.transformers:
            matrix = transformer.transform(matrix)
        return matrix

    def _fold_dense(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.zeros((self.n_features, self.slopes.shape[1], len(matrix)))
        used = (self.feature_of_column >= 0) & self.slopes.any(axis=1)
        for column in np.flatnonzero(used):
            out[self.feature_of_column[column]] += self.slopes[column][:, None] * matrix[:, column]
        return out.transpose(2, 0, 1)

    def _fold_sparse(self, matrix: Any) -> NDArray[np.float64]:
        """Fold a scipy sparse matrix by its entries alone: one-hot columns may be many thousands."""
        entries = matrix.tocsr()
        n_rows, n_places = entries.shape[0], self.n_features + 1  # the last place is that of constant columns
        owner = np.where(self.feature_of_column < 0, self.n_features, self.feature_of_column)
        place = np.repeat(np.arange(n_rows) * n_places, np.diff(entries.indptr)) + owner[entries.indices]
        out = np.empty((n_rows * n_places, self.slopes.shape[1]))
        for output, slope in enumerate(self.slopes.T):
            out[:, output] = np.bincount(place, entries.data * slope[entries.indices], minlength=len(out))
        return out.reshape(n_rows, n_places, -1)[:, :-1]


def _numbers(rows: Rows) -> NDArray[np.float64]:
    """Return all-numeric rows as one (n, F) float64 matrix."""
    return np.stack([np.asarray(column, dtype=np.float64) for column in rows.columns], axis=1)


def _all_numeric(rows: Rows) -> bool:
    return sum(map(len, rows.layout.blocks.values())) == len(rows.columns)


def _is_sparse(matrix: Any) -> bool:
    return hasattr(matrix, "tocsr")


def _dense(matrix: Any) -> NDArray[np.float64]:
    return np.asarray(matrix, dtype=np.float64)
