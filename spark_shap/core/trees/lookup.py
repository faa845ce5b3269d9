"""The row phase: bins to states, states to table entries, table entries into the output, column by column.

`add_values` and `add_histograms` are also in `spark_shap.core.trees.lookup_compiled`, with the same arguments
and the same results. A row's sums run over the trees and their groups in a fixed order, whatever rows are
beside it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spark_shap.core.arrays import AnyArray, FloatArray, IntArray
    from spark_shap.core.trees.states import StateIndex

__all__ = ["Lookup", "add_histograms", "add_values"]

_BLOCK_ROWS = 8192


class Lookup(NamedTuple):
    """Tables of G groups.

    Attributes
    ----------
    table
        All tables in one run: the states of a group for its first column, for its second, and so on.
    table_start
        (G,) where a group's table begins.
    n_states
        (G,) states of a group.
    columns_start
        (G + 1,) where a group's columns begin in ``columns``; a group without columns is passed over.
    columns
        The row of the output that each column of a table is added to.
    n_features
        (G,) features of a group whose table holds potentials (see `spark_shap.core.trees.fill`), else 0.
    pairs
        True for tables of interactions, with the columns of the pairs (0, 1), (0, 2), ... (1, 2), ...
    leaf_values, leaf_start
        The outputs of the one leaf of such a group, and where (G,) they begin.
    """

    table: FloatArray
    table_start: IntArray
    n_states: IntArray
    columns_start: IntArray
    columns: IntArray
    n_features: IntArray
    pairs: bool
    leaf_values: FloatArray
    leaf_start: IntArray


def add_histograms(
    codes: AnyArray, index: StateIndex, state_start: IntArray, weights: FloatArray, out: FloatArray
) -> None:
    """Add the weights (n,) of rows with bins (m, n) to the states of all groups, which begin at (G,)."""
    for start in range(0, codes.shape[1], _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        for group, states in _states(codes[:, block], index):
            counted = np.bincount(states, weights[block])
            out[state_start[group] : state_start[group] + len(counted)] += counted


def add_values(codes: AnyArray, index: StateIndex, lookup: Lookup, out: FloatArray) -> None:
    """Add the table entries of rows with bins (m, n) to their outputs (c, n)."""
    for start in range(0, codes.shape[1], _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        for group, states in _states(codes[:, block], index):
            if lookup.n_features[group]:
                add = _add_pair_potentials if lookup.pairs else _add_potentials
                add(states, group, lookup, out[:, block])
                continue
            start, n_states = lookup.table_start[group], lookup.n_states[group]
            for column in lookup.columns[lookup.columns_start[group] : lookup.columns_start[group + 1]]:
                out[column, block] += lookup.table[start : start + n_states][states]
                start += n_states


def _states(codes: AnyArray, index: StateIndex) -> Iterator[tuple[int, IntArray]]:
    """Yield the groups with the states (n,) of rows with bins (m, n)."""
    for tree, n_words in enumerate(index.n_words):
        words = np.zeros((n_words, codes.shape[1]), dtype=np.uint64)
        for axis in range(index.tree_axes[tree], index.tree_axes[tree + 1]):
            classes = index.classes[index.axis_classes[axis] : index.axis_classes[axis + 1]]
            bins, start, n_bins = codes[index.axis_column[axis]], index.axis_words[axis], index.axis_bins[axis]
            for word in range(index.axis_first[axis], index.axis_first[axis] + index.axis_width[axis]):
                words[word] += index.words[start : start + n_bins][classes][bins]
                start += n_bins
        for group in range(index.tree_groups[tree], index.tree_groups[tree + 1]):
            word = words[index.group_word[group]]
            yield group, (word >> index.group_shift[group] & index.group_mask[group]).astype(np.intp)


def _add_potentials(states: IntArray, group: int, lookup: Lookup, out: FloatArray) -> None:
    d, n_states = int(lookup.n_features[group]), int(lookup.n_states[group])
    potential = lookup.table[lookup.table_start[group] : lookup.table_start[group] + n_states]
    columns = lookup.columns[lookup.columns_start[group] : lookup.columns_start[group + 1]].reshape(d, -1)
    leaf = lookup.leaf_values[lookup.leaf_start[group] :]
    without = [potential[states & ~(1 << feature)] for feature in range(d)]
    mean = np.where(states == n_states - 1, 1.0, 0.0) + potential[-1]
    for values in without:
        mean += values
    mean /= d
    for values, row in zip(without, columns, strict=True):
        for output, column in enumerate(row):
            out[column] += (mean - values) * leaf[output]


def _add_pair_potentials(states: IntArray, group: int, lookup: Lookup, out: FloatArray) -> None:
    d, n_states, start = int(lookup.n_features[group]), int(lookup.n_states[group]), int(lookup.table_start[group])
    whole, less_one, less_two = lookup.table[start : start + 3 * n_states].reshape(3, -1)
    columns = lookup.columns[lookup.columns_start[group] : lookup.columns_start[group + 1]]
    of_pairs = columns.reshape(d * (d - 1) // 2, -1)
    leaf = lookup.leaf_values[lookup.leaf_start[group] :]
    for (one, other), row in zip(itertools.combinations(range(d), 2), of_pairs, strict=True):
        value = whole[states] + less_one[states & ~(1 << one)] + less_one[states & ~(1 << other)]
        value += less_two[states & ~(1 << one | 1 << other)]
        for output, column in enumerate(row):
            out[column] += value * leaf[output]
