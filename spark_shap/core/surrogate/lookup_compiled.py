"""The kernels of `lookup`, compiled; the same integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import AnyArray
    from spark_shap.core.surrogate.lookup import Tables

__all__ = ["codes_of_bins", "pair_words", "value_sums", "words_of_codes"]

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
def words_of_codes(codes: AnyArray, leaves: AnyArray) -> AnyArray:
    """See `lookup.words_of_codes`."""
    n_rows, n_trees = codes.shape
    out = np.zeros((n_rows, leaves.shape[1]), np.int64)
    for row in range(n_rows):
        for word in range(leaves.shape[1]):
            total = 0
            for tree in range(n_trees):
                total += leaves[tree, word, codes[row, tree]]
            out[row, word] = total
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
def pair_words(
    codes: tuple[AnyArray, AnyArray],
    parts: tuple[AnyArray, AnyArray],
    background_index: AnyArray,
    members: AnyArray,
    tables: Tables,
) -> tuple[AnyArray, AnyArray]:
    """See `lookup.pair_words`.

    Tree by tree and pairs innermost: what the inner loops read stays in the first-level cache.
    """
    n_rows, n_pairs = background_index.shape
    n_words = tables.leaves.shape[1]
    of_background = codes[1].T.copy()
    functions = parts[1].transpose(1, 2, 0).copy()
    everything = functions.sum(axis=0)
    hybrids = np.empty((n_rows, n_pairs, n_words), np.int64)
    mirrors = np.empty((n_rows, n_pairs, n_words), np.int64)
    on = np.empty((members.shape[1], n_pairs), np.uint8)
    index = np.empty(n_pairs, np.uint64)
    hybrid, mirror = np.empty((n_words, n_pairs), np.int64), np.empty((n_words, n_pairs), np.int64)
    for row in range(n_rows):
        on[:] = np.uint8(0) - members[row]  # 0 or 255
        index[:] = background_index[row]
        for word in range(n_words):
            _functions(hybrid[word], parts[0][row, :, word], functions[:, word], on[tables.functions], index)
            _mirrored(mirror[word], hybrid[word], parts[0][row, :, word].sum(), everything[word], index)
        _add_trees(hybrid, mirror, codes[0][row], of_background, on, index, tables)
        hybrids[row], mirrors[row] = hybrid.T, mirror.T
    return hybrids, mirrors


@numba.njit(cache=True, nogil=True)
def _functions(hybrid: AnyArray, x: AnyArray, z: AnyArray, on: AnyArray, index: AnyArray) -> None:
    """Sum the functions at x where the coalition has the feature, else at z."""
    hybrid[:] = 0
    there = np.empty(len(index), np.int64)
    for place in range(len(x)):
        here, others, members = x[place], z[place], on[place]
        for pair in range(len(index)):
            there[pair] = others[index[pair]]
        for pair in range(len(index)):
            # No branch: the mask is -1 or 0.
            hybrid[pair] += there[pair] + ((here - there[pair]) & np.int64(np.int8(members[pair])))


@numba.njit(cache=True, nogil=True)
def _mirrored(mirror: AnyArray, hybrid: AnyArray, x: int, z: AnyArray, index: AnyArray) -> None:
    """Write what the functions sum to where x and z change places."""
    for pair in range(len(index)):
        mirror[pair] = x + z[index[pair]] - hybrid[pair]


@numba.njit(cache=True, nogil=True)
def _add_trees(
    hybrid: AnyArray, mirror: AnyArray, x: AnyArray, z: AnyArray, on: AnyArray, index: AnyArray, tables: Tables
) -> None:
    n_words, n_pairs = hybrid.shape
    here, there = np.empty(n_pairs, np.uint8), np.empty(n_pairs, np.uint8)
    for tree in range(len(x)):
        here[:] = 0
        for slot in range(tables.features.shape[1]):
            bits, members = tables.bits[tree, slot], on[tables.features[tree, slot]]
            for pair in range(n_pairs):
                here[pair] |= members[pair] & bits
        code, others = x[tree], z[tree]
        for pair in range(n_pairs):
            there[pair] = others[index[pair]]
        for pair in range(n_pairs):
            moved = (code ^ there[pair]) & here[pair]
            here[pair] = there[pair] ^ moved
            there[pair] = code ^ moved
        for word in range(n_words):
            leaves = tables.leaves[tree, word]
            for pair in range(n_pairs):
                hybrid[word, pair] += leaves[here[pair]]
                mirror[word, pair] += leaves[there[pair]]
