"""A tree without tables: what the background phase collects for it and what the row phase walks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spark_shap.core.trees.bins import Bins, unite
from spark_shap.core.trees.deep import add_interactions, add_values
from spark_shap.core.trees.nodes import MAX_PATH, Background, Nodes, goes_left, make_factors
from spark_shap.errors import MethodError

if TYPE_CHECKING:
    from spark_shap.core.arrays import AnyArray, FloatArray
    from spark_shap.core.trees.paths import TreePaths

__all__ = ["DeepTables", "DeepTree"]

_MAX_BACKGROUND = 20_000


@dataclass(frozen=True)
class DeepTree:
    """A tree before any background is known.

    Attributes
    ----------
    bins
        The tree's own bins.
    nodes
        Its nodes.
    """

    bins: Bins
    nodes: Nodes

    @classmethod
    def build(cls, paths: TreePaths, *, n_features: int, single_precision: bool) -> DeepTree:
        """Return the tree of some paths.

        Raises
        ------
        MethodError
            A path tests more than 64 features.
        """
        features, edges = [axis.feature for axis in paths.axes], [axis.edges for axis in paths.axes]
        bins, _, _ = unite(features, edges, single_precision=single_precision)
        return cls(bins, _nodes(paths, n_features))

    def collect(self, x: FloatArray, weights: FloatArray) -> Background:
        """Return the distinct rows among the background rows x (n, F), as bins, with the sums of their weights."""
        return _distinct(self.bins.encode(x), weights)

    @staticmethod
    def merge(one: Background, other: Background) -> Background:
        """Return both backgrounds together."""
        codes = np.concatenate([one.codes, other.codes], axis=1)
        return _distinct(codes, np.concatenate([one.weights, other.weights]))

    def fill(self, background: Background) -> tuple[DeepTables, FloatArray]:
        """Return the tables against a background with weights of sum 1, and the tree's mean (K,)."""
        leaves = self._leaves(background.codes)
        return DeepTables(self, background), np.asarray(background.weights @ self.nodes.values[leaves])

    def _leaves(self, codes: AnyArray) -> AnyArray:
        at = np.zeros(codes.shape[1], dtype=np.intp)
        inner = np.flatnonzero(self.nodes.axis[at] >= 0)
        while len(inner):
            node = at[inner]
            left = goes_left(node, codes[self.nodes.axis[node], inner], self.nodes)
            at[inner] = np.where(left, node + 1, self.nodes.right[node])
            inner = inner[self.nodes.axis[at[inner]] >= 0]
        return self.nodes.leaf[at]


@dataclass(frozen=True)
class DeepTables:
    """A tree with the background it is explained against.

    Attributes
    ----------
    tree
        The tree.
    background
        Distinct background rows as bins, with weights of sum 1.
    """

    tree: DeepTree
    background: Background

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays that a row needs."""
        arrays = (*self.background, *self.tree.nodes[:-1])
        return sum(int(array.nbytes) for array in arrays)

    def add_values(self, x: FloatArray, out: FloatArray) -> None:
        """Add the Shapley values of the rows x (n, F) to out (F K, n)."""
        codes, factors = self.tree.bins.encode(x), make_factors(len(self.background.weights))
        add_values(codes, self.background, self.tree.nodes, factors, out)

    def add_interactions(self, x: FloatArray, out: FloatArray) -> None:
        """Add the interactions of pairs i < j of the rows x (n, F) to out (F F K, n)."""
        codes, factors = self.tree.bins.encode(x), make_factors(len(self.background.weights))
        add_interactions(codes, self.background, self.tree.nodes, factors, out)


def _distinct(codes: AnyArray, weights: FloatArray) -> Background:
    rows, place = np.unique(codes.T, axis=0, return_inverse=True)
    if len(rows) > _MAX_BACKGROUND:
        raise MethodError(
            f"method: 'tree' has to compare a row with every background row where a tree's paths are too long for "
            f"tables (over 16 features, or more memory than allowed), and {len(rows)} distinct background rows are "
            f"too many; give a background of at most {_MAX_BACKGROUND} rows, or use method='sampling'"
        )
    sums = np.bincount(place.ravel(), weights, minlength=len(rows))
    return Background(np.ascontiguousarray(rows.T), np.asarray(sums, dtype=np.float64))


def _nodes(paths: TreePaths, n_features: int) -> Nodes:
    n_nodes = len(paths.axis)
    parent, depth, slot, leaf = np.zeros((4, n_nodes), dtype=np.intp)
    is_left = np.zeros(n_nodes, dtype=bool)
    parent[0] = -1
    on_path: list[tuple[int, ...]] = [()] * n_nodes
    for at, (axis, children) in enumerate(zip(paths.axis, paths.children, strict=True)):
        above = on_path[at]
        if axis < 0:
            slot[at] = len(above)
            if len(above) > MAX_PATH:
                raise MethodError(
                    f"method: 'tree' cannot explain a tree with {len(above)} features on one path, more than "
                    f"{MAX_PATH}; limit the trees' depth, or use method='sampling'"
                )
            continue
        below = above if axis in above else (*above, axis)
        slot[at] = below.index(axis)
        for child in children:
            parent[child], depth[child], on_path[child] = at, depth[at] + 1, below
        is_left[children[0]] = True
    leaf[paths.leaves] = np.arange(len(paths.leaves))
    widths = np.array([-(-paths.axes[axis].n_bins // 32) if axis >= 0 else 0 for axis in paths.axis], dtype=np.intp)
    sets = b"".join(
        bins.to_bytes(4 * int(width), "little") for bins, width in zip(paths.left_sets, widths, strict=True)
    )
    return Nodes(
        axis=np.array(paths.axis, dtype=np.intp),
        parent=parent,
        is_left=is_left,
        depth=depth,
        right=np.array([max(right, 0) for _, right in paths.children], dtype=np.intp),
        slot=slot,
        set_start=np.cumsum(widths) - widths,
        sets=np.frombuffer(sets, dtype="<u4").astype(np.uint32),
        leaf=leaf,
        values=paths.values,
        feature=np.array([axis.feature for axis in paths.axes], dtype=np.intp),
        n_features=n_features,
    )
