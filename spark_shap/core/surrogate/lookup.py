"""What trees say of rows: the kernels that read tables by code, in numpy.

All sums are sums of integers, so `lookup_compiled` gives the same numbers to the last bit, and a row's cannot depend
on the rows beside it. Two outputs share a 64-bit word, see `words`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.core.arrays import IntArray

__all__ = ["Tables", "codes_of_bins", "pair_words", "value_sums", "words_of_codes"]

_PAIRS = 2**16


class Tables(NamedTuple):
    """What a pair's answer is read from.

    Attributes
    ----------
    leaves
        (T, W, L) int64 words.
    features, bits
        (T, depth) int64 and uint8: the slots of each tree, and the bits of a code that they own.
    functions
        (A,) int64 features with a function of their own.
    """

    leaves: NDArray[np.int64]
    features: NDArray[np.int64]
    bits: NDArray[np.uint8]
    functions: NDArray[np.int64]


def codes_of_bins(bins: NDArray[np.uint8], features: NDArray[np.int32], cuts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the codes (n, T) of rows given by bins (F, n), for trees given by (T, depth) features and cuts."""
    codes = np.zeros((len(features), bins.shape[1]), dtype=np.uint8)
    for code, tree_features, tree_cuts in zip(codes, features, cuts, strict=True):
        for level, (feature, cut) in enumerate(zip(tree_features, tree_cuts, strict=True)):
            code |= np.left_shift(bins[feature] > cut, level, dtype=np.uint8)
    return np.ascontiguousarray(codes.T)


def words_of_codes(codes: NDArray[np.uint8], leaves: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sums (n, W) of the leaves (T, W, L) that codes (n, T) name."""
    out = np.zeros((leaves.shape[1], len(codes)), dtype=np.int64)
    for tree, table in enumerate(leaves):
        out += table.take(codes[:, tree], axis=1)
    return np.ascontiguousarray(out.T)


def value_sums(
    codes: NDArray[np.uint8], tables: NDArray[np.int32], features: NDArray[np.int32], n_features: int
) -> NDArray[np.int64]:
    """Return the sums (n, F, K) of the tables (T, L, depth, K), each slot's at its feature (T, depth)."""
    out = np.zeros((n_features, len(codes), tables.shape[3]), dtype=np.int64)
    for tree, (table, slots) in enumerate(zip(tables, features, strict=True)):
        parts = table[codes[:, tree]]
        for slot, feature in enumerate(slots):
            out[feature] += parts[:, slot]
    return np.ascontiguousarray(out.transpose(1, 0, 2))


def pair_words(
    codes: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    parts: tuple[NDArray[np.int64], NDArray[np.int64]],
    background_index: IntArray,
    members: NDArray[np.uint8],
    tables: Tables,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sums (n, P, W) at both hybrids of each pair: x on the coalition, and z on the coalition.

    With codes x and z and a coalition's bits m, the hybrids' codes are ``z ^ d`` and ``x ^ d``, where
    ``d = (x ^ z) & m``.

    Parameters
    ----------
    codes
        Those of the rows (n, T) and of the background rows (B, T).
    parts
        Words of the functions' values at the rows (n, A, W) and at the background rows (B, A, W).
    background_index
        (n, P) background row of each pair.
    members
        (n, F, P) uint8, 1 or 0.
    tables
        Leaves and what their codes are made of.
    """
    n_rows, n_pairs = background_index.shape
    out = np.empty((2, n_rows, n_pairs, tables.leaves.shape[1]), dtype=np.int64)
    step = max(1, _PAIRS // max(1, n_pairs))
    for start in range(0, n_rows, step):
        rows = slice(start, start + step)
        index, on = background_index[rows], np.ascontiguousarray(members[rows].transpose(1, 0, 2))
        total = _of_functions(parts[0][rows], parts[1], index, on, tables.functions)
        _add_trees(total, (codes[0][rows], codes[1]), index, on, tables)
        out[:, rows] = total.transpose(0, 2, 3, 1)
    return out[0], out[1]


def _of_functions(
    of_rows: NDArray[np.int64],
    of_background: NDArray[np.int64],
    index: IntArray,
    on: NDArray[np.uint8],
    functions: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the functions' sums at both hybrids, (2, W, n, P)."""
    total = np.empty((2, of_rows.shape[2], *index.shape), dtype=np.int64)
    for word in range(of_rows.shape[2]):
        hybrid, mirror = total[:, word]
        x, z = of_rows[:, :, word], of_background[:, :, word].T.copy()
        hybrid[:] = z.sum(axis=0).take(index)
        mirror[:] = x.sum(axis=1)[:, None]
        for place, feature in enumerate(functions):
            moved = (x[:, place, None] - z[place].take(index)) * on[feature]
            hybrid += moved
            mirror -= moved
    return total


def _add_trees(
    total: NDArray[np.int64],
    codes: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    index: IntArray,
    on: NDArray[np.uint8],
    tables: Tables,
) -> None:
    """Add the trees' sums to those at both hybrids, (2, W, n, P)."""
    by_feature = np.negative(on)  # 0 or 255
    background = np.ascontiguousarray(codes[1].T)
    mask = np.empty(index.shape, dtype=np.uint8)
    for tree, (features, owned) in enumerate(zip(tables.features, tables.bits, strict=True)):
        mask[:] = 0
        for feature, bits in zip(features, owned, strict=True):
            if bits:
                mask |= by_feature[feature] & bits
        x = codes[0][:, tree, None]
        z = background[tree].take(index)
        mask &= x ^ z
        for end, code in enumerate((z ^ mask, x ^ mask)):
            for word, table in enumerate(tables.leaves[tree]):
                total[end, word] += table.take(code)
