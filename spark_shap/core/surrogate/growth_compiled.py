"""The kernels of `growth`, compiled; the same trees to the last bit.

One 64-bit cell of a histogram holds a sum of residuals above 20 bits that count rows. Of the two children of a leaf
only the smaller one is counted: the other is what is left of the parent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import AnyArray

__all__ = ["choose_cuts", "leaf_sums", "take_off"]

_COUNT_BITS = 20
_COUNT_MASK = (1 << _COUNT_BITS) - 1


@numba.njit(cache=True, nogil=True)
def choose_cuts(
    bins: AnyArray, residuals: AnyArray, shape: tuple[int, int], penalty: float
) -> tuple[AnyArray, AnyArray]:
    """See `growth.choose_cuts`; at most 2**20 - 1 rows."""
    depth, n_bins = shape
    n_features, n_rows = bins.shape
    packed = (residuals.astype(np.int64) << _COUNT_BITS) + 1
    features, cuts = np.zeros(depth, np.int32), np.zeros(depth, np.uint8)
    codes, rows = np.zeros(n_rows, np.uint8), np.arange(n_rows).astype(np.uint32)
    # Cell (f, k, leaf, bin); the leaf that is cut at level l goes on as itself and as itself + 2**l.
    cells = np.zeros((n_features, len(residuals), 2 ** (depth - 1), n_bins), np.int64)
    upper, smaller = codes, np.zeros(1, np.uint8)
    for level in range(depth):
        best: Any = np.float32(-1.0)
        for feature in range(n_features):
            # The smaller children are counted in the place of the upper ones.
            _count(cells[feature], bins[feature], upper, rows, packed)
            if level:
                _complete(cells[feature], smaller, 2 ** (level - 1))
            score, cut = _highest(cells[feature], 2**level, np.float32(penalty))
            if score > best:
                best, features[level], cuts[level] = score, feature, cut
        rows, smaller = _cut(codes, bins[features[level]] > cuts[level], level)
        upper = codes | np.uint8(2**level)
    return features, cuts


@numba.njit(cache=True, nogil=True)
def _count(cells: AnyArray, column: AnyArray, codes: AnyArray, rows: AnyArray, packed: AnyArray) -> None:
    for output in range(len(cells)):
        histogram, values = cells[output], packed[output]
        for row in rows:
            histogram[codes[row], column[row]] += values[row]


@numba.njit(cache=True, nogil=True)
def _complete(cells: AnyArray, smaller: AnyArray, n_parents: int) -> None:
    """Split the parents' cells, to which those of their smaller children have been added beyond."""
    for output in range(len(cells)):
        for leaf in range(n_parents):
            low, high = cells[output, leaf], cells[output, leaf + n_parents]
            for at in range(len(low)):
                low[at] -= high[at]
                if not smaller[leaf]:
                    low[at], high[at] = high[at], low[at]


@numba.njit(cache=True, nogil=True)
def _cut(codes: AnyArray, above: AnyArray, level: int) -> tuple[AnyArray, AnyArray]:
    """Move rows to the leaves of the next level.

    Return the rows of the smaller children and, by parent, whether that is the upper one.
    """
    n_parents = 2**level
    counts = np.zeros((2, n_parents), np.int64)
    for row in range(len(codes)):
        counts[np.uint8(above[row]), codes[row]] += 1
    smaller = (counts[1] <= counts[0]).astype(np.uint8)
    rows, n_rows = np.empty(len(codes), np.uint32), 0
    for row in range(len(codes)):
        rows[n_rows] = row
        n_rows += above[row] == smaller[codes[row]]
        codes[row] += n_parents * above[row]
    return rows[:n_rows], smaller


@numba.njit(cache=True, nogil=True)
def _highest(cells: AnyArray, n_leaves: int, penalty: Any) -> Any:
    n_outputs, _, n_bins = cells.shape
    scores = np.zeros(n_bins - 1, np.float32)
    sums, counts = np.empty(n_bins, np.int64), np.empty(n_bins, np.int64)
    for leaf in range(n_leaves):
        for output in range(n_outputs):
            cell = np.int64(0)
            for at in range(n_bins):
                cell += cells[output, leaf, at]
                sums[at] = cell >> _COUNT_BITS
                counts[at] = cell & _COUNT_MASK
            total, rows = sums[-1], counts[-1]
            for at in range(n_bins - 1):
                below, above = np.float32(sums[at]), np.float32(total - sums[at])
                low, high = np.float32(counts[at]) + penalty, np.float32(rows - counts[at]) + penalty
                scores[at] += below * below / low + above * above / high
    cut = scores.argmax()
    return scores[cut], cut


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
