"""XGBoost, LightGBM and CatBoost as models: their raw scores, and their Boosters without an estimator around them.

The raw score is what the trees add up to, before a logistic, softmax or exponential link. It is the margin of
these libraries' models, of one output or several.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["booster_call", "has_probability", "has_two_classes", "library_of", "pipeline_margin", "positive"]

_RAW: dict[str, tuple[str, Any]] = {
    "xgboost": ("output_margin", True),
    "lightgbm": ("raw_score", True),
    "catboost": ("prediction_type", "RawFormulaVal"),
}
# XGBoost obeys OMP_NUM_THREADS; the others take all cores unless a call says how many.
_THREADS = {"lightgbm": "num_threads", "catboost": "thread_count"}
_PROBABILITIES = {
    "binary:logistic", "multi:softprob", "multi:softmax", "binary", "multiclass", "multiclassova", "cross_entropy",
}  # fmt: skip


def library_of(model: Any) -> str | None:
    """Return ``"xgboost"``, ``"lightgbm"`` or ``"catboost"`` when the model's type comes from there."""
    tops = (base.__module__.partition(".")[0] for base in type(model).__mro__)
    return next((top for top in tops if top in _RAW), None)


@dataclass(frozen=True)
class BoosterCall:
    """A model's method with fixed arguments, as a function of rows.

    Attributes
    ----------
    model
        An estimator, a pipeline that ends in one, or a Booster.
    method
        Its name.
    arguments
        By name.
    threads
        Name of the argument that says how many threads to use; ``OMP_NUM_THREADS`` is passed on by it.
    after
        Applied to what is returned.
    """

    model: Any
    method: str
    arguments: dict[str, Any]
    threads: str | None = None
    after: Callable[[Any], Any] | None = None

    def __call__(self, rows: Any) -> Any:
        """Return what the method returns."""
        arguments = dict(self.arguments)
        limit = os.environ.get("OMP_NUM_THREADS", "")
        if self.threads and limit.isdigit():
            arguments[self.threads] = int(limit)
        found = getattr(self.model, self.method)(rows, **arguments)
        return found if self.after is None else self.after(found)


def positive(probabilities: Any) -> NDArray[Any]:
    """Return the second column of two, all columns otherwise."""
    out = np.asarray(probabilities)
    return out[:, 1] if out.ndim == 2 and out.shape[1] == 2 else out


def log_odds(scores: Any) -> NDArray[Any]:
    """Return the difference of two classes' scores, which a softmax turns into probabilities; else the scores."""
    out = np.asarray(scores)
    return out[:, 1] - out[:, 0] if out.ndim == 2 and out.shape[1] == 2 else out


def has_two_classes(model: Any) -> bool:
    """Whether a model is a classifier of two classes, so that one score is its margin."""
    return len(getattr(model, "classes_", ())) == 2


def has_probability(model: Any) -> bool:
    """Whether a model of these libraries gives probabilities: by a method, or by what it was trained for."""
    if hasattr(model, "predict_proba"):
        return True
    if hasattr(model, "inplace_predict"):
        return _objective(model) in _PROBABILITIES
    if library_of(model) == "catboost":
        return len(model.classes_) > 0
    if hasattr(model, "model_to_string"):
        objective = next((line[10:] for line in _header(model) if line.startswith("objective=")), "none")
        return objective.split()[0] in _PROBABILITIES
    return False


def booster_call(model: Any, space: str) -> Callable[[Any], Any]:
    """Return an output of a model of these libraries as a function of rows.

    Parameters
    ----------
    model
        An estimator or a Booster.
    space
        ``"probability"``, where there is one, ``"margin"`` for the raw score, or ``"prediction"``.
    """
    if hasattr(model, "inplace_predict"):
        return _xgboost_booster(model, space)
    library = library_of(model) or ""
    threads = _THREADS.get(library)
    if space == "margin":
        return _margin(model, model, library)
    if space == "prediction":
        return BoosterCall(model, "predict", {}, threads)
    if hasattr(model, "predict_proba"):
        return BoosterCall(model, "predict_proba", {}, threads, positive)
    arguments = {"prediction_type": "Probability"} if library == "catboost" else {}
    return BoosterCall(model, "predict", arguments, threads, positive)


def pipeline_margin(model: Any) -> BoosterCall | None:
    """Return the raw score of a scikit-learn pipeline that ends in such an estimator, None for all else."""
    steps: Any = getattr(model, "steps", ()) if type(model).__module__ == "sklearn.pipeline" else ()
    library = library_of(steps[-1][1]) if steps else None
    return None if library is None else _margin(model, steps[-1][1], library)


def _margin(model: Any, booster: Any, library: str) -> BoosterCall:
    """Return the raw score of `model`, which is `booster` or a pipeline that hands arguments of `predict` on to it."""
    after = log_odds if has_two_classes(booster) else None
    if library == "lightgbm":
        # An estimator that is not fitted says so here.
        n_averaged = _n_averaged(booster.booster_ if hasattr(type(booster), "booster_") else booster)
        if n_averaged > 1:
            after = _Mean(n_averaged, after)
    return BoosterCall(model, "predict", dict([_RAW[library]]), _THREADS.get(library), after)


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


def _objective(booster: Any) -> str:
    return str(json.loads(booster.save_config())["learner"]["objective"]["name"])


def _xgboost_booster(booster: Any, space: str) -> Callable[[Any], Any]:
    # multi:softmax gives labels where multi:softprob gives probabilities.
    labels = space == "probability" and _objective(booster) == "multi:softmax"
    margin = labels or space == "margin"
    after = _softmax if labels else None
    if json.loads(booster.save_config())["learner"]["gradient_booster"]["name"] == "gblinear":
        return _MatrixCall(booster, margin, after)
    return BoosterCall(booster, "inplace_predict", {"predict_type": "margin" if margin else "value"}, after=after)


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


def _softmax(margins: Any) -> NDArray[np.float64]:
    powers = np.exp(margins - np.max(margins, axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
