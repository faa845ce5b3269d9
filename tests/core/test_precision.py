"""Doubling until a tolerance is met: coverage, reuse, budgets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from games import background_game, credit_like, interacting, shapley_by_subsets
from scipy import stats

from spark_shap.core.attribution import Reference
from spark_shap.core.game import Game
from spark_shap.core.precision import FIRST_PAIRS, Tolerance, VarianceModel, fit_variance
from spark_shap.core.sampler import Sampler
from spark_shap.core.strata import BackgroundStrata
from spark_shap.models.frames import Background, background_rows

M, B = 7, 40


def make(n_rows=300, **settings):
    rows = background_rows(credit_like(n_rows + B, M, seed=3))
    background = Background(rows.take(slice(0, B)))
    predict = lambda x: interacting(x)[:, None]  # noqa: E731
    weights = np.full(B, 1 / B)
    base = weights @ predict(background.rows.to_input())
    reference = Reference(
        weights, predict(background.rows.to_input()), base, BackgroundStrata.build(np.arange(B), weights)
    )
    sampler = Sampler(Game(predict, background, 1, 4096), reference, 513, 5, 30.0, **settings)
    return sampler, rows.take(slice(B, B + n_rows))


@pytest.fixture(scope="module")
def truth():
    sampler, rows = make()
    x, background = rows.to_input(), sampler.game.mixer.rows.to_input()
    return np.stack([shapley_by_subsets(background_game(interacting, one, background)) for one in x])


GUESS = VarianceModel((-2.5, 0.1, 0.0), (0.01, 0.01))


def explain(n_rows=300, **settings):
    sampler, rows = make(n_rows, **settings)
    return sampler.explain(rows, np.arange(n_rows, dtype=np.uint64))


def test_every_row_is_within_the_tolerance_or_has_spent_its_budget():
    out = explain(tolerance=Tolerance(0.015), guess=GUESS)
    worst = out.std_errors.max(axis=1)
    assert (out.converged == (worst <= 0.015)).all()
    assert 0.5 < out.converged.mean() < 1
    assert len(np.unique(out.n_evaluations)) > 3
    assert (out.n_evaluations[~out.converged[:, 0]] > 513 - 2 * (FIRST_PAIRS + 2)).all(), "the budget is used up"
    assert (out.n_evaluations <= 513).all()


def test_intervals_cover_after_doubling(truth):
    inside = total = 0
    for seed in range(4):
        out = explain(tolerance=Tolerance(0.015), guess=GUESS) if seed == 0 else explain_seed(seed)
        dof = (out.n_evaluations[:, None] - 1) // 2 - 4
        half = stats.t.ppf(0.975, np.maximum(dof, 3)) * out.std_errors[:, :, 0]
        inside += (np.abs(out.values[:, :, 0] - truth) <= half).sum()
        total += truth.size
    assert 0.93 < inside / total < 0.97


def explain_seed(seed):
    sampler, rows = make(tolerance=Tolerance(0.015), guess=GUESS)
    return replace(sampler, seed=seed).explain(rows, np.arange(300, dtype=np.uint64))


def test_values_add_up_and_do_not_depend_on_company():
    out = explain(tolerance=Tolerance(0.015), guess=GUESS)
    sampler, rows = make(tolerance=Tolerance(0.015), guess=GUESS)
    gap = out.predictions - sampler.reference.base_values - out.values.sum(axis=1)
    assert np.abs(gap).max() < 1e-12
    for row in (0, 17, 299):
        alone = sampler.explain(rows.take(slice(row, row + 1)), np.array([row], dtype=np.uint64))
        np.testing.assert_array_equal(alone.values[0], out.values[row])
        assert alone.n_evaluations[0] == out.n_evaluations[row]


def test_a_share_of_the_total_is_a_tolerance():
    out = explain(tolerance=Tolerance(0.05, is_share=True), guess=GUESS)
    sampler, _ = make()
    limits = 0.05 * np.abs(out.predictions - sampler.reference.base_values)
    assert (out.converged == (out.std_errors.max(axis=1) <= limits)).all()
    assert out.converged.any()


def test_the_guess_saves_evaluations_and_is_of_the_right_size():
    plain = explain(tolerance=None)
    scale = plain.std_errors.max(axis=1) * np.sqrt(256)
    sampler, _ = make()
    totals = plain.predictions - sampler.reference.base_values
    known = np.zeros((300, 1, 1))
    model = fit_variance(plain.std_errors[:100], totals[:100], known[:100], 256)
    ratio = model.scale(totals[100:], known[100:]) / scale[100:]
    assert 0.5 < np.median(ratio) < 2
    lowest = VarianceModel((-50.0, 0.0, 0.0), (0.01, 0.01))
    slow = explain(tolerance=Tolerance(0.015), guess=lowest)
    quick = explain(tolerance=Tolerance(0.015), guess=model)
    assert quick.n_evaluations.mean() < slow.n_evaluations.mean() * 1.02
