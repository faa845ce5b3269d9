r"""From bins to states: for a row, the state of every group of a tree by a few additions.

A state is a number in mixed radix, one digit a feature: the class of the row's bin, see
`spark_shap.core.trees.grouping`. The states of a tree's groups stand side by side in 64-bit words, each in a
lane wide enough for it, so that adding one word a feature and bin makes the digits of many groups at once:
lanes never overflow, because the digits of a state sum to less than the number of states. Groups follow each
other as their leaves do, hence a feature that is tested in one branch only touches few words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_shap.core.trees.bins import unite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_shap.core.arrays import AnyArray, IntArray
    from spark_shap.core.trees.bins import Bins
    from spark_shap.core.trees.grouping import Group, GroupedTree

__all__ = ["StateIndex", "index_states"]

_WORD = 64


class StateIndex(NamedTuple):
    """Arrays over T trees, A axes (a feature of a tree) and G groups.

    Attributes
    ----------
    tree_axes, tree_groups
        (T + 1,) where a tree's axes and groups begin.
    axis_column, axis_bins
        (A,) the column of the codes of an axis, and the bins that its own edges make.
    axis_first, axis_width
        (A,) the first word of the tree that an axis touches, and how many.
    axis_words
        (A,) where an axis begins in ``words``.
    axis_classes
        (A + 1,) where an axis has in ``classes`` its own bin for each bin of the column.
    group_word, group_shift, group_mask
        (G,) where the state of a group stands.
    classes
        uint16 or uint32.
    words
        uint64: for each word that an axis touches what each of its bins adds.
    n_words
        (T,) words of a tree.
    """

    tree_axes: IntArray
    tree_groups: IntArray
    axis_column: IntArray
    axis_bins: IntArray
    axis_first: IntArray
    axis_width: IntArray
    axis_words: IntArray
    axis_classes: IntArray
    group_word: IntArray
    group_shift: AnyArray
    group_mask: AnyArray
    classes: AnyArray
    words: AnyArray
    n_words: IntArray


def index_states(trees: Sequence[GroupedTree], *, single_precision: bool) -> tuple[Bins, StateIndex]:
    """Return the bins of trees with their groups, and their index."""
    lanes: list[tuple[int, int, int]] = []
    axis_words: list[tuple[int, int, int]] = []
    words: list[int] = []
    n_words: list[int] = []
    for paths, groups in trees:
        here = _lanes(groups)
        n_words.append(here[-1][0] + 1 if here else 0)
        lanes += here
        members = _members(groups)
        for number, axis in enumerate(paths.axes):
            first, rows = _axis_words(axis.n_bins, number, members.get(number, []), here)
            axis_words.append((first, len(rows), len(words)))
            words += [word for row in rows for word in row]
    axes = [axis for paths, _ in trees for axis in paths.axes]
    n_bins = np.array([axis.n_bins for axis in axes], dtype=np.intp)
    bins, column, (classes, starts) = unite(
        [axis.feature for axis in axes], [axis.edges for axis in axes], single_precision=single_precision
    )
    lane, axis_rows = np.array(lanes).reshape(-1, 3), np.array(axis_words, dtype=np.intp).reshape(-1, 3)
    index = StateIndex(
        tree_axes=_starts([len(paths.axes) for paths, _ in trees]),
        tree_groups=_starts([len(groups) for _, groups in trees]),
        axis_column=column,
        axis_bins=n_bins,
        axis_first=axis_rows[:, 0].copy(),
        axis_width=axis_rows[:, 1].copy(),
        axis_words=axis_rows[:, 2].copy(),
        axis_classes=starts,
        group_word=lane[:, 0].astype(np.intp),
        group_shift=lane[:, 1].astype(np.uint64),
        group_mask=lane[:, 2].astype(np.uint64),
        classes=classes.astype(np.uint16 if n_bins.max(initial=0) < 2**16 else np.uint32),
        words=np.array(words, dtype=np.uint64),
        n_words=np.array(n_words, dtype=np.intp),
    )
    return bins, index


def _starts(counts: list[int]) -> IntArray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)


def _lanes(groups: Sequence[Group]) -> list[tuple[int, int, int]]:
    """Return word, shift and mask of each group of a tree."""
    out, word, shift = [], 0, 0
    for group in groups:
        width = (group.n_states - 1).bit_length()
        if shift + width > _WORD:
            word, shift = word + 1, 0
        out.append((word, shift, (1 << width) - 1))
        shift += width
    return out


def _members(groups: Sequence[Group]) -> dict[int, list[tuple[int, Group]]]:
    """Return for each axis the groups that it is in, with their places."""
    out: dict[int, list[tuple[int, Group]]] = {}
    for place, group in enumerate(groups):
        for axis in group.labels:
            out.setdefault(axis, []).append((place, group))
    return out


def _axis_words(
    n_bins: int, axis: int, members: list[tuple[int, Group]], lanes: list[tuple[int, int, int]]
) -> tuple[int, list[list[int]]]:
    """Return the first word that an axis touches, and for it and each further one what the bins add."""
    if not members:
        return 0, []
    first, last = lanes[members[0][0]][0], lanes[members[-1][0]][0]
    rows = [[0] * n_bins for _ in range(last - first + 1)]
    for place, group in members:
        word, shift, _ = lanes[place]
        unit, row = group.strides[axis] << shift, rows[word - first]
        for k, label in enumerate(group.labels[axis]):
            row[k] += label * unit
    return first, rows
