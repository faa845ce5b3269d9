"""Which input column each output column of a fitted transformer comes from.

For scikit-learn's transformers that treat every column by itself, read from what they learned (categories,
numbers of bins, supports), never from the names of their output columns, which may be ambiguous.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.models.values import is_missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Sources = NDArray[np.intp]

__all__ = ["kind_of", "sources"]

_ONE_TO_ONE = frozenset(
    {
        "Binarizer", "MaxAbsScaler", "MinMaxScaler", "OrdinalEncoder", "PowerTransformer", "QuantileTransformer",
        "RobustScaler", "StandardScaler",
    }
)  # fmt: skip


def kind_of(step: Any) -> str:
    """Return the class name of an estimator of scikit-learn itself, else an empty string.

    A subclass from elsewhere may do anything, so it is not taken for its parent.
    """
    return type(step).__name__ if type(step).__module__.split(".")[0] == "sklearn" else ""


def sources(step: Any, n_columns: int) -> Sources | None:
    """Return, for each output column, the position of the input column that it comes from.

    Parameters
    ----------
    step
        A fitted transformer.
    n_columns
        Number of its input columns.

    Returns
    -------
    array or None
        None when the transformer may mix its columns.
    """
    kind = kind_of(step)
    if kind in _ONE_TO_ONE:
        return np.arange(n_columns)
    if kind and type(step).__module__.startswith("sklearn.feature_selection"):
        return np.asarray(step.get_support(indices=True), dtype=np.intp)
    reader = _READERS.get(kind)
    return None if reader is None else reader(step, n_columns)


def _function(step: Any, n_columns: int) -> Sources | None:
    ufunc = isinstance(step.func, np.ufunc) and step.func.nin == step.func.nout == 1
    return np.arange(n_columns) if step.func is None or ufunc else None


def _imputer(step: Any, n_columns: int) -> Sources:  # noqa: ARG001 - one signature
    # A feature without any value in training is dropped, but its indicator may stay.
    kept = ~is_missing(step.statistics_)
    indicator = step.indicator_.features_ if step.add_indicator else np.empty(0)
    return np.concatenate([np.flatnonzero(kept), np.asarray(indicator, dtype=np.intp)])


def _indicator(step: Any, n_columns: int) -> Sources:  # noqa: ARG001 - one signature
    return np.asarray(step.features_, dtype=np.intp)


def _one_hot(step: Any, n_columns: int) -> Sources:
    widths = [len(categories) for categories in step.categories_]
    infrequent = getattr(step, "infrequent_categories_", [None] * n_columns)
    dropped = [None] * n_columns if step.drop_idx_ is None else step.drop_idx_
    for column in range(n_columns):
        # All infrequent categories share one column.
        widths[column] -= 0 if infrequent[column] is None else len(infrequent[column]) - 1
        widths[column] -= dropped[column] is not None
    return np.repeat(np.arange(n_columns), widths)


def _bins(step: Any, n_columns: int) -> Sources:
    return np.repeat(np.arange(n_columns), 1 if step.encode == "ordinal" else step.n_bins_)


def _target(step: Any, n_columns: int) -> Sources:
    return np.repeat(np.arange(n_columns), len(step.classes_) if step.target_type_ == "multiclass" else 1)


def _splines(step: Any, n_columns: int) -> Sources:
    return np.repeat(np.arange(n_columns), step.n_features_out_ // n_columns)


_READERS: dict[str, Callable[[Any, int], Sources | None]] = {
    "FunctionTransformer": _function,
    "KBinsDiscretizer": _bins,
    "MissingIndicator": _indicator,
    "OneHotEncoder": _one_hot,
    "SimpleImputer": _imputer,
    "SplineTransformer": _splines,
    "TargetEncoder": _target,
}
