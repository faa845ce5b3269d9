"""The kernels of `spark_shap.core.trees.lookup`, compiled.

Blocks of rows are the outer loop, so that their bins, states and outputs stay in the cache; the rows of a
block are the innermost one, so that what a tree, a feature or a group is made of is read once a block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

from spark_shap.core.trees.lookup import Lookup
from spark_shap.core.trees.states import StateIndex

if TYPE_CHECKING:
    from spark_shap.core.arrays import AnyArray, FloatArray, IntArray

__all__ = ["add_histograms", "add_values"]

_BLOCK_ROWS = 2048
# numba keeps compiled code until this file changes, and knows the fields of a NamedTuple by their places only.
_FIELDS = (
    "tree_axes tree_groups axis_column axis_bins axis_first axis_width axis_words axis_classes group_word group_shift "
    "group_mask classes words n_words",
    "table table_start n_states columns_start columns n_features pairs leaf_values leaf_start",
)
if tuple(" ".join(kind._fields) for kind in (StateIndex, Lookup)) != _FIELDS:
    raise ImportError("lookup_compiled: _FIELDS are not those of StateIndex and Lookup; renew them")


@numba.njit(cache=True, nogil=True)
def add_histograms(
    codes: AnyArray, index: StateIndex, state_start: IntArray, weights: FloatArray, out: FloatArray
) -> None:
    """See `spark_shap.core.trees.lookup.add_histograms`."""
    words, states = _buffers(index)
    for start in range(0, codes.shape[1], _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, codes.shape[1])
        for tree in range(len(index.n_words)):
            _fill_words(codes[:, start:stop], index, tree, words)
            for group in range(index.tree_groups[tree], index.tree_groups[tree + 1]):
                _fill_states(index, group, words, states)
                counts = out[state_start[group] :]
                for row in range(stop - start):
                    counts[states[row]] += weights[start + row]


@numba.njit(cache=True, nogil=True)
def add_values(codes: AnyArray, index: StateIndex, lookup: Lookup, out: FloatArray) -> None:
    """See `spark_shap.core.trees.lookup.add_values`."""
    words, states = _buffers(index)
    for start in range(0, codes.shape[1], _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, codes.shape[1])
        for tree in range(len(index.n_words)):
            _fill_words(codes[:, start:stop], index, tree, words)
            for group in range(index.tree_groups[tree], index.tree_groups[tree + 1]):
                _fill_states(index, group, words, states)
                if lookup.n_features[group]:
                    if lookup.pairs:
                        _add_pair_potentials(states, group, lookup, out[:, start:stop])
                    else:
                        _add_potentials(states, group, lookup, out[:, start:stop])
                    continue
                table = lookup.table[lookup.table_start[group] :]
                for column in range(lookup.columns_start[group], lookup.columns_start[group + 1]):
                    sums = out[lookup.columns[column], start:stop]
                    for row in range(stop - start):
                        sums[row] += table[states[row]]
                    table = table[lookup.n_states[group] :]


@numba.njit(cache=True, nogil=True)
def _buffers(index: StateIndex) -> tuple[AnyArray, AnyArray]:
    most = 1
    for n_words in index.n_words:
        most = max(most, n_words)
    return np.empty((most, _BLOCK_ROWS), dtype=np.uint64), np.empty(_BLOCK_ROWS, dtype=np.uint32)


@numba.njit(cache=True, nogil=True)
def _fill_words(codes: AnyArray, index: StateIndex, tree: int, words: AnyArray) -> None:
    n_rows = codes.shape[1]
    words[: index.n_words[tree], :n_rows] = 0
    for axis in range(index.tree_axes[tree], index.tree_axes[tree + 1]):
        classes = index.classes[index.axis_classes[axis] :]
        bins = codes[index.axis_column[axis]]
        added = index.words[index.axis_words[axis] :]
        for word in range(index.axis_first[axis], index.axis_first[axis] + index.axis_width[axis]):
            sums = words[word]
            for row in range(n_rows):
                sums[row] += added[classes[bins[row]]]
            added = added[index.axis_bins[axis] :]


@numba.njit(cache=True, nogil=True)
def _fill_states(index: StateIndex, group: int, words: AnyArray, states: AnyArray) -> None:
    word, shift, mask = words[index.group_word[group]], index.group_shift[group], index.group_mask[group]
    for row in range(len(states)):
        states[row] = np.uint32((word[row] >> shift) & mask)


@numba.njit(cache=True, nogil=True)
def _add_potentials(states: AnyArray, group: int, lookup: Lookup, out: FloatArray) -> None:
    d, n_states, n_rows = lookup.n_features[group], lookup.n_states[group], out.shape[1]
    potential = lookup.table[lookup.table_start[group] :]
    first = lookup.columns_start[group]
    n_outputs = (lookup.columns_start[group + 1] - first) // d
    mean = np.empty(n_rows)
    for row in range(n_rows):
        mean[row] = (1.0 if states[row] == n_states - 1 else 0.0) + potential[n_states - 1]
    for feature in range(d):
        others = np.uint32(n_states - 1 - (1 << feature))
        for row in range(n_rows):
            mean[row] += potential[states[row] & others]
    for row in range(n_rows):
        mean[row] /= d
    for feature in range(d):
        others = np.uint32(n_states - 1 - (1 << feature))
        for output in range(n_outputs):
            sums = out[lookup.columns[first + feature * n_outputs + output]]
            scale = lookup.leaf_values[lookup.leaf_start[group] + output]
            for row in range(n_rows):
                sums[row] += (mean[row] - potential[states[row] & others]) * scale


@numba.njit(cache=True, nogil=True)
def _add_pair_potentials(states: AnyArray, group: int, lookup: Lookup, out: FloatArray) -> None:
    d, n_states, n_rows = lookup.n_features[group], lookup.n_states[group], out.shape[1]
    whole = lookup.table[lookup.table_start[group] :]
    less_one, less_two = whole[n_states:], whole[2 * n_states :]
    column = lookup.columns_start[group]
    n_outputs = (lookup.columns_start[group + 1] - column) // (d * (d - 1) // 2)
    value = np.empty(n_rows)
    for one in range(d):
        for other in range(one + 1, d):
            no_one, no_other = np.uint32(n_states - 1 - (1 << one)), np.uint32(n_states - 1 - (1 << other))
            for row in range(n_rows):
                state = states[row]
                value[row] = whole[state] + less_one[state & no_one] + less_one[state & no_other]
                value[row] += less_two[state & no_one & no_other]
            for output in range(n_outputs):
                sums = out[lookup.columns[column]]
                scale = lookup.leaf_values[lookup.leaf_start[group] + output]
                for row in range(n_rows):
                    sums[row] += value[row] * scale
                column += 1
