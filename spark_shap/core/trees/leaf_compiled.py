"""The kernels of `spark_shap.core.trees.leaf`, compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import AnyArray, FloatArray, IntArray

__all__ = ["met_pairs", "met_values", "potential_pairs", "potential_values", "refine", "spread"]

_ONE = np.uint64(1)


@numba.njit(cache=True, nogil=True)
def refine(
    which: AnyArray, misses: AnyArray, bins: AnyArray, words: AnyArray, is_left: bool, bit: np.uint64
) -> tuple[AnyArray, AnyArray]:
    """See `spark_shap.core.trees.leaf.refine`."""
    here = np.empty(len(which), dtype=np.int32)
    here_misses = np.empty(min(len(which), 2 * len(misses)), dtype=np.uint64)
    number = np.full(2 * len(misses), -1, dtype=np.int32)
    n_classes = 0
    for row in range(len(which)):
        old = np.intp(which[row])
        left = (words[bins[row] >> 5] >> np.uint32(bins[row] & 31)) & np.uint32(1)
        leaves = left != is_left and not misses[old] & bit
        place = 2 * old + leaves
        if number[place] < 0:
            number[place] = n_classes
            here_misses[n_classes] = misses[old] | bit if leaves else misses[old]
            n_classes += 1
        here[row] = number[place]
    return here, here_misses[:n_classes]


@numba.njit(cache=True, nogil=True)
def potential_values(misses: AnyArray, others: AnyArray, weights: FloatArray, d: int) -> FloatArray:
    """See `spark_shap.core.trees.leaf.potential_values`."""
    outside, less = _outside(others, weights, d), np.empty(1 << d)
    factor = np.zeros(d + 1)
    for size in range(1, d):
        factor[size] = _beta(size, d - 1)
    for players in range(1 << d):
        less[players] = outside[players] * factor[_popcount(np.uint64(players))]
    _subset_sums(less, d)
    out = np.zeros((len(misses), d))
    for place in range(len(misses)):
        pattern = np.uint64((1 << d) - 1) ^ misses[place]
        if outside[pattern] == 0.0:
            continue
        mean = (1.0 if misses[place] == 0 else 0.0) - outside[0]
        for slot in range(d):
            out[place, slot] = less[pattern & ~(_ONE << np.uint64(slot))]
            mean += out[place, slot]
        for slot in range(d):
            out[place, slot] = mean / d - out[place, slot]
    return out


@numba.njit(cache=True, nogil=True)
def potential_pairs(misses: AnyArray, others: AnyArray, weights: FloatArray, d: int) -> FloatArray:
    """See `spark_shap.core.trees.leaf.potential_pairs`."""
    outside = _outside(others, weights, d)
    whole, less_one, less_two = _interaction_parts(outside, d)
    out = np.zeros((len(misses), d * (d - 1) // 2))
    for place in range(len(misses)):
        pattern = np.uint64((1 << d) - 1) ^ misses[place]
        if outside[pattern] == 0.0:
            continue
        pair = 0
        for one in range(d):
            no_one = ~(_ONE << np.uint64(one))
            for other in range(one):
                no_other = ~(_ONE << np.uint64(other))
                value = whole[pattern] + less_one[pattern & no_one] + less_one[pattern & no_other]
                out[place, pair] = value + less_two[pattern & no_one & no_other]
                pair += 1
    return out


@numba.njit(cache=True, nogil=True)
def met_values(
    misses: AnyArray, others: AnyArray, weights: FloatArray, d: int, of_others: FloatArray, of_rows: FloatArray
) -> FloatArray:
    """See `spark_shap.core.trees.leaf.met_values`."""
    out = np.zeros((len(misses), d))
    for place in range(len(misses)):
        miss = misses[place]
        b, loss = _popcount(miss), 0.0
        for other in range(len(others)):
            mask = others[other]
            if mask & miss:
                continue
            a = _popcount(mask)
            loss += weights[other] * of_rows[a, b]
            gain = weights[other] * of_others[a, b]
            while mask:
                below = mask - _ONE
                out[place, _popcount(~mask & below)] += gain
                mask &= below
        for slot in range(d):
            if (miss >> np.uint64(slot)) & _ONE:
                out[place, slot] = -loss
    return out


@numba.njit(cache=True, nogil=True)
def met_pairs(
    misses: AnyArray, others: AnyArray, weights: FloatArray, d: int, of_others: FloatArray, of_rows: FloatArray
) -> FloatArray:
    """See `spark_shap.core.trees.leaf.met_pairs`."""
    out = np.zeros((len(misses), d * (d - 1) // 2))
    for place in range(len(misses)):
        miss = misses[place]
        b = _popcount(miss)
        for other in range(len(others)):
            mask, weight = others[other], 0.5 * weights[other]
            if mask & miss:
                continue
            a = _popcount(mask)
            both_others, both_rows = of_others[max(a - 1, 0), b], of_rows[a, max(b - 1, 0)]
            _add_pairs(mask, miss, weight, (both_others, both_rows, of_others[a, max(b - 1, 0)]), out[place])
    return out


@numba.njit(cache=True, nogil=True)
def spread(values: FloatArray, which: AnyArray, cells: IntArray, outputs: FloatArray, out: FloatArray) -> None:
    """See `spark_shap.core.trees.leaf.spread`."""
    reached = np.zeros(len(values), dtype=np.bool_)
    for place in range(len(values)):
        reached[place] = values[place].any()
    rows, n_rows = np.empty(len(which), dtype=np.intp), 0
    for row in range(len(which)):
        if reached[which[row]]:
            rows[n_rows] = row
            n_rows += 1
    for column in range(len(cells)):
        for output in range(len(outputs)):
            sums = out[cells[column] * len(outputs) + output]
            for row in rows[:n_rows]:
                sums[row] += values[which[row], column] * outputs[output]


@numba.njit(cache=True, nogil=True)
def _popcount(mask: Any) -> Any:
    mask = mask - ((mask >> _ONE) & np.uint64(0x5555555555555555))
    mask = (mask & np.uint64(0x3333333333333333)) + ((mask >> np.uint64(2)) & np.uint64(0x3333333333333333))
    mask = (mask + (mask >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.intp((mask * np.uint64(0x0101010101010101)) >> np.uint64(56))


@numba.njit(cache=True, nogil=True)
def _subset_sums(f: FloatArray, d: int) -> None:
    for bit in range(d):
        half = 1 << bit
        for start in range(0, 1 << d, 2 * half):
            for place in range(start, start + half):
                f[place + half] += f[place]


@numba.njit(cache=True, nogil=True)
def _outside(others: AnyArray, weights: FloatArray, d: int) -> FloatArray:
    """Return Q(U without S) for all S."""
    out = np.zeros(1 << d)
    for place in range(len(others)):
        out[others[place]] += weights[place]
    _subset_sums(out, d)
    return out


@numba.njit(cache=True, nogil=True)
def _beta(size: int, n_players: int) -> float:
    """Return (size - 1)! (n_players - size)! / n_players!."""
    out = 1.0 / size
    for k in range(size):
        out *= (k + 1.0) / (n_players - k)
    return out


@numba.njit(cache=True, nogil=True)
def _interaction_parts(outside: FloatArray, d: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """See `spark_shap.core.trees.potentials.interaction_parts`."""
    factor = np.zeros((3, d + 1))
    for size in range(d - 1):
        for taken in range(3):
            # size! (d - 2 - size)! / (d - 1)! by the size of the set, of which `taken` are i or j.
            factor[taken, size + taken] = 0.5 * _beta(size + 1, d - 1)
    parts = np.empty((3, 1 << d))
    for players in range(1 << d):
        size = _popcount(np.uint64(players))
        for taken in range(3):
            parts[taken, players] = outside[players] * factor[taken, size]
    for taken in range(3):
        _subset_sums(parts[taken], d)
    none, one, both = parts[0], parts[1], parts[2]
    return both, -one - both, none + 2.0 * one + both


@numba.njit(cache=True, nogil=True)
def _add_pairs(mask: Any, miss: Any, weight: float, factors: tuple[float, float, float], out: FloatArray) -> None:
    """Add what one meeting gives to the pairs (1, 0), (2, 0), (2, 1), ..."""
    both_others, both_rows, apart = factors
    pair = 0
    one = 0
    while pair < len(out):
        one += 1
        mask_one, miss_one = (mask >> np.uint64(one)) & _ONE, (miss >> np.uint64(one)) & _ONE
        for other in range(one):
            mask_other, miss_other = (mask >> np.uint64(other)) & _ONE, (miss >> np.uint64(other)) & _ONE
            if mask_one & mask_other:
                out[pair] += weight * both_others
            elif miss_one & miss_other:
                out[pair] += weight * both_rows
            elif (mask_one & miss_other) | (miss_one & mask_other):
                out[pair] -= weight * apart
            pair += 1
