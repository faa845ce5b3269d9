r"""Which form each tree takes, so that everything fits the memory.

========== ================================================ ========================================
form       memory of a leaf with d features and k outputs   a row's cost
========== ================================================ ========================================
values     :math:`8\,k\,d\,2^d` bytes, shared by a group     one look-up a group, feature and output
potentials :math:`8 \cdot 2^d` bytes                         two look-ups a leaf and feature
deep       none, but the background's rows as bins           grows with the background
========== ================================================ ========================================

A tree takes the first form that fits its share of the memory: what is left, divided by the trees to come. A
long path inside a tree of values has potentials by itself, see `spark_shap.core.trees.grouping`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from spark_shap.core.trees.deep_tree import DeepTree
from spark_shap.core.trees.grouping import GroupedTree, group_leaves, single_leaves
from spark_shap.core.trees.paths import read_paths
from spark_shap.core.trees.section import Section
from spark_shap.errors import MethodError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spark_shap.core.arrays import FloatArray
    from spark_shap.core.players import Players
    from spark_shap.core.trees.grouping import Group
    from spark_shap.core.trees.paths import TreePaths
    from spark_shap.forest import Forest

__all__ = ["TreePlan", "plan_tables", "plan_trees"]

_MAX_TABLE_PATH = 16
_SECTION_LEAVES = 2**14


@dataclass(frozen=True)
class TreePlan:
    """A forest ready for a background.

    Attributes
    ----------
    constant
        (K,) the forest's base and its constant trees.
    sections
        Trees with tables.
    deep
        Trees without.
    n_features
        F, or players.
    table_bytes
        What the tables will take.
    """

    constant: FloatArray
    sections: tuple[Section, ...]
    deep: tuple[DeepTree, ...]
    n_features: int
    table_bytes: int


@dataclass
class _Building:
    """The plan while it is made."""

    forest: Forest
    constant: FloatArray
    left: int
    players: Players | None
    sections: list[Section] = field(default_factory=list)
    deep: list[DeepTree] = field(default_factory=list)
    waiting: list[GroupedTree] = field(default_factory=list)
    waiting_leaves: int = 0

    @property
    def n_features(self) -> int:
        """F, or players."""
        return self.forest.n_features if self.players is None else self.players.n_players

    def walk(self, paths: TreePaths) -> None:
        """Add a tree that is walked."""
        forest = self.forest
        if self.players is not None:
            raise MethodError(
                "groups: a tree has paths too long for tables, and those are walked feature by feature; limit the "
                "trees' depth, or use method='sampling'"
            )
        tree = DeepTree.build(paths, n_features=forest.n_features, single_precision=forest.single_precision)
        self.deep.append(tree)

    def tabulate(self, paths: TreePaths, share: int) -> bool:
        """Add a tree within its share of the memory; return whether it fits."""
        if len(paths.values) == 1 or not paths.values.any():
            self.constant += paths.values[0]
            return True
        groups = _choose(paths, share)
        if groups is None:
            return False
        self.left -= _bytes(groups, len(paths.outputs))
        self.waiting.append(GroupedTree(paths, groups))
        self.waiting_leaves += len(paths.values)
        if self.waiting_leaves > _SECTION_LEAVES:
            self.flush()
        return True

    def flush(self) -> None:
        """Make a section of the waiting trees."""
        if self.waiting:
            forest = self.forest
            section = Section.build(self.waiting, n_features=self.n_features, single_precision=forest.single_precision)
            self.sections.append(section)
        self.waiting, self.waiting_leaves = [], 0

    def plan(self, memory_mb: int) -> TreePlan:
        """Return what was added."""
        self.flush()
        used = memory_mb * 2**20 - self.left
        return TreePlan(self.constant, tuple(self.sections), tuple(self.deep), self.n_features, used)


def plan_trees(forest: Forest, *, memory_mb: int = 512, players: Players | None = None) -> TreePlan:
    """Return the forest's plan.

    Parameters
    ----------
    forest
        The trees.
    memory_mb
        What the tables may take.
    players
        Which player each feature is; None where every feature is one.

    Raises
    ------
    MethodError
        A tree has more than 64 features on one path, or players that are groups where it is too deep for tables.
    """
    building = _Building(forest, forest.base.astype(np.float64), memory_mb * 2**20, players)
    for paths, share in _shares(building):
        if not building.tabulate(paths, share):
            building.walk(paths)
    return building.plan(memory_mb)


def plan_tables(forest: Forest, *, memory_mb: int = 512, players: Players | None = None) -> TreePlan | None:
    """Return the forest's plan where every tree has tables; None as soon as one has not. Parameters as above."""
    building = _Building(forest, forest.base.astype(np.float64), memory_mb * 2**20, players)
    if all(building.tabulate(paths, share) for paths, share in _shares(building)):
        return building.plan(memory_mb)
    return None


def _shares(building: _Building) -> Iterator[tuple[TreePaths, int]]:
    """Yield each tree and the bytes that it may take: what is left, divided by the trees to come."""
    forest = building.forest
    for done, root in enumerate(forest.roots):
        yield read_paths(forest, int(root), building.players), building.left // (len(forest.roots) - done)


def _choose(paths: TreePaths, share: int) -> list[Group] | None:
    """Return the groups of a tree in the fastest form that takes no more bytes than its share, None for deep."""
    longest = max(len(paths.conditions[leaf]) for leaf in paths.leaves)
    if longest > _MAX_TABLE_PATH:
        return None
    if sum(8 << len(paths.conditions[leaf]) for leaf in paths.leaves) > share:
        return None
    groups = group_leaves(paths)
    if _bytes(groups, len(paths.outputs)) <= share:
        return groups
    groups = single_leaves(paths)
    return groups if _bytes(groups, len(paths.outputs)) <= share else None  # a player with several features is no bit


def _bytes(groups: list[Group], n_outputs: int) -> int:
    return sum(8 * group.table_entries(n_outputs) for group in groups)
