"""What the kernels for deep trees work on: see `spark_shap.core.trees.deep`."""

from __future__ import annotations

from functools import lru_cache
from math import comb
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import AnyArray, BoolArray, FloatArray, IntArray

__all__ = ["MAX_PATH", "Background", "Factors", "Nodes", "goes_left", "make_factors"]

MAX_PATH = 64
"""The features of a path are bits of a 64-bit word."""

_MAX_POTENTIALS = 16
# Potentials of d features take d 2**d steps a block of rows, meetings about B a row: this balances them for blocks
# of some hundred rows. A single row pays more than it has to, a full block less.
_WORTH = 64


class Factors(NamedTuple):
    """What the kernels need beside the tree.

    Attributes
    ----------
    of_background_misses, of_row_misses
        (MAX_PATH + 1, MAX_PATH + 1) the two factors of a meeting by the sizes of A and B; 0 where no i is.
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
    # Not by the number of rows in the call: a row's bits must not depend on its company.
    longest = max(d for d in range(_MAX_POTENTIALS + 1) if d << d <= _WORTH * n_background)
    return Factors(*_factors(), longest)


@lru_cache(maxsize=1)
def _factors() -> tuple[FloatArray, FloatArray]:
    of_background, of_row = np.zeros((2, MAX_PATH + 1, MAX_PATH + 1))
    for a in range(MAX_PATH + 1):
        for b in range(MAX_PATH + 1 - a):
            of_background[a, b] = 1 / (a * comb(a + b, a)) if a else 0.0
            of_row[a, b] = 1 / (b * comb(a + b, b)) if b else 0.0
    return of_background, of_row


def goes_left(node: int | IntArray, bins: AnyArray, nodes: Nodes) -> BoolArray:
    """Return (n,) whether bins (n,) of their features go left at inner nodes, one or (n,)."""
    words = nodes.sets[nodes.set_start[node] + bins // 32]
    return np.asarray(words >> (bins % 32).astype(np.uint32) & np.uint32(1), dtype=bool)
