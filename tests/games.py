"""Small games and data that tests share: exact oracles by the subset formula, correlated skewed features."""

from __future__ import annotations

from math import factorial

import numpy as np


def shapley_by_subsets(v):
    """Shapley values of a game given as 2**M values indexed by bit mask: the defining formula, term by term."""
    n_players = int(np.log2(len(v)))
    values = np.zeros(n_players)
    for i in range(n_players):
        for mask in range(len(v)):
            if not mask >> i & 1:
                size = mask.bit_count()
                weight = factorial(size) * factorial(n_players - size - 1) / factorial(n_players)
                values[i] += weight * (v[mask | 1 << i] - v[mask])
    return values


def background_game(f, x, background, weights=None):
    """v(S) for all S as bit masks: the mean of f over background rows with x on S."""
    n_players = len(x)
    out = np.empty(2**n_players)
    for mask in range(2**n_players):
        on = np.array([bool(mask >> i & 1) for i in range(n_players)])
        out[mask] = np.average(f(np.where(on, x, background)), weights=weights)
    return out


def credit_like(n_rows, n_features, seed=0):
    """Correlated features, every third one skewed as amounts are."""
    rng = np.random.default_rng(seed)
    loadings = np.random.default_rng(1).normal(size=(n_features, 3))
    x = 0.5 * rng.normal(size=(n_rows, 3)) @ loadings.T + rng.normal(size=(n_rows, n_features))
    x[:, ::3] = np.exp(0.6 * x[:, ::3])
    return x


def interacting(x):
    """A probability with interactions, a threshold and a ratio; independent of the batch, unlike BLAS."""
    score = 0.6 * x[:, 0] - 0.4 * x[:, 1] + 0.5 * x[:, 0] * (x[:, 2] > 0.5) + 0.3 * np.tanh(x[:, 3] * x[:, 1])
    for feature in range(4, x.shape[1]):
        score = score + 0.25 * np.sin(x[:, feature] + 0.5 * x[:, feature - 1])
    return 1.0 / (1.0 + np.exp(-score))
