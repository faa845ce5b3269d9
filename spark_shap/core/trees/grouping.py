r"""Which leaves share a table.

The leaves of a group see a row through the group's *state*: for each feature on their paths the class of its
bin, where two bins are of one class when they look the same to every leaf of the group. A table over the
states holds the sum of what the leaves contribute, so a row pays one look-up a group instead of one a leaf.
Neighbouring leaves share most of their path: two siblings have the same states as either of them alone, four
leaves below one node eight times as many. Groups grow upwards from the leaves, joining the last group of a
node's left branch with the first of its right one, while the states stay few.

A table of values has a column for each feature and output. That is much for one leaf with a long path, which
therefore keeps one column of potentials instead (`spark_shap.core.trees.fill`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from spark_shap.core.trees.paths import TreePaths

__all__ = ["Group", "GroupedTree", "group_leaves", "single_leaves"]

_MAX_STATES = 512
_MAX_ENTRIES = 4096


@dataclass(frozen=True)
class Group:
    """Leaves that share a table.

    Attributes
    ----------
    leaves
        Their places among the tree's leaves.
    labels
        For each axis on their paths the class of each bin, classes numbered from 0.
    counts
        For each axis on their paths the number of classes.
    n_states
        The product of those.
    alone
        Whether the table holds potentials; then the group is one leaf.
    """

    leaves: tuple[int, ...]
    labels: dict[int, tuple[int, ...]]
    counts: dict[int, int]
    n_states: int
    alone: bool = False

    @cached_property
    def n_classes(self) -> dict[int, int]:
        """``counts`` in the order of a state's digits: axes with more classes first."""
        return dict(sorted(self.counts.items(), key=lambda item: (-item[1], item[0])))

    @cached_property
    def strides(self) -> dict[int, int]:
        """What one class of each axis adds to the state."""
        out, stride = {}, 1
        for axis, count in self.n_classes.items():
            out[axis] = stride
            stride *= count
        return out

    def local_players(self, paths: TreePaths) -> tuple[int, ...]:
        """Return which of its players each axis is, in the order of a state's digits; players numbered as they come."""
        number: dict[int, int] = {}
        return tuple(number.setdefault(paths.axes[axis].player, len(number)) for axis in self.n_classes)

    def may_be_alone(self, paths: TreePaths) -> bool:
        """Whether a state says no more than which players pass, as potentials need it: each player has one axis."""
        local = self.local_players(paths)
        return len(set(local)) == len(local)

    def table_entries(self, n_outputs: int) -> int:
        """Return the numbers in the group's table for a tree with so many outputs."""
        return self.n_states * (1 if self.alone else len(self.labels) * n_outputs)


class GroupedTree(NamedTuple):
    """A tree and its groups, from left to right."""

    paths: TreePaths
    groups: list[Group]


def group_leaves(paths: TreePaths) -> list[Group]:
    """Return the groups of a tree, leaves from left to right.

    A leaf without conditions, the whole of a constant tree, is in no group.
    """
    singles = iter(_singles(paths)[::-1])
    open_groups: dict[int, list[Group]] = {}
    for position in range(len(paths.axis) - 1, -1, -1):  # children before their parents
        if paths.axis[position] < 0:
            open_groups[position] = [next(singles)]
            continue
        left, right = (open_groups.pop(child) for child in paths.children[position])
        joined = _join(left[-1], right[0])
        open_groups[position] = left + right if joined is None else [*left[:-1], joined, *right[1:]]
    n_outputs = len(paths.outputs)
    return [
        replace(
            group,
            alone=len(group.leaves) == 1
            and group.table_entries(n_outputs) > _MAX_ENTRIES
            and group.may_be_alone(paths),
        )
        for group in open_groups[0]
        if group.labels
    ]


def single_leaves(paths: TreePaths) -> list[Group]:
    """Return every leaf as a group of its own, with a table of potentials where that can be: the least memory."""
    return [replace(group, alone=group.may_be_alone(paths)) for group in _singles(paths) if group.labels]


def _singles(paths: TreePaths) -> list[Group]:
    """Return every leaf as a group: class 1 are the bins that satisfy it."""
    n_bins = [axis.n_bins for axis in paths.axes]
    seen: dict[tuple[int, int], tuple[int, ...]] = {}
    out = []
    for place, leaf in enumerate(paths.leaves):
        for axis, bins in paths.conditions[leaf].items():
            if (axis, bins) not in seen:
                seen[axis, bins] = tuple(bins >> k & 1 for k in range(n_bins[axis]))
        labels = {axis: seen[axis, bins] for axis, bins in paths.conditions[leaf].items()}
        out.append(Group((place,), labels, dict.fromkeys(labels, 2), 1 << len(labels)))
    return out


def _join(one: Group, other: Group) -> Group | None:
    """Return the two groups as one, None when it would have too many states."""
    common = one.labels.keys() & other.labels.keys()
    # Where both have an axis, its classes cannot become fewer than either has.
    least = one.n_states * prod(count for axis, count in other.counts.items() if axis not in common)
    if max(least, other.n_states) > _MAX_STATES:
        return None
    labels, counts = {**one.labels, **other.labels}, {**one.counts, **other.counts}
    for axis in common:
        number: dict[tuple[int, int], int] = {}
        pairs = zip(one.labels[axis], other.labels[axis], strict=True)
        labels[axis] = tuple([number.setdefault(pair, len(number)) for pair in pairs])
        counts[axis] = len(number)
    n_states = prod(counts.values())
    return Group(one.leaves + other.leaves, labels, counts, n_states) if n_states <= _MAX_STATES else None
