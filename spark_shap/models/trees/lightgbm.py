"""LightGBM's trees, from the text that it saves.

The text has one line an array and a block a tree. A number goes left where x <= threshold in float64; a
category where its bit is set. Bits of ``decision_type``: 1 categorical, 2 missing values go left, and from
4 on the missing type: 0 None (NaN is compared as 0), 1 Zero (0 and NaN are missing), 2 NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.models.trees.assembly import Tree, assemble
from spark_shap.models.trees.numbers import Coded, coded, is_categorical, numeric_columns
from spark_shap.models.trees.reading import TreeModel, UnreadableError, require_space

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.models.frames import Layout

__all__ = ["read"]

_IDENTITY = {
    "regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg", "custom", "none",
}  # fmt: skip
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_NONE, _ZERO = 0, 1


def read(model: Any, output_space: str, layout: Layout) -> TreeModel:
    """Read a LightGBM estimator or Booster.

    Raises
    ------
    UnreadableError
        Its leaves are linear models, or it is no sum of trees in this space.
    """
    booster = model.booster_ if hasattr(type(model), "booster_") else model
    # As `predict` does: up to the best iteration, where there is one.
    head, *blocks = booster.model_to_string().partition("\nend of trees")[0].split("\nTree=")
    facts = _facts(head)
    if output_space != "margin":
        require_space(output_space, "prediction" if _is_identity(facts.get("objective", "none")) else "margin")
    n_outputs = int(facts["num_tree_per_iteration"])
    scale = n_outputs / max(len(blocks), 1) if "average_output" in facts else 1.0
    trees = [_tree(_facts(block), place % n_outputs, n_outputs, scale) for place, block in enumerate(blocks)]
    other = _categories(booster.pandas_categorical, layout)
    numbers = numeric_columns(layout, int(facts["max_feature_idx"]) + 1, other=other)
    return TreeModel(assemble(trees, n_features=len(layout.names), base=np.zeros(n_outputs)), numbers)


def _facts(block: str) -> dict[str, str]:
    return {name: value for name, _, value in (line.partition("=") for line in block.splitlines())}


def _is_identity(objective: str) -> bool:
    # "regression sqrt" squares what the trees give.
    words = objective.split()
    return words[0] in _IDENTITY and "sqrt" not in words


def _tree(facts: dict[str, str], group: int, n_outputs: int, scale: float) -> Tree:
    if facts.get("is_linear", "0") != "0":
        raise UnreadableError("its leaves are linear models (linear_tree)")

    def numbers(name: str, dtype: Any) -> NDArray[Any]:
        return np.array(facts.get(name, "").split(), dtype=dtype)

    n_leaves = int(facts["num_leaves"])
    n_inner = n_leaves - 1
    leaves = np.full(n_leaves, -1)
    kind = np.concatenate([numbers("decision_type", np.int64), np.zeros(n_leaves, dtype=np.int64)])
    left, right = (numbers(side, np.int64) for side in ("left_child", "right_child"))
    threshold = numbers("threshold", np.float64)
    value = np.zeros((n_inner + n_leaves, n_outputs))
    value[n_inner:, group] = numbers("leaf_value", np.float64) * scale
    sets = {}
    edges, words = numbers("cat_boundaries", np.int64), numbers("cat_threshold", np.uint32)
    for node in np.flatnonzero(kind & _CATEGORICAL):
        which = int(threshold[node])
        sets[int(node)] = words[edges[which] : edges[which + 1]]
    missing = kind >> 2
    categorical = kind & _CATEGORICAL != 0
    return Tree(
        feature=np.concatenate([numbers("split_feature", np.int64), leaves]),
        threshold=np.concatenate([threshold, np.zeros(n_leaves)]),
        # Child -1 is the first leaf; ours follow the inner nodes.
        left=np.concatenate([np.where(left < 0, n_inner - 1 - left, left), leaves]),
        right=np.concatenate([np.where(right < 0, n_inner - 1 - right, right), leaves]),
        # A missing category goes right, whatever the bit says.
        missing_left=(kind & _DEFAULT_LEFT != 0) & ~categorical,
        value=value,
        nan_is_zero=(missing == _NONE) & ~categorical,
        zero_is_missing=(missing == _ZERO) & ~categorical,
        category_sets=sets,
    )


def _categories(known: list[list[Any]] | None, layout: Layout) -> dict[int, Coded]:
    """Return how the categories of pandas columns become the model's, which are in the order of these columns."""
    places = [place for place, dtype in enumerate(layout.dtypes) if is_categorical(dtype)]
    # A model that saw no frame takes pandas' codes as they come.
    lists = [layout.dtypes[place].categories for place in places] if known is None else known
    if len(lists) != len(places):
        raise UnreadableError(
            f"it was fitted on {len(lists)} pandas category columns and the background has {len(places)}"
        )
    return {place: coded(layout.dtypes[place], categories) for place, categories in zip(places, lists, strict=True)}
