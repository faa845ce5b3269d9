"""Fitting the surrogate to the model's answers on hybrid rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spark_shap.core.surrogate.binning import fit_binning
from spark_shap.core.surrogate.boosting import boost
from spark_shap.core.surrogate.model import Surrogate, bind_background

if TYPE_CHECKING:
    from spark_shap.core.arrays import FloatArray
    from spark_shap.core.surrogate.settings import SurrogateSettings

__all__ = ["fit_surrogate"]


def fit_surrogate(
    hybrids: FloatArray,
    targets: FloatArray,
    *,
    background: FloatArray,
    weights: FloatArray,
    settings: SurrogateSettings,
    seed: int,
) -> Surrogate:
    """Fit g to a model's answers.

    Parameters
    ----------
    hybrids
        (N, F) float64 rows that mix an applicant with a background row, NaN where missing.
    targets
        (N, K) finite float64 answers of the model.
    background
        (B, F) float64 the whole background.
    weights
        (B,) its weights, of any positive sum.
    settings
        How much to buy.
    seed
        Same arguments and seed, same surrogate; on any number of threads.
    """
    rng = np.random.default_rng(seed % 2**64)
    binning = fit_binning(hybrids, settings.max_bins)
    trees = boost(binning.encode(hybrids), targets, binning.n_bins, settings, rng)
    return bind_background(binning, trees, background, weights)
