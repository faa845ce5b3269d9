"""The kernels of `lookup`, compiled; the same integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import AnyArray

__all__ = ["codes_of_bins", "pair_sums", "sums", "value_sums"]

_ROWS = 64


@numba.njit(cache=True, nogil=True)
def codes_of_bins(bins: AnyArray, features: AnyArray, cuts: AnyArray) -> AnyArray:
    """See `lookup.codes_of_bins`."""
    n_rows, (n_trees, depth) = bins.shape[1], features.shape
    codes = np.empty((n_rows, n_trees), np.uint8)
    block = np.empty((n_trees, _ROWS), np.uint8)
    for start in range(0, n_rows, _ROWS):
        size = min(n_rows - start, _ROWS)
        for tree in range(n_trees):
            code = block[tree]
            code[:] = 0
            for level in range(depth):
                column, cut = bins[features[tree, level], start : start + size], cuts[tree, level]
                bit = np.uint8(1 << level)
                for row in range(size):
                    if column[row] > cut:
                        code[row] |= bit
        for row in range(size):
            for tree in range(n_trees):
                codes[start + row, tree] = block[tree, row]
    return codes


@numba.njit(cache=True, nogil=True)
def sums(codes: AnyArray, leaves: AnyArray) -> AnyArray:
    """See `lookup.sums`."""
    n_rows, n_trees = codes.shape
    n_leaves, n_outputs = leaves.shape[1:]
    table = leaves.reshape(-1)
    out = np.zeros((n_rows, n_outputs), np.int64)
    for row in range(n_rows):
        for output in range(n_outputs):
            total = 0
            for tree in range(n_trees):
                total += table[np.uint64((tree * n_leaves + codes[row, tree]) * n_outputs + output)]
            out[row, output] = total
    return out


@numba.njit(cache=True, nogil=True)
def value_sums(codes: AnyArray, tables: AnyArray, features: AnyArray, n_features: int) -> AnyArray:
    """See `lookup.value_sums`."""
    n_rows, n_trees = codes.shape
    _, n_leaves, depth, n_outputs = tables.shape
    width = depth * n_outputs
    table = tables.reshape(-1)
    place = np.empty((n_trees, width), np.uint64)
    for tree in range(n_trees):
        for at in range(width):
            place[tree, at] = features[tree, at // n_outputs] * n_outputs + at % n_outputs
    out = np.empty((n_rows, n_features * n_outputs), np.int64)
    total = np.empty(n_features * n_outputs, np.int64)
    for row in range(n_rows):
        total[:] = 0
        for tree in range(n_trees):
            start = (tree * n_leaves + codes[row, tree]) * width
            for at in range(width):
                total[place[tree, at]] += table[np.uint64(start + at)]
        out[row] = total
    return out.reshape(n_rows, n_features, n_outputs)


@numba.njit(cache=True, nogil=True)
def pair_sums(
    codes: tuple[AnyArray, AnyArray],
    background_index: AnyArray,
    members: AnyArray,
    leaves: AnyArray,
    slots: tuple[AnyArray, AnyArray],
    sign: int,
) -> AnyArray:
    """See `lookup.pair_sums`.

    Tree by tree and pairs innermost: what the inner loops read stays in the first-level cache. Unsigned indices
    spare the test for negative ones.
    """
    of_rows, background = codes[0], codes[1].T.copy()
    features, owned = slots[0].astype(np.uint64), slots[1]
    n_rows, n_pairs = background_index.shape
    n_trees, n_leaves, n_outputs = leaves.shape
    table = leaves.transpose(0, 2, 1).copy().reshape(-1)
    out = np.empty((n_rows, n_pairs, n_outputs), np.int64)
    on = np.empty((members.shape[1], n_pairs), np.uint8)
    index, total = np.empty(n_pairs, np.uint64), np.empty((n_outputs, n_pairs), np.int32)
    hybrid, mirror = np.empty(n_pairs, np.uint8), np.empty(n_pairs, np.uint8)
    factor = np.int32(sign)
    for row in range(n_rows):
        on[:] = np.where(members[row], np.uint8(255), np.uint8(0))
        index[:] = background_index[row]
        total[:] = 0
        for tree in range(n_trees):
            hybrid[:] = 0
            for slot in range(features.shape[1]):
                bits, feature = owned[tree, slot], features[tree, slot]
                for pair in range(n_pairs):
                    hybrid[pair] |= on[feature, np.uint64(pair)] & bits
            x, at = of_rows[row, tree], np.uint64(tree)
            for pair in range(n_pairs):
                mirror[pair] = background[at, index[pair]]
            for pair in range(n_pairs):
                moved = (x ^ mirror[pair]) & hybrid[pair]
                hybrid[pair] = mirror[pair] ^ moved
                mirror[pair] = x ^ moved
            for output in range(n_outputs):
                start = (tree * n_outputs + output) * n_leaves
                for pair in range(n_pairs):
                    there = np.int32(table[np.uint64(start + mirror[pair])])
                    total[output, pair] += np.int32(table[np.uint64(start + hybrid[pair])]) + factor * there
        out[row] = total.T
    return out
