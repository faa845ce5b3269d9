"""Pairwise interaction values against the defining formula, exact and sampled."""

from __future__ import annotations

from itertools import combinations
from math import factorial

import numpy as np
import pytest
from games import background_game, credit_like, interacting, shapley_by_subsets
from scipy import stats

from spark_shap import Explainer

M, B, N = 6, 50, 40


def matrix_by_subsets(v):
    """Shap's convention: half the Shapley interaction index, and the rest of the Shapley value in the diagonal."""
    players = int(np.log2(len(v)))
    out = np.zeros((players, players))
    for i, j in combinations(range(players), 2):
        for mask in range(len(v)):
            if not mask >> i & 1 and not mask >> j & 1:
                size = mask.bit_count()
                weight = factorial(size) * factorial(players - size - 2) / factorial(players - 1)
                both, first, second = mask | 1 << i | 1 << j, mask | 1 << i, mask | 1 << j
                out[i, j] += weight * (v[both] - v[first] - v[second] + v[mask]) / 2
        out[j, i] = out[i, j]
    out[np.diag_indices(players)] = shapley_by_subsets(v) - out.sum(axis=1)
    return out


@pytest.fixture(scope="module")
def data():
    x = credit_like(B + N, M, seed=2)
    truth = np.stack([matrix_by_subsets(background_game(interacting, row, x[:B])) for row in x[B:]])
    return x[:B], x[B:], truth


def test_enumeration_equals_the_defining_formula(data):
    background, x, truth = data
    found = Explainer(interacting, background, method="exact").interactions(x)
    np.testing.assert_allclose(found.values, truth, atol=1e-12)
    assert (found.std_errors == 0).all()


@pytest.mark.parametrize("surrogate_evaluations", [0, 2000])
def test_sampled_ones_lie_around_the_exact_ones_as_their_errors_say(data, surrogate_evaluations):
    background, x, truth = data
    off = ~np.eye(M, dtype=bool)
    z = []
    for seed in range(4):
        explainer = Explainer(
            interacting,
            background,
            method="sampling",
            n_evaluations=257,
            seed=seed,
            surrogate_evaluations=surrogate_evaluations,
        )
        found = explainer.interactions(x)
        np.testing.assert_allclose(found.values.sum(axis=2), explainer(x).values, atol=1e-12)
        np.testing.assert_array_equal(found.values, found.values.transpose(0, 2, 1))
        error = (found.values - truth)[:, off]
        z.append(error / found.std_errors[:, off])
        assert (np.abs((found.values - truth)[:, ~off]) < 4.5 * found.std_errors[:, ~off]).all()
    z = np.stack(z)
    assert 0.9 < (np.abs(z) < stats.t.ppf(0.975, 127)).mean() < 0.97
    assert np.abs(z).mean() > 0.6, "errors are not made too wide"


def test_a_surrogate_lowers_their_errors(data):
    background, x, truth = data
    errors = []
    for surrogate_evaluations in (0, 8000):
        found = Explainer(
            interacting,
            background,
            method="sampling",
            n_evaluations=129,
            surrogate_evaluations=surrogate_evaluations,
        ).interactions(x)
        errors.append(np.sqrt(((found.values - truth) ** 2).mean()))
    assert errors[1] < 0.95 * errors[0]  # of what trees from the pilot leave


def test_an_additive_model_has_none_and_several_outputs_have_their_own(data):
    background, x, _ = data

    def model(rows):
        return np.stack([rows.sum(axis=1), interacting(rows)], axis=1)

    found = Explainer(model, background, method="sampling", n_evaluations=65).interactions(x)
    assert found.values.shape == (N, M, M, 2)
    off = ~np.eye(M, dtype=bool)
    assert np.abs(found.values[:, off, 0]).max() < 0.05 * np.abs(found.values[..., 0]).max()
    assert np.abs(found.values[:, off, 1]).max() > 0.01
