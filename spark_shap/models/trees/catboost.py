"""CatBoost's trees, from the JSON that it saves.

A number goes right where x > border, both in float32. A category is known by its hash, and goes right where
it equals the split's; splits on statistics of the target by category (CTR) are not tests of one feature, and a
model that has them cannot be read. Symmetric trees are written out as complete binary trees.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.models.trees.assembly import Tree, assemble, category_words
from spark_shap.models.trees.cityhash import category_hash
from spark_shap.models.trees.numbers import Coded, Looked, is_categorical, numeric_columns
from spark_shap.models.trees.reading import TreeModel, UnreadableError, require_space

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.models.frames import Layout

__all__ = ["read"]

_LINKED = {"Poisson", "Tweedie", "RMSEWithUncertainty"}
_NUMBER_OF_NO_CATEGORY = -1.0


@dataclass(frozen=True)
class OneHot:
    """From a category as the rows have it to its place among those that the trees test, or -1."""

    places: dict[int, int]

    def __call__(self, value: Any) -> float:
        """Return the place as a float; CatBoost takes a number or a truth value by its digits."""
        text = value if isinstance(value, str) else str(int(value))
        return float(self.places.get(category_hash(text), _NUMBER_OF_NO_CATEGORY))


@dataclass(frozen=True)
class _Splits:
    """Arrays over the splits of a tree."""

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    missing_left: NDArray[np.bool_]
    place: NDArray[np.int64]  # of the category, -1 for a number


@dataclass(frozen=True)
class _Features:
    """What the dump says of features, by its own numbers of them, and the layout's columns that they are."""

    numbers: dict[int, int]
    categories: dict[int, int]
    missing_right: set[int]
    one_hot: dict[int, OneHot]

    def splits(self, splits: list[dict[str, Any]]) -> _Splits:
        """Return a tree's splits as arrays."""
        rows = [self._split(split) for split in splits]
        columns = zip(*rows, strict=True) if rows else ([], [], [], [])
        feature, threshold, missing_left, place = columns
        return _Splits(
            np.array(feature, dtype=np.int64),
            np.array(threshold, dtype=np.float64),
            np.array(missing_left, dtype=bool),
            np.array(place, dtype=np.int64),
        )

    def _split(self, split: dict[str, Any]) -> tuple[int, float, bool, int]:
        kind = split.get("split_type", "FloatFeature")
        if kind == "FloatFeature":
            number = split["float_feature_index"]
            return self.numbers[number], float(np.float32(split["border"])), number not in self.missing_right, -1
        if kind == "OneHotFeature":
            number = split["cat_feature_index"]
            place = self.one_hot[number].places[split["value"] % 2**32]
            return self.categories[number], 0.0, False, place
        raise UnreadableError(
            f"a split of type {kind} tests statistics of the target by category, not the value of a feature (the "
            "training parameter one_hot_max_size says up to how many categories values are tested)"
        )


def read(model: Any, output_space: str, layout: Layout) -> TreeModel:
    """Read a CatBoost model.

    Raises
    ------
    UnreadableError
        It tests texts, embeddings or target statistics, or is no sum of trees in this space.
    """
    if model.get_text_feature_indices() or model.get_embedding_feature_indices():
        raise UnreadableError("it tests texts or embeddings")
    dump = _dump(model)
    loss = dump.get("model_info", {}).get("params", {}).get("loss_function", {}).get("type")
    if output_space != "margin":
        require_space(output_space, "margin" if hasattr(model, "predict_proba") or loss in _LINKED else "prediction")
    features = _features(dump["features_info"], model, layout)
    scale, bias = dump["scale_and_bias"]
    symmetric = "oblivious_trees" in dump
    trees = [
        (_symmetric if symmetric else _branching)(tree, features)
        for tree in dump["oblivious_trees" if symmetric else "trees"]
    ]
    n_outputs = max([np.size(bias), *(tree.value.shape[1] for tree in trees)])
    for tree in trees:
        np.multiply(tree.value, float(scale), out=tree.value)
    base = np.broadcast_to(np.array(bias, dtype=np.float64).ravel(), (n_outputs,))
    numbers = numeric_columns(layout, len(model.feature_names_), other=_categories(features, layout))
    return TreeModel(assemble(trees, n_features=len(layout.names), base=base, single_precision=True), numbers)


def _dump(model: Any) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.json")
        model.save_model(str(path), format="json")
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _features(info: dict[str, Any], model: Any, layout: Layout) -> _Features:
    numbers, categories = info.get("float_features", []), info.get("categorical_features", [])
    # Features without names were fitted on an array: a frame's columns are then taken in their order.
    named = layout.is_frame and any(entry.get("feature_id") for entry in [*numbers, *categories])
    names = list(model.feature_names_)
    if named and not set(names) <= set(layout.names):
        lost = next(name for name in names if name not in layout.names)
        raise UnreadableError(f"it was fitted on feature {lost!r}, which the background does not have")
    columns = [layout.names.index(name) for name in names] if named else list(range(len(names)))
    return _Features(
        {entry["feature_index"]: columns[entry["flat_feature_index"]] for entry in numbers},
        {entry["feature_index"]: columns[entry["flat_feature_index"]] for entry in categories},
        {entry["feature_index"] for entry in numbers if entry.get("nan_value_treatment") == "AsTrue"},
        {
            entry["feature_index"]: OneHot(
                {value % 2**32: place for place, value in enumerate(entry.get("values", []))}
            )
            for entry in categories
        },
    )


def _categories(features: _Features, layout: Layout) -> dict[int, Coded | Looked]:
    """Return how the columns of categories become places among those that the trees test."""
    out: dict[int, Coded | Looked] = {}
    for number, column in features.categories.items():
        dtype, one_hot = layout.dtypes[column], features.one_hot[number]
        if is_categorical(dtype):
            out[column] = Coded(np.array([*map(one_hot, dtype.categories), np.nan]))
        elif dtype.kind != "f":
            out[column] = Looked(one_hot)
    return out


def _symmetric(dump: dict[str, Any], features: _Features) -> Tree:
    """Write a symmetric tree as a complete one: node i has the children 2 i + 1 and 2 i + 2."""
    splits = features.splits(dump.get("splits") or [])
    depth = len(splits.feature)
    # Split j is bit j of a leaf's number: the last split is the root.
    level = np.repeat(np.arange(depth)[::-1], 2 ** np.arange(depth))
    inner = np.arange(2**depth - 1)
    value = np.reshape(dump["leaf_values"], (2**depth, -1))
    return _tree(splits, level, 2 * inner + 1, 2 * inner + 2, value)


def _branching(dump: dict[str, Any], features: _Features) -> Tree:
    """Write a tree of nested nodes; inner nodes come first, in the order in which they are met."""
    inner: list[dict[str, Any]] = []
    leaves: list[Any] = []
    links: list[tuple[int, str, bool, int]] = []
    waiting: list[tuple[int, str, dict[str, Any]]] = [(-1, "", dump)]
    while waiting:
        parent, side, node = waiting.pop()
        is_leaf = "split" not in node
        links.append((parent, side, is_leaf, len(leaves) if is_leaf else len(inner)))
        if is_leaf:
            leaves.append(node["value"])
        else:
            waiting += [(len(inner), "left", node["left"]), (len(inner), "right", node["right"])]
            inner.append(node["split"])
    children = {"left": np.zeros(len(inner), dtype=np.int64), "right": np.zeros(len(inner), dtype=np.int64)}
    for parent, side, is_leaf, number in links[1:]:
        children[side][parent] = number + len(inner) * is_leaf
    value = np.reshape(leaves, (len(leaves), -1))
    return _tree(features.splits(inner), np.arange(len(inner)), children["left"], children["right"], value)


def _tree(
    splits: _Splits,
    which: NDArray[np.int64],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    value: NDArray[np.float64],
) -> Tree:
    """Return a tree whose inner nodes, which come first, have the splits `which`; `high` is where a test holds."""
    leaves = np.full(len(value), -1)
    by_category = splits.place[which] >= 0
    sets = {int(node): category_words([splits.place[which[node]]]) for node in np.flatnonzero(by_category)}
    n_nodes, n_inner = len(which) + len(value), len(which)
    values = np.zeros((n_nodes, value.shape[1]))
    values[n_inner:] = value
    return Tree(
        feature=np.concatenate([splits.feature[which], leaves]),
        threshold=np.concatenate([splits.threshold[which], np.zeros(len(value))]),
        # A category that equals the split's goes right in CatBoost, and left in our form.
        left=np.concatenate([np.where(by_category, high, low), leaves]),
        right=np.concatenate([np.where(by_category, low, high), leaves]),
        missing_left=np.concatenate([splits.missing_left[which], leaves < 0]),
        value=values,
        category_sets=sets,
    )
