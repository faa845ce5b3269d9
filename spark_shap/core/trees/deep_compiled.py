"""The kernels of `spark_shap.core.trees.deep`, compiled.

Many rows miss the same features of a path. They are one *class*, and what a leaf gives is calculated once a class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

from spark_shap.core.trees.leaf_compiled import met_pairs, met_values, potential_pairs, potential_values

if TYPE_CHECKING:
    from spark_shap.core.arrays import AnyArray, FloatArray
    from spark_shap.core.trees.nodes import Background, Factors, Nodes

__all__ = ["add_interactions", "add_values"]

_MAX_PATH = 64
_BLOCK_ROWS = 8192


@numba.njit(cache=True, nogil=True)
def add_values(codes: AnyArray, background: Background, nodes: Nodes, factors: Factors, out: FloatArray) -> None:
    """See `spark_shap.core.trees.deep.add_values`."""
    path, buffer = np.empty(_MAX_PATH, dtype=np.intp), np.empty((2, 1 << factors.longest))
    there = _classes(nodes, len(background.weights))
    for start in range(0, codes.shape[1], _BLOCK_ROWS):
        part, sums = codes[:, start : start + _BLOCK_ROWS], out[:, start : start + _BLOCK_ROWS]
        here = _classes(nodes, part.shape[1])
        for at in range(len(nodes.axis)):
            if at:
                _refine(at, part, nodes, here)
                _refine(at, background.codes, nodes, there)
            d, depth = nodes.slot[at], nodes.depth[at]
            if nodes.axis[at] >= 0:
                path[d] = nodes.axis[at]
                continue
            misses, fails = here[1][depth, : here[2][depth]], there[1][depth, : there[2][depth]]
            weights, values = _weights(there[0][depth], len(fails), background.weights), np.zeros((len(misses), d))
            if d <= factors.longest:
                potential_values(misses, fails, weights, buffer, values)
            else:
                met_values(misses, fails, weights, factors, values)
            _spread(values, here[0][depth], nodes.feature[path[:d]], nodes.values[nodes.leaf[at]], sums)


@numba.njit(cache=True, nogil=True)
def add_interactions(codes: AnyArray, background: Background, nodes: Nodes, factors: Factors, out: FloatArray) -> None:
    """See `spark_shap.core.trees.deep.add_interactions`."""
    path, buffer = np.empty(_MAX_PATH, dtype=np.intp), np.empty((4, 1 << factors.longest))
    there = _classes(nodes, len(background.weights))
    for start in range(0, codes.shape[1], _BLOCK_ROWS):
        part, sums = codes[:, start : start + _BLOCK_ROWS], out[:, start : start + _BLOCK_ROWS]
        here = _classes(nodes, part.shape[1])
        for at in range(len(nodes.axis)):
            if at:
                _refine(at, part, nodes, here)
                _refine(at, background.codes, nodes, there)
            d, depth = nodes.slot[at], nodes.depth[at]
            if nodes.axis[at] >= 0:
                path[d] = nodes.axis[at]
                continue
            misses, fails = here[1][depth, : here[2][depth]], there[1][depth, : there[2][depth]]
            weights = _weights(there[0][depth], len(fails), background.weights)
            values = np.zeros((len(misses), d * (d - 1) // 2))
            if d <= factors.longest:
                potential_pairs(d, (misses, fails), weights, buffer, values)
            else:
                met_pairs(d, (misses, fails), weights, factors, values)
            cells = _pair_cells(nodes.feature[path[:d]], nodes.n_features)
            _spread(values, here[0][depth], cells, nodes.values[nodes.leaf[at]], sums)


@numba.njit(cache=True, nogil=True)
def _classes(nodes: Nodes, n_rows: int) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Return by depth: the class of each row, the features that each class misses, and the number of classes."""
    n_levels = nodes.depth.max() + 1
    which = np.zeros((n_levels, n_rows), dtype=np.uint32)
    return which, np.zeros((n_levels, n_rows), dtype=np.uint64), np.ones(n_levels, dtype=np.intp)


@numba.njit(cache=True, nogil=True)
def _refine(at: int, codes: AnyArray, nodes: Nodes, classes: tuple[AnyArray, AnyArray, AnyArray]) -> None:
    """Divide the classes of a node's parent into those that stay, and those that would go to the other child."""
    which, misses, count = classes
    parent, depth = nodes.parent[at], nodes.depth[at]
    bit = np.uint64(1) << np.uint64(nodes.slot[parent])
    sets, bins = nodes.sets[nodes.set_start[parent] :], codes[nodes.axis[parent]]
    above, above_misses, here, here_misses = which[depth - 1], misses[depth - 1], which[depth], misses[depth]
    is_left = np.uint32(nodes.is_left[at])
    number = np.full(2 * count[depth - 1], -1, dtype=np.int64)
    n_classes = 0
    for row in range(codes.shape[1]):
        old = np.intp(above[row])
        left = (sets[bins[row] >> 5] >> np.uint32(bins[row] & 31)) & np.uint32(1)
        leaves = left != is_left and not above_misses[old] & bit
        place = 2 * old + leaves
        if number[place] < 0:
            number[place] = n_classes
            here_misses[n_classes] = above_misses[old] | bit if leaves else above_misses[old]
            n_classes += 1
        here[row] = number[place]
    count[depth] = n_classes


@numba.njit(cache=True, nogil=True)
def _weights(which: AnyArray, n_classes: int, weights: FloatArray) -> FloatArray:
    out = np.zeros(n_classes)
    for row in range(len(which)):
        out[which[row]] += weights[row]
    return out


@numba.njit(cache=True, nogil=True)
def _pair_cells(features: AnyArray, n_features: int) -> AnyArray:
    d, place = len(features), 0
    cells = np.zeros(d * (d - 1) // 2, dtype=np.intp)
    for one in range(d):
        for other in range(one):
            cells[place] = min(features[one], features[other]) * n_features + max(features[one], features[other])
            place += 1
    return cells


@numba.njit(cache=True, nogil=True)
def _spread(values: FloatArray, which: AnyArray, cells: AnyArray, leaf: FloatArray, out: FloatArray) -> None:
    """Add the values (classes, c) of each row's class, times the leaf's outputs, to the rows' cells."""
    reached = np.zeros(len(values), dtype=np.bool_)
    for place in range(len(values)):
        reached[place] = values[place].any()
    rows, n_rows = np.empty(len(which), dtype=np.intp), 0
    for row in range(len(which)):
        if reached[which[row]]:
            rows[n_rows] = row
            n_rows += 1
    for column in range(len(cells)):
        for output in range(len(leaf)):
            sums = out[cells[column] * len(leaf) + output]
            for row in rows[:n_rows]:
                sums[row] += values[which[row], column] * leaf[output]
