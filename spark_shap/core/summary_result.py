r"""The columns of the summary table from the state of one population.

With v a value, s its standard error, w its row's weight, W = sum w and E the weighted mean:

- ``mean_shap = E v``; ``sd = sqrt(max(0, E (v - E v)^2 - E s^2))``, the population form. Both unbiased.
- ``mean_abs_shap = kappa^(gamma / 2) E|v|``: sampling noise does not average out of ``|v|``, so ``E|v|`` is too
  large. ``kappa = max(0, 1 - E s^2 / E v^2)`` is the share of E v^2 that is signal. For normal values gamma is 1.
  Noise lifts |v| where v is near 0, by ``E s^2`` times the density there: gamma is that density, relative to a
  normal one of the same E v^2 and E|v|, as the mean excess X (`SummaryRows.noise_excess`) shows it. Exact values
  have kappa = 1.
- ``share_positive``, ``top4_share``: shares of W, of rows with v > 0 and of rows whose ``|v|`` is among the four
  largest (ties go to the feature that comes first). They, ``min``, ``max`` and the quantiles (within 0.5 %) are
  those of the estimates as they are, noise included.

Where a run wrote exact parts g beside the values, v = g + r, all of these but the first two are those of the
variance-matched values ``c = g + kept r`` (`spark_shap.core.shrinkage`), and

- ``mean_abs_shap = E|c| + D``, D the mean of ``(1 - kept) r sign(g)``, which makes the sum unbiased but for rows
  in which v and g differ in sign. D is drawn towards 0, the surrogate's word, by James and Stein's rule over the
  features, by no more than one standard error (`shrink_to_zero`): at a few evaluations and a few thousand rows it
  is mostly noise.

Errors, of ``mean_abs_shap``:

- ``sampling_error = sqrt(sum w^2 (|c| - E|c|)^2 / (1 - sum w^2 / W^2)) / W``: the linearised standard error
  of a population's mean, sd / sqrt(n) where all weights are equal. NaN below two rows of positive weight.
- ``monte_carlo_error``: the root of the sum of squares of the sampler's noise ``sqrt(sum w^2 s^2) / W`` and of what
  the corrections may be wrong by: a fifth of what was taken off |v|; or, with exact parts, 0.4 of the mean that
  rows with v and g of different sign contribute, the noise of D after shrinking and the error of kappa.

Errors, of ``mean_shap``: ``mean_shap_sampling_error = sd sqrt(sum w^2 / (W^2 - sum w^2))``, which takes weights for
independent of values, and ``mean_shap_monte_carlo_error = sqrt(sum w^2 s^2) / W``; its noise does average out.

References
----------
James and Stein, "Estimation with quadratic loss", 1961. Efron and Morris, "Limiting the risk of Bayes and
empirical Bayes estimators", JASA 1972. Morris, "Parametric empirical Bayes inference", JASA 1983. Kish, "Survey
sampling", 1965 (effective sample size W^2 / sum w^2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spark_shap.core.sketch import quantiles

if TYPE_CHECKING:
    from spark_shap.core.arrays import FloatArray
    from spark_shap.core.summary import SummaryState

__all__ = ["QUANTILES", "shrink_to_zero", "summary_result"]

QUANTILES = {"q01": 0.01, "q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95, "q99": 0.99}
_PLAIN = ("mean_abs_shap", "mean_shap", "sd", "min", "max", "share_positive", "rank", "top4_share")
_ERRORS = ("sampling_error", "monte_carlo_error", "mean_shap_sampling_error", "mean_shap_monte_carlo_error")

# Measured so that 95 % intervals cover about 95 %; see the tests.
_CORRECTION_ERROR = 0.2
_FLIP_ERROR = 0.4
_GAMMA_RANGE = (1.0 / 3.0, 3.0)


def summary_result(state: SummaryState, *, sampled_share: float = 1.0) -> dict[str, FloatArray]:
    """Return the aggregates, each (n_features,), under their column names in the summary table.

    Parameters
    ----------
    state
        Of the population.
    sampled_share
        Where only a random share of a portfolio's rows was explained, that share: the sampling error is then
        that of the sample for the portfolio, smaller by the factor ``sqrt(1 - share)``.

    Notes
    -----
    ``rank`` is 1 for the largest ``mean_abs_shap``; ties go to the feature that comes first. Without any
    weight everything is NaN.
    """
    if state.n_weighted == 0:
        names = (*_PLAIN, *QUANTILES, *_ERRORS)
        return dict.fromkeys(names, np.full(state.n_features, np.nan))
    mean_abs, monte_carlo = _split_mean(state) if state.n_split else _plain_mean(state)
    sd = np.sqrt(np.maximum(0.0, state.value.m2 / state.weight - state.mean_error2))
    found = quantiles(
        state.sketch,
        list(QUANTILES.values()),
        n_features=state.n_features,
        scale=state.n_weighted / state.weight,
    )
    rank = np.empty(state.n_features)
    rank[np.argsort(-mean_abs, kind="stable")] = np.arange(1, state.n_features + 1)
    unseen = np.sqrt(1.0 - sampled_share) if sampled_share < 1.0 else 1.0
    return {
        "mean_abs_shap": mean_abs,
        "mean_shap": state.value.high,
        "sd": sd,
        "min": state.minimum,
        "max": state.maximum,
        # A bucket's representative may lie outside what was seen.
        **dict(zip(QUANTILES, np.clip(found, state.minimum, state.maximum), strict=True)),
        "share_positive": state.positive / state.weight,
        "rank": rank,
        "top4_share": state.top / state.weight,
        "sampling_error": unseen * _sampling_error(state),
        "monte_carlo_error": monte_carlo,
        "mean_shap_sampling_error": unseen * sd * _sampling_factor(state),
        "mean_shap_monte_carlo_error": np.sqrt(state.weighted_error2) / state.weight,
    }


def shrink_to_zero(estimates: FloatArray, variances: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Draw independent estimates towards 0, together.

    Parameters
    ----------
    estimates, variances
        (n_features,) each; what has variance 0 stays as it is.

    Returns
    -------
    estimates, variances, kept
        The estimates by James and Stein's positive-part rule, none moved by more than its standard error (Efron
        and Morris); their variances by Morris' formula; and the share that the rule keeps.
    """
    noisy = variances > 0
    n_noisy = int(noisy.sum())
    if n_noisy < 3:
        return estimates, variances, 1.0
    distance = float((estimates[noisy] ** 2 / variances[noisy]).sum())
    taken = min(1.0, (n_noisy - 2) / distance) if distance > 0 else 1.0
    limit = np.sqrt(variances)
    moved = np.clip(taken * estimates, -limit, limit)
    unsure = 2.0 / (n_noisy - 2) * (taken * estimates) ** 2
    left = variances * (1.0 - (n_noisy - 2) / n_noisy * taken) + unsure
    return estimates - np.where(noisy, moved, 0.0), np.minimum(left, variances), 1.0 - taken


def _plain_mean(state: SummaryState) -> tuple[FloatArray, FloatArray]:
    """Return mean |v| less what noise adds to it, and its Monte Carlo error."""
    naive, square, noise = state.magnitude.high, state.mean_square, state.mean_error2
    noisy = (noise > 0) & (naive > 0)
    kappa = np.maximum(0.0, 1.0 - np.divide(noise, square, out=np.zeros_like(noise), where=noisy))
    # The excess of normal values; 0.62 fits its dependence on the noise within 2 %.
    normal = noise / np.sqrt(2.0 * np.pi * (square + 0.62 * noise), out=np.ones_like(noise), where=noisy)
    shape = np.sqrt(2.0 / np.pi * square) * state.noise_excess
    gamma = np.divide(shape, normal * naive, out=np.ones_like(noise), where=noisy)
    mean_abs = kappa ** (np.clip(gamma, *_GAMMA_RANGE) / 2.0) * naive
    sampler = state.weighted_error2 / state.weight**2
    return mean_abs, np.sqrt(sampler + (_CORRECTION_ERROR * (naive - mean_abs)) ** 2)


def _split_mean(state: SummaryState) -> tuple[FloatArray, FloatArray]:
    """Return the corrected mean |v| of values with exact parts, and its Monte Carlo error."""
    every, part, twice = (
        column / state.weight**2 for column in (state.weighted_error2, state.kept_error2, state.kept2_error2)
    )
    # Noise of E|c|, of D, and their covariance: both are linear in r.
    shrunk, variance, kept = shrink_to_zero(state.remainder, np.maximum(0.0, every - 2.0 * part + twice))
    noise = twice + 2.0 * kept * (part - twice) + variance
    unsure = (state.flips_high - state.flips) ** 2 + (_FLIP_ERROR * state.flips) ** 2
    return np.maximum(0.0, state.magnitude.high + shrunk), np.sqrt(np.maximum(0.0, noise) + unsure)


def _sampling_factor(state: SummaryState) -> float:
    """Return what a population's standard deviation times makes the standard error of its mean."""
    room = state.weight**2 - state.weight2
    return float(np.sqrt(state.weight2 / room)) if state.n_weighted > 1 and room > 0 else np.nan


def _sampling_error(state: SummaryState) -> FloatArray:
    if state.n_weighted < 2:
        return np.full(state.n_features, np.nan)
    shift = (state.magnitude2.high - state.magnitude.high) + (state.magnitude2.low - state.magnitude.low)
    squares = state.magnitude2.m2 + state.weight2 * shift**2
    room = 1.0 - state.weight2 / state.weight**2
    # One weight dwarfs all others: in effect a single row.
    return np.sqrt(squares / room) / state.weight if room > 0 else np.full(state.n_features, np.nan)
