"""The kernels of `spark_shap.core.trees.deep`, compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import AnyArray, FloatArray
    from spark_shap.core.trees.deep import Background, Factors, Nodes

__all__ = ["add_interactions", "add_values"]

_MAX_PATH = 64
_BLOCK_ROWS = 8192
_ONE = np.uint64(1)


@numba.njit(cache=True, nogil=True)
def add_values(codes: AnyArray, background: Background, nodes: Nodes, factors: Factors, out: FloatArray) -> None:
    """See `spark_shap.core.trees.deep.add_values`."""
    n_levels = nodes.depth.max() + 1
    fails = np.zeros((n_levels, len(background.weights)), dtype=np.uint64)
    path, potential = np.empty(_MAX_PATH, dtype=np.intp), np.empty((2, 1 << factors.longest))
    for start in range(0, codes.shape[1], _BLOCK_ROWS):
        part, sums = codes[:, start : start + _BLOCK_ROWS], out[:, start : start + _BLOCK_ROWS]
        misses = np.zeros((n_levels, part.shape[1]), dtype=np.uint64)
        for at in range(len(nodes.axis)):
            depth, d = nodes.depth[at], nodes.slot[at]
            if at:
                _arrive(at, part, nodes, misses)
                _arrive(at, background.codes, nodes, fails)
            if nodes.axis[at] >= 0:
                path[d] = nodes.axis[at]
                continue
            features, leaf = nodes.feature[path[:d]], nodes.values[nodes.leaf[at]]
            if d <= factors.longest:
                _fill_coverage(fails[depth], background.weights, d, potential[0])
                _fill_potential(potential[0], d, potential[1])
                _add_potential(misses[depth], potential, features, leaf, sums)
            else:
                _add_met((misses[depth], fails[depth]), background.weights, factors, features, leaf, sums)


@numba.njit(cache=True, nogil=True)
def add_interactions(codes: AnyArray, background: Background, nodes: Nodes, factors: Factors, out: FloatArray) -> None:
    """See `spark_shap.core.trees.deep.add_interactions`."""
    n_levels = nodes.depth.max() + 1
    fails = np.zeros((n_levels, len(background.weights)), dtype=np.uint64)
    path, potential = np.empty(_MAX_PATH, dtype=np.intp), np.empty((4, 1 << factors.longest))
    for start in range(0, codes.shape[1], _BLOCK_ROWS):
        part, sums = codes[:, start : start + _BLOCK_ROWS], out[:, start : start + _BLOCK_ROWS]
        misses = np.zeros((n_levels, part.shape[1]), dtype=np.uint64)
        for at in range(len(nodes.axis)):
            depth, d = nodes.depth[at], nodes.slot[at]
            if at:
                _arrive(at, part, nodes, misses)
                _arrive(at, background.codes, nodes, fails)
            if nodes.axis[at] >= 0:
                path[d] = nodes.axis[at]
                continue
            if d < 2:
                continue
            cells, leaf = _pair_cells(nodes.feature[path[:d]], nodes.n_features), nodes.values[nodes.leaf[at]]
            if d <= factors.longest:
                _fill_coverage(fails[depth], background.weights, d, potential[0])
                _fill_interactions(d, potential)
                _add_pair_potential(misses[depth], potential, cells, leaf, sums)
            else:
                _add_met_pairs((misses[depth], fails[depth]), background.weights, factors, cells, leaf, sums)


@numba.njit(cache=True, nogil=True)
def _arrive(at: int, codes: AnyArray, nodes: Nodes, misses: AnyArray) -> None:
    """Note at a node, at its depth, who would have gone to the other child of its parent."""
    parent = nodes.parent[at]
    bit = _ONE << np.uint64(nodes.slot[parent])
    sets = nodes.sets[nodes.set_start[parent] :]
    bins = codes[nodes.axis[parent]]
    above, here = misses[nodes.depth[at] - 1], misses[nodes.depth[at]]
    is_left = np.uint32(nodes.is_left[at])
    for row in range(len(here)):
        left = (sets[bins[row] >> 5] >> np.uint32(bins[row] & 31)) & np.uint32(1)
        here[row] = above[row] if left == is_left else above[row] | bit


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
def _fill_potential(outside: FloatArray, d: int, less: FloatArray) -> None:
    """Fill P_{d-1}, less a constant in the place of the whole set."""
    factor = np.zeros(_MAX_PATH + 1)
    for size in range(1, d):
        factor[size] = _beta(size, d - 1)
    for players in range(1 << d):
        less[players] = outside[players] * factor[_popcount(np.uint64(players))]
    _subset_sums(less, d)


@numba.njit(cache=True, nogil=True)
def _beta(size: int, n_players: int) -> float:
    """Return (size - 1)! (n_players - size)! / n_players!."""
    out = 1.0 / size
    for k in range(size):
        out *= (k + 1.0) / (n_players - k)
    return out


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
def _add_potential(
    misses: AnyArray, potential: FloatArray, features: AnyArray, leaf: FloatArray, out: FloatArray
) -> None:
    d, n_outputs = len(features), len(leaf)
    outside, less = potential[0], potential[1]
    everything = np.uint64((1 << d) - 1)
    for row in range(len(misses)):
        pattern = everything ^ misses[row]
        if outside[pattern] == 0.0:
            continue
        total = (1.0 if misses[row] == 0 else 0.0) - outside[0]
        for slot in range(d):
            total += less[pattern & ~(_ONE << np.uint64(slot))]
        for slot in range(d):
            value = total / d - less[pattern & ~(_ONE << np.uint64(slot))]
            for output in range(n_outputs):
                out[features[slot] * n_outputs + output, row] += value * leaf[output]


@numba.njit(cache=True, nogil=True)
def _add_pair_potential(
    misses: AnyArray, parts: FloatArray, cells: AnyArray, leaf: FloatArray, out: FloatArray
) -> None:
    d, n_outputs = len(cells), len(leaf)
    everything = np.uint64((1 << d) - 1)
    for row in range(len(misses)):
        pattern = everything ^ misses[row]
        if parts[0, pattern] == 0.0:
            continue
        for one in range(d):
            no_one = pattern & ~(_ONE << np.uint64(one))
            for other in range(one):
                no_other = ~(_ONE << np.uint64(other))
                value = (
                    parts[1, pattern] + parts[2, no_one] + parts[2, pattern & no_other] + parts[3, no_one & no_other]
                )
                for output in range(n_outputs):
                    out[cells[one, other] * n_outputs + output, row] += value * leaf[output]


@numba.njit(cache=True, nogil=True)
def _pair_cells(features: AnyArray, n_features: int) -> AnyArray:
    d = len(features)
    cells = np.zeros((d, d), dtype=np.intp)
    for one in range(d):
        for other in range(d):
            cells[one, other] = min(features[one], features[other]) * n_features + max(features[one], features[other])
    return cells


@numba.njit(cache=True, nogil=True)
def _passing(fails: AnyArray, d: int) -> AnyArray:
    """Return (d + 1, words) the background rows, as bits, that do not miss each feature; last, all of them."""
    bits = np.zeros((d + 1, (len(fails) + 63) >> 6), dtype=np.uint64)
    for place in range(len(fails)):
        bit = _ONE << np.uint64(place & 63)
        bits[d, place >> 6] |= bit
        for slot in range(d):
            if not (fails[place] >> np.uint64(slot)) & _ONE:
                bits[slot, place >> 6] |= bit
    return bits


@numba.njit(cache=True, nogil=True)
def _meet(miss: Any, bits: AnyArray, met: AnyArray) -> int:
    """List the background rows without a common miss; return their number."""
    d, n_met, n_missed = len(bits) - 1, 0, 0
    missed = np.empty(_MAX_PATH, dtype=np.intp)
    for slot in range(d):
        missed[n_missed] = slot
        n_missed += np.intp((miss >> np.uint64(slot)) & _ONE)
    for word in range(bits.shape[1]):
        left = bits[d, word]
        for place in range(n_missed):
            left &= bits[missed[place], word]
        while left:
            below = left - _ONE
            met[n_met] = 64 * word + _popcount(~left & below)
            n_met += 1
            left &= below
    return n_met


@numba.njit(cache=True, nogil=True)
def _add_met(
    both: tuple[AnyArray, AnyArray],
    weights: FloatArray,
    factors: Factors,
    features: AnyArray,
    leaf: FloatArray,
    out: FloatArray,
) -> None:
    misses, fails = both
    bits, met, gain = _passing(fails, len(features)), np.empty(len(fails), dtype=np.intp), np.empty(len(features))
    n_outputs = len(leaf)
    for row in range(len(misses)):
        n_met = _meet(misses[row], bits, met)
        if n_met == 0:
            continue
        gain[:] = 0.0
        b, loss = _popcount(misses[row]), 0.0
        for place in met[:n_met]:
            mask = fails[place]
            a = _popcount(mask)
            loss += weights[place] * factors.of_row_misses[a, b]
            step = weights[place] * factors.of_background_misses[a, b]
            while mask:
                below = mask - _ONE
                gain[_popcount(~mask & below)] += step
                mask &= below
        for slot in range(len(features)):
            value = gain[slot] - (loss if (misses[row] >> np.uint64(slot)) & _ONE else 0.0)
            for output in range(n_outputs):
                out[features[slot] * n_outputs + output, row] += value * leaf[output]


@numba.njit(cache=True, nogil=True)
def _add_met_pairs(
    both: tuple[AnyArray, AnyArray],
    weights: FloatArray,
    factors: Factors,
    cells: AnyArray,
    leaf: FloatArray,
    out: FloatArray,
) -> None:
    misses, fails = both
    d, n_outputs = len(cells), len(leaf)
    bits, met, pairs = _passing(fails, d), np.empty(len(fails), dtype=np.intp), np.empty((d, d))
    for row in range(len(misses)):
        n_met = _meet(misses[row], bits, met)
        if n_met == 0:
            continue
        pairs[:] = 0.0
        for place in met[:n_met]:
            _add_meeting(fails[place], misses[row], 0.5 * weights[place], factors, pairs)
        for one in range(d):
            for other in range(one):
                for output in range(n_outputs):
                    out[cells[one, other] * n_outputs + output, row] += pairs[one, other] * leaf[output]


@numba.njit(cache=True, nogil=True)
def _add_meeting(mask: Any, miss: Any, weight: float, factors: Factors, pairs: FloatArray) -> None:
    a, b = _popcount(mask), _popcount(miss)
    in_background = weight * factors.of_background_misses[max(a - 1, 0), b]
    in_row = weight * factors.of_row_misses[a, max(b - 1, 0)]
    apart = weight * factors.of_background_misses[a, max(b - 1, 0)]
    for one in range(len(pairs)):
        one_a, one_b = (mask >> np.uint64(one)) & _ONE, (miss >> np.uint64(one)) & _ONE
        for other in range(one if one_a | one_b else 0):
            other_a, other_b = (mask >> np.uint64(other)) & _ONE, (miss >> np.uint64(other)) & _ONE
            if one_a & other_a:
                pairs[one, other] += in_background
            elif one_b & other_b:
                pairs[one, other] += in_row
            elif other_a | other_b:
                pairs[one, other] -= apart
