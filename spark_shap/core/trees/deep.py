r"""Trees whose tables do not fit the memory: each leaf in turn, for a block of rows at once.

The walk goes down the whole tree and keeps, for the rows and for the background rows, which features of the path
they miss so far. Those that miss the same are one *class*, and a leaf is calculated once a class. At a leaf with d
features there are two ways.

Up to a length that depends on the background alone, the leaf's potentials (`spark_shap.core.trees.potentials`)
are made, used for the block, and forgotten: :math:`O(d\,2^d)` a block and 2 d look-ups a class. Beyond it, each
class meets each class of background rows: a leaf of value v that the rows miss by the features B, and the
background rows by the features A, gives

.. math::
    \phi_i = v \frac{(|A|-1)!\,|B|!}{(|A|+|B|)!} \; (i \in A), \qquad
    \phi_i = -v \frac{|A|!\,(|B|-1)!}{(|A|+|B|)!} \; (i \in B),

and nothing when a feature is in both, for then no mixture of the two gets there.

The background rows themselves are needed, as bins, and a row's cost grows with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from spark_shap.core import accelerate
from spark_shap.core.trees import leaf as plain
from spark_shap.core.trees.nodes import MAX_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from spark_shap.core.arrays import AnyArray, FloatArray, IntArray
    from spark_shap.core.trees.nodes import Background, Factors, Nodes

__all__ = ["add_interactions", "add_values"]

_BLOCK_ROWS = 8192


_Classes: TypeAlias = "tuple[AnyArray, AnyArray]"
"""The class (n,) of each row, and the features (c,) that each class misses, as bits."""


class _Leaf(NamedTuple):
    """A leaf as a block of rows and the background see it; path are its axes, value (K,) its outputs."""

    block: slice
    rows: _Classes
    background: _Classes
    path: IntArray
    value: FloatArray


def add_values(codes: AnyArray, background: Background, nodes: Nodes, factors: Factors, out: FloatArray) -> None:
    """Add the Shapley values of rows with bins (m, n) to their outputs (F K, n)."""
    kernels = _kernels()
    for leaf in _leaves(codes, background, nodes, kernels):
        which, classes = _meeting(leaf, background)
        if len(leaf.path) <= factors.longest:
            values = kernels.potential_values(*classes)
        else:
            values = kernels.met_values(*classes, factors.of_background_misses, factors.of_row_misses)
        cells = nodes.feature[leaf.path]
        kernels.spread(values, which, cells, leaf.value, out[:, leaf.block])


def add_interactions(codes: AnyArray, background: Background, nodes: Nodes, factors: Factors, out: FloatArray) -> None:
    """Add halves of the interaction index of pairs i < j of rows with bins (m, n) to their outputs (F F K, n)."""
    kernels = _kernels()
    for leaf in _leaves(codes, background, nodes, kernels):
        if len(leaf.path) < 2:
            continue
        which, classes = _meeting(leaf, background)
        if len(leaf.path) <= factors.longest:
            values = kernels.potential_pairs(*classes)
        else:
            values = kernels.met_pairs(*classes, factors.of_background_misses, factors.of_row_misses)
        one, other = np.tril_indices(len(leaf.path), -1)
        low, high = np.sort(nodes.feature[leaf.path[np.stack([one, other])]], axis=0)
        cells = low * nodes.n_features + high
        kernels.spread(values, which, cells, leaf.value, out[:, leaf.block])


def _meeting(leaf: _Leaf, background: Background) -> tuple[AnyArray, tuple[AnyArray, AnyArray, FloatArray, int]]:
    """Return the class of each row, and what the kernels ask for."""
    (which, misses), (other, others) = leaf.rows, leaf.background
    weights = np.asarray(np.bincount(other, background.weights), dtype=np.float64)
    return which, (misses, others, weights, len(leaf.path))


def _kernels() -> ModuleType:
    if not accelerate.available():
        return plain
    from spark_shap.core.trees import leaf_compiled

    return leaf_compiled


def _leaves(codes: AnyArray, background: Background, nodes: Nodes, kernels: ModuleType) -> Iterator[_Leaf]:
    """Yield the leaves, for one block of rows after the other."""
    steps = list(zip(*(part.tolist() for part in (nodes.axis, nodes.parent, nodes.is_left, nodes.depth)), strict=True))
    slots, starts = nodes.slot.tolist(), nodes.set_start.tolist()
    for start in range(0, codes.shape[1], _BLOCK_ROWS):
        part = codes[:, start : start + _BLOCK_ROWS]
        levels = {0: (_one_class(part.shape[1]), _one_class(len(background.weights)))}
        path = np.zeros(MAX_PATH, dtype=np.intp)
        for at, (axis, parent, is_left, depth) in enumerate(steps):
            if at:
                bit = np.uint64(1 << slots[parent])
                words, tested = nodes.sets[starts[parent] :], steps[parent][0]
                rows, others = levels[depth - 1]
                levels[depth] = (
                    kernels.refine(*rows, part[tested], words, is_left, bit),
                    kernels.refine(*others, background.codes[tested], words, is_left, bit),
                )
            if axis >= 0:
                path[slots[at]] = axis
                continue
            block = slice(start, start + part.shape[1])
            yield _Leaf(block, *levels[depth], path[: slots[at]], nodes.values[nodes.leaf[at]])


def _one_class(n_rows: int) -> _Classes:
    return np.zeros(n_rows, dtype=np.int32), np.zeros(1, dtype=np.uint64)
