r"""The common form of tree models: a sum of trees whose nodes stand in one run of arrays.

Every reader (`spark_shap.models.trees`) writes its library's trees in this form, and the exact engine
(`spark_shap.core.trees`) reads nothing else. A row x follows, from each root, the children that the inner
nodes' tests choose, and the model's output is

.. math:: f(x) = base + \sum_t value[leaf_t(x)].

The value that a node tests is made from x in this order: rounded to float32 where the forest compares in
single precision; a NaN becomes 0 where ``nan_is_zero``; a value within 1e-35 of 0 counts as missing where
``zero_is_missing``. A missing value goes where ``missing_left`` says, any other where the rule says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AT_MOST", "BELOW", "IN_SET", "ZERO", "Forest"]

AT_MOST = 0
"""Rule: x <= threshold goes left."""
BELOW = 1
"""Rule: x < threshold goes left."""
IN_SET = 2
"""Rule: the category int(x) goes left when it is in the node's set."""
ZERO = 1e-35
"""LightGBM's zero: what is no larger than this is 0 (its kZeroThreshold)."""

_BLOCK_CELLS = 2**20


@dataclass(frozen=True)
class Forest:
    """Trees as arrays over all N nodes; children are absolute node indices.

    Attributes
    ----------
    n_features
        F, the columns of the rows.
    base
        (K,) float64 what is added to the sum of the leaves.
    roots
        (T,) int32 node of each tree's root; a tree may be a single leaf.
    feature
        (N,) int32 the column that a node tests, -1 at a leaf.
    threshold
        (N,) float64.
    left, right
        (N,) int32 children, -1 at a leaf.
    rule
        (N,) uint8: `AT_MOST`, `BELOW` or `IN_SET`.
    missing_left
        (N,) bool: a missing value goes left.
    nan_is_zero
        (N,) bool: NaN is compared as 0.0 (LightGBM's missing type None).
    zero_is_missing
        (N,) bool: a value no larger than `ZERO` is missing (LightGBM's zero_as_missing).
    category_start, category_count
        (N,) int32 where the bits of a node's set begin in ``category_words``, and how many words they are.
        A category outside the words, or a negative one, goes right.
    category_words
        (W,) uint32: bit c % 32 of a node's word c // 32 is 1 when category c goes left.
    value
        (N, K) float64 output of a leaf, 0 at inner nodes.
    single_precision
        True when x is rounded to float32 before it is compared.
    """

    n_features: int
    base: NDArray[np.float64]
    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    rule: NDArray[np.uint8]
    missing_left: NDArray[np.bool_]
    nan_is_zero: NDArray[np.bool_]
    zero_is_missing: NDArray[np.bool_]
    category_start: NDArray[np.int32]
    category_count: NDArray[np.int32]
    category_words: NDArray[np.uint32]
    value: NDArray[np.float64]
    single_precision: bool

    @property
    def n_outputs(self) -> int:
        """K."""
        return int(self.value.shape[1])

    def goes_left(self, nodes: NDArray[np.integer], x: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return (n,) bool: whether the value x[i] (n,) of its feature goes left at the inner node nodes[i] (n,)."""
        if self.single_precision:
            with np.errstate(over="ignore"):
                x = x.astype(np.float32).astype(np.float64)
        x = np.where(self.nan_is_zero[nodes] & np.isnan(x), 0.0, x)
        missing = np.isnan(x) | (self.zero_is_missing[nodes] & (np.abs(x) <= ZERO))
        rule, threshold = self.rule[nodes], self.threshold[nodes]
        passed = np.where(rule == AT_MOST, x <= threshold, x < threshold)
        sets = np.flatnonzero((rule == IN_SET) & ~missing)
        passed[sets] = self._in_set(nodes[sets], x[sets])
        return np.asarray(np.where(missing, self.missing_left[nodes], passed))

    def _in_set(self, nodes: NDArray[np.integer], x: NDArray[np.float64]) -> NDArray[np.bool_]:
        # int() drops the fraction towards 0, as C does: -0.5 is category 0.
        known = (x > -1.0) & (x < 32.0 * self.category_count[nodes])
        out = np.zeros(len(nodes), dtype=bool)
        category = x[known].astype(np.int64)
        words = self.category_words[self.category_start[nodes[known]] + category // 32]
        out[known] = words >> (category % 32).astype(np.uint32) & 1
        return out

    def leaves(self, x: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return (n, T) the leaf of each tree that the rows x (n, F) end in."""
        nodes = np.tile(self.roots, (len(x), 1))
        row, tree = np.nonzero(self.feature[nodes] >= 0)
        while len(row):
            at = nodes[row, tree]
            left = self.goes_left(at, x[row, self.feature[at]])
            nodes[row, tree] = at = np.where(left, self.left[at], self.right[at])
            inner = self.feature[at] >= 0
            row, tree = row[inner], tree[inner]
        return nodes

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (n, K) outputs of the rows x (n, F) float64, NaN where missing."""
        out = np.empty((len(x), self.n_outputs))
        step = max(1, _BLOCK_CELLS // max(1, len(self.roots)))
        for start in range(0, len(x), step):
            block = slice(start, start + step)
            out[block] = self.base + self.value[self.leaves(x[block])].sum(axis=1)
        return out
