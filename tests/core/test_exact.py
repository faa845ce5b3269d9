from __future__ import annotations

import numpy as np
import pytest
from games import shapley_by_subsets

from spark_shap.core.design import make_design
from spark_shap.core.exact import coalition_table, exact_values


def paired(v, n_players):
    codes = np.arange(1, 2 ** (n_players - 1))
    return v[codes] - v[len(v) - 1 - codes]


def exact(v):
    n_players = int(np.log2(len(v)))
    differences = paired(v, n_players)[None, :, None]
    return exact_values(differences, np.array([[v[-1] - v[0]]]), coalition_table(n_players))[0, :, 0]


@pytest.mark.parametrize("n_players", [2, 3, 5, 9])
def test_equals_the_subset_formula(n_players):
    v = np.random.default_rng(n_players).normal(size=2**n_players)
    assert exact(v) == pytest.approx(shapley_by_subsets(v), abs=1e-12)


def test_voting_game():
    # Shapley and Shubik 1954: votes of 4, 3, 2, 1 and a quota of 6 share the power 5:3:3:1.
    votes, v = np.array([4, 3, 2, 1]), np.zeros(16)
    for mask in range(16):
        v[mask] = votes[[bool(mask >> i & 1) for i in range(4)]].sum() >= 6
    assert exact(v) * 12 == pytest.approx([5, 3, 3, 1], abs=1e-12)


def test_airport_game():
    # Littlechild and Owen 1973: each runway segment is shared by those who need it.
    cost, v = np.array([1.0, 2.0, 4.0, 7.0]), np.zeros(16)
    for mask in range(1, 16):
        v[mask] = cost[[bool(mask >> i & 1) for i in range(4)]].max()
    segments = np.diff(np.concatenate([[0.0], cost]))
    expected = np.cumsum(segments / np.arange(4, 0, -1))
    assert exact(v) == pytest.approx(expected, abs=1e-12)


def test_glove_game():
    # One right glove, two left ones: the scarce side takes two thirds.
    v = np.zeros(8)
    for mask in range(8):
        v[mask] = min(mask & 1, (mask >> 1 & 1) + (mask >> 2 & 1))
    assert exact(v) == pytest.approx([2 / 3, 1 / 6, 1 / 6], abs=1e-12)


def test_sampler_fed_every_coalition_equals_the_subset_formula():
    # Each size as often as the others, and within a size each coalition as often: then m is the exact weight.
    n_players = 5
    v = np.random.default_rng(1).normal(size=2**n_players)
    masks = [mask for size in range(1, n_players) for mask in range(32) if mask.bit_count() == size]
    repeat = [60 // [0, 5, 10, 10, 5][mask.bit_count()] for mask in masks]
    codes = np.repeat(masks, repeat)
    members = (codes >> np.arange(n_players)[:, None] & 1).astype(bool)
    total = np.array([v[-1] - v[0]])
    # With an infinite penalty the regression is out of the way and only the sample-reuse weights are left.
    value, _ = make_design(members, 1e15).estimate((v[codes] - v[31 - codes])[None], total)
    assert value[0] == pytest.approx(shapley_by_subsets(v), abs=1e-9)
