r"""Trees whose paths are too long for tables: every leaf against the background rows that can meet it there.

A path with d features has :math:`2^d` patterns, so a fully grown tree has no tables. Against one background row
z, a leaf of value v that the row x misses by the features B, and z by the features A, gives

.. math::
    \phi_i = v \frac{(|A|-1)!\,|B|!}{(|A|+|B|)!} \; (i \in A), \qquad
    \phi_i = -v \frac{|A|!\,(|B|-1)!}{(|A|+|B|)!} \; (i \in B),

unless a feature is in both, for then no mixture of x and z gets there. The walk goes down the whole tree with
the list of background rows that still can meet x: where x takes the branch, all of them do, where x misses it,
those that take it. The lists shrink quickly, and a branch whose list is empty is passed over. So unlike tables,
the cost of a row grows with the background, whose rows, as bins, travel along.

The kernels are also in `spark_shap.core.trees.deep_compiled`.
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spark_shap.core.arrays import AnyArray, BoolArray, FloatArray, IntArray

__all__ = ["MAX_PATH", "Background", "Nodes", "Weights", "add_interactions", "add_values", "goes_left", "make_weights"]

MAX_PATH = 64
"""The features of a path are bits of a 64-bit word."""

_BLOCK_PAIRS = 2**18
_POPCOUNT = np.array([byte.bit_count() for byte in range(256)], dtype=np.intp)


class Weights(NamedTuple):
    """The factors of the closed form, (MAX_PATH + 1, MAX_PATH + 1) each, by the sizes of A and B."""

    missed_by_background: FloatArray
    missed_by_row: FloatArray


class Nodes(NamedTuple):
    """The N nodes of one tree in preorder: the left child of node p is node p + 1.

    Attributes
    ----------
    axis
        (N,) the row of the codes that a node tests, -1 at a leaf.
    parent, is_left, depth
        (N,) the node above (-1), whether a node is its left child, and how many nodes are above.
    skip
        (N,) the first node that is not below.
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
    skip: IntArray
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


def make_weights() -> Weights:
    """Return the factors; where a set is empty its players' factor is 0."""
    by_background, by_row = np.zeros((2, MAX_PATH + 1, MAX_PATH + 1))
    for a in range(MAX_PATH + 1):
        for b in range(MAX_PATH + 1 - a):
            by_background[a, b] = 1 / (a * comb(a + b, a)) if a else 0.0
            by_row[a, b] = 1 / (b * comb(a + b, b)) if b else 0.0
    return Weights(by_background, by_row)


def add_values(codes: AnyArray, background: Background, nodes: Nodes, weights: Weights, out: FloatArray) -> None:
    """Add the Shapley values of rows with bins (m, n) to their outputs (F K, n)."""
    n_outputs = nodes.values.shape[1]
    for rows, leaf in _meetings(codes, background, nodes):
        missed = popcount(leaf.misses)[leaf.row]
        found = popcount(leaf.fails)
        weight = background.weights[leaf.which]
        gain, loss = (table[found, missed] * weight for table in weights)
        loss_of_row = _by_row(leaf, loss)
        for slot, axis in enumerate(leaf.axes):
            mine = _by_row(leaf, gain * _bit(leaf.fails, slot)) - loss_of_row * _bit(leaf.misses, slot)
            for output in range(n_outputs):
                out[nodes.feature[axis] * n_outputs + output, rows] += mine * leaf.value[output]


def add_interactions(codes: AnyArray, background: Background, nodes: Nodes, weights: Weights, out: FloatArray) -> None:
    """Add halves of the interaction index of pairs i < j of rows with bins (m, n) to their outputs (F F K, n).

    The weights are those of the values with one player less: i and j count as one.
    """
    n_outputs = nodes.values.shape[1]
    for rows, leaf in _meetings(codes, background, nodes):
        missed = popcount(leaf.misses)[leaf.row]
        found = popcount(leaf.fails)
        weight = 0.5 * background.weights[leaf.which]
        both_found = weight * weights.missed_by_background[np.maximum(found - 1, 0), missed]
        both_missed = weight * weights.missed_by_row[found, np.maximum(missed - 1, 0)]
        apart = weight * weights.missed_by_background[found, np.maximum(missed - 1, 0)]
        has = [(_bit(leaf.fails, slot), _bit(leaf.misses, slot)[leaf.row]) for slot in range(len(leaf.axes))]
        for one, (one_found, one_missed) in enumerate(has):
            for other, (other_found, other_missed) in enumerate(has[:one]):
                value = both_found * one_found * other_found + both_missed * one_missed * other_missed
                value -= apart * (one_found * other_missed + one_missed * other_found)
                pair = np.sort(nodes.feature[[leaf.axes[one], leaf.axes[other]]])
                cell = (pair[0] * nodes.n_features + pair[1]) * n_outputs
                mine = _by_row(leaf, value)
                for output in range(n_outputs):
                    out[cell + output, rows] += mine * leaf.value[output]


def popcount(masks: AnyArray) -> IntArray:
    """Return the number of bits of each uint64 mask."""
    return np.asarray(_POPCOUNT[masks.view(np.uint8).reshape(-1, 8)].sum(axis=1))


def _bit(masks: AnyArray, slot: int) -> FloatArray:
    return (masks >> np.uint64(slot) & np.uint64(1)).astype(np.float64)


class _Level(NamedTuple):
    """The pairs of a row (of a block) and a background row that can meet at a node, and the features they miss."""

    row: IntArray
    which: IntArray
    fails: AnyArray
    misses: AnyArray


class _Leaf(NamedTuple):
    """`_Level` at a leaf, with the axes of its path and its outputs."""

    row: IntArray
    which: IntArray
    fails: AnyArray
    misses: AnyArray
    axes: IntArray
    value: FloatArray


def _by_row(leaf: _Leaf, amounts: FloatArray) -> FloatArray:
    return np.asarray(np.bincount(leaf.row, amounts, minlength=len(leaf.misses)), dtype=np.float64)


def _meetings(codes: AnyArray, background: Background, nodes: Nodes) -> Iterator[tuple[slice, _Leaf]]:
    """Yield, for blocks of rows, the leaves with the pairs that meet there."""
    n_background = len(background.weights)
    step = max(1, _BLOCK_PAIRS // n_background)
    for start in range(0, codes.shape[1], step):
        part = codes[:, start : start + step]
        n_rows = part.shape[1]
        row, which = np.repeat(np.arange(n_rows), n_background), np.tile(np.arange(n_background), n_rows)
        levels = {0: _Level(row, which, np.zeros(len(row), np.uint64), np.zeros(n_rows, np.uint64))}
        path = np.zeros(MAX_PATH, dtype=np.intp)
        at = 0
        while at < len(nodes.axis):
            depth = nodes.depth[at]
            if at:
                levels[depth] = _step(at, levels[depth - 1], part, background.codes, nodes)
            if not len(levels[depth].row):
                at = nodes.skip[at]
                continue
            if nodes.axis[at] < 0:
                yield (
                    slice(start, start + n_rows),
                    _Leaf(*levels[depth], path[: nodes.slot[at]], nodes.values[nodes.leaf[at]]),
                )
            else:
                path[nodes.slot[at]] = nodes.axis[at]
            at += 1


def _step(at: int, above: _Level, codes: AnyArray, background: AnyArray, nodes: Nodes) -> _Level:
    """Return who can meet at a node, from who can meet at its parent."""
    parent = nodes.parent[at]
    axis, bit = nodes.axis[parent], np.uint64(1) << np.uint64(nodes.slot[parent])
    misses = above.misses | np.where(goes_left(parent, codes[axis], nodes) == nodes.is_left[at], np.uint64(0), bit)
    missed = (misses & bit > 0)[above.row]
    here = (goes_left(parent, background[axis], nodes) == nodes.is_left[at])[above.which]
    keep = ~missed | (here & (above.fails & bit == 0))
    fails = above.fails | np.where(here | missed, np.uint64(0), bit)
    return _Level(above.row[keep], above.which[keep], fails[keep], misses)


def goes_left(node: int | IntArray, bins: AnyArray, nodes: Nodes) -> BoolArray:
    """Return (n,) whether bins (n,) of their features go left at inner nodes, one or (n,)."""
    words = nodes.sets[nodes.set_start[node] + bins // 32]
    return np.asarray(words >> (bins % 32).astype(np.uint32) & np.uint32(1), dtype=bool)
