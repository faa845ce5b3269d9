"""Whether two explanations of a row name the same features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spark_shap.core.summary_rows import top_four

if TYPE_CHECKING:
    from spark_shap.core.arrays import BoolArray, FloatArray

__all__ = ["shared_top"]


def shared_top(values: FloatArray, others: FloatArray) -> FloatArray:
    """Return (n, K) the share of a row's four largest values that are among its four largest in another explanation.

    Parameters
    ----------
    values, others
        (n, M, K) each. A value of 0 is not among the largest; the share is of the longer of the two lists, and 1 where
        both are empty, so that it is symmetric.
    """
    first, second = _top(values), _top(others)
    longest = np.maximum(first.sum(axis=1), second.sum(axis=1))
    both = (first & second).sum(axis=1)
    return np.where(longest > 0, both / np.maximum(longest, 1), 1.0)


def _top(values: FloatArray) -> BoolArray:
    """Return (n, M, K) bool."""
    n_rows, n_features, n_outputs = values.shape
    magnitudes = np.abs(values.transpose(0, 2, 1)).reshape(-1, n_features)
    chosen = top_four(magnitudes) & (magnitudes > 0.0)
    return chosen.reshape(n_rows, n_outputs, n_features).transpose(0, 2, 1)
