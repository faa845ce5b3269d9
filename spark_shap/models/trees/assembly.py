"""Trees as their libraries number them, put together into one `Forest`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.forest import AT_MOST, IN_SET, Forest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Tree", "assemble", "category_words", "without_orphans"]


@dataclass(frozen=True)
class Tree:
    """One tree: node 0 is the root, children are node numbers within the tree.

    Attributes
    ----------
    feature
        (n,) column that a node tests, -1 at a leaf.
    threshold, left, right
        (n,) read at inner nodes only.
    missing_left
        (n,) bool.
    value
        (n, K), read at leaves only.
    rule
        Of all nodes with a threshold.
    nan_is_zero, zero_is_missing
        (n,) bool, or one for all nodes.
    category_sets
        Words (see `category_words`) of the categories that go left, by the node that tests them.
    """

    feature: NDArray[np.integer]
    threshold: NDArray[np.float64]
    left: NDArray[np.integer]
    right: NDArray[np.integer]
    missing_left: NDArray[np.bool_]
    value: NDArray[np.float64]
    rule: int = AT_MOST
    nan_is_zero: NDArray[np.bool_] | bool = False
    zero_is_missing: NDArray[np.bool_] | bool = False
    category_sets: dict[int, NDArray[np.uint32]] = field(default_factory=dict)


def category_words(categories: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint32]:
    """Return a set of categories, numbers from 0 on, as the bits of 32-bit words."""
    members = np.asarray(categories, dtype=np.int64)
    words = np.zeros(int(members.max(initial=-1)) // 32 + 1, dtype=np.uint32)
    np.bitwise_or.at(words, members // 32, np.uint32(1) << (members % 32).astype(np.uint32))
    return words


def assemble(
    trees: Sequence[Tree], *, n_features: int, base: NDArray[np.float64], single_precision: bool = False
) -> Forest:
    """Return the sum of trees and a constant.

    Parameters
    ----------
    trees
        In any order.
    n_features
        Columns of the rows that the trees test.
    base
        (K,) the constant.
    single_precision
        Whether the library compares in float32.
    """
    sizes = np.array([len(tree.feature) for tree in trees], dtype=np.int64)
    roots = np.cumsum(sizes) - sizes
    feature = _joined(trees, "feature", np.int32)
    inner = feature >= 0
    first = np.repeat(roots, sizes)
    start, count, words, with_set = _category_sets(trees, roots, len(feature))
    rule = np.repeat(np.array([tree.rule for tree in trees], dtype=np.uint8), sizes)
    rule[with_set] = IN_SET
    n_outputs = len(base)
    value = np.concatenate([np.zeros((0, n_outputs)), *(tree.value for tree in trees)])
    return Forest(
        n_features=n_features,
        base=np.asarray(base, dtype=np.float64),
        roots=roots.astype(np.int32),
        feature=np.where(inner, feature, -1).astype(np.int32),
        threshold=np.where(inner & ~with_set, _joined(trees, "threshold", np.float64), 0.0),
        left=np.where(inner, first + _joined(trees, "left", np.int64), -1).astype(np.int32),
        right=np.where(inner, first + _joined(trees, "right", np.int64), -1).astype(np.int32),
        rule=rule,
        missing_left=_joined(trees, "missing_left", np.bool_),
        nan_is_zero=_joined(trees, "nan_is_zero", np.bool_),
        zero_is_missing=_joined(trees, "zero_is_missing", np.bool_),
        category_start=start,
        category_count=count,
        category_words=words,
        value=np.where(inner[:, None], 0.0, value),
        single_precision=single_precision,
    )


def without_orphans(forest: Forest) -> Forest:
    """Drop nodes that no node leads to: pruning leaves them behind, all of them leaves."""
    inner = forest.feature >= 0
    kept = np.zeros(len(inner), dtype=bool)
    kept[forest.roots] = True
    kept[forest.left[inner]] = kept[forest.right[inner]] = True
    number = np.cumsum(kept, dtype=np.int32) - np.int32(1)
    changes: dict[str, Any] = {
        name: getattr(forest, name)[kept]
        for name in (
            "feature", "threshold", "rule", "missing_left", "nan_is_zero", "zero_is_missing", "category_start",
            "category_count", "value",
        )
    }  # fmt: skip
    for side in ("left", "right"):
        changes[side] = np.where(inner, number[getattr(forest, side)], np.int32(-1))[kept]
    return replace(forest, roots=number[forest.roots], **changes)


def _joined(trees: Sequence[Tree], name: str, dtype: Any) -> NDArray[Any]:
    parts = [np.broadcast_to(getattr(tree, name), tree.feature.shape) for tree in trees]
    return np.concatenate([np.zeros(0), *parts]).astype(dtype)


def _category_sets(
    trees: Sequence[Tree], roots: NDArray[np.int64], n_nodes: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint32], NDArray[np.bool_]]:
    """Return where each node's words begin, how many they are, all words, and which nodes have a set."""
    start, count = np.zeros(n_nodes, dtype=np.int32), np.zeros(n_nodes, dtype=np.int32)
    with_set = np.zeros(n_nodes, dtype=bool)
    words: list[NDArray[np.uint32]] = [np.zeros(0, dtype=np.uint32)]
    n_words = 0
    for root, tree in zip(roots, trees, strict=True):
        for node, own in tree.category_sets.items():
            start[root + node], count[root + node], with_set[root + node] = n_words, len(own), True
            words.append(own)
            n_words += len(own)
    return start, count, np.concatenate(words), with_set
