"""What is explained: a model seen as a function from rows to K numbers in a named output space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from spark_shap.errors import MethodError, ModelError
from spark_shap.models.adapters import adapt
from spark_shap.models.adapters.calls import positive
from spark_shap.models.adapters.onnx import OnnxModel
from spark_shap.models.boosters import booster_call, has_probability, library_of, pipeline_margin

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["OUTPUT_SPACES", "OutputSpace", "Predictor", "as_predictor", "check_output_space"]

OutputSpace = Literal["probability", "margin", "prediction"]
OUTPUT_SPACES: tuple[str, ...] = get_args(OutputSpace)


@dataclass(frozen=True)
class Predictor:
    """A model as a function.

    Attributes
    ----------
    function
        Called with rows in the background's layout; returns (n,) or (n, K).
    output_space
        ``"probability"``, ``"margin"`` (decision function, raw score or log-odds) or ``"prediction"``.
    output_names
        Names of the K outputs; None until a first call has shown how many there are.
    plain_array
        True when the model wants a bare two-dimensional array although the background is a frame.
    """

    function: Callable[[Any], Any]
    output_space: OutputSpace
    output_names: tuple[str, ...] | None = None
    plain_array: bool = False

    def __call__(self, rows: Any) -> NDArray[np.float64]:
        """Return predictions, (n, K) float64.

        Raises
        ------
        ModelError
            The result is not numeric, or has not one line a row.
        """
        n_rows = len(rows)
        raw = self.function(np.asarray(rows) if self.plain_array else rows)
        try:
            out = np.asarray(raw, dtype=np.float64)
        except (TypeError, ValueError) as error:
            kind = type(raw).__name__
            raise ModelError(
                f"model: it returned a {kind} that is no array of numbers ({error}); explain probabilities or a "
                "decision function rather than labels"
            ) from error
        if out.ndim == 1:
            out = out[:, None]
        expected = None if self.output_names is None else len(self.output_names)
        if out.ndim != 2 or out.shape[0] != n_rows or (expected is not None and out.shape[1] != expected):
            if expected is not None and out.ndim == 2 and out.shape[0] == n_rows:
                raise ModelError(
                    f"model: it returned {out.shape[1]} outputs, and output_names has {expected}: "
                    f"{', '.join(self.output_names or ())}; name every output"
                )
            wanted = f"({n_rows},) or ({n_rows}, {'K' if expected is None else expected})"
            raise ModelError(
                f"model: it returned shape {np.shape(raw)} for {n_rows} rows; a model must return {wanted}, one "
                "line a row"
            )
        return out


def check_output_space(output_space: str | None) -> OutputSpace | None:
    """Refuse anything that is not one of the three output spaces.

    Raises
    ------
    MethodError
        Naming the value and the choices.
    """
    if output_space is not None and output_space not in OUTPUT_SPACES:
        raise MethodError(
            f"output_space: {output_space!r} is not supported; values are given in the space of what the model "
            f"returns: choose one of {', '.join(map(repr, OUTPUT_SPACES))}"
        )
    return output_space  # type: ignore[return-value]  # narrowed by the membership test


def as_predictor(model: Any, output_space: str | None = None, output_names: tuple[str, ...] | None = None) -> Predictor:
    """Wrap a model.

    Parameters
    ----------
    model
        A fitted estimator with `predict_proba`, `decision_function` or `predict`, a Booster of XGBoost or
        LightGBM, a PyTorch module, a Keras model, an ONNX graph, or a function from rows to (n,) or (n, K).
    output_space
        None for the default: ``"probability"`` for classifiers, ``"prediction"`` for all else. A binary
        probability is that of the positive class, ``classes_[1]``. What a network or a function returns is
        explained as it is, and the name given here is its name.
    output_names
        Names of the outputs, where the model does not know them.

    Raises
    ------
    MethodError
        The model has no such output.
    ModelError
        The object is no model.
    """
    space = check_output_space(output_space)
    if isinstance(model, Predictor):
        return model
    adapted = adapt(model)
    if adapted is not None:
        named: Any = adapted.space(space) if isinstance(adapted, OnnxModel) else space or "prediction"
        return Predictor(adapted, named, output_names)
    if library_of(model) is not None and hasattr(model, "predict"):
        return _booster(model, space, output_names)
    if hasattr(model, "predict_proba") or hasattr(model, "decision_function"):
        return _classifier(model, space or "probability", output_names)
    if hasattr(model, "predict"):
        raw = pipeline_margin(model) if space == "margin" else None
        if raw is not None:
            return Predictor(raw, "margin", output_names, _wants_array(model))
        if space in ("probability", "margin"):
            raise MethodError(
                f"output_space: {type(model).__name__} has no {space}, only predict; leave output_space out or "
                "say 'prediction'"
            )
        return Predictor(model.predict, "prediction", output_names, _wants_array(model))
    if callable(model):
        return Predictor(model, space or "prediction", output_names)
    raise ModelError(
        f"model: a {type(model).__name__} has neither predict_proba nor predict and cannot be called; pass a fitted "
        "estimator or a function from rows to predictions"
    )


def _wants_array(model: Any) -> bool:
    """Whether a scikit-learn style estimator was fitted without column names."""
    return hasattr(model, "n_features_in_") and not hasattr(model, "feature_names_in_")


@dataclass(frozen=True)
class _Positive:
    """The positive class's column of `predict_proba`; all columns when there are more than two."""

    model: Any

    def __call__(self, rows: Any) -> Any:
        return positive(self.model.predict_proba(rows))


@dataclass(frozen=True)
class _LogOdds:
    """log(p / (1 - p)) of the positive class; infinite where the model is certain."""

    model: Any

    def __call__(self, rows: Any) -> Any:
        both = np.asarray(self.model.predict_proba(rows), dtype=np.float64)
        if both.ndim != 2 or both.shape[1] != 2:
            raise ModelError(
                f"model: predict_proba returned shape {both.shape}; 'margin' as log-odds needs (n, 2), so say "
                "output_space='probability'"
            )
        probability = both[:, 1]
        with np.errstate(divide="ignore"):
            return np.log(probability) - np.log1p(-probability)


def _booster(model: Any, space: OutputSpace | None, names: tuple[str, ...] | None) -> Predictor:
    """Wrap a model of XGBoost, LightGBM or CatBoost; they take frames and arrays alike."""
    kind, is_classifier = type(model).__name__, has_probability(model)
    chosen: OutputSpace = space or ("probability" if is_classifier else "prediction")
    if chosen == "prediction" and hasattr(model, "predict_proba"):
        raise _label_error(kind)
    if chosen == "probability" and not is_classifier:
        raise MethodError(
            f"output_space: {kind} was not trained for probabilities; leave output_space out, or say 'prediction' or "
            "'margin'"
        )
    return Predictor(booster_call(model, chosen), chosen, names or (_class_names(model) if is_classifier else None))


def _class_names(model: Any) -> tuple[str, ...] | None:
    """Return the names of a classifier's outputs: of the second class when there are two."""
    classes = tuple(str(label) for label in getattr(model, "classes_", ()))
    return (classes[1:] if len(classes) == 2 else classes) or None


def _label_error(kind: str) -> MethodError:
    return MethodError(
        f"output_space: 'prediction' of the classifier {kind} is a label, which has no Shapley values; choose "
        "'probability' or 'margin', or pass a function that returns the number to explain"
    )


def _classifier(model: Any, space: OutputSpace, names: tuple[str, ...] | None) -> Predictor:
    kind = type(model).__name__
    n_classes = len(getattr(model, "classes_", ()))
    known = names or _class_names(model)
    array = _wants_array(model)
    if space == "prediction":
        raise _label_error(kind)
    if space == "probability":
        if not hasattr(model, "predict_proba"):
            raise MethodError(f"output_space: {kind} has no predict_proba; say output_space='margin'")
        return Predictor(_Positive(model), space, known, array)
    if hasattr(model, "decision_function"):
        return Predictor(model.decision_function, space, known, array)
    raw = pipeline_margin(model)
    if raw is not None:
        return Predictor(raw, space, known, array)
    if n_classes in (0, 2):
        return Predictor(_LogOdds(model), space, known, array)
    raise MethodError(
        f"output_space: {kind} has no decision_function and {n_classes} classes, so 'margin' is not defined; say "
        "output_space='probability'"
    )
