"""Reading a fitted model as a linear one, or saying why it is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.errors import MethodError
from spark_shap.models.linear.columns import Columns, follow, skipped
from spark_shap.models.linear.model import LinearModel
from spark_shap.models.linear.transformers import kind_of
from spark_shap.models.predictor import as_predictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.models.frames import Layout

__all__ = ["NotLinear", "read_linear"]

_ELSEWHERE = frozenset({"LinearDiscriminantAnalysis", "LinearSVC", "LinearSVR"})  # not in sklearn.linear_model
_WRAPPERS = {
    "GridSearchCV": "best_estimator_",
    "HalvingGridSearchCV": "best_estimator_",
    "HalvingRandomSearchCV": "best_estimator_",
    "RandomizedSearchCV": "best_estimator_",
    "RANSACRegressor": "estimator_",
    "FixedThresholdClassifier": "estimator_",
    "TunedThresholdClassifierCV": "estimator_",
}
"""Their decision function, or their prediction of a number, is that of one fitted estimator."""


@dataclass(frozen=True)
class NotLinear:
    """Why a model has no closed form."""

    reason: str


def read_linear(model: Any, output_space: str, layout: Layout) -> LinearModel | NotLinear:
    """Read a model as a sum of what each feature contributes.

    These are scikit-learn's linear models, where the output is linear: regressors in the space ``"prediction"``,
    classifiers in the space ``"margin"``; and pipelines that end in one, when every column before it comes from
    one feature.

    Parameters
    ----------
    model
        A fitted model.
    output_space
        The space that is explained.
    layout
        The columns that the model is called with.
    """
    steps, last = _unwrap(model)
    slopes = _slopes(last, output_space)
    if isinstance(slopes, NotLinear):
        return slopes
    n_features = len(layout.names)
    columns = Columns(np.arange(n_features), layout.labels if layout.is_frame else None)
    try:
        columns = follow(steps, columns, len(slopes))
    except MethodError as refusal:
        return NotLinear(f"its step {refusal}")
    if len(columns.owners) != len(slopes):
        return NotLinear(f"it has {len(slopes)} slopes for the {len(columns.owners)} columns that were counted")
    plain_array = as_predictor(model, output_space).plain_array
    transformers = tuple(step for _, step in steps if not skipped(step))
    return LinearModel(transformers, slopes, columns.owners, n_features, plain_array)


def _unwrap(model: Any) -> tuple[list[tuple[str, Any]], Any]:
    """Return the steps before the last, and the last, of pipelines and of what a search has found."""
    steps: list[tuple[str, Any]] = []
    while True:
        kind = kind_of(model)
        if kind == "Pipeline":
            steps += model.steps[:-1]
            model = model.steps[-1][1]
        elif kind in _WRAPPERS:
            model = getattr(model, _WRAPPERS[kind])
        else:
            return steps, model


def _slopes(model: Any, output_space: str) -> NDArray[np.float64] | NotLinear:
    """Return the (C, K) slopes of a linear model."""
    kind, name = kind_of(model), type(model).__name__
    if kind == "TransformedTargetRegressor":
        return NotLinear("a TransformedTargetRegressor transforms its target")
    # Generalised linear models (Poisson, Gamma, Tweedie) predict through an exponential.
    if hasattr(model, "_base_loss"):
        return NotLinear(f"a {name} predicts through a link function")
    known = type(model).__module__.startswith("sklearn.linear_model") or kind in _ELSEWHERE
    if not known or not hasattr(model, "coef_"):
        return NotLinear(f"a {name} is not one of the linear models of scikit-learn")
    linear = "margin" if hasattr(model, "decision_function") else "prediction"
    if output_space != linear:
        return NotLinear(f"a {name} is linear in output_space={linear!r}, not in its {output_space}")
    slopes = model.coef_.toarray() if hasattr(model.coef_, "toarray") else model.coef_  # after sparsify()
    return np.atleast_2d(np.asarray(slopes, dtype=np.float64)).T
