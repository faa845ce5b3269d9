"""The kernels of `growth`, compiled; the same trees to the last bit.

One 64-bit cell of a histogram holds a sum of residuals above 20 bits that count rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import AnyArray

__all__ = ["best_cut", "leaf_sums", "take_off"]

_COUNT_BITS = 20


@numba.njit(cache=True, nogil=True)
def best_cut(
    bins: AnyArray, codes: AnyArray, residuals: AnyArray, shape: tuple[int, int], penalty: float
) -> tuple[int, int]:
    """See `growth.best_cut`; at most 2**20 - 1 rows."""
    n_leaves, n_bins = shape
    n_outputs, n_rows = residuals.shape
    packed = (residuals.astype(np.int64) << _COUNT_BITS) + 1
    cells = np.empty((n_outputs, n_leaves, n_bins), np.int64)
    best, best_feature, best_cut = -1.0, 0, 0
    for feature in range(bins.shape[0]):
        cells[:] = 0
        column = bins[feature]
        for output in range(n_outputs):
            histogram, values = cells[output], packed[output]
            for row in range(n_rows):
                histogram[codes[row], column[row]] += values[row]
        score, cut = _highest(cells, penalty)
        if score > best:
            best, best_feature, best_cut = score, feature, cut
    return best_feature, best_cut


@numba.njit(cache=True, nogil=True)
def _highest(cells: AnyArray, penalty: float) -> tuple[float, int]:
    n_outputs, n_leaves, n_bins = cells.shape
    scores = np.zeros(n_bins - 1)
    sums, counts = np.empty(n_bins), np.empty(n_bins)
    for leaf in range(n_leaves):
        for output in range(n_outputs):
            cell = np.int64(0)
            for at in range(n_bins):
                cell += cells[output, leaf, at]
                sums[at] = cell >> _COUNT_BITS
                counts[at] = cell & ((1 << _COUNT_BITS) - 1)
            all_sum, all_count = sums[-1], counts[-1]
            for at in range(n_bins - 1):
                below, above = sums[at], all_sum - sums[at]
                low, high = counts[at], all_count - counts[at]
                scores[at] += below * below / (low + penalty) + above * above / (high + penalty)
    cut = scores.argmax()
    return float(scores[cut]), int(cut)


@numba.njit(cache=True, nogil=True)
def leaf_sums(codes: AnyArray, residuals: AnyArray, n_leaves: int) -> tuple[AnyArray, AnyArray]:
    """See `growth.leaf_sums`."""
    sums = np.zeros((n_leaves, residuals.shape[0]), np.int64)
    counts = np.zeros(n_leaves, np.int64)
    for row in range(len(codes)):
        counts[codes[row]] += 1
    for output in range(residuals.shape[0]):
        values = residuals[output]
        for row in range(len(codes)):
            sums[codes[row], output] += values[row]
    return sums, counts


@numba.njit(cache=True, nogil=True)
def take_off(residuals: AnyArray, codes: AnyArray, leaves: AnyArray) -> None:
    """See `growth.take_off`."""
    for output in range(residuals.shape[0]):
        values = residuals[output]
        for row in range(len(codes)):
            values[row] -= leaves[codes[row], output]
