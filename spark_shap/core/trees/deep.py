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
from math import comb
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from spark_shap.core.trees.potentials import coverage, interaction_parts, potentials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spark_shap.core.arrays import AnyArray, BoolArray, FloatArray, IntArray

__all__ = ["MAX_PATH", "Background", "Factors", "Nodes", "add_interactions", "add_values", "goes_left", "make_factors"]

MAX_PATH = 64
"""The features of a path are bits of a 64-bit word."""

_MAX_POTENTIALS = 16
_WORTH = 128
_BLOCK_ROWS = 8192
_BLOCK_PAIRS = 2**20
_POPCOUNT = np.array([byte.bit_count() for byte in range(256)], dtype=np.intp)


class Factors(NamedTuple):
    """What the kernels need beside the tree.

    Attributes
    ----------
    of_background_misses, of_row_misses
        (MAX_PATH + 1, MAX_PATH + 1) the two factors above by the sizes of A and B; 0 where there is no such i.
    longest
        Paths of at most so many features have potentials.
    """

    of_background_misses: FloatArray
    of_row_misses: FloatArray
    longest: int


class Nodes(NamedTuple):
    """The N nodes of one tree in preorder: the left child of node p is node p + 1.

    Attributes
    ----------
    axis
        (N,) the row of the codes that a node tests, -1 at a leaf.
    parent, is_left, depth
        (N,) the node above (-1), whether a node is its left child, and how many nodes are above.
    right
        (N,) the right child; 0 for a leaf.
    slot
        (N,) the place of an inner node's feature among those of its path; the number of those for a leaf.
    set_start
        (N,) word at which the bins that go left begin.
    sets
        uint32 words.
    leaf
        (N,) row of ``values``.
    values
        (L, K) outputs of the leaves.
    feature
        The feature of each axis.
    n_features
        F.
    """

    axis: IntArray
    parent: IntArray
    is_left: BoolArray
    depth: IntArray
    right: IntArray
    slot: IntArray
    set_start: IntArray
    sets: AnyArray
    leaf: IntArray
    values: FloatArray
    feature: IntArray
    n_features: int


class Background(NamedTuple):
    """Distinct background rows, as bins (m, B), and their weights (B,) of sum 1."""

    codes: AnyArray
    weights: FloatArray


def make_factors(n_background: int) -> Factors:
    """Return the factors for a background of so many distinct rows."""
    of_background, of_row = np.zeros((2, MAX_PATH + 1, MAX_PATH + 1))
    for a in range(MAX_PATH + 1):
        for b in range(MAX_PATH + 1 - a):
            of_background[a, b] = 1 / (a * comb(a + b, a)) if a else 0.0
            of_row[a, b] = 1 / (b * comb(a + b, b)) if b else 0.0
    # Not by the number of rows in the call: a row's bits must not depend on its company.
    longest = max(d for d in range(_MAX_POTENTIALS + 1) if d << d <= _WORTH * n_background)
    return Factors(of_background, of_row, longest)


class _Leaf(NamedTuple):
    """A leaf as a block of rows and the background see it.

    Attributes
    ----------
    rows
        Where the block is.
    row_misses, background_misses
        (n,) and (B,) uint64, the features of the path that each misses.
    axes
        (d,) the path.
    value
        (K,)
    """

    rows: slice
    row_misses: AnyArray
    background_misses: AnyArray
    axes: IntArray
    value: FloatArray


_Part: TypeAlias = "tuple[tuple[int, ...], IntArray, FloatArray]"
"""Places in the path of the features concerned, some rows of the block, and what these get."""


def add_values(codes: AnyArray, background: Background, nodes: Nodes, factors: Factors, out: FloatArray) -> None:
    """Add the Shapley values of rows with bins (m, n) to their outputs (F K, n)."""
    for leaf in _leaves(codes, background, nodes):
        parts = _potential_values if len(leaf.axes) <= factors.longest else _met_values
        for (slot,), rows, values in parts(leaf, background.weights, factors):
            _add(nodes.feature[leaf.axes[slot]], rows, values, leaf, out)


def add_interactions(codes: AnyArray, background: Background, nodes: Nodes, factors: Factors, out: FloatArray) -> None:
    """Add halves of the interaction index of pairs i < j of rows with bins (m, n) to their outputs (F F K, n)."""
    for leaf in _leaves(codes, background, nodes):
        parts = _potential_pairs if len(leaf.axes) <= factors.longest else _met_pairs
        for slots, rows, values in parts(leaf, background.weights, factors):
            low, high = np.sort(nodes.feature[leaf.axes[list(slots)]])
            _add(low * nodes.n_features + high, rows, values, leaf, out)


def _add(cell: int, rows: IntArray, values: FloatArray, leaf: _Leaf, out: FloatArray) -> None:
    n_outputs = len(leaf.value)
    for output, value in enumerate(leaf.value):
        out[cell * n_outputs + output, leaf.rows.start + rows] += values * value


def _leaves(codes: AnyArray, background: Background, nodes: Nodes) -> Iterator[_Leaf]:
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
                yield _Leaf(
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


def goes_left(node: int | IntArray, bins: AnyArray, nodes: Nodes) -> BoolArray:
    """Return (n,) whether bins (n,) of their features go left at inner nodes, one or (n,)."""
    words = nodes.sets[nodes.set_start[node] + bins // 32]
    return np.asarray(words >> (bins % 32).astype(np.uint32) & np.uint32(1), dtype=bool)


def _coverage(leaf: _Leaf, weights: FloatArray) -> FloatArray:
    n_patterns = 1 << len(leaf.axes)
    missed = np.bincount(leaf.background_misses.astype(np.intp), weights, n_patterns)
    return coverage(np.asarray(missed[None, ::-1], dtype=np.float64))


def _reached(leaf: _Leaf, q: FloatArray) -> tuple[IntArray, IntArray]:
    """Return the rows that some background row can meet at the leaf, and their patterns."""
    misses = leaf.row_misses.astype(np.intp)
    rows = np.flatnonzero(q[0][misses])
    return rows, q.shape[1] - 1 - misses[rows]


def _potential_values(leaf: _Leaf, weights: FloatArray, factors: Factors) -> Iterator[_Part]:  # noqa: ARG001 - not needed
    q = _coverage(leaf, weights)
    (whole,), (less,) = potentials(q)
    rows, pattern = _reached(leaf, q)
    for slot in range(len(leaf.axes) if len(rows) else 0):
        yield (slot,), rows, whole[pattern] - less[pattern & ~(1 << slot)]


def _potential_pairs(leaf: _Leaf, weights: FloatArray, factors: Factors) -> Iterator[_Part]:  # noqa: ARG001 - as above
    q = _coverage(leaf, weights)
    (whole,), (less_one,), (less_two,) = interaction_parts(q)
    rows, pattern = _reached(leaf, q)
    for one, other in itertools.combinations(range(len(leaf.axes) if len(rows) else 0), 2):
        others = less_one[pattern & ~(1 << one)] + less_one[pattern & ~(1 << other)]
        yield (one, other), rows, whole[pattern] + others + less_two[pattern & ~(1 << one | 1 << other)]


class _Meetings(NamedTuple):
    """Pairs of a row (of n) and a background row without a common miss.

    Attributes
    ----------
    rows
        The n rows.
    row
        (P,) place in ``rows``.
    row_misses, background_misses
        (P,) uint64.
    weight
        (P,) of the background row.
    """

    rows: IntArray
    row: IntArray
    row_misses: AnyArray
    background_misses: AnyArray
    weight: FloatArray

    def sums(self, amounts: FloatArray) -> FloatArray:
        """Return the sum (n,) of amounts (P,) by row."""
        return np.asarray(np.bincount(self.row, amounts, len(self.rows)), dtype=np.float64)


def _meetings(leaf: _Leaf, weights: FloatArray) -> Iterator[_Meetings]:
    step = max(1, _BLOCK_PAIRS // len(weights))
    for start in range(0, len(leaf.row_misses), step):
        misses = leaf.row_misses[start : start + step]
        row, which = np.nonzero((misses[:, None] & leaf.background_misses) == 0)
        if len(row):
            rows = start + np.arange(len(misses))
            yield _Meetings(rows, row, misses[row], leaf.background_misses[which], weights[which])


def _met_values(leaf: _Leaf, weights: FloatArray, factors: Factors) -> Iterator[_Part]:
    for met in _meetings(leaf, weights):
        a, b = _popcount(met.background_misses), _popcount(met.row_misses)
        gain = met.weight * factors.of_background_misses[a, b]
        loss = met.weight * factors.of_row_misses[a, b]
        for slot in range(len(leaf.axes)):
            yield (
                (slot,),
                met.rows,
                met.sums(gain * _bit(met.background_misses, slot) - loss * _bit(met.row_misses, slot)),
            )


def _met_pairs(leaf: _Leaf, weights: FloatArray, factors: Factors) -> Iterator[_Part]:
    """Yield halves of the interaction index: its factors are those of the values with one player less."""
    for met in _meetings(leaf, weights):
        a, b = _popcount(met.background_misses), _popcount(met.row_misses)
        in_background = 0.5 * met.weight * factors.of_background_misses[np.maximum(a - 1, 0), b]
        in_row = 0.5 * met.weight * factors.of_row_misses[a, np.maximum(b - 1, 0)]
        apart = 0.5 * met.weight * factors.of_background_misses[a, np.maximum(b - 1, 0)]
        bits = [(_bit(met.background_misses, slot), _bit(met.row_misses, slot)) for slot in range(len(leaf.axes))]
        for one, other in itertools.combinations(range(len(leaf.axes)), 2):
            (one_a, one_b), (other_a, other_b) = bits[one], bits[other]
            amounts = in_background * one_a * other_a + in_row * one_b * other_b
            yield (one, other), met.rows, met.sums(amounts - apart * (one_a * other_b + one_b * other_a))


def _popcount(masks: AnyArray) -> IntArray:
    return np.asarray(_POPCOUNT[masks.view(np.uint8).reshape(-1, 8)].sum(axis=1))


def _bit(masks: AnyArray, slot: int) -> FloatArray:
    return (masks >> np.uint64(slot) & np.uint64(1)).astype(np.float64)
