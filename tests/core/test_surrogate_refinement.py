"""The finer part of a surrogate: sampled values of it with errors that tell the truth."""

from __future__ import annotations

import numpy as np
import pytest
from games import background_game, credit_like, shapley_by_subsets

from spark_shap.core.strata import BackgroundStrata
from spark_shap.core.surrogate import SurrogateSettings, fit_surrogate
from spark_shap.core.surrogate.refinement import Refinement, fit_refinement, refine

M, B = 5, 30


def classes(x):
    powers = np.exp(np.stack([2.0 * x[:, 0], -2.0 * x[:, 1], x[:, 2] + x[:, 3] * x[:, 4]], axis=1))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def fitted():
    x = credit_like(3200, M)
    background, weights = x[:B], np.linspace(0.5, 1.5, B) / B
    settings = SurrogateSettings(n_trees=40, depth=5)
    g = fit_surrogate(x[:3000], classes(x[:3000]), background=background, weights=weights, settings=settings, seed=0)
    assert g.refines
    return g, x[3000:], background, weights, BackgroundStrata.build(np.arange(B), weights)


def fine_truth(g, row, background, weights):
    """(M, 3) Shapley values of the fine surrogate."""
    games = [
        background_game(lambda x, k=k: g.fine_predict(g.encode(x))[:, k], row, background, weights) for k in range(3)
    ]
    return np.stack([shapley_by_subsets(game) for game in games], axis=1)


def hashes(n_rows, first=0):
    return np.arange(first, first + n_rows, dtype=np.uint64)


def test_values_lie_around_those_of_the_fine_surrogate_as_their_variances_say(fitted):
    g, x, background, weights, strata = fitted
    x = x[:40]
    truth = np.stack([fine_truth(g, row, background, weights) for row in x])
    players, how = np.ones(x.shape, dtype=bool), fit_refinement(g, 40, strata, 3)
    found = [refine(g, g.encode(x), hashes(40, 1000 * turn), players, how) for turn in range(30)]
    errors = np.array([values for values, _ in found]) - truth
    variances = np.array([variance for _, variance in found])
    assert (variances > 0).all()
    assert 0.9 < np.sqrt(variances.mean() / (errors**2).mean()) < 1.12
    assert (np.abs(errors) <= 2.02 * np.sqrt(variances)).mean() == pytest.approx(0.95, abs=0.02)
    # What the exact part leaves is sampled, so the values are nearer than the exact part is.
    exact = g.values(g.encode(x))
    assert (errors.mean(axis=0) ** 2).mean() < 0.1 * ((exact - truth) ** 2).mean()


def test_more_pairs_lower_the_variance_in_proportion(fitted):
    g, x, _, _, strata = fitted
    players = np.ones(x.shape, dtype=bool)
    few, many = (refine(g, g.encode(x), hashes(200), players, Refinement(n, strata, 3, 8.0))[1] for n in (25, 100))
    assert few.mean() / many.mean() == pytest.approx(4.0, rel=0.2)


def test_values_sum_to_the_fine_prediction_whoever_plays(fitted):
    g, x, _, _, strata = fitted
    players = np.random.default_rng(0).random(x.shape) < 0.6
    players[0], players[1], players[2] = True, False, np.arange(M) == 2
    rows = g.encode(x)
    values, variances = refine(g, rows, hashes(200), players, Refinement(9, strata, 3, 8.0))
    total = g.fine_predict(rows) - g.fine_base_values
    some = players.any(axis=1)
    assert values[some].sum(axis=1) == pytest.approx(total[some], abs=1e-12)
    assert not values[~players].any()
    assert not variances[~players].any()
    assert not variances[2].any(), "one player takes the whole total, without error"
    assert (variances[0] > 0).all()


def test_a_row_does_not_depend_on_its_company(fitted):
    g, x, _, _, strata = fitted
    players = np.random.default_rng(1).random(x.shape) < 0.7
    how = Refinement(2000, strata, 3, 8.0)  # several blocks
    whole = refine(g, g.encode(x), hashes(200), players, how)
    some = np.array([150, 3, 77])
    part = refine(g, g.encode(x[some]), hashes(200)[some], players[some], how)
    for together, alone in zip(whole, part, strict=True):
        assert np.array_equal(together[some], alone)


def test_its_draws_are_others_than_the_models():
    # Equal draws would make the two errors of a value move together, and the sum of their variances wrong.
    x = credit_like(400, M)
    first = x[:, :1]
    g = fit_surrogate(
        x,
        1.0 / (1.0 + np.exp(-4.0 * first - 3.0 * x[:, 1:2])),
        background=x[:B],
        weights=np.ones(B),
        settings=SurrogateSettings(n_trees=20, depth=4),
        seed=0,
    )
    from spark_shap.core.design import design_bank
    from spark_shap.core.sampling import draw_pairs

    asked = []

    class Recorder(type(g)):
        def pair_answers(self, rows, background_index, members):
            asked.append((background_index, members))
            return super().pair_answers(rows, background_index, members)

    recorder = Recorder(**{name: getattr(g, name) for name in g.__dataclass_fields__})
    strata, players = BackgroundStrata.build(np.arange(B), np.full(B, 1 / B)), np.ones((50, M), dtype=bool)
    refine(recorder, g.encode(x[:50]), hashes(50), players, Refinement(16, strata, 7, 8.0))
    own = draw_pairs(design_bank(M, 16, 8.0, 7), strata, hashes(50), players=players)
    index, members = own.draw(slice(None), slice(None))
    assert (asked[0][0] == index).mean() < 0.2
    assert not np.array_equal(asked[0][1], members)
