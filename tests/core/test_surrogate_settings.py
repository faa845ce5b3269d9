"""What a fit buys: settings that suit the number of hybrid rows, and passes that cost no time at a pair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from games import credit_like, interacting

from spark_shap.core.surrogate import SurrogateSettings, default_settings, fit_surrogate

SIZES = (200, 14_999, 20_000, 60_000, 200_000, 2_000_000)


def data(n_rows, seed):
    x = credit_like(n_rows, 6, seed)
    return x, interacting(x)[:, None]


def left(settings, n_rows=6000):
    """Share of the variance of fresh answers that a fit leaves."""
    x, answers = data(n_rows, 0)
    g = fit_surrogate(x, answers, background=x[:50], weights=np.ones(50), settings=settings, seed=0)
    fresh, wanted = data(4000, 1)
    return float((g.predict(g.encode(fresh)) - wanted).var() / wanted.var())


def test_more_rows_buy_deeper_and_more_trees_with_finer_bins():
    found = [default_settings(size) for size in SIZES]
    for name in ("depth", "n_trees", "max_bins", "n_passes"):
        bought = [getattr(one, name) for one in found]
        assert bought == sorted(bought)
    assert max(one.depth for one in found) == 8, "a code has 8 bits"
    assert found[-1].max_bins <= 255, "bins are bytes"
    # Each tree of each row is a byte in memory and 1.6 nanoseconds a pair: a thousand are the most.
    assert [one.n_trees for one in found[-3:]] == [300, 500, 1000]


def test_deeper_trees_and_finer_bins_pay_when_there_are_rows():
    assert left(default_settings(60_000), 60_000) < 0.8 * left(default_settings(3_000), 60_000)


def test_another_pass_lowers_what_is_left_with_the_same_trees():
    settings = SurrogateSettings(n_trees=60, depth=6, n_passes=0)
    assert left(replace(settings, n_passes=2)) < 0.95 * left(settings)


def test_leaves_stay_within_sixteen_bits_however_often_they_are_filled():
    rng = np.random.default_rng(0)
    x, answers = data(3000, 0)
    answers = np.where(rng.random((3000, 1)) < 0.001, 1e4, answers)  # a few answers beyond any leaf
    settings = SurrogateSettings(n_trees=20, depth=4, learning_rate=1.0, penalty=0.1, n_passes=6)
    g = fit_surrogate(x, answers, background=x[:50], weights=np.ones(50), settings=settings, seed=0)
    assert g.predict(g.encode(x)).var() > 0.2 * answers.var()
    assert g.values(g.encode(x)).sum(axis=1) == pytest.approx(g.predict(g.encode(x)) - g.base_values, abs=1e-3)


def test_a_tree_chooses_among_so_many_features():
    x = np.random.default_rng(0).normal(size=(2000, 12))
    settings = SurrogateSettings(n_trees=40, depth=5, choice_features=2)
    weights = np.ones(50)
    g = fit_surrogate(x, x.sum(axis=1)[:, None] ** 3, background=x[:50], weights=weights, settings=settings, seed=0)
    per_tree = [len(np.unique(features)) for features in g.form.trees.features]
    assert max(per_tree) == 2
    assert len(np.unique(g.form.trees.features)) == 12, "another choice at every tree"
