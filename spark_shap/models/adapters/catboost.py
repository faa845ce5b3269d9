"""CatBoost: its models, with categories as they are in the table, and its binary files.

CatBoost takes all cores unless a call says how many.
"""

from __future__ import annotations

from typing import Any

from spark_shap.models.adapters.arrays import need
from spark_shap.models.adapters.calls import known_names

__all__ = ["gives_probability", "load_catboost", "model_features"]

MARGIN: tuple[str, Any] = ("prediction_type", "RawFormulaVal")
THREADS = "thread_count"
PROBABILITY = {"prediction_type": "Probability"}


def gives_probability(model: Any) -> bool:
    """Whether a model without `predict_proba` was trained for classes."""
    return len(model.classes_) > 0


def model_features(model: Any) -> tuple[str, ...] | None:
    """Return the columns that a model was trained on, None where they had no names."""
    return known_names(model.feature_names_)


def load_catboost(data: bytes) -> Any:
    """Return the model in a file of CatBoost's binary format."""
    model = need("catboost", "boosters", "a CatBoost model").CatBoost()
    model.load_model(blob=data)
    return model
