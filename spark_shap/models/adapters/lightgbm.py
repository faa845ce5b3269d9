"""LightGBM: estimators and Boosters, and the text files that it saves.

LightGBM takes all cores unless a call says how many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.models.adapters.arrays import need
from spark_shap.models.adapters.calls import PROBABILITIES, known_names

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["booster_features", "gives_probability", "is_booster", "load_lightgbm", "margin_scale"]

MARGIN: tuple[str, Any] = ("raw_score", True)
THREADS = "num_threads"


def is_booster(model: Any) -> bool:
    """Whether a model is a Booster without an estimator around it."""
    return hasattr(model, "model_to_string")


def gives_probability(booster: Any) -> bool:
    """Whether a Booster was trained for probabilities."""
    objective = next((line[10:] for line in _header(booster) if line.startswith("objective=")), "none")
    return objective.split()[0] in PROBABILITIES


def booster_features(booster: Any) -> tuple[str, ...] | None:
    """Return the columns that a Booster was trained on, None where they had no names."""
    return known_names(booster.feature_name())


def margin_scale(model: Any, after: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    """Return what is to be done with raw scores before `after`: a random forest predicts by their mean."""
    # An estimator that is not fitted says so here.
    n_averaged = _n_averaged(model.booster_ if hasattr(type(model), "booster_") else model)
    return _Mean(n_averaged, after) if n_averaged > 1 else after


def load_lightgbm(data: bytes) -> Any:
    """Return the Booster in a file of LightGBM's text."""
    lightgbm = need("lightgbm", "boosters", "a LightGBM model")
    return lightgbm.Booster(model_str=data.decode("utf-8"))


def _header(booster: Any) -> list[str]:
    """Return the lines before the trees in what a LightGBM Booster saves."""
    return str(booster.model_to_string(num_iteration=1)).partition("\nTree=")[0].split("\n")


def _n_averaged(booster: Any) -> int:
    """Return how many iterations LightGBM's random forest averages, 1 for other models."""
    if "average_output" not in _header(booster):
        return 1
    return int(booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration())


@dataclass(frozen=True)
class _Mean:
    """LightGBM's random forest predicts by the mean of its iterations, and gives their sum as raw score."""

    n_iterations: int
    after: Callable[[Any], Any] | None

    def __call__(self, scores: Any) -> Any:
        """Return the mean."""
        mean = np.asarray(scores) / self.n_iterations
        return mean if self.after is None else self.after(mean)
