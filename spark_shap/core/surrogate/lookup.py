"""What trees say of rows: the kernels that read tables by code, in numpy.

Sums over trees are sums of integers, so `lookup_compiled` gives the same numbers to the last bit, and a row's cannot
depend on the rows beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.core.arrays import BoolArray, IntArray

__all__ = ["codes_of_bins", "pair_sums", "sums", "value_sums"]

_PAIRS = 2**16


def codes_of_bins(bins: NDArray[np.uint8], features: NDArray[np.int32], cuts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the codes (n, T) of rows given by bins (F, n), for trees given by (T, depth) features and cuts."""
    codes = np.zeros((len(features), bins.shape[1]), dtype=np.uint8)
    for code, tree_features, tree_cuts in zip(codes, features, cuts, strict=True):
        for level, (feature, cut) in enumerate(zip(tree_features, tree_cuts, strict=True)):
            code |= np.left_shift(bins[feature] > cut, level, dtype=np.uint8)
    return np.ascontiguousarray(codes.T)


def sums(codes: NDArray[np.uint8], leaves: NDArray[np.int16]) -> NDArray[np.int64]:
    """Return the sums (n, K) of the leaves (T, L, K) that codes (n, T) name."""
    out = np.zeros((len(codes), leaves.shape[2]), dtype=np.int64)
    for tree, table in enumerate(leaves):
        out += table[codes[:, tree]]
    return out


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


def pair_sums(
    codes: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    background_index: IntArray,
    members: BoolArray,
    leaves: NDArray[np.int16],
    slots: tuple[NDArray[np.int32], NDArray[np.uint8]],
    sign: int,
) -> NDArray[np.int64]:
    """Return sums of leaves at the hybrid of each pair plus ``sign`` times those at its mirror image, (n, P, K).

    With codes x and z and a coalition's bits m, the hybrid's code is ``z ^ d`` and its mirror image's ``x ^ d``,
    where ``d = (x ^ z) & m``.

    Parameters
    ----------
    codes
        Those of the rows (n, T) and of the background rows (B, T).
    background_index
        (n, P) background row of each pair.
    members
        (n, F, P) bool: x's features.
    leaves
        (T, L, K).
    slots
        Features (T, depth) and the bits that they own (T, depth).
    sign
        1 or -1.
    """
    n_rows, n_pairs = background_index.shape
    out = np.zeros((n_rows, n_pairs, leaves.shape[2]), dtype=np.int64)
    step = max(1, _PAIRS // max(1, n_pairs))
    for start in range(0, n_rows, step):
        rows = slice(start, start + step)
        part = (codes[0][rows], codes[1])
        out[rows] = _pair_sums(part, background_index[rows], members[rows], leaves, slots, sign)
    return out


def _pair_sums(
    codes: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    background_index: IntArray,
    members: BoolArray,
    leaves: NDArray[np.int16],
    slots: tuple[NDArray[np.int32], NDArray[np.uint8]],
    sign: int,
) -> NDArray[np.int32]:
    by_feature = np.negative(members.transpose(1, 0, 2).astype(np.uint8), order="C")  # 0 or 255
    background = np.ascontiguousarray(codes[1].T)
    total = np.zeros((leaves.shape[2], *background_index.shape), dtype=np.int32)
    mask = np.empty(background_index.shape, dtype=np.uint8)
    for tree, (features, owned) in enumerate(zip(*slots, strict=True)):
        mask[:] = 0
        for feature, bits in zip(features, owned, strict=True):
            if bits:
                mask |= by_feature[feature] & bits
        x = codes[0][:, tree, None]
        z = background[tree].take(background_index)
        mask &= x ^ z
        hybrid, mirror = z ^ mask, x ^ mask
        for output, table in enumerate(leaves[tree].T.astype(np.int32)):
            total[output] += table.take(hybrid)
            total[output] += (sign * table).take(mirror)
    return np.ascontiguousarray(total.transpose(1, 2, 0))
