"""What one leaf of a deep tree gives to classes of rows: the kernels of `spark_shap.core.trees.deep`.

A class is all rows that miss the same features of the path, as the bits of a uint64. p classes of rows face q
classes of background rows with weights (q,). The same functions, compiled, are in
`spark_shap.core.trees.leaf_compiled`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spark_shap.core.trees.potentials import coverage, interaction_parts, potentials

if TYPE_CHECKING:
    from spark_shap.core.arrays import AnyArray, FloatArray, IntArray

__all__ = ["met_pairs", "met_values", "potential_pairs", "potential_values", "refine", "spread"]

_BLOCK_PAIRS = 2**20
_POPCOUNT = np.array([byte.bit_count() for byte in range(256)], dtype=np.intp)


def refine(
    which: AnyArray, misses: AnyArray, bins: AnyArray, words: AnyArray, is_left: bool, bit: np.uint64
) -> tuple[AnyArray, AnyArray]:
    """Divide the classes at a node for one of its children.

    Parameters
    ----------
    which, misses
        (n,) and (c,) the classes at the node.
    bins
        (n,) of the feature that the node tests.
    words
        uint32, the bins that go left as bits.
    is_left
        Which child.
    bit
        Of the feature.

    Returns
    -------
    tuple
        (n,) and (c',) the classes at the child.
    """
    left = (words[bins // 32] >> (bins % 32).astype(np.uint32) & np.uint32(1)).astype(bool)
    leaves = (left != is_left) & (misses[which] & bit == 0)
    old = 2 * which + leaves
    there = np.flatnonzero(np.bincount(old, minlength=2 * len(misses)))
    number = np.zeros(2 * len(misses), dtype=np.int32)
    number[there] = np.arange(len(there))
    return number[old], np.where(there % 2, misses[there // 2] | bit, misses[there // 2])


def potential_values(misses: AnyArray, others: AnyArray, weights: FloatArray, d: int) -> FloatArray:
    """Return Shapley values (p, d) by the leaf's potentials."""
    q = _coverage(others, weights, d)
    (whole,), (less,) = potentials(q)
    pattern = (1 << d) - 1 - misses.astype(np.intp)
    out = [whole[pattern] - less[pattern & ~(1 << slot)] for slot in range(d)]
    # Where no background row passes what the rows miss, the leaf is out of reach.
    return np.where(q[0][misses.astype(np.intp)][:, None] > 0.0, np.stack(out, axis=1), 0.0)


def potential_pairs(misses: AnyArray, others: AnyArray, weights: FloatArray, d: int) -> FloatArray:
    """Return interactions (p, d (d - 1) / 2) of the pairs (1, 0), (2, 0), (2, 1), ... by the leaf's potentials."""
    q = _coverage(others, weights, d)
    (whole,), (less_one,), (less_two,) = interaction_parts(q)
    pattern = ((1 << d) - 1 - misses.astype(np.intp))[:, None]
    one, other = (1 << slots for slots in np.tril_indices(d, -1))
    out = whole[pattern] + less_one[pattern & ~one] + less_one[pattern & ~other] + less_two[pattern & ~(one | other)]
    return np.where(q[0][misses.astype(np.intp)][:, None] > 0.0, out, 0.0)


def _coverage(others: AnyArray, weights: FloatArray, d: int) -> FloatArray:
    histogram = np.bincount((1 << d) - 1 - others.astype(np.intp), weights, minlength=1 << d)
    return coverage(np.asarray(histogram[None], dtype=np.float64))


def met_values(
    misses: AnyArray, others: AnyArray, weights: FloatArray, d: int, of_others: FloatArray, of_rows: FloatArray
) -> FloatArray:
    """Return Shapley values (p, d), class by class; the factors are those of `spark_shap.core.trees.nodes.Factors`."""
    row, other = _meetings(misses, others)
    a, b, weight = _popcount(others)[other], _popcount(misses)[row], weights[other]
    gain, loss = weight * of_others[a, b], weight * of_rows[a, b]
    out = np.empty((len(misses), d))
    for slot in range(d):
        amounts = gain * _bit(others, slot)[other] - loss * _bit(misses, slot)[row]
        out[:, slot] = np.bincount(row, amounts, minlength=len(misses))
    return out


def met_pairs(
    misses: AnyArray, others: AnyArray, weights: FloatArray, d: int, of_others: FloatArray, of_rows: FloatArray
) -> FloatArray:
    """Return interactions (p, d (d - 1) / 2), class by class: their factors are those of one player less."""
    row, other = _meetings(misses, others)
    a, b, weight = _popcount(others)[other], _popcount(misses)[row], 0.5 * weights[other]
    both_others, both_rows = of_others[np.maximum(a - 1, 0), b], of_rows[a, np.maximum(b - 1, 0)]
    apart = of_others[a, np.maximum(b - 1, 0)]
    in_others = [_bit(others, slot)[other] for slot in range(d)]
    in_rows = [_bit(misses, slot)[row] for slot in range(d)]
    out = np.empty((len(misses), d * (d - 1) // 2))
    for place, (i, j) in enumerate(zip(*np.tril_indices(d, -1), strict=True)):
        amounts = both_others * in_others[i] * in_others[j] + both_rows * in_rows[i] * in_rows[j]
        amounts -= apart * (in_others[i] * in_rows[j] + in_rows[i] * in_others[j])
        out[:, place] = np.bincount(row, weight * amounts, minlength=len(misses))
    return out


def _meetings(misses: AnyArray, others: AnyArray) -> tuple[IntArray, IntArray]:
    """Return the places of the pairs without a common miss."""
    step = max(1, _BLOCK_PAIRS // len(others))
    starts = range(0, len(misses), step)
    found = [np.nonzero((misses[start : start + step, None] & others) == 0) for start in starts]
    rows = [start + row for start, (row, _) in zip(starts, found, strict=True)]
    return np.concatenate(rows), np.concatenate([other for _, other in found])


def spread(values: FloatArray, which: AnyArray, cells: IntArray, outputs: FloatArray, out: FloatArray) -> None:
    """Add the values (p, c) of each row's class, times the leaf's outputs (K,), to rows of out (cells x K, n)."""
    reached = np.asarray(values.any(axis=1))
    rows = np.flatnonzero(reached[which])
    for column, cell in enumerate(cells):
        found = values[which[rows], column]
        for output, value in enumerate(outputs):
            out[cell * len(outputs) + output, rows] += found * value


def _popcount(masks: AnyArray) -> IntArray:
    return np.asarray(_POPCOUNT[masks.view(np.uint8).reshape(-1, 8)].sum(axis=1))


def _bit(masks: AnyArray, slot: int) -> FloatArray:
    return (masks >> np.uint64(slot) & np.uint64(1)).astype(np.float64)
