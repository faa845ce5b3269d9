"""The kernels of `spark_shap.core.trees.deep`, compiled: row by row, with lists of background rows by depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import AnyArray, FloatArray
    from spark_shap.core.trees.deep import Background, Nodes, Weights

__all__ = ["add_interactions", "add_values"]

_MAX_PATH = 64


@numba.njit(cache=True, nogil=True)
def add_values(codes: AnyArray, background: Background, nodes: Nodes, weights: Weights, out: FloatArray) -> None:
    """See `spark_shap.core.trees.deep.add_values`."""
    index, fails, count, misses = _lists(background, nodes)
    path, gain = np.empty(_MAX_PATH, dtype=np.intp), np.empty(_MAX_PATH)
    for row in range(codes.shape[1]):
        misses[0] = 0
        at = 0
        while at < len(nodes.axis):
            depth = nodes.depth[at]
            if at:
                _step(at, codes[:, row], background.codes, nodes, (index, fails, count, misses))
            if count[depth] == 0:
                at = nodes.skip[at]
                continue
            if nodes.axis[at] < 0:
                loss = _leaf_values(depth, background, weights, (index, fails, count, misses), gain[: nodes.slot[at]])
                for slot in range(nodes.slot[at]):
                    value = gain[slot] - (loss if misses[depth] >> np.uint64(slot) & np.uint64(1) else 0.0)
                    _add(nodes, nodes.feature[path[slot]], value, at, out[:, row])
            else:
                path[nodes.slot[at]] = nodes.axis[at]
            at += 1


@numba.njit(cache=True, nogil=True)
def add_interactions(codes: AnyArray, background: Background, nodes: Nodes, weights: Weights, out: FloatArray) -> None:
    """See `spark_shap.core.trees.deep.add_interactions`."""
    index, fails, count, misses = _lists(background, nodes)
    path, pairs = np.empty(_MAX_PATH, dtype=np.intp), np.empty((_MAX_PATH, _MAX_PATH))
    for row in range(codes.shape[1]):
        misses[0] = 0
        at = 0
        while at < len(nodes.axis):
            depth = nodes.depth[at]
            if at:
                _step(at, codes[:, row], background.codes, nodes, (index, fails, count, misses))
            if count[depth] == 0:
                at = nodes.skip[at]
                continue
            if nodes.axis[at] < 0:
                d = nodes.slot[at]
                _leaf_pairs(depth, background, weights, (index, fails, count, misses), pairs[:d, :d])
                for one in range(d):
                    for other in range(one):
                        low, high = nodes.feature[path[one]], nodes.feature[path[other]]
                        if low > high:
                            low, high = high, low
                        _add(nodes, low * nodes.n_features + high, pairs[one, other], at, out[:, row])
            else:
                path[nodes.slot[at]] = nodes.axis[at]
            at += 1


@numba.njit(cache=True, nogil=True)
def _lists(background: Background, nodes: Nodes) -> tuple[AnyArray, AnyArray, AnyArray, AnyArray]:
    """Return, by depth: the background rows still there, the features they miss, their number, and x's misses."""
    n_levels, n_background = nodes.depth.max() + 1, len(background.weights)
    index = np.empty((n_levels, n_background), dtype=np.uint32)
    fails = np.zeros((n_levels, n_background), dtype=np.uint64)
    count = np.zeros(n_levels, dtype=np.intp)
    for place in range(n_background):
        index[0, place] = place
    count[0] = n_background
    return index, fails, count, np.zeros(n_levels, dtype=np.uint64)


@numba.njit(cache=True, nogil=True)
def _goes_left(sets: AnyArray, bin_: int) -> bool:
    return bool((sets[bin_ >> 5] >> np.uint32(bin_ & 31)) & np.uint32(1))


@numba.njit(cache=True, nogil=True)
def _step(
    at: int,
    codes: AnyArray,
    background: AnyArray,
    nodes: Nodes,
    lists: tuple[AnyArray, AnyArray, AnyArray, AnyArray],
) -> None:
    """Make the list of a node from that of its parent."""
    index, fails, count, misses = lists
    parent, depth, is_left = nodes.parent[at], nodes.depth[at], nodes.is_left[at]
    axis, bit = nodes.axis[parent], np.uint64(1) << np.uint64(nodes.slot[parent])
    sets = nodes.sets[nodes.set_start[parent] :]
    bins = background[axis]
    above_index, above_fails = index[depth - 1], fails[depth - 1]
    here_index, here_fails = index[depth], fails[depth]
    misses[depth] = misses[depth - 1]
    if _goes_left(sets, codes[axis]) != is_left:
        misses[depth] |= bit
    if misses[depth] & bit:
        kept = 0
        for place in range(count[depth - 1]):
            if not above_fails[place] & bit and _goes_left(sets, bins[above_index[place]]) == is_left:
                here_index[kept] = above_index[place]
                here_fails[kept] = above_fails[place]
                kept += 1
        count[depth] = kept
        return
    for place in range(count[depth - 1]):
        here_index[place] = above_index[place]
        stays = _goes_left(sets, bins[above_index[place]]) == is_left
        here_fails[place] = above_fails[place] if stays else above_fails[place] | bit
    count[depth] = count[depth - 1]


@numba.njit(cache=True, nogil=True)
def _popcount(mask: Any) -> Any:
    mask = mask - ((mask >> np.uint64(1)) & np.uint64(0x5555555555555555))
    mask = (mask & np.uint64(0x3333333333333333)) + ((mask >> np.uint64(2)) & np.uint64(0x3333333333333333))
    mask = (mask + (mask >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.intp((mask * np.uint64(0x0101010101010101)) >> np.uint64(56))


@numba.njit(cache=True, nogil=True)
def _leaf_values(
    depth: int,
    background: Background,
    weights: Weights,
    lists: tuple[AnyArray, AnyArray, AnyArray, AnyArray],
    gain: FloatArray,
) -> float:
    """Fill what each feature of the path gains where the background misses it; return what x's misses lose."""
    index, fails, count, misses = lists
    missed, loss = _popcount(misses[depth]), 0.0
    gain[:] = 0.0
    for place in range(count[depth]):
        mask = fails[depth, place]
        found = _popcount(mask)
        weight = background.weights[index[depth, place]]
        loss += weight * weights.missed_by_row[found, missed]
        step = weight * weights.missed_by_background[found, missed]
        while mask:
            below = mask - np.uint64(1)
            gain[_popcount(~mask & below)] += step
            mask &= below
    return loss


@numba.njit(cache=True, nogil=True)
def _leaf_pairs(
    depth: int,
    background: Background,
    weights: Weights,
    lists: tuple[AnyArray, AnyArray, AnyArray, AnyArray],
    pairs: FloatArray,
) -> None:
    """Fill the lower triangle with halves of the interaction index of the path's features."""
    index, fails, count, misses = lists
    missed = _popcount(misses[depth])
    pairs[:] = 0.0
    for place in range(count[depth]):
        mask = fails[depth, place]
        found = _popcount(mask)
        weight = 0.5 * background.weights[index[depth, place]]
        both_found = weight * weights.missed_by_background[max(found - 1, 0), missed]
        both_missed = weight * weights.missed_by_row[found, max(missed - 1, 0)]
        apart = weight * weights.missed_by_background[found, max(missed - 1, 0)]
        for one in range(len(pairs)):
            one_found, one_missed = (
                mask >> np.uint64(one) & np.uint64(1),
                misses[depth] >> np.uint64(one) & np.uint64(1),
            )
            for other in range(one):
                other_found = mask >> np.uint64(other) & np.uint64(1)
                other_missed = misses[depth] >> np.uint64(other) & np.uint64(1)
                if one_found and other_found:
                    pairs[one, other] += both_found
                elif one_missed and other_missed:
                    pairs[one, other] += both_missed
                elif (one_found and other_missed) or (one_missed and other_found):
                    pairs[one, other] -= apart


@numba.njit(cache=True, nogil=True)
def _add(nodes: Nodes, cell: int, value: float, at: int, out: FloatArray) -> None:
    n_outputs = nodes.values.shape[1]
    for output in range(n_outputs):
        out[cell * n_outputs + output] += value * nodes.values[nodes.leaf[at], output]
