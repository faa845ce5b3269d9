"""Tree models read from their libraries' own dumps into one common form."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from spark_shap.models.adapters.calls import has_two_classes
from spark_shap.models.trees.reading import NotReadable, TreeModel, UnreadableError

if TYPE_CHECKING:
    from spark_shap.models.frames import Layout

__all__ = ["NotReadable", "TreeModel", "read_forest"]

_LIBRARIES = ("xgboost", "lightgbm", "catboost", "sklearn")


def read_forest(model: Any, output_space: str, layout: Layout) -> TreeModel | NotReadable:
    """Read a fitted model as a sum of trees.

    Parameters
    ----------
    model
        Of XGBoost, LightGBM, CatBoost or scikit-learn; anything else is not readable.
    output_space
        In which the sum is taken: ``"margin"`` for models with a logistic or softmax link (the library's raw
        score), ``"prediction"`` for regressors without a link, ``"probability"`` for scikit-learn's forests.
    layout
        The columns that the model receives.

    Returns
    -------
    TreeModel or NotReadable
        Nothing is raised: a dump in a form that is not known is not readable either.
    """
    model = _without_idle_steps(model)
    kind = type(model).__name__
    library = next(
        (top for base in type(model).__mro__ if (top := base.__module__.partition(".")[0]) in _LIBRARIES), None
    )
    if library is None:
        return NotReadable(f"{kind}: it is no tree model of XGBoost, LightGBM, CatBoost or scikit-learn")
    reader = import_module(f"spark_shap.models.trees.{library}")
    try:
        found: TreeModel = reader.read(model, output_space, layout)
    except UnreadableError as error:
        return NotReadable(f"{kind}: {error}")
    except Exception as error:  # noqa: BLE001 - a library may refuse its dump by any error, or change its form
        return NotReadable(f"{kind}: its trees are in a form that is not known ({type(error).__name__}: {error})")
    if found.forest.n_outputs == 2 and has_two_classes(model):
        # A softmax over two classes: the margin is the difference of their scores.
        base, value = (scores[..., 1:] - scores[..., :1] for scores in (found.forest.base, found.forest.value))
        return replace(found, forest=replace(found.forest, base=base, value=value))
    return found


def _without_idle_steps(model: Any) -> Any:
    """Return the last step of a pipeline whose other steps let rows through unchanged."""
    steps: Any = getattr(model, "steps", ())
    if type(model).__module__ != "sklearn.pipeline" or any(step not in (None, "passthrough") for _, step in steps[:-1]):
        return model
    return steps[-1][1]
