"""The closed form of additive models against the subset formula."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from games import background_game, credit_like, shapley_by_subsets

from spark_shap.core.closed_form import ClosedFormMethod
from spark_shap.core.game import Game
from spark_shap.core.linear import ContributionSums, reading_gap
from spark_shap.models.frames import Background, background_rows


def parts(x):
    """(n, 5, 2): what each feature adds to each of two outputs."""
    first = np.stack([x[:, 0] ** 2, np.sin(x[:, 1]), 3.0 * x[:, 2], np.zeros(len(x)), x[:, 4] > 0.3], axis=1)
    return np.stack([first, np.tanh(x) * [1.0, -2.0, 0.5, 0.0, 3.0]], axis=2)


def of_rows(rows):
    return parts(np.stack(rows.columns, axis=1))


def predict(x):
    return parts(x).sum(axis=1) + np.array([0.5, -7.0])


@pytest.fixture
def method():
    background = credit_like(12, 5)
    background[:, 2] = 1.7
    weights = np.random.default_rng(0).uniform(0.2, 3.0, 12)
    rows = background_rows(background)
    game = Game(predict, Background(rows), 2, 5)
    return (
        ClosedFormMethod(game, ContributionSums.local(of_rows, rows, weights / weights.sum()).form(of_rows)),
        background,
        weights,
    )


def explain(method, x):
    return method.explain(background_rows(x), np.zeros(len(x), dtype=np.uint64))


def test_values_are_those_of_the_subset_formula(method):
    method, background, weights = method
    x = credit_like(9, 5, seed=3)
    found = explain(method, x)
    for row in range(9):
        for output in range(2):
            game = background_game(lambda z, k=output: predict(z)[:, k], x[row], background, weights)
            assert found.values[row, :, output] == pytest.approx(shapley_by_subsets(game), abs=1e-12)
    assert (found.std_errors == 0).all()
    assert (found.n_evaluations == 1).all()
    assert np.array_equal(found.predictions, predict(x))


def test_a_feature_that_varies_nowhere_gets_exactly_nothing(method):
    method, background, _ = method
    x = credit_like(4, 5, seed=3)
    x[:, 2] = background[0, 2]
    values = explain(method, x).values
    assert (values[:, [2, 3]] == 0).all()
    assert (values[:, [0, 1]] != 0).all()


def test_interactions_are_the_values_on_the_diagonal(method):
    method, _, _ = method
    x = credit_like(4, 5, seed=3)
    found = method.interactions(background_rows(x), np.zeros(4, dtype=np.uint64))
    values = explain(method, x).values
    assert np.array_equal(found.values.sum(axis=2), values)
    assert np.array_equal(np.einsum("niik->nik", found.values), values)
    assert found.std_errors.shape == (4, 5, 5, 2)
    assert (found.std_errors == 0).all()
    assert np.array_equal(found.predictions, predict(x))


def test_a_refused_row_leaves_the_others_as_they_are(method):
    method, _, _ = method
    x = credit_like(9, 5, seed=3)

    def strict(z):
        if (z[:, 0] == x[4, 0]).any():
            raise ValueError("not this one")
        return predict(z)

    def contributions(rows):
        strict(np.stack(rows.columns, axis=1))
        return of_rows(rows)

    strictly = ClosedFormMethod(replace(method.game, predict=strict), replace(method.form, contributions=contributions))
    found, free = explain(strictly, x), explain(method, x)
    assert list(found.failures) == [4]
    for name in ("values", "std_errors", "predictions"):
        assert np.isnan(getattr(found, name)[4]).all()
        assert np.array_equal(np.delete(getattr(found, name), 4, 0), np.delete(getattr(free, name), 4, 0))
    pairwise = strictly.interactions(background_rows(x), np.zeros(9, dtype=np.uint64))
    assert list(pairwise.failures) == [4]
    assert np.isnan(pairwise.values[4]).all()
    assert np.isnan(pairwise.std_errors[4]).all()


def test_the_gap_shows_a_wrong_slope_and_a_wrong_owner(method):
    method, background, _ = method
    rows = background_rows(background)
    assert reading_gap(method.game, method.form.contributions, rows, rows) < 1e-14
    assert reading_gap(method.game, lambda rows: of_rows(rows) * [1.01, 1.0], rows, rows) > 1e-4
    # Every sum is right, so that predictions are reproduced; the features' parts are not.
    assert reading_gap(method.game, lambda rows: of_rows(rows)[:, [1, 0, 2, 3, 4]], rows, rows) > 0.1


def test_a_model_that_refuses_hybrids_has_no_gap(method):
    method, background, _ = method
    rows = background_rows(background)

    def refuse(z):
        raise ValueError("no")

    assert np.isnan(reading_gap(replace(method.game, predict=refuse), of_rows, rows, rows))


def test_an_interaction_is_a_gap(method):
    method, background, _ = method
    rows = background_rows(background)
    game = replace(method.game, predict=lambda x: predict(x) + (x[:, 0] * x[:, 1])[:, None])
    assert reading_gap(game, method.form.contributions, rows, rows) > 0.01


def test_rows_in_memory_are_bounded_by_their_values(method):
    method, _, _ = method
    assert method.rows_in_memory(5) == 5
    large = replace(method, game=replace(method.game, block_rows=10**9, n_outputs=10))
    assert large.rows_in_memory(1000) * 1000 * 10 * 3 * 8 <= 64 * 2**20
