r"""Mergeable per-feature aggregates of SHAP values.

One state holds everything of one population (a segment and an output) over M features: `local_summary`
makes it from rows, `merge_summaries` makes one of two, `summary_result` turns it into columns. What it holds
are weighted means and sums over rows; the formulas of the columns are `spark_shap.core.summary_result`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.core.moments import Moments, merge_means, merge_moments, no_moments, weighted_moments
from spark_shap.core.sketch import Sketch, count_buckets, empty_sketch, merge_sketches
from spark_shap.core.summary_rows import Split, SummaryRows, derive_rows

if TYPE_CHECKING:
    from spark_shap.core.arrays import FloatArray

__all__ = ["SummaryState", "empty_summary", "local_summary", "merge_summaries", "reduce_rows"]


@dataclass(frozen=True)
class SummaryState:
    """The mergeable aggregate of one population; arrays are (n_features,) float64.

    v is a value, s its standard error, c its corrected form, w the row's weight, E the weighted mean. What
    comes after ``kept2_error2`` is 0 unless the values are split into exact parts and residuals.
    """

    n_rows: int
    n_weighted: int  # rows of positive weight
    n_split: int  # of these, rows that were split
    weight: float  # sum w
    weight2: float  # sum w^2
    value: Moments  # of v under w
    magnitude: Moments  # of |c| under w
    magnitude2: Moments  # of |c| under w^2
    mean_square: FloatArray  # E v^2
    mean_error2: FloatArray  # E s^2
    noise_excess: FloatArray  # E of SummaryRows.noise_excess
    minimum: FloatArray  # of c; +inf when empty
    maximum: FloatArray  # -inf when empty
    positive: FloatArray  # weight of rows with c > 0
    top: FloatArray  # weight of rows that have the feature among their top four
    weighted_error2: FloatArray  # sum w^2 s^2
    remainder: FloatArray  # E of AuditRows.remainder
    flips: FloatArray  # E of AuditRows.flips
    flips_high: FloatArray  # E of AuditRows.flips_high
    kept_error2: FloatArray  # sum w^2 kept s^2
    kept2_error2: FloatArray  # sum w^2 kept^2 s^2
    sketch: Sketch  # of c

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.minimum)


def local_summary(
    values: FloatArray,
    *,
    std_errors: FloatArray | None = None,
    weights: FloatArray | None = None,
    split: Split | None = None,
) -> SummaryState:
    """Return the state of one block of rows; parameters and errors as in `derive_rows`."""
    return reduce_rows(derive_rows(values, std_errors=std_errors, weights=weights, split=split))


def reduce_rows(rows: SummaryRows) -> SummaryState:
    """Return the state of derived rows."""
    n_rows, n_features = rows.values.shape
    if not rows.weights.all():
        rows = rows.take(np.flatnonzero(rows.weights))
    if not len(rows.weights):
        return empty_summary(n_features, n_rows=n_rows)
    weights, squared, squared_errors = rows.weights, rows.weights**2, rows.errors**2
    weight, weight2 = float(weights.sum()), float(squared.sum())
    return SummaryState(
        n_rows=n_rows,
        n_weighted=len(weights),
        n_split=0 if rows.audit is None else int(rows.audit.is_split.sum()),
        weight=weight,
        weight2=weight2,
        value=weighted_moments(rows.values, weights, weight),
        magnitude=weighted_moments(rows.magnitudes, weights, weight),
        magnitude2=weighted_moments(rows.magnitudes, squared, weight2),
        mean_square=weights @ rows.values**2 / weight,
        mean_error2=weights @ squared_errors / weight,
        noise_excess=weights @ rows.noise_excess / weight,
        minimum=rows.corrected.min(axis=0),
        maximum=rows.corrected.max(axis=0),
        positive=weights @ (rows.corrected > 0),
        top=weights @ rows.in_top,
        weighted_error2=squared @ squared_errors,
        **_audit_sums(rows, weights / weight, squared, squared_errors),
        sketch=count_buckets(rows.signed_buckets, weights),
    )


def _audit_sums(
    rows: SummaryRows, shares: FloatArray, squared: FloatArray, squared_errors: FloatArray
) -> dict[str, FloatArray]:
    if rows.audit is None:
        return dict.fromkeys(_AUDIT_SUMS, np.zeros(rows.values.shape[1]))
    _, kept, remainder, flips, flips_high = rows.audit
    sums = (shares @ remainder, shares @ flips, shares @ flips_high)
    return dict(
        zip(_AUDIT_SUMS, (*sums, squared @ (kept * squared_errors), squared @ (kept**2 * squared_errors)), strict=True)
    )


_AUDIT_SUMS = ("remainder", "flips", "flips_high", "kept_error2", "kept2_error2")
_MEANS = ("mean_square", "mean_error2", "noise_excess", "remainder", "flips", "flips_high")
_COUNTS = ("n_rows", "n_weighted", "n_split", "weight", "weight2")
_SUMS = ("positive", "top", "weighted_error2", "kept_error2", "kept2_error2")


def empty_summary(n_features: int, *, n_rows: int = 0) -> SummaryState:
    """Return the state of no rows, or of ``n_rows`` rows of weight 0."""
    zeros = np.zeros(n_features)
    none = no_moments(n_features)
    inf = np.full(n_features, np.inf)
    arrays: dict[str, Any] = dict.fromkeys((*_MEANS, *_SUMS), zeros)
    return SummaryState(
        n_rows=n_rows,
        n_weighted=0,
        n_split=0,
        weight=0.0,
        weight2=0.0,
        value=none,
        magnitude=none,
        magnitude2=none,
        minimum=inf,
        maximum=-inf,
        sketch=empty_sketch(),
        **arrays,
    )


def merge_summaries(left: SummaryState, right: SummaryState) -> SummaryState:
    """Return the state of both populations; associative and commutative up to rounding."""
    weights = (left.weight, right.weight)
    sums = {name: getattr(left, name) + getattr(right, name) for name in (*_COUNTS, *_SUMS)}
    means: dict[str, Any] = {name: merge_means(getattr(left, name), getattr(right, name), weights) for name in _MEANS}
    return SummaryState(
        **sums,
        **means,
        value=merge_moments(left.value, right.value, weights),
        magnitude=merge_moments(left.magnitude, right.magnitude, weights),
        magnitude2=merge_moments(left.magnitude2, right.magnitude2, (left.weight2, right.weight2)),
        minimum=np.minimum(left.minimum, right.minimum),
        maximum=np.maximum(left.maximum, right.maximum),
        sketch=merge_sketches(left.sketch, right.sketch),
    )
