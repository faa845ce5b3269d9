"""Growing oblivious trees: the kernels that choose cuts and fill leaves, in numpy.

Residuals are integers, so that sums over rows are exact in any order, and scores are taken in the same order and
precision by `growth_compiled`: both grow the same trees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.core.arrays import FloatArray

__all__ = ["choose_cuts", "leaf_sums", "take_off"]


def choose_cuts(
    bins: NDArray[np.uint8], residuals: NDArray[np.int32], shape: tuple[int, int], penalty: float
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Return the features (depth,) and cuts (depth,) that lower the squared residuals most, level by level.

    Parameters
    ----------
    bins
        (F, n) uint8.
    residuals
        (K, n) int32.
    shape
        Depth, and number of bins.
    penalty
        Rows with residual 0 that are added to each leaf.
    """
    depth, n_bins = shape
    features, cuts = np.zeros(depth, dtype=np.int32), np.zeros(depth, dtype=np.uint8)
    codes = np.zeros(bins.shape[1], dtype=np.uint8)
    weights = residuals.astype(np.float64)
    for level in range(depth):
        score = _scores(bins, codes, weights, (2**level, n_bins), np.float32(penalty))
        feature, cut = np.unravel_index(score.argmax(), score.shape)
        features[level], cuts[level] = feature, cut
        codes |= np.left_shift(bins[feature] > cut, level, dtype=np.uint8)
    return features, cuts


def _scores(
    bins: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    weights: NDArray[np.float64],
    shape: tuple[int, int],
    penalty: np.float32,
) -> NDArray[np.float32]:
    """Return (F, bins - 1) what a cut of all leaves at each feature and bin would explain."""
    n_leaves, n_bins = shape
    base = codes.astype(np.intp) * n_bins
    counts = np.empty((len(bins), *shape))
    sums = np.empty((len(weights), len(bins), *shape))
    for feature, column in enumerate(bins):
        cells = base + column
        counts[feature] = np.bincount(cells, minlength=n_leaves * n_bins).reshape(shape)
        for output, weight in enumerate(weights):
            sums[output, feature] = np.bincount(cells, weight, n_leaves * n_bins).reshape(shape)
    low, high = _sides(counts)
    sides = [_sides(output) for output in sums]
    scores = np.zeros((len(bins), n_bins - 1), dtype=np.float32)
    for leaf in range(n_leaves):  # one by one, so that the compiled kernel rounds alike
        for below, above in sides:
            scores += below[:, leaf] ** 2 / (low[:, leaf] + penalty) + above[:, leaf] ** 2 / (high[:, leaf] + penalty)
    return scores


def _sides(cells: FloatArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (F, leaves, bins - 1) the sums up to each bin, and those beyond it."""
    below = cells.cumsum(axis=2)
    return below[:, :, :-1].astype(np.float32), (below[:, :, -1:] - below[:, :, :-1]).astype(np.float32)


def leaf_sums(
    codes: NDArray[np.uint8], residuals: NDArray[np.int32], n_leaves: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sums of residuals (n_leaves, K) and the numbers of rows (n_leaves,) of each leaf."""
    sums = [np.bincount(codes, row.astype(np.float64), n_leaves) for row in residuals]
    return np.stack(sums, axis=1).astype(np.int64), np.bincount(codes, minlength=n_leaves).astype(np.int64)


def take_off(residuals: NDArray[np.int32], codes: NDArray[np.uint8], leaves: NDArray[np.int32]) -> None:
    """Take a tree's leaves (n_leaves, K) off the residuals (K, n), in place."""
    for row, values in zip(residuals, leaves.T, strict=True):
        row -= values[codes]
