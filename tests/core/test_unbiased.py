"""No bias, whatever is taken off the model: over many seeds the mean error is what chance makes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from games import background_game, credit_like, interacting, shapley_by_subsets

from spark_shap import Explainer
from spark_shap.core.linear_control import LinearControl, Standardiser
from spark_shap.core.surrogate import Surrogate
from spark_shap.models.frames import background_rows

KINDS = ("none", "linear", "pilot", "refined")


def tuned(kind, background, *, n_evaluations, weights=None):
    """A sampler that takes off nothing, a line, trees from the pilot's answers, or a surrogate with its finer part."""
    explainer = Explainer(
        interacting,
        background,
        weights=weights,
        method="sampling",
        n_evaluations=n_evaluations,
        surrogate_evaluations=3000 if kind == "refined" else 0,
        surrogate_pairs=2,
        seed=1,
    )
    sampler = explainer.prepared.method
    assert isinstance(sampler.control.surrogate, Surrogate)
    assert sampler.control.refinement is not None
    if kind in ("pilot", "refined"):
        return sampler
    standardise, slopes = Standardiser.of(background), np.full((background.shape[1], 1), 0.1)
    line = LinearControl(standardise, slopes, standardise(background), sampler.reference.weights)
    return replace(
        sampler, control=replace(sampler.control, surrogate=line, refinement=None) if kind == "linear" else None
    )


def with_seed(sampler, seed):
    """Other draws of the model's pairs and of the finer part's; what is taken off stays."""
    control = sampler.control
    if control is not None and control.refinement is not None:
        control = replace(control, refinement=control.refinement._replace(seed=seed))
    return replace(sampler, seed=seed, control=control)


def mean_square_z(sampler, x, truth, replicates):
    rows, hashes = background_rows(x), np.arange(len(x), dtype=np.uint64)
    found = np.array([with_seed(sampler, seed).explain(rows, hashes).values[:, :, 0] for seed in range(replicates)])
    error = found - truth
    moving = error.std(axis=0) > 1e-12
    z = error.mean(axis=0)[moving] / (error.std(axis=0, ddof=1)[moving] / np.sqrt(replicates))
    assert np.abs(error[:, ~moving]).max(initial=0.0) < 1e-12, "what does not vary is exact"
    return (z**2).mean() * (replicates - 3) / (replicates - 1)  # of Student's t to one


def truth_of(x, background, weights=None):
    return np.array([shapley_by_subsets(background_game(interacting, row, background, weights)) for row in x])


@pytest.fixture(scope="module")
def game():
    x = credit_like(100, 6)
    return x[:60], x[60:], truth_of(x[60:], x[:60])


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_error_of_200_replicates_is_zero(game, kind):
    background, x, truth = game
    found = mean_square_z(tuned(kind, background, n_evaluations=13), x, truth, 200)
    assert found == pytest.approx(1.0, abs=0.3)  # 200 free values of 40 rows: 3 standard deviations


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_evaluations", [5, 17, 65])
def test_nor_is_there_bias_with_weights_and_rows_that_share_values(kind, n_evaluations):
    x = np.round(credit_like(500, 8, seed=4), 1)
    background, x = x[:100], x[100:]
    background[:, 5] = 0.5  # many rows have one player less
    x[::2, 5] = 0.5
    weights = np.linspace(0.2, 2.0, 100)
    sampler = tuned(kind, background, n_evaluations=n_evaluations, weights=weights)
    truth = truth_of(x, background, weights)
    assert mean_square_z(sampler, x, truth, 600) == pytest.approx(1.0, abs=0.085)  # 3 of 2,600 free values
