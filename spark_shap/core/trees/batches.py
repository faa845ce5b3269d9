r"""Groups of one shape together, so that their tables are filled by whole arrays.

Two groups are of one shape when their features have the same numbers of classes; then the digits of all states
are the same, and what remains of a leaf is which classes satisfy it (`Batch.passes`).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from spark_shap.core.arrays import BoolArray, FloatArray, IntArray
    from spark_shap.core.trees.grouping import Group, GroupedTree
    from spark_shap.core.trees.paths import TreePaths

__all__ = ["Batch", "make_batches"]

_CHUNK_CELLS = 2**19


class Batch(NamedTuple):
    """g groups of one shape with L leaves.

    Attributes
    ----------
    n_classes
        (d,) classes of the features of a group.
    players
        (d,) which of the group's players each feature is, numbered as they come: 0 to d - 1 where every feature is one.
    groups
        (g,) numbers of the groups.
    first_leaf
        (g,) where the leaves of each group begin.
    passes
        (L, d, max(n_classes)) bool: a value of this class satisfies the leaf. True for features that are not on
        the leaf's path, which makes them players of no influence.
    values
        (L, k) outputs of the leaves, those that the tree has.
    alone
        Whether the tables hold potentials; then every group is one leaf.
    """

    n_classes: tuple[int, ...]
    players: tuple[int, ...]
    groups: IntArray
    first_leaf: IntArray
    passes: BoolArray
    values: FloatArray
    alone: bool

    @property
    def n_states(self) -> int:
        """States of each group."""
        return int(np.prod(self.n_classes))

    @property
    def n_players(self) -> int:
        """Players of each group."""
        return max(self.players) + 1

    def patterns(self) -> IntArray:
        """Return (L, s) the players, as bits, all of whose tests a row in each state passes."""
        out = np.full((len(self.passes), self.n_states), (1 << self.n_players) - 1, dtype=np.intp)
        state, stride = np.arange(self.n_states), 1
        for feature, (count, player) in enumerate(zip(self.n_classes, self.players, strict=True)):
            out &= ~((~self.passes[:, feature, state // stride % count]).astype(np.intp) << player)
            stride *= count
        return out


class _Member(NamedTuple):
    """A group on its way into a batch."""

    number: int
    group: Group
    paths: TreePaths


def make_batches(trees: Iterable[GroupedTree]) -> list[Batch]:
    """Return the groups of trees, numbered through, by shape."""
    shapes: dict[tuple[tuple[int, ...], tuple[int, ...], int, bool], list[_Member]] = {}
    number = itertools.count()
    for paths, groups in trees:
        for group in groups:
            players = group.local_players(paths)
            shape = (tuple(group.n_classes.values()), players, len(paths.outputs), group.alone)
            shapes.setdefault(shape, []).append(_Member(next(number), group, paths))
    return [_batch(part) for alike in shapes.values() for part in _chunks(alike)]


def _chunks(members: list[_Member]) -> Iterator[list[_Member]]:
    """Yield parts that fit the cache while their tables are made."""
    part: list[_Member] = []
    cells, per_leaf = 0, members[0].group.n_states * len(members[0].group.labels)
    for member in members:
        more = per_leaf * len(member.group.leaves)
        if part and cells + more > _CHUNK_CELLS:
            yield part
            part, cells = [], 0
        part.append(member)
        cells += more
    yield part


def _batch(members: list[_Member]) -> Batch:
    n_classes = tuple(members[0].group.n_classes.values())
    counts = [len(member.group.leaves) for member in members]
    first_leaf = np.append(0, np.cumsum(counts)[:-1]).astype(np.intp)
    passes = np.ones((sum(counts), len(n_classes), max(n_classes)), dtype=bool)
    leaf = 0
    for _, group, paths in members:
        for place in group.leaves:
            allowed = paths.conditions[paths.leaves[place]]
            for feature, axis in enumerate(group.n_classes):
                for k, label in enumerate(group.labels[axis] if axis in allowed else ()):
                    passes[leaf, feature, label] = allowed[axis] >> k & 1
            leaf += 1
    return Batch(
        n_classes,
        members[0].group.local_players(members[0].paths),
        np.array([member.number for member in members]),
        first_leaf,
        passes,
        np.concatenate([_outputs(group, paths) for _, group, paths in members]),
        members[0].group.alone,
    )


def _outputs(group: Group, paths: TreePaths) -> FloatArray:
    return paths.values[list(group.leaves)][:, paths.outputs]
