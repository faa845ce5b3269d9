"""What one leaf of a deep tree gives to patterns of rows: the two ways of `spark_shap.core.trees.deep`, compiled.

Here rows and background rows are classes by the features that they miss, with the weights of the background's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import AnyArray, FloatArray
    from spark_shap.core.trees.nodes import Factors

__all__ = ["met_pairs", "met_values", "potential_pairs", "potential_values"]

_ONE = np.uint64(1)


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
def _fill_coverage(fails: AnyArray, weights: FloatArray, d: int, outside: FloatArray) -> None:
    """Fill Q(U without S) for all S."""
    outside[: 1 << d] = 0.0
    for place in range(len(fails)):
        outside[fails[place]] += weights[place]
    _subset_sums(outside, d)


@numba.njit(cache=True, nogil=True)
def _beta(size: int, n_players: int) -> float:
    """Return (size - 1)! (n_players - size)! / n_players!."""
    out = 1.0 / size
    for k in range(size):
        out *= (k + 1.0) / (n_players - k)
    return out


@numba.njit(cache=True, nogil=True)
def potential_values(
    misses: AnyArray, fails: AnyArray, weights: FloatArray, buffer: FloatArray, values: FloatArray
) -> None:
    """Fill Shapley values (p, d) of p classes of rows, for a leaf of value 1; buffer is (2, 2**d or more)."""
    d = values.shape[1]
    outside, less = buffer[0], buffer[1]
    _fill_coverage(fails, weights, d, outside)
    factor = np.zeros(d + 1)
    for size in range(1, d):
        factor[size] = _beta(size, d - 1)
    for players in range(1 << d):
        less[players] = outside[players] * factor[_popcount(np.uint64(players))]
    _subset_sums(less, d)
    for place in range(len(misses)):
        pattern = np.uint64((1 << d) - 1) ^ misses[place]
        if outside[pattern] == 0.0:
            continue
        total = (1.0 if misses[place] == 0 else 0.0) - outside[0]
        for slot in range(d):
            values[place, slot] = less[pattern & ~(_ONE << np.uint64(slot))]
            total += values[place, slot]
        for slot in range(d):
            values[place, slot] = total / d - values[place, slot]


@numba.njit(cache=True, nogil=True)
def potential_pairs(
    d: int, classes: tuple[AnyArray, AnyArray], weights: FloatArray, parts: FloatArray, values: FloatArray
) -> None:
    """Fill interactions (p, pairs) of classes of rows, pairs (1, 0), (2, 0), (2, 1), ...; parts is (4, 2**d)."""
    misses, fails = classes
    if d < 2:
        return
    _fill_coverage(fails, weights, d, parts[0])
    _fill_interactions(d, parts)
    for place in range(len(misses)):
        pattern = np.uint64((1 << d) - 1) ^ misses[place]
        if parts[0, pattern] == 0.0:
            continue
        pair = 0
        for one in range(d):
            no_one = ~(_ONE << np.uint64(one))
            for other in range(one):
                no_other = ~(_ONE << np.uint64(other))
                value = parts[1, pattern] + parts[2, pattern & no_one] + parts[2, pattern & no_other]
                values[place, pair] = value + parts[3, pattern & no_one & no_other]
                pair += 1


@numba.njit(cache=True, nogil=True)
def _fill_interactions(d: int, parts: FloatArray) -> None:
    """Fill f, g and h of `spark_shap.core.trees.potentials.interaction_parts` behind the coverage."""
    factor = np.zeros((3, d + 1))
    for size in range(d - 1):
        for taken in range(3):
            # size! (d - 2 - size)! / (d - 1)! by the size of the set, of which `taken` are i or j.
            factor[taken, size + taken] = 0.5 * _beta(size + 1, d - 1)
    for players in range(1 << d):
        size = _popcount(np.uint64(players))
        for taken in range(3):
            parts[3 - taken, players] = parts[0, players] * factor[taken, size]
    for taken in range(3):
        _subset_sums(parts[3 - taken], d)
    for players in range(1 << d):
        both, one = parts[1, players], parts[2, players]
        parts[2, players] = -one - both
        parts[3, players] += 2.0 * one + both


@numba.njit(cache=True, nogil=True)
def met_values(misses: AnyArray, fails: AnyArray, weights: FloatArray, factors: Factors, values: FloatArray) -> None:
    """Fill Shapley values (p, d) of p classes of rows, for a leaf of value 1."""
    for place in range(len(misses)):
        miss = misses[place]
        b, loss = _popcount(miss), 0.0
        for other in range(len(fails)):
            mask = fails[other]
            if mask & miss:
                continue
            a = _popcount(mask)
            loss += weights[other] * factors.of_row_misses[a, b]
            step = weights[other] * factors.of_background_misses[a, b]
            while mask:
                below = mask - _ONE
                values[place, _popcount(~mask & below)] += step
                mask &= below
        for slot in range(values.shape[1]):
            if (miss >> np.uint64(slot)) & _ONE:
                values[place, slot] = -loss


@numba.njit(cache=True, nogil=True)
def met_pairs(
    d: int, classes: tuple[AnyArray, AnyArray], weights: FloatArray, factors: Factors, values: FloatArray
) -> None:
    """Fill interactions (p, pairs) of classes of rows, pairs (1, 0), (2, 0), (2, 1), ..."""
    misses, fails = classes
    for place in range(len(misses)):
        for other in range(len(fails)):
            if not fails[other] & misses[place]:
                _add_meeting(d, (fails[other], misses[place]), 0.5 * weights[other], factors, values[place])


@numba.njit(cache=True, nogil=True)
def _add_meeting(d: int, both: tuple[Any, Any], weight: float, factors: Factors, values: FloatArray) -> None:
    mask, miss = both
    a, b = _popcount(mask), _popcount(miss)
    in_background = weight * factors.of_background_misses[max(a - 1, 0), b]
    in_row = weight * factors.of_row_misses[a, max(b - 1, 0)]
    apart = weight * factors.of_background_misses[a, max(b - 1, 0)]
    for one in range(d):
        one_a, one_b = (mask >> np.uint64(one)) & _ONE, (miss >> np.uint64(one)) & _ONE
        for other in range(one if one_a | one_b else 0):
            other_a, other_b = (mask >> np.uint64(other)) & _ONE, (miss >> np.uint64(other)) & _ONE
            pair = one * (one - 1) // 2 + other
            if one_a & other_a:
                values[pair] += in_background
            elif one_b & other_b:
                values[pair] += in_row
            elif other_a | other_b:
                values[pair] -= apart
