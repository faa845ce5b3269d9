r"""Weighted means and sums of squared deviations that merge.

They merge as Chan, Golub and LeVeque's do. A mean is the unevaluated sum of two doubles: at mean 1e8 and sd 1
a single double would leave the merged variance nine digits.

References
----------
Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American Statistician 1983.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import FloatArray

__all__ = ["Moments", "merge_means", "merge_moments", "no_moments", "weighted_moments"]


class Moments(NamedTuple):
    """Weighted mean (as high + low) and sum of squared deviations, each (n_features,) float64."""

    high: FloatArray
    low: FloatArray
    m2: FloatArray


def no_moments(n_features: int) -> Moments:
    """Return the moments of no rows."""
    zeros = np.zeros(n_features)
    return Moments(zeros, zeros, zeros)


def weighted_moments(columns: FloatArray, weights: FloatArray, total: float) -> Moments:
    """Return the moments of (n_rows, n_features) columns under (n_rows,) weights of sum ``total`` > 0."""
    high = weights @ columns / total
    deviations = columns - high
    low = weights @ deviations / total
    m2 = weights @ deviations**2 - total * low**2
    return Moments(*_two_sum(high, low), np.maximum(m2, 0.0))


def merge_moments(left: Moments, right: Moments, weights: tuple[float, float]) -> Moments:
    """Return the moments of both, whose weights sum to ``weights``; associative and commutative up to rounding."""
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


def merge_means(left: FloatArray, right: FloatArray, weights: tuple[float, float]) -> FloatArray:
    """Return the mean of both, whose weights sum to ``weights``."""
    share = weights[1] / (weights[0] + weights[1]) if weights[1] else 0.0
    return left + share * (right - left)


def _two_sum(left: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the rounded sum and its rounding error (Knuth)."""
    high = left + right
    part = high - left
    return high, (left - (high - part)) + (right - part)
