"""XGBoost's trees, from the JSON that it saves.

A row goes left where x < threshold, both in float32. A node on a categorical feature holds the categories
that go right; all others go left. Each tree adds to one output, or has leaves that are vectors.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.forest import BELOW
from spark_shap.models.trees.assembly import Tree, assemble, category_words, without_orphans
from spark_shap.models.trees.numbers import Coded, coded, is_categorical, numeric_columns
from spark_shap.models.trees.reading import TreeModel, UnreadableError, require_space

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.models.frames import Layout

__all__ = ["read"]

_IDENTITY = {
    "reg:squarederror", "reg:linear", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror",
    "reg:quantileerror", "rank:pairwise", "rank:ndcg", "rank:map",
}  # fmt: skip
_LOGIT = {"binary:logistic", "reg:logistic"}
_LOG = {"count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"}
_AS_IS = {*_IDENTITY, "binary:hinge", "multi:softmax", "multi:softprob"}


def read(model: Any, output_space: str, layout: Layout) -> TreeModel:
    """Read an XGBoost estimator or Booster.

    Raises
    ------
    UnreadableError
        It has no trees, an objective that is not known, or is no sum of trees in this space.
    """
    is_estimator = hasattr(model, "get_booster")
    booster = model.get_booster() if is_estimator else model
    learner = json.loads(booster.save_raw("json"))["learner"]
    boosting, objective = learner["gradient_booster"], learner["objective"]["name"]
    if boosting["name"] == "gblinear":
        raise UnreadableError("its booster is gblinear, which has no trees")
    if output_space != "margin":
        require_space(output_space, "prediction" if objective in _IDENTITY else "margin")
    base = _base(learner["learner_model_param"], objective)
    # dart holds a gbtree, and a weight for each of its trees.
    ensemble = boosting.get("gbtree", boosting)["model"]
    weights = np.array(boosting.get("weight_drop") or np.ones(len(ensemble["trees"])), dtype=np.float32)
    trees = [
        _tree(ensemble["trees"][place], int(ensemble["tree_info"][place]), len(base), weights[place])
        for place in range(_n_trees(model, ensemble))
    ]
    numbers = numeric_columns(layout, int(booster.num_features()), other=_categories(ensemble, layout))
    if is_estimator and not np.isnan(model.missing):
        if any(numbers.columns):
            raise UnreadableError(f"it takes {model.missing} for missing beside categories; mark missing values by NaN")
        numbers = replace(numbers, missing=float(model.missing))
    forest = assemble(trees, n_features=len(layout.names), base=base, single_precision=True)
    return TreeModel(without_orphans(forest), numbers)


def _n_trees(model: Any, ensemble: dict[str, Any]) -> int:
    """Return how many trees its own `predict` uses: an estimator stops after the best iteration, a Booster does not."""
    n_trees, best = len(ensemble["trees"]), None
    if hasattr(model, "get_booster"):
        best = getattr(model, "best_iteration", None)
    if best is None:
        return n_trees
    if "iteration_indptr" in ensemble:
        return int(ensemble["iteration_indptr"][best + 1])
    # Before XGBoost 2 all iterations are alike.
    groups = len(set(ensemble["tree_info"]))
    return int(best + 1) * groups * int(ensemble["gbtree_model_param"].get("num_parallel_tree", 1))


def _base(param: dict[str, str], objective: str) -> NDArray[np.float64]:
    """Return the margin that all trees add to, one number an output."""
    # A list in XGBoost 3, one number before.
    score = np.array(param["base_score"].strip("[]").split(","), dtype=np.float32)
    if objective in _LOGIT:
        score = -np.log(np.float32(1.0) / score - np.float32(1.0))
    elif objective in _LOG:
        score = np.log(score)
    elif objective not in _AS_IS:
        raise UnreadableError(f"its objective {objective!r} is not known here")
    n_outputs = max(int(param["num_class"]), int(param.get("num_target", 1)), 1)
    return np.broadcast_to(score.astype(np.float64), (n_outputs,))


def _tree(dump: dict[str, Any], group: int, n_outputs: int, weight: np.float32) -> Tree:
    left, right = (np.array(dump[side], dtype=np.int64) for side in ("left_children", "right_children"))
    leaf = left == -1
    threshold = np.array(dump["split_conditions"], dtype=np.float32)
    value = np.zeros((len(leaf), n_outputs))
    if int(dump["tree_param"].get("size_leaf_vector", 1)) > 1:
        value[leaf] = _vectors(dump, leaf, n_outputs) * weight
    else:
        value[leaf, group] = threshold[leaf] * weight
    sets = {}
    for node, start, size in zip(
        dump["categories_nodes"], dump["categories_segments"], dump["categories_sizes"], strict=True
    ):
        # Its categories go right; in our form the set goes left, so the children change places.
        sets[node] = category_words(dump["categories"][start : start + size])
        left[node], right[node] = right[node], left[node]
    missing_left = np.array(dump["default_left"], dtype=bool)
    missing_left[list(sets)] ^= True
    return Tree(
        feature=np.where(leaf, -1, np.array(dump["split_indices"], dtype=np.int64)),
        threshold=threshold.astype(np.float64),
        left=left,
        right=right,
        missing_left=missing_left,
        value=value,
        rule=BELOW,
        category_sets=sets,
    )


def _vectors(dump: dict[str, Any], leaf: NDArray[np.bool_], n_outputs: int) -> NDArray[np.float32]:
    """Return (leaves, K) values of a tree with vectors at its leaves."""
    if "leaf_weights" in dump:  # since XGBoost 3.2; the right child of a leaf is its place there
        vectors = np.array(dump["leaf_weights"], dtype=np.float32).reshape(-1, n_outputs)
        return np.asarray(vectors[np.array(dump["right_children"])[leaf]])
    vectors = np.array(dump["base_weights"], dtype=np.float32).reshape(-1, n_outputs)
    return np.asarray(vectors[leaf])


def _categories(ensemble: dict[str, Any], layout: Layout) -> dict[int, Coded]:
    """Return how the categories of pandas columns become the model's."""
    known = ensemble.get("cats", {}).get("enc", [])
    out = {}
    for place, (name, dtype) in enumerate(zip(layout.names, layout.dtypes, strict=True)):
        if not is_categorical(dtype):
            continue
        entry = known[place] if place < len(known) else {"values": []}
        # Before XGBoost 3.1 a model knows no categories, and takes pandas' codes as they come.
        out[place] = coded(dtype, _labels(entry) if entry["values"] else dtype.categories)
        unknown = np.flatnonzero(np.isnan(out[place].numbers[:-1]))
        if len(unknown):
            raise UnreadableError(
                f"feature {name!r} has the category {dtype.categories[unknown[0]]!r}, which it was not fitted with; "
                "drop categories that do not occur"
            )
    return out


def _labels(entry: dict[str, Any]) -> list[Any]:
    """Return a feature's categories: numbers as they are, texts as runs of one array of bytes."""
    if "offsets" not in entry:
        return list(entry["values"])
    text, ends = bytes(value % 256 for value in entry["values"]), entry["offsets"]
    return [text[start:end].decode() for start, end in itertools.pairwise(ends)]
