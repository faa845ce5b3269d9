r"""Trees whose tables do not fit the memory: each leaf in turn, for a block of rows at once.

The walk goes down the whole tree and keeps, for the rows and for the background rows, which features of the path
they miss so far. At a leaf with d features there are two ways.

Up to a length that depends on the background alone, the leaf's potentials (`spark_shap.core.trees.potentials`)
are made, used for the block, and forgotten: :math:`O(d\,2^d)` a block and 2 d look-ups a row. Beyond it, each row
meets each background row: a leaf of value v that the row misses by the features B, and the background row by the
features A, gives

.. math::
    \phi_i = v \frac{(|A|-1)!\,|B|!}{(|A|+|B|)!} \; (i \in A), \qquad
    \phi_i = -v \frac{|A|!\,(|B|-1)!}{(|A|+|B|)!} \; (i \in B),

and nothing when a feature is in both, for then no mixture of the two gets there. Most leaves of a deep tree are out
of reach of a row with any background row; they are passed over.

The background rows themselves are needed, as bins, and a row's cost grows with them. The kernels are also in
`spark_shap.core.trees.deep_compiled`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from spark_shap.core.trees.meetings import met_pairs, met_values
from spark_shap.core.trees.nodes import MAX_PATH, Leaf, goes_left
from spark_shap.core.trees.potentials import coverage, interaction_parts, potentials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spark_shap.core.arrays import AnyArray, FloatArray, IntArray
    from spark_shap.core.trees.nodes import Background, Factors, Nodes, Part

__all__ = ["add_interactions", "add_values"]

_BLOCK_ROWS = 8192


def add_values(codes: AnyArray, background: Background, nodes: Nodes, factors: Factors, out: FloatArray) -> None:
    """Add the Shapley values of rows with bins (m, n) to their outputs (F K, n)."""
    for leaf in _leaves(codes, background, nodes):
        parts = _potential_values if len(leaf.axes) <= factors.longest else met_values
        for (slot,), rows, values in parts(leaf, background.weights, factors):
            _add(nodes.feature[leaf.axes[slot]], rows, values, leaf, out)


def add_interactions(codes: AnyArray, background: Background, nodes: Nodes, factors: Factors, out: FloatArray) -> None:
    """Add halves of the interaction index of pairs i < j of rows with bins (m, n) to their outputs (F F K, n)."""
    for leaf in _leaves(codes, background, nodes):
        parts = _potential_pairs if len(leaf.axes) <= factors.longest else met_pairs
        for slots, rows, values in parts(leaf, background.weights, factors):
            low, high = np.sort(nodes.feature[leaf.axes[list(slots)]])
            _add(low * nodes.n_features + high, rows, values, leaf, out)


def _add(cell: int, rows: IntArray, values: FloatArray, leaf: Leaf, out: FloatArray) -> None:
    n_outputs = len(leaf.value)
    for output, value in enumerate(leaf.value):
        out[cell * n_outputs + output, leaf.rows.start + rows] += values * value


def _leaves(codes: AnyArray, background: Background, nodes: Nodes) -> Iterator[Leaf]:
    """Yield the leaves, for one block of rows after the other."""
    for start in range(0, codes.shape[1], _BLOCK_ROWS):
        part = codes[:, start : start + _BLOCK_ROWS]
        levels = {0: (np.zeros(part.shape[1], np.uint64), np.zeros(len(background.weights), np.uint64))}
        path = np.zeros(MAX_PATH, dtype=np.intp)
        for at, axis in enumerate(nodes.axis):
            depth = nodes.depth[at]
            if at:
                row_misses, background_misses = levels[depth - 1]
                levels[depth] = (
                    row_misses | _misses(at, part, nodes),
                    background_misses | _misses(at, background.codes, nodes),
                )
            if axis < 0:
                yield Leaf(
                    slice(start, start + part.shape[1]),
                    *levels[depth],
                    path[: nodes.slot[at]],
                    nodes.values[nodes.leaf[at]],
                )
            else:
                path[nodes.slot[at]] = axis


def _misses(at: int, codes: AnyArray, nodes: Nodes) -> AnyArray:
    """Return the bit of the parent's feature (n,) where rows go to the other child."""
    parent = nodes.parent[at]
    there = goes_left(parent, codes[nodes.axis[parent]], nodes) == nodes.is_left[at]
    return np.where(there, np.uint64(0), np.uint64(1) << np.uint64(nodes.slot[parent]))


def _coverage(leaf: Leaf, weights: FloatArray) -> FloatArray:
    n_patterns = 1 << len(leaf.axes)
    missed = np.bincount(leaf.background_misses.astype(np.intp), weights, n_patterns)
    return coverage(np.asarray(missed[None, ::-1], dtype=np.float64))


def _reached(leaf: Leaf, q: FloatArray) -> tuple[IntArray, IntArray]:
    """Return the rows that some background row can meet at the leaf, and their patterns."""
    misses = leaf.row_misses.astype(np.intp)
    rows = np.flatnonzero(q[0][misses])
    return rows, q.shape[1] - 1 - misses[rows]


def _potential_values(leaf: Leaf, weights: FloatArray, factors: Factors) -> Iterator[Part]:  # noqa: ARG001 - not needed
    q = _coverage(leaf, weights)
    (whole,), (less,) = potentials(q)
    rows, pattern = _reached(leaf, q)
    for slot in range(len(leaf.axes) if len(rows) else 0):
        yield (slot,), rows, whole[pattern] - less[pattern & ~(1 << slot)]


def _potential_pairs(leaf: Leaf, weights: FloatArray, factors: Factors) -> Iterator[Part]:  # noqa: ARG001 - as above
    q = _coverage(leaf, weights)
    (whole,), (less_one,), (less_two,) = interaction_parts(q)
    rows, pattern = _reached(leaf, q)
    for one, other in itertools.combinations(range(len(leaf.axes) if len(rows) else 0), 2):
        others = less_one[pattern & ~(1 << one)] + less_one[pattern & ~(1 << other)]
        yield (one, other), rows, whole[pattern] + others + less_two[pattern & ~(1 << one | 1 << other)]
