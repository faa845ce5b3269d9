r"""From histograms of the background to tables of Shapley values.

The histogram of a group says what share of the background is in each state. Each leaf of the group reads its
own patterns' histogram out of it, gets its potentials (`spark_shap.core.trees.potentials`), and the values of all
its leaves are summed state by state: a table over (feature, output, state).

A leaf alone with a long path has a table of :math:`d\,2^d` values of which rows use few; it keeps the potentials
:math:`P_{d-1}` instead (:math:`2^d` numbers), and the row takes the differences itself:

.. math::
    \phi_i(a) = \frac{1}{d} \Bigl(\sum_j P_{d-1}(a \setminus j) + v(U) - v(\emptyset)\Bigr) - P_{d-1}(a \setminus i),

because the values sum to :math:`v(U) - v(\emptyset)`. The place of the whole set, which is never looked up,
holds :math:`-v(\emptyset) = -Q(U)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spark_shap.core.trees.potentials import coverage, interaction_parts, potentials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spark_shap.core.arrays import FloatArray, IntArray
    from spark_shap.core.trees.batches import Batch

__all__ = ["interaction_potential_table", "interaction_table", "leaf_coverage", "potential_table", "value_table"]


def leaf_coverage(batch: Batch, patterns: IntArray, histogram: FloatArray) -> FloatArray:
    """Return Q (L, 2**d) of each leaf from the histograms (g, s) of its groups and the patterns (L, s)."""
    n_leaves, width = len(patterns), 1 << batch.n_players
    n_own = np.diff(np.append(batch.first_leaf, n_leaves))
    place = patterns + np.arange(n_leaves)[:, None] * width
    counted = np.bincount(place.ravel(), np.repeat(histogram, n_own, axis=0).ravel(), n_leaves * width)
    return coverage(np.asarray(counted, dtype=np.float64).reshape(n_leaves, width))


def potential_table(q: FloatArray) -> FloatArray:
    """Return the potentials (L, 2**d) of leaves that are alone."""
    _, less = potentials(q)
    less[:, -1] = -q[:, -1]
    return less


def interaction_potential_table(q: FloatArray) -> FloatArray:
    """Return f, g and h of `potentials.interaction_parts`, (L, 3, 2**d), of leaves that are alone."""
    return np.stack(interaction_parts(q), axis=1)


def value_table(batch: Batch, patterns: IntArray, q: FloatArray) -> FloatArray:
    """Return (g, d, k, s) Shapley values of the groups' players in each state."""
    whole, less = potentials(q)
    of_whole = np.take_along_axis(whole, patterns, axis=1)

    def values(feature: int) -> FloatArray:
        return of_whole - np.take_along_axis(less, patterns & ~(1 << feature), axis=1)

    return _sum_leaves(batch, batch.n_players, map(values, range(batch.n_players)))


def interaction_table(batch: Batch, patterns: IntArray, q: FloatArray) -> FloatArray:
    """Return (g, d (d - 1) / 2, k, s) halves of the interaction index of the players' pairs (0, 1), (0, 2), ..."""
    d = batch.n_players
    pairs = [(i, j) for i in range(d) for j in range(i + 1, d)]
    if not pairs:
        return np.zeros((len(batch.groups), 0, batch.values.shape[1], batch.n_states))
    whole, less_one, less_two = interaction_parts(q)
    of_whole = np.take_along_axis(whole, patterns, axis=1)
    of_others = [np.take_along_axis(less_one, patterns & ~(1 << feature), axis=1) for feature in range(d)]

    def values(pair: tuple[int, int]) -> FloatArray:
        i, j = pair
        rest = np.take_along_axis(less_two, patterns & ~(1 << i | 1 << j), axis=1)
        return of_whole + of_others[i] + of_others[j] + rest

    return _sum_leaves(batch, len(pairs), map(values, pairs))


def _sum_leaves(batch: Batch, n_columns: int, columns: Iterator[FloatArray]) -> FloatArray:
    """Return (g, c, k, s) sums over the leaves of each group of a column (L, s) times the leaves' outputs."""
    n_outputs = batch.values.shape[1]
    out = np.empty((len(batch.groups), n_columns, n_outputs, batch.n_states))
    for place, column in enumerate(columns):
        for output in range(n_outputs):
            out[:, place, output] = np.add.reduceat(column * batch.values[:, output, None], batch.first_leaf, axis=0)
    return out
