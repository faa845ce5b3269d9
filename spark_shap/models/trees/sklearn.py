"""scikit-learn's trees, forests and gradient boosting, from their arrays.

A number goes left where x <= threshold; x is rounded to float32 first, but for histogram gradient boosting.
Forests average their trees: class shares for classifiers, which are additive in probability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.models.trees.assembly import Tree, assemble
from spark_shap.models.trees.numbers import Coded, Known, Looked, is_categorical, numeric_columns
from spark_shap.models.trees.reading import TreeModel, UnreadableError, require_space

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from spark_shap.models.frames import Layout

__all__ = ["read"]

_TREES = {"DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor"}
_FORESTS = {"RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor"}
_BOOSTING = {"GradientBoostingClassifier", "GradientBoostingRegressor"}
_HISTOGRAM = {"HistGradientBoostingClassifier", "HistGradientBoostingRegressor"}


def read(model: Any, output_space: str, layout: Layout) -> TreeModel:
    """Read a tree model of scikit-learn.

    Raises
    ------
    UnreadableError
        It is no sum of trees, or not in this space.
    """
    names = {base.__name__ for base in type(model).__mro__}
    if names & _HISTOGRAM:
        return _histogram_boosting(model, output_space, layout)
    if names & (_TREES | _FORESTS):
        trees, base = _averaged(model, output_space, is_forest=bool(names & _FORESTS))
    elif names & _BOOSTING:
        trees, base = _boosted(model, output_space)
    else:
        raise UnreadableError("it is not one of scikit-learn's sums of trees")
    numbers = numeric_columns(layout, int(model.n_features_in_), other={})
    return TreeModel(assemble(trees, n_features=len(layout.names), base=base, single_precision=True), numbers)


def _averaged(model: Any, output_space: str, *, is_forest: bool) -> tuple[list[Tree], NDArray[np.float64]]:
    """Return the trees of a forest, or a tree, each with its share of the mean."""
    is_classifier = hasattr(model, "predict_proba")
    require_space(output_space, "probability" if is_classifier else "prediction")
    if is_classifier and model.n_outputs_ > 1:
        raise UnreadableError("it classifies several targets")
    estimators = model.estimators_ if is_forest else [model]
    trees = []
    for estimator in estimators:
        value = estimator.tree_.value
        if is_classifier:
            # Shares of the classes; before scikit-learn 1.3, weights.
            shares = value[:, 0, :] / value[:, 0, :].sum(axis=1, keepdims=True)
            value = shares[:, 1:] if shares.shape[1] == 2 else shares
        else:
            value = value[:, :, 0]
        trees.append(_tree(estimator.tree_, value / len(estimators)))
    return trees, np.zeros(trees[0].value.shape[1])


def _boosted(model: Any, output_space: str) -> tuple[list[Tree], NDArray[np.float64]]:
    require_space(output_space, "margin" if hasattr(model, "predict_proba") else "prediction")
    if model.init_ != "zero" and not type(model.init_).__module__.startswith("sklearn.dummy"):
        raise UnreadableError(f"it starts from the predictions of a {type(model.init_).__name__} (init)")
    # A dummy's prediction is the same for any row.
    base = np.asarray(model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32)))[0]
    trees = []
    for stage in model.estimators_:
        for output, estimator in enumerate(stage):
            value = np.zeros((estimator.tree_.node_count, len(base)))
            value[:, output] = model.learning_rate * estimator.tree_.value[:, 0, 0]
            trees.append(_tree(estimator.tree_, value))
    return trees, base


def _tree(tree: Any, value: NDArray[np.float64]) -> Tree:
    missing_left = getattr(tree, "missing_go_to_left", np.zeros(tree.node_count))  # since scikit-learn 1.3
    feature = np.where(tree.children_left < 0, -1, tree.feature)
    return Tree(feature, tree.threshold, tree.children_left, tree.children_right, missing_left != 0, value)


def _histogram_boosting(model: Any, output_space: str, layout: Layout) -> TreeModel:
    is_classifier = hasattr(model, "predict_proba")
    require_space(output_space, "margin" if is_classifier else "prediction")
    if not is_classifier and type(model._loss.link).__name__ != "IdentityLink":
        raise UnreadableError(f"its loss {model.loss!r} predicts through an exponential")
    base = np.ravel(model._baseline_prediction)
    # The encoder puts categorical columns first.
    categorical = np.zeros(model.n_features_in_, dtype=bool)
    if model.is_categorical_ is not None:
        categorical = np.asarray(model.is_categorical_)
    columns = np.concatenate([np.flatnonzero(categorical), np.flatnonzero(~categorical)])
    trees = [
        _histogram_tree(predictor, output, len(base), columns)
        for stage in model._predictors
        for output, predictor in enumerate(stage)
    ]
    numbers = numeric_columns(layout, int(model.n_features_in_), other=_encoded(model, columns, layout))
    return TreeModel(assemble(trees, n_features=len(layout.names), base=base), numbers)


def _histogram_tree(predictor: Any, output: int, n_outputs: int, columns: NDArray[np.intp]) -> Tree:
    nodes = predictor.nodes
    leaf = nodes["is_leaf"] != 0
    value = np.zeros((len(nodes), n_outputs))
    value[:, output] = nodes["value"]
    by_category = np.flatnonzero(~leaf & (nodes["is_categorical"] != 0))
    return Tree(
        feature=np.where(leaf, -1, columns[np.where(leaf, 0, nodes["feature_idx"])]),
        threshold=nodes["num_threshold"],
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        missing_left=nodes["missing_go_to_left"] != 0,
        value=value,
        category_sets={int(node): predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]] for node in by_category},
    )


def _encoded(model: Any, columns: NDArray[np.intp], layout: Layout) -> dict[int, Coded | Looked]:
    """Return how categories become the numbers of the model's own encoder; those it does not know are missing."""
    if model.is_categorical_ is None:
        return {}
    if getattr(model, "_preprocessor", None) is None:
        raise UnreadableError("its categories are of a scikit-learn before 1.4")
    known: Iterable[NDArray[Any]] = model._preprocessor.named_transformers_["encoder"].categories_
    out: dict[int, Coded | Looked] = {}
    for column, categories in zip(columns, known, strict=False):
        place = int(column)
        numbers = Known({value: number for number, value in enumerate(categories.tolist()) if value == value})
        if is_categorical(layout.dtypes[place]):
            out[place] = Coded(np.array([*map(numbers, layout.dtypes[place].categories), np.nan]))
        else:
            # None is a category of its own to the encoder, NaN is not.
            out[place] = Looked(numbers, numbers(layout.missing[place]))
    return out
