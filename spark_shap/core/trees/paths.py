r"""What each leaf of a tree demands of a row: per feature, the bins that lead there.

A path may test a feature several times; its tests together allow a set of bins, kept as the bits of an int.
A leaf that no bin of some feature can reach is left out: neither a row nor a background row satisfies it, and
a hybrid takes each feature from one of the two. Tests that a path decides by itself are left out too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from spark_shap.core.trees.bins import Edges, bin_values, node_edges, sort_edges

if TYPE_CHECKING:
    from spark_shap.core.arrays import BoolArray, FloatArray, IntArray
    from spark_shap.core.players import Players
    from spark_shap.forest import Forest

__all__ = ["Axis", "TreePaths", "read_paths"]


@dataclass(frozen=True)
class Axis:
    """A feature that a tree tests.

    Attributes
    ----------
    feature
        The column of the rows.
    player
        Whose bit it is: the feature itself, or the group that it belongs to.
    edges
        The tree's own edges, sorted; they make ``n_bins`` bins.
    """

    feature: int
    player: int
    edges: Edges

    @property
    def n_bins(self) -> int:
        """Bins, the missing one included."""
        return len(self.edges.at) + 2


@dataclass(frozen=True)
class TreePaths:
    """A tree without its impossible branches, nodes in preorder.

    Attributes
    ----------
    axes
        The features that the tree tests.
    nodes
        The forest's number of each node.
    axis
        The axis that an inner node tests, -1 for a leaf.
    children
        Positions of the left and the right child; (-1, -1) for a leaf.
    left_sets
        The bins of its axis that go left at an inner node, 0 for a leaf.
    conditions
        For a leaf, the allowed bins of each axis on its path; empty for an inner node.
    values
        (L, K) output of each leaf, in preorder.
    """

    axes: tuple[Axis, ...]
    nodes: list[int]
    axis: list[int]
    children: list[tuple[int, int]]
    left_sets: list[int]
    conditions: list[dict[int, int]]
    values: FloatArray

    @cached_property
    def leaves(self) -> list[int]:
        """Positions of the leaves."""
        return [position for position, axis in enumerate(self.axis) if axis < 0]

    @cached_property
    def outputs(self) -> IntArray:
        """The outputs that are not 0 in every leaf."""
        return np.flatnonzero(self.values.any(axis=0))


def read_paths(forest: Forest, root: int, players: Players | None = None) -> TreePaths:
    """Return what the leaves below a root demand, of which players."""
    axes, sets = _tests(forest, _inner_nodes(forest, root), players)
    everything = [(1 << axis.n_bins) - 1 for axis in axes]
    out = TreePaths(axes, [], [], [], [], [], np.empty((0, forest.n_outputs)))
    links: list[list[int]] = []
    stack: list[tuple[int, dict[int, int], int]] = [(root, {}, -1)]
    while stack:
        node, allowed, parent = stack.pop()
        axis, left = -1, 0
        while node in sets:
            axis, left = sets[node]
            bins = allowed.get(axis, everything[axis])
            if bins & left and bins & ~left:
                break
            node, axis, left = int(forest.left[node] if bins & left else forest.right[node]), -1, 0
        if parent >= 0:
            links[parent].append(len(links))
        position = len(links)
        links.append([])
        out.nodes.append(node)
        out.axis.append(axis)
        out.left_sets.append(left)
        out.conditions.append(allowed if axis < 0 else {})
        if axis >= 0:
            stack.append((int(forest.right[node]), {**allowed, axis: bins & ~left}, position))
            stack.append((int(forest.left[node]), {**allowed, axis: bins & left}, position))
    out.children.extend((link[0], link[1]) if link else (-1, -1) for link in links)
    return replace(out, values=forest.value[[node for node, at in zip(out.nodes, out.axis, strict=True) if at < 0]])


def _inner_nodes(forest: Forest, root: int) -> IntArray:
    level, found = np.array([root]), [np.empty(0, dtype=np.intp)]
    while len(level):
        level = level[forest.feature[level] >= 0]
        found.append(level)
        level = np.concatenate([forest.left[level], forest.right[level]])
    return np.concatenate(found)


def _tests(
    forest: Forest, nodes: IntArray, players: Players | None
) -> tuple[tuple[Axis, ...], dict[int, tuple[int, int]]]:
    """Return the axes, and for each inner node its axis and the bins that go left."""
    features, node_axis = np.unique(forest.feature[nodes], return_inverse=True)
    owner, edges = node_edges(forest, nodes)
    owner, edges, _ = sort_edges(node_axis[owner], edges)
    stop = np.searchsorted(owner, np.arange(len(features)), "right")
    start = np.append(0, stop[:-1]).astype(np.intp)[: len(features)]
    owners = features if players is None else players.of_column[features]
    axes = tuple(
        Axis(int(feature), int(player), Edges(edges.at[a:b], edges.closed[a:b]))
        for feature, player, a, b in zip(features, owners, start, stop, strict=True)
    )
    values, n_bins = bin_values(stop - start, edges), stop - start + 2
    # Every node is asked about every bin of its axis. The values are what rounding leaves of x already.
    width = n_bins[node_axis]
    place = np.arange(width.sum()) - np.repeat(np.cumsum(width) - width, width)
    value = values[place + np.repeat((np.cumsum(n_bins) - n_bins)[node_axis], width)]
    left = replace(forest, single_precision=False).goes_left(np.repeat(nodes, width), value)
    sets = zip(node_axis.tolist(), _as_ints(left, place, width), strict=True)
    return axes, dict(zip(nodes.tolist(), sets, strict=True))


def _as_ints(bits: BoolArray, place: IntArray, width: IntArray) -> list[int]:
    """Return the ints with the given bits, runs of ``width`` each."""
    start = np.cumsum(width) - width
    if width.max(initial=0) < 63:
        return np.add.reduceat(bits.astype(np.int64) << place, start).tolist() if len(width) else []
    packed = (np.packbits(bits[a : a + n], bitorder="little").tobytes() for a, n in zip(start, width, strict=True))
    return [int.from_bytes(part, "little") for part in packed]
