"""XGBoost, LightGBM and CatBoost as models: their raw scores, and their Boosters without an estimator around them.

The raw score is what the trees add up to, before a logistic, softmax or exponential link. It is the margin of
these libraries' models, of one output or several. What is each library's own is in its adapter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spark_shap.models.adapters import catboost, lightgbm, xgboost
from spark_shap.models.adapters.calls import BoosterCall, has_two_classes, log_odds, positive

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["booster_call", "feature_names", "has_probability", "library_of", "pipeline_margin"]

_RAW = {"xgboost": xgboost.MARGIN, "lightgbm": lightgbm.MARGIN, "catboost": catboost.MARGIN}
_THREADS = {"lightgbm": lightgbm.THREADS, "catboost": catboost.THREADS}


def library_of(model: Any) -> str | None:
    """Return ``"xgboost"``, ``"lightgbm"`` or ``"catboost"`` when the model's type comes from there."""
    tops = (base.__module__.partition(".")[0] for base in type(model).__mro__)
    return next((top for top in tops if top in _RAW), None)


def has_probability(model: Any) -> bool:
    """Whether a model of these libraries gives probabilities: by a method, or by what it was trained for."""
    if hasattr(model, "predict_proba"):
        return True
    if xgboost.is_booster(model):
        return xgboost.gives_probability(model)
    if library_of(model) == "catboost":
        return catboost.gives_probability(model)
    return lightgbm.is_booster(model) and lightgbm.gives_probability(model)


def feature_names(model: Any) -> tuple[str, ...] | None:
    """Return the columns that any model says it was trained on, None where it says nothing."""
    known = getattr(model, "feature_names_in_", None)
    if known is not None:
        return tuple(map(str, known))
    if library_of(model) == "catboost":
        return catboost.model_features(model)
    if library_of(model) == "xgboost" and xgboost.is_booster(model):
        return xgboost.booster_features(model)
    if library_of(model) == "lightgbm" and lightgbm.is_booster(model):
        return lightgbm.booster_features(model)
    return None


def booster_call(model: Any, space: str) -> Callable[[Any], Any]:
    """Return an output of a model of these libraries as a function of rows.

    Parameters
    ----------
    model
        An estimator or a Booster.
    space
        ``"probability"``, where there is one, ``"margin"`` for the raw score, or ``"prediction"``.
    """
    if xgboost.is_booster(model):
        return xgboost.booster_output(model, space)
    library = library_of(model) or ""
    threads = _THREADS.get(library)
    if space == "margin":
        return _margin(model, model, library)
    if space == "prediction":
        return BoosterCall(model, "predict", {}, threads)
    if hasattr(model, "predict_proba"):
        return BoosterCall(model, "predict_proba", {}, threads, positive)
    arguments = dict(catboost.PROBABILITY) if library == "catboost" else {}
    return BoosterCall(model, "predict", arguments, threads, positive)


def pipeline_margin(model: Any) -> BoosterCall | None:
    """Return the raw score of a scikit-learn pipeline that ends in such an estimator, None for all else."""
    steps: Any = getattr(model, "steps", ()) if type(model).__module__ == "sklearn.pipeline" else ()
    library = library_of(steps[-1][1]) if steps else None
    return None if library is None else _margin(model, steps[-1][1], library)


def _margin(model: Any, booster: Any, library: str) -> BoosterCall:
    """Return the raw score of `model`, which is `booster` or a pipeline that hands arguments of `predict` on to it."""
    after: Callable[[Any], Any] | None = log_odds if has_two_classes(booster) else None
    if library == "lightgbm":
        after = lightgbm.margin_scale(booster, after)
    return BoosterCall(model, "predict", dict([_RAW[library]]), _THREADS.get(library), after)
