from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spark_shap.core.strata import BackgroundStrata, bisection_order


def test_equal_weights_cover_the_background_evenly():
    strata = BackgroundStrata.build(np.random.default_rng(0).permutation(10), np.full(10, 0.1))
    drawn = strata.draw(1, np.arange(500, dtype=np.uint64), 20)
    # Twenty strata over ten rows: two draws of every row, whatever the jitter.
    assert all(np.array_equal(np.bincount(row, minlength=10), np.full(10, 2)) for row in drawn)


def test_each_pair_alone_follows_the_weights():
    weights = np.array([0.05, 0.5, 0.15, 0.3])
    drawn = BackgroundStrata.build(np.arange(4), weights).draw(9, np.arange(20000, dtype=np.uint64), 7)
    for pair in range(7):
        assert stats.chisquare(np.bincount(drawn[:, pair], minlength=4), 20000 * weights).pvalue > 1e-4


@pytest.mark.parametrize("n_rows", [1, 2, 3, 1000, 5000])
def test_order_is_a_permutation(n_rows):
    embedding = np.random.default_rng(2).normal(size=(n_rows, 3))
    assert np.array_equal(np.sort(bisection_order(embedding)), np.arange(n_rows))


def test_neighbours_are_alike():
    embedding = np.random.default_rng(2).normal(size=(512, 2))
    order = bisection_order(embedding)

    def step(rows):
        return np.linalg.norm(np.diff(embedding[rows], axis=0), axis=1).mean()

    assert step(order) < 0.25 * step(np.arange(512))
