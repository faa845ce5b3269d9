r"""Mergeable per-feature aggregates of SHAP values.

One state holds everything of one population (a segment and an output) over M features: `local_summary`
makes it from rows, `merge_summaries` makes one of two, `summary_result` turns it into columns. With v a
value, s its standard error, w its row's weight, W = sum w and E the weighted mean:

- ``mean_abs_shap = sqrt(kappa) E|v|`` with ``kappa = max(0, 1 - E s^2 / E v^2)``, the share of E v^2 that is
  signal, because sampling noise does not average out of ``|v|``. Exact values have s = 0 and kappa = 1.
- ``mean_shap = E v``; ``sd = sqrt(max(0, E (v - E v)^2 - E s^2))``, the population form.
- ``min``, ``max`` and quantiles (within 0.5 %) are those of the estimates as they are, noise included.
- ``share_positive``, ``top4_share``: shares of W, of rows with v > 0 and of rows whose ``|v|`` is among the
  four largest (ties go to the feature that comes first).
- ``sampling_error = sqrt(sum w^2 (|v| - E|v|)^2 / (1 - sum w^2 / W^2)) / W``: the linearised standard error
  of E|v| as a population's mean, sd(|v|) / sqrt(n) where all weights are equal. Nothing is taken off for
  noise, and kappa does not enter. NaN below two rows of positive weight.
- ``monte_carlo_error = sqrt(sum w^2 s^2) / W``.

Moments merge as Chan, Golub and LeVeque's do. A mean is the unevaluated sum of two doubles: at mean 1e8 and
sd 1 a single double would leave the merged variance nine digits.

References
----------
Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American Statistician 1983.
Kish, "Survey sampling", 1965 (effective sample size W^2 / sum w^2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_shap.core.sketch import Sketch, buckets, count_buckets, empty_sketch, merge_sketches, quantiles
from spark_shap.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.core.arrays import BoolArray, FloatArray, IntArray

__all__ = ["QUANTILES", "Moments", "SummaryRows", "SummaryState", "derive_rows", "empty_summary"]
__all__ += ["local_summary", "merge_summaries", "reduce_rows", "summary_result"]

QUANTILES = {"q01": 0.01, "q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95, "q99": 0.99}
_TOP = 4
_PLAIN = ("mean_abs_shap", "mean_shap", "sd", "min", "max", "share_positive", "rank", "top4_share")


class SummaryRows(NamedTuple):
    """What is computed once a row and then reduced for any number of segmentations."""

    weights: FloatArray  # (n_rows,); everything else is (n_rows, n_features)
    values: FloatArray
    magnitudes: FloatArray
    squared_errors: FloatArray
    signed_buckets: NDArray[np.int32]
    in_top: BoolArray

    def take(self, index: IntArray | slice) -> SummaryRows:
        """Return the rows at an index array or slice."""
        return SummaryRows._make(column[index] for column in self)


class Moments(NamedTuple):
    """Weighted mean (as high + low) and sum of squared deviations, each (n_features,) float64."""

    high: FloatArray
    low: FloatArray
    m2: FloatArray


@dataclass(frozen=True)
class SummaryState:
    """The mergeable aggregate of one population; arrays are (n_features,) float64."""

    n_rows: int
    n_weighted: int  # rows of positive weight
    weight: float  # sum w
    weight2: float  # sum w^2
    value: Moments  # of v under w
    magnitude: Moments  # of |v| under w
    magnitude2: Moments  # of |v| under w^2
    mean_square: FloatArray  # E v^2
    mean_error2: FloatArray  # E s^2
    minimum: FloatArray  # +inf when empty
    maximum: FloatArray  # -inf when empty
    positive: FloatArray  # weight of rows with v > 0
    top: FloatArray  # weight of rows that have the feature among their top four
    weighted_error2: FloatArray  # sum w^2 s^2
    sketch: Sketch

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.minimum)


def local_summary(
    values: FloatArray, *, std_errors: FloatArray | None = None, weights: FloatArray | None = None
) -> SummaryState:
    """Return the state of one block of rows.

    Parameters
    ----------
    values
        (n_rows, n_features) float64 SHAP values.
    std_errors
        (n_rows, n_features) their standard errors; None where they are exact.
    weights
        (n_rows,) float64; None for 1. Rows of weight 0 count in ``n_rows`` and nowhere else.

    Raises
    ------
    InputError
        A weight is negative, NaN or infinite; a value or standard error (of a row of positive weight) is
        not finite.
    """
    return reduce_rows(derive_rows(values, std_errors=std_errors, weights=weights))


def derive_rows(
    values: FloatArray, *, std_errors: FloatArray | None = None, weights: FloatArray | None = None
) -> SummaryRows:
    """Check rows and compute what every segmentation needs of them; parameters as in `local_summary`."""
    values = np.asarray(values, dtype=np.float64)
    n_rows = len(values)
    weights = np.ones(n_rows) if weights is None else np.asarray(weights, dtype=np.float64)
    _refuse(weights, ~(np.isfinite(weights) & (weights >= 0)), "weight", "a finite number of at least 0")
    errors = np.zeros_like(values) if std_errors is None else np.asarray(std_errors, dtype=np.float64)
    ignored = weights == 0
    if ignored.any():
        values, errors = (np.where(ignored[:, None], 0.0, column) for column in (values, errors))
    _refuse(values, ~np.isfinite(values), "SHAP value", "finite, or the row marked as an error")
    _refuse(errors, ~(np.isfinite(errors) & (errors >= 0)), "standard error", "finite and at least 0")
    magnitudes = np.abs(values)
    return SummaryRows(weights, values, magnitudes, errors**2, buckets(values), _in_top(magnitudes))


def reduce_rows(rows: SummaryRows) -> SummaryState:
    """Return the state of derived rows."""
    n_rows, n_features = rows.values.shape
    if not rows.weights.all():
        rows = rows.take(np.flatnonzero(rows.weights))
    if not len(rows.weights):
        return empty_summary(n_features, n_rows=n_rows)
    weights, squared = rows.weights, rows.weights**2
    weight, weight2 = float(weights.sum()), float(squared.sum())
    return SummaryState(
        n_rows=n_rows,
        n_weighted=len(weights),
        weight=weight,
        weight2=weight2,
        value=_moments(rows.values, weights, weight),
        magnitude=_moments(rows.magnitudes, weights, weight),
        magnitude2=_moments(rows.magnitudes, squared, weight2),
        mean_square=weights @ rows.magnitudes**2 / weight,
        mean_error2=weights @ rows.squared_errors / weight,
        minimum=rows.values.min(axis=0),
        maximum=rows.values.max(axis=0),
        positive=weights @ (rows.values > 0),
        top=weights @ rows.in_top,
        weighted_error2=squared @ rows.squared_errors,
        sketch=count_buckets(rows.signed_buckets, weights),
    )


def empty_summary(n_features: int, *, n_rows: int = 0) -> SummaryState:
    """Return the state of no rows, or of ``n_rows`` rows of weight 0."""
    zeros = np.zeros(n_features)
    none = Moments(zeros, zeros, zeros)
    inf = np.full(n_features, np.inf)
    return SummaryState(
        n_rows, 0, 0.0, 0.0, none, none, none, zeros, zeros, inf, -inf, zeros, zeros, zeros, empty_sketch()
    )


def merge_summaries(left: SummaryState, right: SummaryState) -> SummaryState:
    """Return the state of both populations; associative and commutative up to rounding."""
    weights = (left.weight, right.weight)
    weights2 = (left.weight2, right.weight2)
    share = right.weight / (left.weight + right.weight) if right.weight else 0.0
    return SummaryState(
        n_rows=left.n_rows + right.n_rows,
        n_weighted=left.n_weighted + right.n_weighted,
        weight=sum(weights),
        weight2=sum(weights2),
        value=_merge_moments(left.value, right.value, weights),
        magnitude=_merge_moments(left.magnitude, right.magnitude, weights),
        magnitude2=_merge_moments(left.magnitude2, right.magnitude2, weights2),
        mean_square=left.mean_square + share * (right.mean_square - left.mean_square),
        mean_error2=left.mean_error2 + share * (right.mean_error2 - left.mean_error2),
        minimum=np.minimum(left.minimum, right.minimum),
        maximum=np.maximum(left.maximum, right.maximum),
        positive=left.positive + right.positive,
        top=left.top + right.top,
        weighted_error2=left.weighted_error2 + right.weighted_error2,
        sketch=merge_sketches(left.sketch, right.sketch),
    )


def summary_result(state: SummaryState) -> dict[str, FloatArray]:
    """Return the aggregates, each (n_features,), under their column names in the summary table.

    ``rank`` is 1 for the largest ``mean_abs_shap``; ties go to the feature that comes first. Without any
    weight everything is NaN.
    """
    if state.n_weighted == 0:
        names = (*_PLAIN, *QUANTILES, "sampling_error", "monte_carlo_error")
        return dict.fromkeys(names, np.full(state.n_features, np.nan))
    noise = np.divide(state.mean_error2, state.mean_square, out=np.zeros(state.n_features), where=state.mean_square > 0)
    mean_abs = np.sqrt(np.maximum(0.0, 1.0 - noise)) * state.magnitude.high
    variance = state.value.m2 / state.weight - state.mean_error2
    found = quantiles(
        state.sketch,
        list(QUANTILES.values()),
        n_features=state.n_features,
        scale=state.n_weighted / state.weight,
    )
    rank = np.empty(state.n_features)
    rank[np.argsort(-mean_abs, kind="stable")] = np.arange(1, state.n_features + 1)
    return {
        "mean_abs_shap": mean_abs,
        "mean_shap": state.value.high,
        "sd": np.sqrt(np.maximum(0.0, variance)),
        "min": state.minimum,
        "max": state.maximum,
        # A bucket's representative may lie outside what was seen.
        **dict(zip(QUANTILES, np.clip(found, state.minimum, state.maximum), strict=True)),
        "share_positive": state.positive / state.weight,
        "rank": rank,
        "top4_share": state.top / state.weight,
        "sampling_error": _sampling_error(state),
        "monte_carlo_error": np.sqrt(state.weighted_error2) / state.weight,
    }


def _sampling_error(state: SummaryState) -> FloatArray:
    if state.n_weighted < 2:
        return np.full(state.n_features, np.nan)
    shift = (state.magnitude2.high - state.magnitude.high) + (state.magnitude2.low - state.magnitude.low)
    squares = state.magnitude2.m2 + state.weight2 * shift**2
    room = 1.0 - state.weight2 / state.weight**2
    # One weight dwarfs all others: in effect a single row.
    return np.sqrt(squares / room) / state.weight if room > 0 else np.full(state.n_features, np.nan)


def _moments(columns: FloatArray, weights: FloatArray, total: float) -> Moments:
    high = weights @ columns / total
    deviations = columns - high
    low = weights @ deviations / total
    m2 = weights @ deviations**2 - total * low**2
    return Moments(*_two_sum(high, low), np.maximum(m2, 0.0))


def _merge_moments(left: Moments, right: Moments, weights: tuple[float, float]) -> Moments:
    if weights[1] == 0.0:
        return left
    if weights[0] == 0.0:
        return right
    total = weights[0] + weights[1]
    delta = (right.high - left.high) + (right.low - left.low)
    share = weights[1] / total
    high, rest = _two_sum(left.high, delta * share)
    m2 = left.m2 + right.m2 + delta**2 * (weights[0] * share)
    return Moments(*_two_sum(high, rest + left.low), m2)


def _two_sum(left: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the rounded sum and its rounding error (Knuth)."""
    high = left + right
    part = high - left
    return high, (left - (high - part)) + (right - part)


def _in_top(magnitudes: FloatArray) -> BoolArray:
    n_rows, n_features = magnitudes.shape
    if n_features <= _TOP:
        return np.ones((n_rows, n_features), dtype=np.bool_)
    limit = np.partition(magnitudes, n_features - _TOP, axis=1)[:, n_features - _TOP, None]
    chosen = magnitudes >= limit
    tied = np.flatnonzero(chosen.sum(axis=1) > _TOP)
    if len(tied):
        above = magnitudes[tied] > limit[tied]
        level = magnitudes[tied] == limit[tied]
        free = _TOP - above.sum(axis=1, keepdims=True)
        chosen[tied] = above | (level & (np.cumsum(level, axis=1) <= free))
    return chosen


def _refuse(column: FloatArray, bad: BoolArray, name: str, wanted: str) -> None:
    if bad.any():
        place = tuple(int(index[0]) for index in np.nonzero(bad))
        where = f"row {place[0]}" if len(place) == 1 else f"row {place[0]}, feature {place[1]}"
        raise InputError(f"{name} {column[place]} ({where} of the batch) cannot be used: it must be {wanted}")
