r"""How SHAP values go with features' values: weighted moments of the values by bin of the feature.

For a feature and a bin, with v a value, s its standard error, w its row's weight, W = sum w and E the weighted mean:
``mean_shap = E v``, unbiased; ``sd = sqrt(max(0, E (v - E v)^2 - E s^2))``, the spread that the sampler did not make;
``sampling_error = sqrt(sum w^2 (v - E v)^2 / (1 - sum w^2 / W^2)) / W``, of the mean as one of a larger population;
``monte_carlo_error = sqrt(sum w^2 s^2) / W``. Moments merge as Chan, Golub and LeVeque's do (1983).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import FloatArray, IntArray

__all__ = ["DependenceState", "dependence_result", "local_dependence", "merge_dependence"]

_BAND = 1.959963984540054  # 95 %, normal


@dataclass(frozen=True)
class DependenceState:
    """One population, cells of M features and B bins; arrays are (M B,) float64.

    Attributes
    ----------
    n_rows, weight, weight2
        Rows, sum w and sum w^2.
    mean, m2
        E v and sum w (v - E v)^2.
    mean2, m22
        The same under w^2.
    error2, weighted_error2
        sum w s^2 and sum w^2 s^2.
    """

    n_rows: FloatArray
    weight: FloatArray
    weight2: FloatArray
    mean: FloatArray
    m2: FloatArray
    mean2: FloatArray
    m22: FloatArray
    error2: FloatArray
    weighted_error2: FloatArray


def local_dependence(
    values: FloatArray, std_errors: FloatArray | None, bins: IntArray, *, weights: FloatArray, n_bins: int
) -> DependenceState:
    """Return the state of n rows.

    Parameters
    ----------
    values, std_errors
        (n, M); None where values are exact.
    bins
        (n, M) the bin of each feature's value, 0 to B - 1; -1 where it has none.
    weights
        (n,), 0 or more.
    n_bins
        B.
    """
    n_features = values.shape[1]
    there = (bins >= 0) & (weights > 0.0)[:, None]
    cell = (np.arange(n_features) * n_bins + bins)[there]
    v, w = values[there], np.broadcast_to(weights[:, None], values.shape)[there]
    s2 = np.zeros(len(v)) if std_errors is None else std_errors[there] ** 2

    def sums(amounts: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(cell, amounts, n_features * n_bins), dtype=np.float64)

    weight, weight2 = sums(w), sums(w**2)
    mean, mean2 = _ratio(sums(w * v), weight), _ratio(sums(w**2 * v), weight2)
    return DependenceState(
        sums(np.ones(len(v))),
        weight,
        weight2,
        mean,
        sums(w * (v - mean[cell]) ** 2),
        mean2,
        sums(w**2 * (v - mean2[cell]) ** 2),
        sums(w * s2),
        sums(w**2 * s2),
    )


def merge_dependence(left: DependenceState, right: DependenceState) -> DependenceState:
    """Return the state of both populations; associative and commutative up to rounding."""
    weight, weight2 = left.weight + right.weight, left.weight2 + right.weight2
    mean, m2 = _merged((left.mean, left.m2, left.weight), (right.mean, right.m2, right.weight))
    mean2, m22 = _merged((left.mean2, left.m22, left.weight2), (right.mean2, right.m22, right.weight2))
    return DependenceState(
        left.n_rows + right.n_rows,
        weight,
        weight2,
        mean,
        m2,
        mean2,
        m22,
        left.error2 + right.error2,
        left.weighted_error2 + right.weighted_error2,
    )


def dependence_result(state: DependenceState) -> dict[str, FloatArray]:
    """Return the curves, each (M B,), under their column names; NaN where there is no row, or only one for an error."""
    empty = state.weight == 0.0
    weight = np.where(empty, np.nan, state.weight)
    room = 1.0 - state.weight2 / weight**2
    squares = state.m22 + state.weight2 * (state.mean2 - state.mean) ** 2
    sampling = np.sqrt(np.divide(squares, room, out=np.full_like(weight, np.nan), where=room > 1e-12)) / weight
    monte_carlo = np.sqrt(state.weighted_error2) / weight
    both = np.sqrt(sampling**2 + monte_carlo**2)
    mean = np.where(empty, np.nan, state.mean)
    return {
        "weight": state.weight,
        "mean_shap": mean,
        "sd": np.sqrt(np.maximum(0.0, (state.m2 - state.error2) / weight)),
        "sampling_error": sampling,
        "monte_carlo_error": monte_carlo,
        "band_low": mean - _BAND * both,
        "band_high": mean + _BAND * both,
    }


def _ratio(sums: FloatArray, weight: FloatArray) -> FloatArray:
    return np.divide(sums, weight, out=np.zeros_like(weight), where=weight > 0.0)


def _merged(
    left: tuple[FloatArray, FloatArray, FloatArray], right: tuple[FloatArray, FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Return the mean and sum of squared deviations of both, from (mean, m2, weight) each."""
    share = _ratio(right[2], left[2] + right[2])
    delta = right[0] - left[0]
    return left[0] + share * delta, left[1] + right[1] + delta**2 * left[2] * share
