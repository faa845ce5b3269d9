"""Following columns through a pipeline: which feature each of them comes from after every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.errors import MethodError
from spark_shap.models.linear.transformers import kind_of, sources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Owners = NDArray[np.intp]

__all__ = ["Columns", "follow", "skipped"]


@dataclass(frozen=True)
class Columns:
    """Columns on their way through the steps.

    Attributes
    ----------
    owners
        (C,) the feature that each comes from; -1 for a constant column.
    labels
        (C,) the columns' names as long as they are the model's own input, a frame, from which a ColumnTransformer
        picks by name; None later, when positions are those of the training.
    """

    owners: Owners
    labels: tuple[Any, ...] | None = None


def skipped(step: Any) -> bool:
    """Return True for a step that passes its columns on as they are."""
    return step is None or (isinstance(step, str) and step == "passthrough")


def follow(steps: Sequence[tuple[str, Any]], columns: Columns, width: int | None, place: str = "") -> Columns:
    """Follow columns through the fitted steps of a pipeline.

    Parameters
    ----------
    steps
        Names and transformers.
    columns
        The columns before the first of them.
    width
        Number of columns after the last one, where it is known.
    place
        Where the pipeline is, for messages.

    Raises
    ------
    MethodError
        A step may mix columns of several features, or cannot be read; it is named.
    """
    widths = [*(getattr(step, "n_features_in_", None) for _, step in steps[1:]), width]
    for (name, step), after in zip(steps, widths, strict=False):
        columns = _through(step, columns, after, f"{place} > {name}" if place else name)
    return columns


def _through(step: Any, columns: Columns, width: int | None, place: str) -> Columns:
    """Follow columns through one step that makes `width` of them, where that is known."""
    if skipped(step):
        return columns
    kind = kind_of(step)
    if kind == "ColumnTransformer":
        columns = _by_name(step, columns)
    _check_count(getattr(step, "n_features_in_", None), columns, place)
    features = np.unique(columns.owners[columns.owners >= 0])
    if len(features) == 1 and width is not None:
        # Whatever it does, all that it makes comes from this feature.
        return Columns(np.full(width, features[0]))
    if kind in _COMPOSITE:
        return _COMPOSITE[kind](step, columns, width, place)
    found = sources(step, len(columns.owners))
    if found is None:
        raise MethodError(_refusal(step, len(features), place))
    # A FunctionTransformer hands on the frame that it got.
    return Columns(columns.owners[found], columns.labels if kind == "FunctionTransformer" else None)


def _by_name(step: Any, columns: Columns) -> Columns:
    """Bring the columns of a frame into the order in which a ColumnTransformer was fitted."""
    names = getattr(step, "feature_names_in_", None)
    if columns.labels is None or names is None:
        return columns
    # The frame may lack columns that are dropped, and have columns that were not there in training.
    owner = dict(zip(columns.labels, columns.owners, strict=True))
    return Columns(np.array([owner.get(name, -1) for name in names], dtype=np.intp))


def _check_count(expected: int | None, columns: Columns, place: str) -> None:
    if expected is not None and expected != len(columns.owners):
        raise MethodError(f"{place!r} takes {expected} columns and not the {len(columns.owners)} that were counted")


def _pipeline(step: Any, columns: Columns, width: int | None, place: str) -> Columns:
    return follow(step.steps, columns, width, place)


def _column_transformer(step: Any, columns: Columns, width: int | None, place: str) -> Columns:  # noqa: ARG001
    """Each part makes the columns of a slice from those that it picks."""
    owners = np.full(max(part.stop for part in step.output_indices_.values()), -1)
    for name, transformer, _ in step.transformers_:
        made = step.output_indices_[name]
        if made.start == made.stop:
            continue
        # Names, numbers, slices, masks and functions alike, as scikit-learn resolved them in training.
        picked = Columns(columns.owners[step._transformer_to_input_indices[name]])
        part = _through(transformer, picked, made.stop - made.start, f"{place} > {name}")
        _check_count(made.stop - made.start, part, f"{place} > {name}")
        owners[made] = part.owners
    return Columns(owners)


def _feature_union(step: Any, columns: Columns, width: int | None, place: str) -> Columns:  # noqa: ARG001
    parts = [(name, part) for name, part in step.transformer_list if not (isinstance(part, str) and part == "drop")]
    owners = [_through(part, columns, None, f"{place} > {name}").owners for name, part in parts]
    return Columns(np.concatenate(owners))


def _polynomial(step: Any, columns: Columns, width: int | None, place: str) -> Columns:  # noqa: ARG001
    """Powers of one feature's columns are that feature's; products of several features' are nobody's."""
    used = step.powers_ > 0
    highest = np.where(used, columns.owners, -1).max(axis=1)
    if (np.where(used, columns.owners, highest[:, None]) != highest[:, None]).any():
        raise MethodError(f"{place!r} multiplies columns of different features")
    return Columns(highest)


_COMPOSITE = {
    "ColumnTransformer": _column_transformer,
    "FeatureUnion": _feature_union,
    "Pipeline": _pipeline,
    "PolynomialFeatures": _polynomial,
}


def _refusal(step: Any, n_features: int, place: str) -> str:
    hint = (
        ", unless its function is a numpy ufunc such as numpy.log1p" if kind_of(step) == "FunctionTransformer" else ""
    )
    return f"{place!r}, a {type(step).__name__}, may mix columns of {n_features} features{hint}"
