"""The additive part: smooth functions of single features, which staircases of trees follow badly."""

from __future__ import annotations

import numpy as np
import pytest
from games import background_game, credit_like, shapley_by_subsets

from spark_shap.core.surrogate import SurrogateSettings, fit_surrogate
from spark_shap.core.surrogate.additive import Additive, fit_additive

UNITS = np.full(1, 1e-5)


def values_of(additive, x):
    return additive.encode(x)[:, :, 0] * UNITS[0]


def test_smooth_functions_are_followed():
    x = np.random.default_rng(0).normal(size=(5000, 3))
    parts = np.stack([np.sin(x[:, 0]), 0.5 * x[:, 1], np.zeros(5000)], axis=1)
    parts -= parts.mean(axis=0)
    additive = fit_additive(x, np.arange(5000), parts.sum(axis=1, keepdims=True), UNITS)
    assert additive.features.tolist() == [0, 1, 2]
    found = values_of(additive, x)
    assert (found - found.mean(axis=0) - parts).std(axis=0) == pytest.approx(0.0, abs=0.05)


def test_between_knots_a_function_is_a_line_and_beyond_them_constant():
    additive = Additive((np.array([0.0, 1.0, 3.0]),), (np.array([[0], [100], [-100], [7]], dtype=np.int32),))
    x = np.array([[-5.0], [0.0], [0.25], [2.0], [3.0], [1e300], [np.inf], [np.nan]])
    assert additive.encode(x)[:, 0, 0].tolist() == [0, 0, 25, 0, -100, -100, -100, 7]


def test_a_missing_value_has_a_height_of_its_own():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 1))
    x[rng.random(4000) < 0.3] = np.nan
    targets = np.where(np.isnan(x), 3.0, x)
    targets -= targets.mean()
    additive = fit_additive(x, np.arange(4000), targets, UNITS)
    heights = values_of(additive, np.array([[np.nan], [0.0], [1.0]]))[:, 0]
    assert heights[0] - heights[1] == pytest.approx(3.0, abs=0.1)
    assert heights[2] - heights[1] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("column", [np.ones(500), np.full(500, np.nan)])
def test_a_column_that_says_nothing_gets_nothing(column):
    x = np.stack([np.linspace(-1, 1, 500), column], axis=1)
    additive = fit_additive(x, np.arange(500), x[:, :1], UNITS)
    assert np.ptp(values_of(additive, x)[:, 1]) == 0.0


def test_many_features_get_fewer_knots():
    few, many = (fit_additive(x, np.arange(600), x[:, :1], UNITS) for x in (credit_like(600, 4), credit_like(600, 200)))
    assert max(map(len, few.knots)) == 11
    assert max(map(len, many.knots)) == 2


def fitted(answers):
    x = credit_like(4000, 4)
    targets = answers(x)[:, None]
    settings = SurrogateSettings(n_trees=40, depth=4)
    return fit_surrogate(x, targets, background=x[:40], weights=np.ones(40), settings=settings, seed=0), x, targets


def test_they_stand_beside_the_trees_where_they_help():
    g, x, targets = fitted(lambda x: 3.0 * x[:, 0] - 2.0 * x[:, 1] ** 2 + x[:, 2] * (x[:, 3] > 0))
    assert len(g.form.additive.features) == 4
    assert (g.predict(g.encode(x)) - targets).var() < 0.02 * targets.var()


def test_and_do_not_where_trees_alone_do_better():
    g, _, _ = fitted(lambda x: np.where(x[:, 0] > 1.0, 1.0, -1.0) * np.where(x[:, 1] > 0.3, 1.0, -1.0))
    assert len(g.form.additive.features) == 0


def test_their_values_are_shapley_values():
    g, x, _ = fitted(lambda x: 3.0 * x[:, 0] - 2.0 * x[:, 1] ** 2 + x[:, 2] * (x[:, 3] > 0))
    rows = x[100:103]
    values = g.values(g.encode(rows))[:, :, 0]
    for row, value in zip(rows, values, strict=True):
        game = background_game(lambda x: g.predict(g.encode(x))[:, 0], row, x[:40])
        assert value == pytest.approx(shapley_by_subsets(game), abs=1e-7)
