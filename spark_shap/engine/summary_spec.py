"""What to aggregate, checked against the columns there are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spark_shap.errors import InputError, UsageError
from spark_shap.schema import (
    ERROR,
    OUTPUT,
    REFERENCE,
    RUN_ID,
    SHAP_VALUES,
    STD_ERRORS,
    SURROGATE_VALUES,
    has_references,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spark_shap.core.shrinkage import ResidualModel

__all__ = ["PopulationKey", "SummarySpec", "make_spec", "wanted_columns"]

PopulationKey = tuple[str | None, str | None]
"""Run (None where the attributions carry none) and output."""


@dataclass(frozen=True)
class SummarySpec:
    """What to aggregate, as it travels to the workers.

    Attributes
    ----------
    features
        Feature names, in the order of the ``shap_values`` struct.
    segmentations
        One tuple of column names a segmentation; the empty tuple is overall.
    weight
        Name of the weight column; None for weights of 1.
    sampled_share
        Share of the portfolio's rows that was explained.
    models
        Of the residuals, where the attributions have exact parts.
    populations
        Columns that tell what a line is of: run, reference and output, as far as they are there.
    """

    features: tuple[str, ...]
    segmentations: tuple[tuple[str, ...], ...]
    weight: str | None
    sampled_share: float = 1.0
    models: Mapping[PopulationKey, ResidualModel] = field(default_factory=dict)
    populations: tuple[str, ...] = (OUTPUT,)


def make_spec(
    available: Sequence[str],
    features: Sequence[str],
    by: Sequence[str | Sequence[str]],
    *,
    weight: str | None,
    sampled_share: float,
) -> SummarySpec:
    """Check the request against the columns there are.

    Raises
    ------
    InputError
        A column is missing, or the values are no struct.
    UsageError
        `by` is a string, two segmentations would have the same name, or the share is none.
    """
    if isinstance(by, str):
        raise UsageError(f"by={by!r} is a string; give a list of columns: by=[{by!r}]")
    if not 0.0 < sampled_share <= 1.0:
        raise UsageError(f"sampled_share: {sampled_share!r} is no share of rows; give one above 0, at most 1")
    combinations = [(item,) if isinstance(item, str) else tuple(item) for item in by]
    # A segmentation named twice would be counted twice.
    segmentations = tuple(dict.fromkeys([(), *combinations]))
    names = dict.fromkeys([OUTPUT, SHAP_VALUES, *(name for combination in segmentations for name in combination)])
    missing = [name for name in (*names, *([weight] if weight is not None else [])) if name not in available]
    if missing:
        raise InputError(f"no column {', '.join(map(repr, missing))} in the attributions; there are {list(available)}")
    if not features:
        raise InputError(f"column {SHAP_VALUES!r} is not a struct with a field a feature (the wide layout)")
    labels = Counter(", ".join(columns) for columns in segmentations)
    twice = [label for label, count in labels.items() if count > 1]
    if twice:
        raise UsageError(f"two segmentations in `by` would both be named {twice[0]!r}; rename a column")
    reference = (REFERENCE,) if has_references(available) else ()
    populations = (*((RUN_ID,) if RUN_ID in available else ()), *reference, OUTPUT)
    return SummarySpec(tuple(features), segmentations, weight, sampled_share, populations=populations)


def wanted_columns(spec: SummarySpec, available: Sequence[str], *, segments: bool = True) -> list[str]:
    """Return the columns to read, those of the segmentations only where they are asked for."""
    optional = [name for name in (STD_ERRORS, SURROGATE_VALUES, ERROR) if name in available]
    extra = [name for columns in spec.segmentations for name in columns] if segments else []
    weight = [] if spec.weight is None else [spec.weight]
    return list(dict.fromkeys([*spec.populations, SHAP_VALUES, *optional, *extra, *weight]))
