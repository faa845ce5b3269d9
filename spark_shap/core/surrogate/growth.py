"""Growing oblivious trees: the kernels that choose cuts and fill leaves, in numpy.

Residuals are integers, so that sums over rows are exact in any order and `growth_compiled` grows the same trees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.core.arrays import FloatArray

__all__ = ["best_cut", "leaf_sums", "take_off"]


def best_cut(
    bins: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    residuals: NDArray[np.int32],
    shape: tuple[int, int],
    penalty: float,
) -> tuple[int, int]:
    """Return the feature and the cut that lower the squared residuals most, all leaves being cut alike.

    Parameters
    ----------
    bins
        (F, n) uint8.
    codes
        (n,) uint8 present leaf of each row.
    residuals
        (K, n) int32.
    shape
        Numbers of leaves and of bins.
    penalty
        Rows with residual 0 that are added to each leaf.
    """
    n_leaves, n_bins = shape
    n_features, base = len(bins), codes.astype(np.intp) * n_bins
    counts = np.empty((n_features, n_leaves, n_bins))
    sums = np.empty((len(residuals), n_features, n_leaves, n_bins))
    weights = residuals.astype(np.float64)
    for feature, column in enumerate(bins):
        cell = base + column
        counts[feature] = np.bincount(cell, minlength=n_leaves * n_bins).reshape(shape)
        for output, weight in enumerate(weights):
            sums[output, feature] = np.bincount(cell, weight, n_leaves * n_bins).reshape(shape)
    return _highest(sums.cumsum(axis=3), counts.cumsum(axis=2), penalty)


def _highest(sums: FloatArray, counts: FloatArray, penalty: float) -> tuple[int, int]:
    score = np.zeros((counts.shape[0], counts.shape[2] - 1))
    for leaf in range(counts.shape[1]):  # in this order, so that the compiled kernel rounds alike
        low = counts[:, leaf, :-1]
        high = counts[:, leaf, -1:] - low
        for output in sums:
            below = output[:, leaf, :-1]
            above = output[:, leaf, -1:] - below
            score += below * below / (low + penalty) + above * above / (high + penalty)
    feature, cut = np.unravel_index(score.argmax(), score.shape)
    return int(feature), int(cut)


def leaf_sums(
    codes: NDArray[np.uint8], residuals: NDArray[np.int32], n_leaves: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sums of residuals (n_leaves, K) and the numbers of rows (n_leaves,) of each leaf."""
    sums = [np.bincount(codes, row.astype(np.float64), n_leaves) for row in residuals]
    return np.stack(sums, axis=1).astype(np.int64), np.bincount(codes, minlength=n_leaves).astype(np.int64)


def take_off(residuals: NDArray[np.int32], codes: NDArray[np.uint8], leaves: NDArray[np.int16]) -> None:
    """Take a tree's leaves (n_leaves, K) off the residuals (K, n), in place."""
    for row, values in zip(residuals, leaves.T.astype(np.int32), strict=True):
        row -= values[codes]
