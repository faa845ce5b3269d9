"""Ranks of harm: order, probabilities against truth, and evaluations where they separate reasons."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from games import background_game, credit_like, interacting, shapley_by_subsets
from scipy import stats

from spark_shap.core.attribution import Reference
from spark_shap.core.contrasts import PairErrors
from spark_shap.core.design import design_bank
from spark_shap.core.game import Game, ask
from spark_shap.core.precision import Tolerance, VarianceModel
from spark_shap.core.ranking import RankRule
from spark_shap.core.sampler import Sampler
from spark_shap.core.sampling import draw_pairs
from spark_shap.core.strata import BackgroundStrata
from spark_shap.models.frames import Background, background_rows

M, B, N = 7, 40, 300
RULE = RankRule(output=0, sign=1, top=3, eligible=(True,) * M)


@cache
def make():
    rows = background_rows(credit_like(N + B, M, seed=3))
    background = Background(rows.take(slice(0, B)))
    predict = lambda x: interacting(x)[:, None]  # noqa: E731
    weights = np.full(B, 1 / B)
    answers = predict(background.rows.to_input())
    strata = BackgroundStrata.build(np.arange(B), weights)
    reference = Reference(weights, answers, weights @ answers, strata)
    return Sampler(Game(predict, background, 1, 4096), reference, 129, 5, 30.0), rows.take(slice(B, B + N))


@cache
def truth():
    sampler, rows = make()
    x, background = rows.to_input(), sampler.game.mixer.rows.to_input()
    return np.stack([shapley_by_subsets(background_game(interacting, one, background)) for one in x])


def explain(**settings):
    sampler, rows = make()
    return replace(sampler, **{"rule": RULE, **settings}).explain(rows, np.arange(N, dtype=np.uint64))


def tops(values, sign=1, top=3):
    order = np.argsort(-sign * values, axis=1, kind="stable")[:, :top]
    return np.where(sign * np.take_along_axis(values, order, axis=1) > 0, order, -1)


def test_reasons_are_the_largest_harms_in_order_and_nothing_that_helps():
    found = explain().ranking
    values = explain().values[..., 0]
    np.testing.assert_array_equal(found.features, tops(values))
    low = explain(rule=replace(RULE, sign=-1)).ranking
    np.testing.assert_array_equal(low.features, tops(values, sign=-1))
    assert (found.features < 0).any(), "some rows have fewer than three"


def test_exact_values_never_swap_and_ties_go_by_the_order_of_features():
    values = np.array([[0.2, 0.5, 0.2, -1.0, 0.5, 0.0, 0.2]])[..., None]
    found = RULE.judge_exact(values, np.array([[0.9]]))
    assert found.features.tolist() == [[1, 4, 0]]
    assert (found.p_swap == 0).all()
    assert (found.p_out == 0).all()
    assert found.settled(0.025).all()
    only = replace(RULE, eligible=(True, False, True, True, False, True, False), top=4)
    assert only.judge_exact(values, np.array([[0.9]])).features.tolist() == [[0, 2, -1, -1]]


def test_rows_short_of_the_cutoff_have_no_reasons():
    values, predictions = np.full((3, M, 1), 0.1), np.array([[0.4], [0.5], [0.6]])
    high = replace(RULE, cutoff=0.5).judge_exact(values, predictions)
    assert high.asked.tolist() == [False, True, True]
    assert (high.features[0] == -1).all()
    low = replace(RULE, sign=-1, cutoff=0.5).judge_exact(-values, predictions)
    assert low.asked.tolist() == [True, True, False]


def contrasts(n_seeds, n_pairs=24):
    """Estimates of one row under many seeds, and the variances that each says of three differences."""
    sampler, rows = make()
    one, base = rows.take(np.zeros(n_seeds, dtype=np.intp)), sampler.reference.base_values
    bank = design_bank(M, n_pairs, 30.0, 1)
    hashes = np.arange(n_seeds, dtype=np.uint64)
    pairs = draw_pairs(bank, sampler.reference.strata, hashes, players=np.ones((n_seeds, M), dtype=bool))
    answers = ask(sampler.game, one, pairs)
    found = pairs.solve_for(answers.differences, answers.predictions - base)
    errors = PairErrors(bank, pairs.design, pairs.order, found.residuals[..., 0])
    first, second = np.tile([0, 2, 4, 1], (n_seeds, 1)), np.tile([1, 3, 0, M], (n_seeds, 1))
    return found.values[..., 0], found.std_errors[..., 0], errors.variances(first, second)


def test_the_error_of_a_difference_has_the_covariance_in_it():
    values, std_errors, variances = contrasts(6000)
    gaps = np.stack([values[:, 0] - values[:, 1], values[:, 2] - values[:, 3], values[:, 4] - values[:, 0]], axis=1)
    # 6,000 draws know a variance to 2 %; strata make what is said a little too wide.
    ratio = variances[:, :3].mean(axis=0) / gaps.var(axis=0)
    assert ((ratio > 0.93) & (ratio < 1.15)).all(), ratio
    apart = (std_errors[:, [0, 2, 4]] ** 2 + std_errors[:, [1, 3, 0]] ** 2).mean(axis=0) / gaps.var(axis=0)
    assert (apart < 0.96).all(), f"two errors added as if they were independent are too small: {apart}"
    np.testing.assert_allclose(variances[:, 3], std_errors[:, 1] ** 2, rtol=1e-9)


def test_a_feature_that_is_no_player_has_no_error():
    sampler, rows = make()
    x = rows.to_input().copy()
    x[:, 4] = 7.0
    background = sampler.game.mixer.rows.to_input().copy()
    background[:, 4] = 7.0
    game = replace(sampler.game, mixer=Background(background_rows(background)))
    found = replace(sampler, game=game, rule=replace(RULE, top=M)).explain(
        background_rows(x), np.arange(N, dtype=np.uint64)
    )
    assert (found.values[:, 4] == 0).all()
    assert (found.ranking.features != 4).all()


def swaps(**settings):
    """Said and true: chance of a swap of neighbours, and of a reason that is none, over seeds."""
    said, happened, out, fell = [], [], [], []
    exact = truth()
    harms = np.concatenate([exact, np.zeros((N, 1))], axis=1)
    best = [set(row) - {-1} for row in tops(exact)]
    for seed in range(12):
        found = explain(seed=seed, **settings)
        rank = found.ranking
        order = np.argsort(-found.values[..., 0], axis=1, kind="stable")[:, :4]
        ahead, behind = (np.take_along_axis(harms, part, axis=1) for part in (order[:, :3], order[:, 1:]))
        there = rank.features >= 0
        said.append(rank.p_swap[there])
        happened.append((ahead < behind)[there])
        out.append(rank.p_out[there])
        named = zip(np.nonzero(there)[0], rank.features[there], strict=True)
        fell.append(np.array([one not in best[row] for row, one in named]))
    return (np.concatenate(part) for part in (said, happened, out, fell))


@pytest.mark.parametrize("more", [0, 1025])
def test_probabilities_are_what_happens(more):
    said, happened, out, fell = swaps(rule=replace(RULE, max_evaluations=more))
    assert 0.9 < said.mean() / happened.mean() < 1.2
    for low, high in ((0.05, 0.2), (0.2, 0.35), (0.35, 0.5)):
        some = (said > low) & (said < high)
        assert said[some].mean() == pytest.approx(happened[some].mean(), abs=0.05), (low, high, some.sum())
    stable = out < 0.025
    assert stable.mean() > (0.6 if more else 0.2)
    assert fell[stable].mean() < 1.3 * out[stable].mean() < 0.013
    assert 0.5 < fell[~stable].mean() / out[~stable].mean() < 1.1, "a sum of probabilities: on the safe side"


def test_rows_go_on_until_their_reasons_are_stable_or_the_cap_is_reached():
    plain, more = explain(), explain(rule=replace(RULE, max_evaluations=1025))
    was, is_ = (found.ranking.settled(RULE.max_p_swap) for found in (plain, more))
    assert is_.mean() > was.mean() + 0.1
    assert (more.n_evaluations[was] == plain.n_evaluations[was]).all(), "a stable row takes no more"
    np.testing.assert_array_equal(more.values[was], plain.values[was])
    assert (more.n_evaluations[~was] > 129).all()
    assert (more.n_evaluations <= 1025).all()
    assert (more.n_evaluations[~is_] > 1025 - 65).all()


def test_what_goes_on_stays_exact_in_sum_and_does_not_depend_on_company():
    rule = replace(RULE, max_evaluations=1025)
    sampler, rows = make()
    more = explain(rule=rule)
    gap = more.predictions - sampler.reference.base_values - more.values.sum(axis=1)
    assert np.abs(gap).max() < 1e-12
    for row in np.flatnonzero(more.n_evaluations > 500)[:3]:
        hashes = np.array([row], dtype=np.uint64)
        alone = replace(sampler, rule=rule).explain(rows.take(slice(row, row + 1)), hashes)
        np.testing.assert_array_equal(alone.values[0], more.values[row])
        np.testing.assert_array_equal(alone.ranking.p_out[0], more.ranking.p_out[row])


def test_intervals_cover_where_rows_went_on():
    inside = []
    for seed in range(4):
        found = explain(seed=seed, rule=replace(RULE, max_evaluations=1025))
        dof = (found.n_evaluations[:, None] - 1) // 2 - 4
        half = stats.t.ppf(0.975, dof) * found.std_errors[..., 0]
        inside.append((np.abs(found.values[..., 0] - truth()) <= half).mean())
    assert 0.93 < np.mean(inside) < 0.97


def test_only_rows_that_are_to_have_reasons_go_on():
    found = explain(rule=replace(RULE, cutoff=0.6, max_evaluations=1025))
    short = found.predictions[:, 0] < 0.6
    assert (found.n_evaluations[short] == 129).all()
    assert (found.n_evaluations[~short] > 129).any()
    np.testing.assert_array_equal(found.ranking.asked, ~short)


def test_a_tolerance_and_reasons_together():
    rule = replace(RULE, max_evaluations=1025)
    guess = VarianceModel((-2.5, 0.1, 0.0), (0.01, 0.01))
    found = explain(rule=rule, tolerance=Tolerance(0.03), guess=guess)
    worst = found.std_errors.max(axis=1)
    assert (found.converged == (worst <= 0.03)).all()
    open_ = ~found.ranking.settled(rule.max_p_swap)
    assert (found.n_evaluations[open_] > 1025 - 65).all()
    assert found.n_evaluations[~open_].mean() < 600


def test_a_row_that_fails_has_no_reasons():
    sampler, rows = make()

    def fails(x):
        out = interacting(x)[:, None]
        return np.where(x[:, :1] == rows.to_input()[3, 0], np.nan, out)

    game = replace(sampler.game, predict=fails)
    found = replace(sampler, game=game, rule=replace(RULE, max_evaluations=513)).explain(
        rows, np.arange(N, dtype=np.uint64)
    )
    assert set(found.failures) == {3}
    assert not found.ranking.asked[3]
    assert found.ranking.asked.sum() == N - 1
