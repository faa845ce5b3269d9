"""XGBoost: estimators and Boosters, and the files that it saves (JSON and UBJSON).

XGBoost obeys ``OMP_NUM_THREADS``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from spark_shap.models.adapters.arrays import need
from spark_shap.models.adapters.calls import PROBABILITIES, BoosterCall, known_names, softmax

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["booster_features", "booster_output", "gives_probability", "is_booster", "load_xgboost"]

MARGIN: tuple[str, Any] = ("output_margin", True)


def is_booster(model: Any) -> bool:
    """Whether a model is a Booster without an estimator around it."""
    return hasattr(model, "inplace_predict")


def gives_probability(booster: Any) -> bool:
    """Whether a Booster was trained for probabilities."""
    return _objective(booster) in PROBABILITIES


def booster_features(booster: Any) -> tuple[str, ...] | None:
    """Return the columns that a Booster was trained on, None where they had no names."""
    return known_names(booster.feature_names)


def booster_output(booster: Any, space: str) -> Callable[[Any], Any]:
    """Return an output of a Booster as a function of rows."""
    # multi:softmax gives labels where multi:softprob gives probabilities.
    labels = space == "probability" and _objective(booster) == "multi:softmax"
    margin = labels or space == "margin"
    after = softmax if labels else None
    if json.loads(booster.save_config())["learner"]["gradient_booster"]["name"] == "gblinear":
        return _MatrixCall(booster, margin, after)
    return BoosterCall(booster, "inplace_predict", {"predict_type": "margin" if margin else "value"}, after=after)


def load_xgboost(data: bytes) -> Any:
    """Return the Booster in a file of XGBoost's JSON or UBJSON."""
    booster = need("xgboost", "boosters", "an XGBoost model").Booster()
    booster.load_model(bytearray(data))
    return booster


def _objective(booster: Any) -> str:
    return str(json.loads(booster.save_config())["learner"]["objective"]["name"])


@dataclass(frozen=True)
class _MatrixCall:
    """A linear XGBoost Booster, which predicts from XGBoost's own matrices only."""

    model: Any
    output_margin: bool
    after: Callable[[Any], Any] | None

    def __call__(self, rows: Any) -> Any:
        """Return predictions or margins."""
        matrix = import_module("xgboost").DMatrix(rows, feature_names=self.model.feature_names)
        found = self.model.predict(matrix, output_margin=self.output_margin)
        return found if self.after is None else self.after(found)
