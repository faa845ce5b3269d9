r"""How much of a sampled residual is signal: the model behind the aggregates of lightly sampled rows.

A row's value is ``v = g + r``: a surrogate's value g, known exactly, and a sampled residual r with standard
error s. At a few evaluations a row most of r is noise. Per feature, over all rows of a run and output,

* ``ratio = E(r^2 - s^2) / E s^2``, signal over noise, unbiased;
* residuals are larger where the surrogate's value is: a third of their mean square at g = 0, growing with
  ``|g|``. With ``u = |g| / E|g|`` a cell's ratio is ``ratio (0.3 + 0.7 u)``;
* ``kappa = ratio / (1 + ratio)`` is the share of a cell's r^2 that is signal, ``kept = sqrt(kappa)``, and
  ``g + kept r`` the variance-matched value: it scatters as the exact one does, though it is not nearer to it.

The ratios of a few thousand rows are noisy themselves. Each is drawn towards what a line in E|g| over the root
of E s^2 says of it, fitted to all features, by as much as its own error asks for (empirical Bayes).

The profile 0.3 + 0.7 u was measured: networks, boosted trees and a logistic with interactions, 8 to 60
features, surrogates that explain 79 to 97 % of the variance.

References
----------
Efron and Morris, "Stein's estimation rule and its competitors", JASA 1973 (empirical Bayes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spark_shap.core.moments import Moments, merge_means, merge_moments, weighted_moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_shap.core.arrays import BoolArray, FloatArray, IntArray

__all__ = ["ResidualModel", "ResidualMoments", "fit_residuals", "merge_residuals", "no_signal", "residual_moments"]
__all__ += ["stack_models"]

_AT_ZERO = 0.3  # share of the mean squared residual that is left where the surrogate's value is 0
_NOISE_ERROR = 0.01  # of E s^2: strata of coalition sizes and background rows make it 1 to 2 % too large
_LEAST_FEATURES = 4  # for a line through the features' ratios


@dataclass(frozen=True)
class ResidualMoments:
    """What one pass over rows keeps of their residuals; arrays are (n_features,) float64.

    Attributes
    ----------
    weight, weight2
        sum w, sum w^2.
    excess, excess2
        Moments of r^2 - s^2 under w and under w^2.
    noise
        E s^2.
    magnitude
        E|g|.
    """

    weight: float
    weight2: float
    excess: FloatArray
    excess2: Moments
    noise: FloatArray
    magnitude: FloatArray


@dataclass(frozen=True)
class ResidualModel:
    """Signal over noise of the residuals; arrays are (n_features,), or (n_rows, n_features) for rows of their own.

    Attributes
    ----------
    ratio
        E(r^2 - s^2) / E s^2, 0 or more.
    ratio_high
        The same, one standard error higher.
    magnitude
        E|g|.
    """

    ratio: FloatArray
    ratio_high: FloatArray
    magnitude: FloatArray

    def kept(self, surrogate_values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return sqrt(kappa) of cells by their g, (n_rows, n_features), and the same at `ratio_high`."""
        known = self.magnitude > 0
        u = np.divide(np.abs(surrogate_values), self.magnitude, out=np.ones_like(surrogate_values), where=known)
        profile = _AT_ZERO + (1.0 - _AT_ZERO) * u
        low, high = (ratio * profile for ratio in (self.ratio, self.ratio_high))
        return np.sqrt(low / (1.0 + low)), np.sqrt(high / (1.0 + high))

    def take(self, index: IntArray | slice) -> ResidualModel:
        """Return the models of the rows at an index array or slice of (n_rows, n_features) arrays."""
        return ResidualModel(self.ratio[index], self.ratio_high[index], self.magnitude[index])


def no_signal(n_features: int) -> ResidualModel:
    """Return the model of residuals that are all noise, for rows that nothing is known of."""
    zeros = np.zeros(n_features)
    return ResidualModel(zeros, zeros, zeros)


def stack_models(models: Sequence[ResidualModel]) -> ResidualModel:
    """Return models of (n_features,) each as one of (n_models, n_features)."""
    parts = [(one.ratio, one.ratio_high, one.magnitude) for one in models]
    return ResidualModel(*(np.stack(arrays) for arrays in zip(*parts, strict=True)))


def residual_moments(
    residuals: FloatArray, squared_errors: FloatArray, surrogate_values: FloatArray, weights: FloatArray
) -> ResidualMoments | None:
    """Return the moments of one block, (n_rows, n_features) each and (n_rows,) weights; None without any weight."""
    used = np.flatnonzero(weights)
    if not len(used):
        return None
    if len(used) < len(weights):
        residuals, squared_errors, surrogate_values, weights = (
            column[used] for column in (residuals, squared_errors, surrogate_values, weights)
        )
    squared = weights**2
    weight, weight2 = float(weights.sum()), float(squared.sum())
    excess = residuals**2 - squared_errors
    return ResidualMoments(
        weight,
        weight2,
        weights @ excess / weight,
        weighted_moments(excess, squared, weight2),
        weights @ squared_errors / weight,
        weights @ np.abs(surrogate_values) / weight,
    )


def merge_residuals(left: ResidualMoments, right: ResidualMoments) -> ResidualMoments:
    """Return the moments of both sets of rows; associative and commutative up to rounding."""
    weights = (left.weight, right.weight)
    return ResidualMoments(
        sum(weights),
        left.weight2 + right.weight2,
        merge_means(left.excess, right.excess, weights),
        merge_moments(left.excess2, right.excess2, (left.weight2, right.weight2)),
        merge_means(left.noise, right.noise, weights),
        merge_means(left.magnitude, right.magnitude, weights),
    )


def fit_residuals(moments: ResidualMoments) -> ResidualModel:
    """Return the model of the residuals."""
    sampled = moments.noise > 0
    scale = np.where(sampled, moments.noise, 1.0)
    ratio = np.where(sampled, moments.excess, 0.0) / scale
    shift = (moments.excess2.high - moments.excess) + moments.excess2.low
    squares = moments.excess2.m2 + moments.weight2 * shift**2
    # Never below what normal noise alone gives: a handful of rows can agree by chance.
    variance = np.maximum(squares / (moments.weight * scale) ** 2, 2.0 * moments.weight2 / moments.weight**2)
    variance = variance + _NOISE_ERROR**2
    if sampled.sum() >= _LEAST_FEATURES:
        ratio, variance = _towards_line(ratio, variance, moments.magnitude / np.sqrt(scale), sampled)
    ratio = np.maximum(ratio, 0.0) * sampled
    high = (ratio + np.sqrt(variance)) * sampled
    # Rounded: which bucket or rank a value falls in must not hang on the order in which partitions were summed.
    return ResidualModel(*(one.astype(np.float32).astype(np.float64) for one in (ratio, high, moments.magnitude)))


def _towards_line(
    ratio: FloatArray, variance: FloatArray, size: FloatArray, sampled: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Draw ratios towards a line in the features' size; return them and their variances."""
    root = np.sqrt(sampled / variance)
    columns = np.stack([np.ones_like(size), size], axis=1)
    line = np.linalg.lstsq(columns * root[:, None], ratio * root, rcond=None)[0]
    expected = np.maximum(columns @ line, 0.0)
    off = (ratio - expected) ** 2 - variance
    between = max(0.0, float(off[sampled].sum()) / (int(sampled.sum()) - 2))
    share = between / (between + variance)
    # Common to all features: it does not shrink away.
    return expected + share * (ratio - expected), share * variance + _NOISE_ERROR**2
